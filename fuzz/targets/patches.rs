//! The four kinds of patch against an object of a real shape. The first byte chooses the kind, the rest is the patch.
#![no_main]
use isopod_api::apply::{self, FieldSet, Force, Request};
use isopod_api::go_order::{self, Touched};
use isopod_api::patch::{json_patch, merge_patch};
use isopod_api::schema::builtin;
use isopod_api::{decode, strategic, yaml};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::sync::LazyLock;

static OBJECT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}, "finalizers": ["x.y/z"], "managedFields": [
            {"manager": "them", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}}}}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "E", "value": "v"}]}], "tolerations": [{"key": "k"}]}}}
    })
});

fn applied(text: &[u8], force: Force) {
    let Some(ty) = builtin().kind("apps", "v1", "Deployment") else { return };
    let Ok(document) = yaml::parse_document(text) else { return };
    let reset = FieldSet::from_fields(&[&["status"]]);
    let request = Request {
        ty,
        manager: "me",
        api_version: "apps/v1",
        kind: "Deployment",
        subresource: "",
        reset: &reset,
        now: Default::default(),
    };
    if let Ok(applied) = apply::apply(&request, Some(&OBJECT), &document.value, force) {
        // Applied once more it changes nothing.
        let again = apply::apply(&request, Some(&applied.object), &document.value, force);
        let again = again.expect("what was applied can be applied again").object;
        assert_eq!(applied.object["spec"], again["spec"]);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    match choice % 5 {
        3 => return applied(text, Force::No),
        4 => return applied(text, Force::Yes),
        _ => {}
    }
    let Ok(decoded) = decode::untyped(text) else { return };
    let Some(ty) = builtin().kind("apps", "v1", "Deployment") else { return };
    let patch = decoded.value;
    let patched = match choice % 5 {
        0 => json_patch(OBJECT.clone(), patch.clone()).ok(),
        1 => merge_patch(OBJECT.clone(), &patch).ok(),
        _ => strategic::merge(OBJECT.clone(), patch.clone(), ty).ok(),
    };
    if let Some(patched) = patched {
        let touched = if choice % 5 == 0 { Touched::Operations(&patch) } else { Touched::Merge(&patch) };
        let text = go_order::patched(&patched, &ty.get().name, touched);
        let again = decode::untyped(text.as_bytes()).map(|decoded| decoded.value);
        assert_eq!(again.as_ref(), Ok(&patched), "only the order differs");
        drop(decode::decode_value(&patched, ty, false));
    }
});
