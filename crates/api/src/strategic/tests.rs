//! Patches applied and made. The cases state facts of upstream's `strategicpatch/patch_test.go` and of a recorded API server.
#![expect(clippy::needless_pass_by_value, reason = "cases read better as literals")]
use super::{StrategicError, merge, three_way, two_way};
use crate::schema::{self, TypeRef};
use proptest::prelude::*;
use serde_json::{Value, json};

fn ty(kind: &str) -> TypeRef<'static> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    schema::builtin().kind(group, "v1", kind).unwrap()
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[track_caller]
fn merges(kind: &str, original: Value, patch: Value, expected: Value) {
    assert_eq!(merge(original, patch, ty(kind)).unwrap(), expected);
}

#[track_caller]
fn fails(kind: &str, original: Value, patch: Value, code: u16, text: &str) {
    let error = merge(original, patch, ty(kind)).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (code, text));
}

#[test]
fn lists_merge_by_key() {
    let original = pod(
        json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "y"}]}),
    );
    merges(
        "Pod",
        original.clone(),
        pod(json!({"containers": [{"name": "a", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "3"}]}]})),
        pod(json!({"containers": [
            {"name": "a", "image": "x", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "3"}]}, {"name": "b", "image": "y"}]})),
    );
    // A new item goes where the patch has it: before what the server alone has and knows no order for.
    merges(
        "Pod",
        original.clone(),
        pod(json!({"containers": [{"name": "c", "image": "z"}]})),
        pod(
            json!({"containers": [{"name": "c", "image": "z"}, {"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b", "image": "y"}]}),
        ),
    );
    merges(
        "Pod",
        original.clone(),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        pod(json!({"containers": [{"name": "b", "image": "y"}]})),
    );
    merges(
        "Pod",
        original.clone(),
        pod(json!({"containers": [{"$patch": "replace"}, {"name": "n"}]})),
        pod(json!({"containers": [{"name": "n"}]})),
    );
    merges(
        "Pod",
        original,
        pod(
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c", "image": "z"}]}),
        ),
        pod(
            json!({"containers": [{"name": "b", "image": "y"}, {"name": "c", "image": "z"}, {"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}]}),
        ),
    );
}

#[test]
fn lists_of_scalars_merge_without_twins() {
    let object = |list: Value| json!({"metadata": {"finalizers": list}});
    merges("Pod", object(json!(["a", "b"])), object(json!(["b", "c"])), object(json!(["a", "b", "c"])));
    merges(
        "Pod",
        object(json!(["a", "b", "c"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "x"]}}),
        object(json!(["a", "c"])),
    );
    merges(
        "Pod",
        object(json!(["a", "b"])),
        json!({"metadata": {"$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}),
        object(json!(["c", "b"])),
    );
    // Not a merging list: replaced.
    let args = |list: Value| pod(json!({"containers": [{"name": "c", "args": list}]}));
    merges("Pod", args(json!(["a"])), args(json!(["b"])), args(json!(["b"])));
}

#[test]
fn maps_merge_replace_and_delete() {
    let labels = |map: Value| json!({"metadata": {"labels": map}});
    merges(
        "Pod",
        labels(json!({"a": "1", "b": "2"})),
        labels(json!({"a": null, "c": "3", "d": null})),
        labels(json!({"b": "2", "c": "3"})),
    );
    merges("Pod", labels(json!({"a": "1"})), labels(json!({"$patch": "replace", "b": "2"})), labels(json!({"b": "2"})));
    merges("Pod", labels(json!({"a": "1"})), labels(json!({"$patch": "delete"})), labels(json!({})));
    merges(
        "Pod",
        json!({}),
        json!({"spec": {"nodeName": null, "securityContext": {"runAsUser": null}}}),
        pod(json!({"securityContext": {}})),
    );
    // A directive in what is only added disappears with its object.
    merges(
        "Pod",
        json!({}),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]})),
        pod(json!({"containers": [{"name": "b"}]})),
    );
    // Volumes: $retainKeys clears the source that was before.
    merges(
        "Pod",
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]})),
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]})),
    );
    merges(
        "Deployment",
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
}

#[test]
fn errors_read_like_kubernetes() {
    let one = || pod(json!({"containers": [{"name": "c", "image": "x"}], "volumes": [{"name": "v"}]}));
    let finalizers = || json!({"metadata": {"finalizers": ["a"]}});
    fails(
        "Pod",
        one(),
        pod(json!({"containers": [{"image": "noname"}]})),
        500,
        "map: map[image:noname] does not contain declared merge key: name",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"containers": [{"name": "c", "$patch": "bogus"}]})),
        500,
        "unknown patch type: bogus in map: map[$patch:bogus name:c]",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"$patch": "merge", "nodeName": "n"})),
        500,
        "unknown patch type: merge in map: map[$patch:merge nodeName:n]",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"containers": ["c"]})),
        500,
        "list element types are not identical: [[map[image:x name:c]] [c]]",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"containers": [{"name": "c", "$patch": "merge"}]})),
        500,
        "merging lists cannot yet be specified in the patch",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]})),
        400,
        "invalid patch format of retainKeys",
    );
    fails(
        "Pod",
        one(),
        pod(json!({"volumes": [{"name": "v", "$retainKeys": "name"}]})),
        400,
        "invalid patch format of retainKeys",
    );
    fails(
        "Pod",
        finalizers(),
        json!({"metadata": {"finalizers": [["a"]]}}),
        500,
        "list element types are not identical: [[a] [[a]]]",
    );
    fails(
        "Pod",
        json!({"metadata": {"finalizers": [["a"]]}}),
        json!({"metadata": {"finalizers": [["b"]]}}),
        422,
        "lists of lists are not supported",
    );
    fails(
        "Pod",
        finalizers(),
        json!({"metadata": {"$deleteFromPrimitiveList": ["a"]}}),
        400,
        "invalid patch format of primitive list",
    );
    fails(
        "Pod",
        finalizers(),
        json!({"metadata": {"$setElementOrder/finalizers": "a"}}),
        500,
        "expected a []interface {}, but received a string",
    );
    fails(
        "Pod",
        finalizers(),
        json!({"metadata": {"$setElementOrder/finalizers": ["a"], "finalizers": ["b"]}}),
        500,
        "the order in patch list:\n[b]\n doesn't match $setElementOrder list:\n[a]\n",
    );
    fails(
        "Pod",
        pod(json!({"nope": {}})),
        pod(json!({"nope": {}})),
        500,
        "unable to find api field in struct PodSpec for the json field \"nope\"",
    );
    assert_eq!(merge(json!([]), json!({}), ty("Pod")), Err(StrategicError::BadDocument));
}

#[test]
fn differences_say_what_is_needed() {
    let containers = |list: Value| pod(json!({ "containers": list }));
    let check = |original: Value, modified: Value, expected: Value| {
        assert_eq!(two_way(&original, &modified, ty("Pod")).unwrap(), expected);
    };
    check(containers(json!([{"name": "a"}])), containers(json!([{"name": "a"}])), json!({}));
    check(
        containers(json!([{"name": "a", "image": "x"}, {"name": "b"}])),
        containers(json!([{"name": "a", "image": "y"}, {"name": "c"}])),
        pod(json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
            "containers": [{"name": "a", "image": "y"}, {"name": "c"}, {"name": "b", "$patch": "delete"}],
        })),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1"}}}),
        json!({"metadata": {"finalizers": ["b", "c"], "labels": {}}}),
        json!({"metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b", "c"], "finalizers": ["c"], "labels": {"x": null}}}),
    );
    check(
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]})),
        pod(json!({
            "$setElementOrder/volumes": [{"name": "v"}],
            "volumes": [{"$retainKeys": ["hostPath", "name"], "name": "v", "emptyDir": null, "hostPath": {"path": "/x"}}],
        })),
    );
}

#[test]
fn three_ways_keep_what_others_set() {
    let spec = |replicas: Value, containers: Value| json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}}});
    let last = spec(json!(1), json!([{"name": "a", "image": "x"}, {"name": "gone", "image": "g"}]));
    let modified = spec(json!(2), json!([{"name": "a", "image": "y"}]));
    let current = json!({"spec": {"replicas": 5, "paused": true, "template": {"spec": {"containers": [
        {"name": "a", "image": "x", "imagePullPolicy": "Always"}, {"name": "gone", "image": "g"}, {"name": "injected", "image": "i"}]}}}});
    let patch = three_way(&last, &modified, &current, ty("Deployment")).unwrap();
    assert_eq!(
        patch,
        json!({"spec": {"replicas": 2, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "y"}, {"name": "gone", "$patch": "delete"}]}}}})
    );
    assert_eq!(
        merge(current, patch, ty("Deployment")).unwrap(),
        json!({"spec": {"replicas": 2, "paused": true, "template": {"spec": {"containers": [
            {"name": "a", "image": "y", "imagePullPolicy": "Always"}, {"name": "injected", "image": "i"}]}}}})
    );
    assert_eq!(three_way(&modified, &modified, &modified, ty("Deployment")).unwrap(), json!({}));
}

/// Pods with the lists that merge, in few enough names that they meet.
fn any_pod() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    let map = || prop::collection::btree_map("[ab]", "[xy]", 0..3);
    let unique = |field: &'static str, items: Vec<(&'static str, Value)>| {
        let mut seen = std::collections::BTreeSet::new();
        let items: Vec<Value> = items
            .into_iter()
            .filter(|(name, _)| seen.insert(*name))
            .map(|(name, mut item)| {
                item[field] = json!(name);
                item
            })
            .collect();
        Value::from(items)
    };
    let env = prop::collection::vec((name.clone(), "[xy]".prop_map(|v| json!({"value": v}))), 0..3)
        .prop_map(move |v| unique("name", v));
    let container = (name.clone(), env, prop::option::of("[xy]"), prop::collection::vec("[xy]", 0..2)).prop_map(
        |(name, env, image, args)| {
            let mut item = json!({"env": env, "args": args});
            if let Some(image) = image {
                item["image"] = json!(image);
            }
            (name, item)
        },
    );
    let source = prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"hostPath": {"path": "/x"}})),
        map().prop_map(|m| json!({"emptyDir": m}))
    ];
    (
        prop::collection::vec(container, 0..4).prop_map(move |v| unique("name", v)),
        prop::collection::vec((name.clone(), source), 0..3).prop_map(move |v| unique("name", v)),
        prop::collection::btree_set("[a-d]", 0..4),
        prop::option::of(map()),
        prop::option::of(Just(5)),
    )
        .prop_map(|(containers, volumes, finalizers, labels, seconds)| {
            let finalizers: Vec<String> = finalizers.into_iter().rev().collect();
            let mut pod =
                json!({"metadata": {"finalizers": finalizers}, "spec": {"containers": containers, "volumes": volumes}});
            if let Some(labels) = labels {
                pod["metadata"]["labels"] = json!(labels);
            }
            if let Some(seconds) = seconds {
                pod["spec"]["activeDeadlineSeconds"] = json!(seconds);
            }
            pod
        })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec!["a", "b", "delete", "replace", "merge", "x"]).prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "containers",
        "name",
        "env",
        "finalizers",
        "volumes",
        "emptyDir",
        "labels",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "$deleteFromPrimitiveList",
        "$setElementOrder",
        "ports",
        "containerPort",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_difference_makes_the_other(a in any_pod(), b in any_pod()) {
        let patch = two_way(&a, &b, ty("Pod")).unwrap();
        prop_assert_eq!(merge(a, patch, ty("Pod")).unwrap(), b);
    }

    #[test]
    fn three_ways_from_the_last_applied_makes_the_other(a in any_pod(), b in any_pod()) {
        let patch = three_way(&a, &b, &a, ty("Pod")).unwrap();
        prop_assert_eq!(merge(a, patch, ty("Pod")).unwrap(), b);
    }

    #[test]
    fn three_ways_is_idempotent(last in any_pod(), modified in any_pod(), current in any_pod()) {
        let patch = three_way(&last, &modified, &current, ty("Pod")).unwrap();
        let once = merge(current, patch, ty("Pod")).unwrap();
        let again = three_way(&modified, &modified, &once, ty("Pod")).unwrap();
        prop_assert_eq!(merge(once.clone(), again, ty("Pod")).unwrap(), once);
    }

    #[test]
    fn never_panics(a in any_json(), b in any_json(), c in any_json()) {
        let _ = merge(a.clone(), b.clone(), ty("Pod"));
        let _ = two_way(&a, &b, ty("Pod"));
        let _ = three_way(&a, &b, &c, ty("Pod"));
    }
}
