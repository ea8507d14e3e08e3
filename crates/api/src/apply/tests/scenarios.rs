//! Who owns what after a few requests. The expectations are facts of structured-merge-diff's `merge/*_test.go` and of apimachinery's
//! `managedfields` tests, told with kinds of Kubernetes.
use super::Server;
use crate::apply::{ApplyError, Force};
use serde_json::json;

fn config_map() -> Server {
    Server::new("v1", "ConfigMap")
}

fn data(pairs: &[(&str, &str)]) -> serde_json::Value {
    let map: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    json!({ "data": map })
}

#[test]
fn an_applier_owns_what_it_says_and_removes_what_it_drops() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1"), ("b", "1")]));
    assert_eq!(s.managers(), [r#"one Apply 1: {"f:data":{"f:a":{},"f:b":{}}}"#]);
    s.apply("one", data(&[("b", "2"), ("c", "2")]));
    assert_eq!(s.fields(), data(&[("b", "2"), ("c", "2")]));
    assert_eq!(s.managers(), [r#"one Apply 2: {"f:data":{"f:b":{},"f:c":{}}}"#]);
    s.apply("one", json!({}));
    assert_eq!(s.fields(), json!({}));
    assert!(s.managers().is_empty());
}

#[test]
fn two_appliers_share_what_they_agree_on() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1"), ("b", "1")]));
    s.apply("two", data(&[("a", "1"), ("c", "1")]));
    assert_eq!(
        s.managers(),
        [r#"one Apply 1: {"f:data":{"f:a":{},"f:b":{}}}"#, r#"two Apply 2: {"f:data":{"f:a":{},"f:c":{}}}"#]
    );
    // One gives up both; two still wants a.
    s.apply("one", json!({}));
    assert_eq!(s.fields(), data(&[("a", "1"), ("c", "1")]));
    assert_eq!(s.managers(), [r#"two Apply 2: {"f:data":{"f:a":{},"f:c":{}}}"#]);
}

#[test]
fn the_acceptance_script_holds() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1"), ("b", "1")]));
    assert_eq!(s.conflict("two", data(&[("a", "2")])), r#"Apply failed with 1 conflict: conflict with "one": .data.a"#);
    s.force("two", data(&[("a", "2")]));
    assert_eq!(s.managers(), [r#"one Apply 1: {"f:data":{"f:b":{}}}"#, r#"two Apply 3: {"f:data":{"f:a":{}}}"#]);
    s.apply("one", json!({"data": {}}));
    assert_eq!(s.fields(), data(&[("a", "2")]));
}

#[test]
fn several_conflicts_are_grouped_by_manager() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1"), ("b", "1")]));
    s.update("kubectl-edit", data(&[("a", "1"), ("b", "1"), ("c", "1")]));
    assert_eq!(
        s.conflict("two", data(&[("a", "2"), ("b", "2"), ("c", "2")])),
        "Apply failed with 3 conflicts: conflicts with \"kubectl-edit\" using v1:\n- .data.c\nconflicts with \"one\":\n- .data.a\n- .data.b"
    );
    let Err(ApplyError::Conflict(conflicts)) = s.try_apply("two", data(&[("c", "2")]), Force::No) else { panic!() };
    let causes: Vec<(String, String)> = conflicts.0.iter().map(|c| (c.message(), c.field())).collect();
    assert_eq!(causes, [("conflict with \"kubectl-edit\" using v1".to_owned(), ".data.c".to_owned())]);
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut s = config_map();
    s.update("creator", data(&[("a", "1"), ("b", "1")]));
    assert_eq!(s.managers(), [r#"creator Update 1: {"f:data":{".":{},"f:a":{},"f:b":{}}}"#]);
    s.update("editor", data(&[("a", "2"), ("b", "1"), ("c", "2")]));
    assert_eq!(
        s.managers(),
        [r#"creator Update 1: {"f:data":{".":{},"f:b":{}}}"#, r#"editor Update 2: {"f:data":{"f:a":{},"f:c":{}}}"#]
    );
    // Removing takes from all and gives nothing; nobody's time changes.
    s.update("remover", data(&[("a", "2")]));
    assert_eq!(s.managers(), [r#"creator Update 1: {"f:data":{}}"#, r#"editor Update 2: {"f:data":{"f:a":{}}}"#]);
    // Nothing changed: nothing changes.
    let before = s.live.clone();
    s.update("idler", data(&[("a", "2")]));
    assert_eq!(s.live, before);
}

#[test]
fn what_an_update_changes_an_applier_must_force_back() {
    let mut s = Server::new("apps/v1", "Deployment");
    s.apply("ci", json!({"spec": {"replicas": 1, "paused": true}}));
    s.update("kubectl-scale", json!({"spec": {"replicas": 3, "paused": true}}));
    assert_eq!(
        s.managers(),
        [r#"ci Apply 1: {"f:spec":{"f:paused":{}}}"#, r#"kubectl-scale Update 2: {"f:spec":{"f:replicas":{}}}"#]
    );
    assert_eq!(
        s.conflict("ci", json!({"spec": {"replicas": 1, "paused": true}})),
        r#"Apply failed with 1 conflict: conflict with "kubectl-scale" using apps/v1: .spec.replicas"#
    );
    // Agreeing is not a conflict: both own it.
    s.apply("ci", json!({"spec": {"replicas": 3, "paused": true}}));
    assert_eq!(s.managers().len(), 2);
    // Leaving it to the other is none either, and does not remove it.
    s.apply("ci", json!({"spec": {"paused": true}}));
    assert_eq!(s.fields(), json!({"spec": {"replicas": 3, "paused": true}}));
}

#[test]
fn list_items_are_owned_by_key() {
    let containers = |list: serde_json::Value| json!({"spec": {"containers": list}});
    let mut s = Server::new("v1", "Pod");
    s.apply("app", containers(json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}])));
    // The key that was left out has its default.
    assert_eq!(
        s.managers(),
        [
            r#"app Apply 1: {"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}"#
        ]
    );
    s.apply("sidecar", containers(json!([{"name": "b", "image": "y"}])));
    s.apply("tuner", containers(json!([{"name": "a", "args": ["-v"]}])));
    assert_eq!(
        s.fields()["spec"]["containers"],
        json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}], "args": ["-v"]}, {"name": "b", "image": "y"}])
    );
    // The app gives its container up, but the tuner still owns the item and its args: the image goes, the item stays.
    s.apply("app", containers(json!([])));
    assert_eq!(s.fields()["spec"]["containers"], json!([{"name": "a", "args": ["-v"]}, {"name": "b", "image": "y"}]));
    s.apply("tuner", json!({}));
    assert_eq!(s.fields()["spec"]["containers"], json!([{"name": "b", "image": "y"}]));
}

#[test]
fn items_keep_the_order_of_the_configuration() {
    let containers = |names: &[&str]| {
        let list: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        json!({"spec": {"containers": list}})
    };
    let mut s = Server::new("v1", "Pod");
    s.apply("one", containers(&["a", "b", "c"]));
    s.apply("two", containers(&["x", "b", "y"]));
    let order = |s: &Server| -> Vec<String> {
        let list = s.fields()["spec"]["containers"].as_array().unwrap().clone();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order(&s), ["a", "x", "b", "c", "y"]);
    s.apply("one", containers(&["c", "a", "b"]));
    // What only others have stays where the walk through both lists finds it.
    assert_eq!(order(&s), ["x", "c", "y", "a", "b"]);
}

#[test]
fn sets_and_atomic_values() {
    let mut s = Server::new("v1", "Pod");
    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    s.apply("one", finalizers(&["a/x", "b/x"]));
    s.apply("two", finalizers(&["b/x", "c/x"]));
    assert_eq!(s.fields(), finalizers(&["a/x", "b/x", "c/x"]));
    s.apply("one", json!({}));
    assert_eq!(s.fields(), finalizers(&["b/x", "c/x"]));
    // An atomic map belongs to one: a second value in it is a conflict about all of it.
    let mut s = Server::new("v1", "Service");
    let selector = |map: serde_json::Value| json!({"spec": {"selector": map}});
    s.apply("one", selector(json!({"app": "x"})));
    assert_eq!(s.managers(), [r#"one Apply 1: {"f:spec":{"f:selector":{}}}"#]);
    assert_eq!(
        s.conflict("two", selector(json!({"app": "x", "tier": "y"}))),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.selector"#
    );
    s.force("two", selector(json!({"tier": "y"})));
    assert_eq!(s.fields(), selector(json!({"tier": "y"})));
    assert_eq!(s.managers(), [r#"two Apply 3: {"f:spec":{"f:selector":{}}}"#]);
}

#[test]
fn status_is_nobodys_through_the_object_itself() {
    let mut s = Server::new("apps/v1", "Deployment");
    s.apply("ci", json!({"spec": {"replicas": 1}, "status": {"replicas": 7}}));
    assert_eq!(s.managers(), [r#"ci Apply 1: {"f:spec":{"f:replicas":{}}}"#]);
    s.update_through(
        "controller",
        "status",
        json!({"spec": {"replicas": 1}, "status": {"replicas": 1, "readyReplicas": 1}}),
    );
    assert_eq!(
        s.managers(),
        [
            r#"ci Apply 1: {"f:spec":{"f:replicas":{}}}"#,
            r#"controller Update status 2: {"f:status":{"f:readyReplicas":{},"f:replicas":{}}}"#
        ]
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1")]));
    let before = s.live.clone();
    let again = s.try_apply("one", data(&[("a", "1")]), Force::No).unwrap();
    assert!(!again.changed);
    assert_eq!(s.live, before);
}

#[test]
fn an_untracked_object_belongs_to_before_first_apply() {
    let mut s = config_map();
    s.live = Some(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "uid": "u"}, "data": {"a": "1"}}),
    );
    // A write leaves it untracked.
    s.update("writer", json!({"metadata": {"name": "x"}, "data": {"a": "2"}}));
    assert!(s.managers().is_empty());
    assert_eq!(
        s.conflict("one", data(&[("a", "3")])),
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a"#
    );
    s.apply("one", data(&[("a", "2")]));
    assert_eq!(
        s.managers(),
        [r#"one Apply -: {"f:data":{"f:a":{}}}"#, r#"before-first-apply Update 3: {"f:data":{".":{},"f:a":{}}}"#]
    );
}

#[test]
fn old_update_managers_are_merged() {
    let mut s = config_map();
    for n in 0..14 {
        let mut all = serde_json::Map::new();
        for m in 0..=n {
            all.insert(format!("k{m:02}"), json!("v"));
        }
        s.update(&format!("m{n:02}"), json!({ "data": all }));
    }
    let managers = s.managers();
    assert_eq!(managers.len(), 10);
    assert_eq!(
        managers[0],
        r#"ancient-changes Update 5: {"f:data":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{},"f:k04":{}}}"#
    );
    assert_eq!(managers[1], r#"m05 Update 6: {"f:data":{"f:k05":{}}}"#);
}

#[test]
fn entries_can_be_cleared_and_cannot_be_broken() {
    let mut s = config_map();
    s.apply("one", data(&[("a", "1")]));
    let with = |managed: serde_json::Value| json!({"metadata": {"managedFields": managed}, "data": {"a": "1"}});
    let kept = s.managers();
    for broken in [
        json!([{"manager": "x", "operation": "Nope", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"z": {}}}]),
        json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "V9"}]),
        json!(vec![json!({"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}); 1_001]),
        json!("x"),
    ] {
        s.update("breaker", with(broken));
        assert_eq!(s.managers(), kept);
    }
    // A client may give a field to somebody.
    s.update("giver", with(json!([{"manager": "heir", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}])));
    assert_eq!(s.managers(), [r#"heir Apply -: {"f:data":{"f:a":{}}}"#]);
    for reset in [json!([{}]), json!([])] {
        s.apply("one", data(&[("a", "1")]));
        s.update("clearer", with(reset));
        assert!(s.managers().is_empty());
    }
}

#[test]
fn a_configuration_must_fit() {
    let mut s = Server::new("apps/v1", "Deployment");
    let mut fails = |config| s.try_apply("one", config, Force::No).unwrap_err().to_string();
    assert_eq!(
        fails(json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"replicsa": 1}})),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.replicsa: field not declared in schema"
    );
    assert_eq!(
        fails(json!({"spec": {"replicas": "one", "template": {"spec": {"containers": [{"image": "x"}]}}}})),
        "failed to create typed patch object (/; apps/v1, Kind=Deployment): errors:\n  .spec.replicas: expected numeric (int or float), got string\n  .spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
    );
    assert_eq!(
        fails(json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}})),
        "failed to create typed patch object (/; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    assert_eq!(fails(json!({"metadata": {"managedFields": []}})), "metadata.managedFields must be nil");
    let other = super::apply(
        &s.request("one", "", &crate::apply::FieldSet::new()),
        None,
        &json!({"apiVersion": "v1", "kind": "Pod"}),
        Force::No,
    );
    assert_eq!(other.unwrap_err().to_string(), "invalid object type: /v1, Kind=Pod");
}

#[test]
fn kubectl_takes_over_what_its_client_side_apply_set() {
    let last = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1","b":"1"}}"#;
    let annotated = |a: &str| json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}, "data": {"a": a, "b": "1"}});
    let mut s = config_map();
    s.update("kubectl-client-side-apply", annotated("1"));
    // Another name does not inherit.
    assert_eq!(
        s.conflict("other", data(&[("a", "2")])),
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a"#
    );
    s.apply("kubectl", data(&[("a", "2")]));
    let annotation = &s.fields()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation, "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\"}\n");
    // What somebody changed since is still a conflict.
    let mut s = config_map();
    s.update("kubectl-client-side-apply", annotated("1"));
    s.update("editor", annotated("9"));
    assert_eq!(
        s.conflict("kubectl", data(&[("a", "2"), ("b", "2")])),
        r#"Apply failed with 1 conflict: conflict with "editor" using v1: .data.a"#
    );
}
