//! Whole requests into an API server without a socket: `METHOD path?query`, a line with the content type, the body. Continue tokens,
//! paths, queries, patches and bodies of every kind arrive where they would over the network. No panic, no internal error.
#![no_main]
#[path = "../../crates/apiserver/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::sync::LazyLock;
use support::Api;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().expect("threads"));
static API: LazyLock<Api> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let api = Api::whole().await;
        // The namespace of the recorded requests, with what they speak of.
        let ns = "/api/v1/namespaces/golden";
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": "golden"}})).await;
        api.made(&format!("{ns}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await;
        let containers = json!([{"name": "c", "image": "x"}]);
        api.made(&format!("{ns}/pods"), &json!({"metadata": {"name": "ok"}, "spec": {"containers": containers}})).await;
        let service = json!({"metadata": {"name": "ok"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
        api.made(&format!("{ns}/services"), &service).await;
        for i in 0..5 {
            let map = json!({"metadata": {"name": format!("m{i}"), "labels": {"a": "b"}}, "data": {"k": "v"}});
            api.made(&format!("{ns}/configmaps"), &map).await;
        }
        api
    })
});

/// A watch does not end by itself, nor does a read wait less than three seconds for a version that is to come.
fn waits(uri: &str) -> bool {
    let version = uri.split(['?', '&']).find_map(|pair| pair.strip_prefix("resourceVersion="));
    uri.contains("watch") || version.is_some_and(|v| v.len() > 2 && v.bytes().all(|b| b.is_ascii_digit()))
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let (Some(first), Some(content_type)) = (parts.next(), parts.next()) else { return };
    let Some((method, uri)) = first.split_once(' ') else { return };
    let fits = method.parse::<http::Method>().is_ok()
        && uri.starts_with('/')
        && uri.parse::<http::Uri>().is_ok()
        && content_type.parse::<http::HeaderValue>().is_ok();
    if !fits || waits(uri) {
        return;
    }
    let body = parts.next().unwrap_or_default().to_owned();
    let answer = RUNTIME.block_on(API.send(method, uri, Some(content_type), body));
    assert!(answer.json()["reason"] != "InternalError", "{}", answer.json());
});
