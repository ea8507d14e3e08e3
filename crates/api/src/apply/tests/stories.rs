//! Longer stories: scale and its parent, unchanged writes, values without a type.
use super::Server;
use crate::apply::{Element, Force, keep_times_if_unchanged, to_parent, to_scale};
use serde_json::{Value, json};

fn replicas() -> [Element; 2] {
    [Element::field("spec"), Element::field("replicas")]
}

#[test]
fn scale_carries_the_owners_of_replicas() {
    let mut parent = Server::new("apps/v1", "Deployment");
    parent.apply("ci", json!({"spec": {"replicas": 1, "paused": true}}));
    let entries = parent.live.as_ref().unwrap()["metadata"]["managedFields"].clone();
    let mut scale = Server::new("autoscaling/v1", "Scale");
    scale.live = Some(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1}, "metadata": {
        "uid": "u", "managedFields": to_scale(Some(&entries), &replicas()).unwrap()}}));
    assert_eq!(scale.managers(), [r#"ci Apply 1: {"f:spec":{"f:replicas":{}}}"#]);
    scale.seconds = 1;
    // An unchanged scale leaves the parent as it was.
    let same = scale.live.as_ref().unwrap()["metadata"].get("managedFields").cloned();
    assert_eq!(to_parent(Some(&entries), same.as_ref(), &replicas(), "apps/v1").unwrap(), Some(entries.clone()));
    scale.update_through("kubectl", "scale", json!({"spec": {"replicas": 5}}));
    assert_eq!(scale.managers(), [r#"kubectl Update scale 2: {"f:spec":{"f:replicas":{}}}"#]);
    let scaled = scale.live.as_ref().unwrap()["metadata"].get("managedFields");
    let merged = to_parent(Some(&entries), scaled, &replicas(), "apps/v1").unwrap();
    let live = parent.live.as_mut().unwrap();
    live["spec"]["replicas"] = json!(5);
    live["metadata"]["managedFields"] = merged.unwrap();
    assert_eq!(
        parent.managers(),
        [r#"ci Apply 1: {"f:spec":{"f:paused":{}}}"#, r#"kubectl Update scale -: {"f:spec":{"f:replicas":{}}}"#]
    );
    assert_eq!(
        parent.conflict("ci", json!({"spec": {"replicas": 1, "paused": true}})),
        r#"Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas"#
    );
}

#[test]
fn a_write_that_was_undone_keeps_its_times() {
    let entry = |second: u8, fields: Value| json!({"metadata": {"managedFields": [{"manager": "m", "operation": "Update", "time": format!("2026-01-01T00:00:{second:02}Z"), "fieldsV1": fields}]}, "data": {}});
    let old = entry(1, json!({"f:a": {}}));
    let mut new = entry(2, json!({"f:a": {}}));
    keep_times_if_unchanged(&old, &mut new);
    assert_eq!(new, old);
    let mut other = entry(2, json!({"f:b": {}}));
    keep_times_if_unchanged(&old, &mut other);
    assert_eq!(other, entry(2, json!({"f:b": {}})));
    let mut changed = entry(2, json!({"f:a": {}}));
    changed["data"] = json!({"x": "y"});
    let expected = changed.clone();
    keep_times_if_unchanged(&old, &mut changed);
    assert_eq!(changed, expected);
}

#[test]
fn structs_that_are_always_there_are_not_owned_for_it() {
    let mut s = Server::new("apps/v1", "Deployment");
    s.update("creator", json!({"spec": {"replicas": 1}}));
    // The strategy is there in every Deployment; the rolling update in it is a pointer.
    s.update("strategist", json!({"spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 1}}}}));
    assert_eq!(
        s.managers()[1],
        r#"strategist Update 2: {"f:spec":{"f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{}}}}}"#
    );
    // Naming it empty, or not at all, is the same.
    let before = s.managers();
    s.update(
        "nobody",
        json!({"spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {}}, "status": {}}),
    );
    assert_eq!(s.managers(), before);
}

#[test]
fn duplicates_in_lists_are_one_lump() {
    let ports = |list: Value| json!({"spec": {"containers": [{"name": "c", "ports": list}]}});
    let port = |name: &str| json!({"containerPort": 80, "protocol": "TCP", "name": name});
    let mut s = Server::new("v1", "Pod");
    s.update("one", ports(json!([port("a"), port("b")])));
    assert_eq!(
        s.managers(),
        [
            r#"one Update 1: {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}}}}"#
        ]
    );
    s.update("two", ports(json!([port("a"), port("c")])));
    assert_eq!(
        s.managers()[1],
        r#"two Update 2: {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}}}}"#
    );
    s.update("three", ports(json!([port("a")])));
    assert_eq!(
        s.managers().last().unwrap(),
        r#"three Update 3: {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}}}}}}"#
    );
}

#[test]
fn a_null_is_said_and_owned() {
    let mut s = Server::new("apps/v1", "Deployment");
    let applied = s.try_apply("one", json!({"spec": {"replicas": null, "paused": true}}), Force::No).unwrap();
    assert_eq!(applied.object["spec"], json!({"replicas": null, "paused": true}));
    assert_eq!(s.managers(), [r#"one Apply 1: {"f:spec":{"f:paused":{},"f:replicas":{}}}"#]);
}

#[test]
fn an_unknown_kind_of_value_is_granular_in_maps_and_atomic_in_lists() {
    // managedFields of a custom resource without a schema: `spec` of a ControllerRevision's data stands for it.
    let mut s = Server::new("apps/v1", "ControllerRevision");
    let data = |value: Value| json!({"revision": 1, "data": value});
    s.apply("one", data(json!({"a": {"b": 1, "l": [{"x": 1}]}})));
    assert_eq!(s.managers(), [r#"one Apply 1: {"f:data":{"f:a":{".":{},"f:b":{},"f:l":{}}},"f:revision":{}}"#]);
    s.apply("two", json!({"data": {"a": {"c": 2}}}));
    assert_eq!(s.fields()["data"], json!({"a": {"b": 1, "l": [{"x": 1}], "c": 2}}));
    s.update("three", data(json!({"a": 5})));
    assert_eq!(s.managers()[1..], [r#"three Update 3: {"f:data":{"f:a":{}}}"#.to_owned()]);
}
