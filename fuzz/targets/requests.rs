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
        let default = "/api/v1/namespaces/default";
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
        api.made(&format!("{default}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await;
        api.post(&format!("{default}/configmaps"), &json!({"metadata": {"name": "one"}, "data": {"k": "v"}})).await;
        api
    })
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let (Some(first), Some(content_type)) = (parts.next(), parts.next()) else { return };
    let Some((method, uri)) = first.split_once(' ') else { return };
    let fits = method.parse::<http::Method>().is_ok()
        && uri.starts_with('/')
        && uri.parse::<http::Uri>().is_ok()
        && content_type.parse::<http::HeaderValue>().is_ok();
    // A watch does not end by itself.
    if !fits || uri.contains("watch") {
        return;
    }
    let body = parts.next().unwrap_or_default().to_owned();
    let answer = RUNTIME.block_on(API.send(method, uri, Some(content_type), body));
    assert!(answer.json()["reason"] != "InternalError", "{}", answer.json());
});
