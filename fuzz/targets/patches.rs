//! The four kinds of patch against objects of a real shape. The input is a patch, and a line break before it picks the kind.
#![no_main]
use isopod_api::patch::{json_patch, merge_patch};
use isopod_api::schema::builtin;
use isopod_api::{decode, strategic};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::sync::LazyLock;

static OBJECT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}, "finalizers": ["x.y/z"]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "E", "value": "v"}]}], "tolerations": [{"key": "k"}]}}}
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(decoded) = decode::untyped(text) else { return };
    let Some(ty) = builtin().kind("apps", "v1", "Deployment") else { return };
    let patched = match choice % 3 {
        0 => json_patch(OBJECT.clone(), decoded.value).ok(),
        1 => merge_patch(OBJECT.clone(), &decoded.value).ok(),
        _ => strategic::merge(OBJECT.clone(), decoded.value, ty).ok(),
    };
    if let Some(patched) = patched {
        drop(decode::decode_value(&patched, ty, false));
    }
});
