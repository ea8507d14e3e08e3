//! Rules of workloads that no recording covers: data in, Kubernetes' words out; and that no input makes a kind panic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::type_complexity,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and is handed literals"
)]
use isopod_api::catalogue::{KindOps, PrintContext};
use isopod_api::k8s::api::core::v1::Pod;
use isopod_api::kinds::{self, pod};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn kind(name: &str) -> &'static dyn KindOps {
    kinds::all().into_iter().find(|k| k.descriptor().kind == name).expect("a kind of the catalogue")
}

/// What is said of a new object.
fn said(kind: &dyn KindOps, body: Value) -> String {
    let mut object = kind.decode(body).expect("the body has the right types");
    kind.default(object.as_mut());
    object.meta_mut().namespace = Some("default".to_owned());
    kind.prepare_create(object.as_mut());
    let faults: Vec<String> = kind.validate(object.as_ref()).iter().map(ToString::to_string).collect();
    if faults.is_empty() { "ok".to_owned() } else { faults.join(" | ") }
}

#[test]
fn pods_are_told_what_is_wrong() {
    let cases = include_str!("data/pod_rules.txt").lines().filter(|l| !l.starts_with('#'));
    for (case, expected) in cases.map(|line| line.split_once(" => ").expect("case => outcome")) {
        let mut spec = json!({"containers": [{"name": "c", "image": "x"}]});
        let (target, change) = match case.strip_prefix("c: ") {
            Some(change) => (&mut spec["containers"][0], change),
            None => (&mut spec, case),
        };
        let change: Map<String, Value> = serde_json::from_str(change).expect(case);
        target.as_object_mut().expect("an object").extend(change);
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        assert_eq!(said(kind("Pod"), body), expected, "{case}");
    }
}

#[test]
fn workloads_are_told_what_is_wrong() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let job = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let cases = [
        ("DaemonSet", json!({"selector": selector, "template": template}), "ok"),
        (
            "DaemonSet",
            json!({"selector": selector, "template": template, "updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
        (
            "DaemonSet",
            json!({"selector": selector, "template": template, "updateStrategy": {"type": "Foo"}}),
            "spec.updateStrategy: Unsupported value: {\"Type\":\"Foo\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ),
        (
            "DaemonSet",
            json!({"selector": {}, "template": template}),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        (
            "StatefulSet",
            json!({"selector": selector, "template": template, "podManagementPolicy": "Random"}),
            "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            "StatefulSet",
            json!({"selector": selector, "template": template, "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":1,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'",
        ),
        (
            "HorizontalPodAutoscaler",
            json!({"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}),
            "ok",
        ),
        (
            "HorizontalPodAutoscaler",
            json!({"maxReplicas": 1, "minReplicas": 2, "scaleTargetRef": {"kind": "", "name": "d"}, "metrics": [{"type": "Pods"}]}),
            "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas` | spec.scaleTargetRef.kind: Required value | spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ),
        ("ReplicaSet", json!({"selector": selector, "template": template}), "ok"),
        (
            "ReplicaSet",
            json!({"selector": {"matchLabels": {"a": "c"}}, "template": template}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        ("ReplicationController", json!({}), "spec.selector: Required value | spec.template: Required value"),
        ("ReplicationController", json!({"template": template}), "ok"),
        ("Job", json!({"template": job}), "ok"),
        (
            "Job",
            json!({"template": template}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            "Job",
            json!({"template": job, "completionMode": "Indexed", "parallelism": 1}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            "Job",
            json!({"template": job, "selector": {"matchLabels": {"x": "y"}}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"u\",\"x\":\"y\"}}: `selector` not auto-generated | spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"w\",\"controller-uid\":\"u\",\"job-name\":\"w\"}: `selector` does not match template `labels`",
        ),
        (
            "Job",
            json!({"template": job, "manualSelector": true}),
            "spec.selector: Required value | spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ),
        (
            "CronJob",
            json!({"schedule": "* * * * *", "timeZone": "europe/berlin", "jobTemplate": {"spec": {"template": job}}}),
            "spec.timeZone: Invalid value: \"europe/berlin\": unknown time zone europe/berlin",
        ),
        (
            "CronJob",
            json!({"schedule": "x", "jobTemplate": {"spec": {"template": job}}}),
            "spec.schedule: Invalid value: \"x\": expected exactly 5 fields, found 1: [x]",
        ),
        (
            "CronJob",
            json!({"schedule": "* * * * *", "timeZone": "", "concurrencyPolicy": "X", "jobTemplate": {"spec": {"template": job}}}),
            "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string | spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
    ];
    for (name, spec, expected) in cases {
        let kind = kind(name);
        let body = json!({"apiVersion": kind.descriptor().api_version(), "kind": name,
                          "metadata": {"name": "w", "uid": "u"}, "spec": spec});
        assert_eq!(said(kind, body), expected, "{name} {spec}");
    }
}

fn pod_of(spec: Value) -> Pod {
    let kind = kind("Pod");
    let meta = json!({"name": "p", "namespace": "default", "resourceVersion": "1"});
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
    let mut object = kind.decode(body).expect("decodes");
    kind.default(object.as_mut());
    object.downcast::<Pod>().expect("a pod").clone()
}

#[test]
fn little_of_a_pod_may_change() {
    let old = json!({"containers": [{"name": "c", "image": "x", "imagePullPolicy": "Always"}], "activeDeadlineSeconds": 5, "tolerations": [{"key": "a"}]});
    let changed = |pointer: &str, value: Value| {
        let mut new = old.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        new.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(field.to_owned(), value);
        let faults = pod::update::validate_update(&pod_of(new), &pod_of(old.clone()));
        faults
            .iter()
            .map(|f| f.to_string().lines().next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join(" | ")
    };
    let fixed = "spec: Forbidden: pod updates may not change fields other than";
    let cases = [
        ("/containers/0/image", json!("y"), ""),
        (
            "/containers/0/image",
            json!(""),
            "spec.containers[0].image: Required value | spec.containers[0].image: Required value",
        ),
        ("/activeDeadlineSeconds", json!(4), ""),
        (
            "/activeDeadlineSeconds",
            json!(6),
            "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
        ),
        ("/tolerations", json!([{"key": "a"}, {"key": "b"}]), ""),
        (
            "/tolerations",
            json!([]),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        ("/nodeSelector", json!({"a": "b"}), fixed),
        ("/containers/0/env", json!([{"name": "A"}]), fixed),
        (
            "/containers",
            json!([{"name": "c", "image": "x", "imagePullPolicy": "Always"}, {"name": "d", "image": "x"}]),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            "/schedulingGates",
            json!([{"name": "g"}]),
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
        ),
    ];
    for (pointer, value, expected) in cases {
        let said = changed(pointer, value);
        assert!(said == expected || (expected == fixed && said.starts_with(fixed)), "{pointer}: {said}");
    }
}

#[test]
fn warnings_follow_experience() {
    let warned = |spec: Value| kind("Pod").warnings(&pod_of(spec), None).join(" | ");
    let container = |extra: Value| {
        let mut c = json!({"name": "c", "image": "x"});
        c.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        json!({"containers": [c]})
    };
    let cases = [
        (container(json!({})), ""),
        (
            container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})),
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ),
        (container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]})), ""),
        (
            container(json!({"ports": [{"containerPort": 80}, {"containerPort": 80}]})),
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ),
        (
            container(json!({"resources": {"requests": {"memory": "100m"}}})),
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        ),
        (
            json!({"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        ),
        (
            json!({"containers": [{"name": "c", "image": "x"}], "imagePullSecrets": [{"name": ""}]}),
            "spec.imagePullSecrets[0].name: invalid empty name \"\"",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(warned(spec.clone()), expected, "{spec}");
    }
}

/// Values that stand where anything may stand.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(-1i64), Just(0), Just(1), Just(i64::from(i32::MAX)), any::<i32>().prop_map(i64::from)]
            .prop_map(Value::from),
        prop_oneof![
            Just(String::new()),
            Just("a".to_owned()),
            Just("..".to_owned()),
            Just("é/ñ:@".to_owned()),
            Just("100%".to_owned()),
            Just("1Gi".to_owned()),
            Just("iqn".to_owned()),
            Just("@every ".to_owned()),
            ".{0,12}",
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z/.]{0,6}", inner, 0..3).prop_map(|m| json!(m)),
        ]
    })
}

/// All places in a value, as pointers.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(k, v)| places(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), out));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out)),
        _ => {}
    }
}

/// A pod that uses nearly everything there is.
fn rich_pod_spec() -> Value {
    json!({
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "p", "projected": {"sources": [
            {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}, {"serviceAccountToken": {"path": "t"}}]}},
            {"name": "i", "iscsi": {"targetPortal": "t", "iqn": "iqn.2001-04.com.example:disk", "lun": 1, "initiatorName": "iqn"}}],
        "initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "r/x:v1", "ports": [{"containerPort": 80, "hostPort": 80}],
            "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "envFrom": [{"secretRef": {"name": "s"}}],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "hugepages-2Mi": "2Mi"}},
            "volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b"}],
            "readinessProbe": {"httpGet": {"port": "http", "httpHeaders": [{"name": "A", "value": "b"}]}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
            "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "seccompProfile": {"type": "Localhost"},
                "windowsOptions": {"runAsUserName": "a\\b"}}}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm":
                {"topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["a"]}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        "tolerations": [{"key": "a", "operator": "Exists"}], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a."]}, "resources": {"limits": {"cpu": "2"}},
        "securityContext": {"sysctls": [{"name": "net.a", "value": "1"}]}, "overhead": {"cpu": "1m"}
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    /// Whatever stands wherever in a body: a kind answers, and gives the same object when asked twice.
    #[test]
    fn no_body_makes_a_kind_panic(which in 0usize..10, place in any::<prop::sample::Index>(), value in any_value()) {
        let names = ["Pod", "Deployment", "ReplicaSet", "ReplicationController", "PodTemplate", "StatefulSet", "DaemonSet", "Job", "CronJob", "HorizontalPodAutoscaler"];
        let kind = kind(names[which]);
        let template = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}}, "spec": rich_pod_spec()});
        let d = kind.descriptor();
        let spec = match d.kind {
            "Pod" => rich_pod_spec(),
            "CronJob" => json!({"schedule": "*/5 1-3 * jan mon", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": {"template": template}}}),
            _ => json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template,
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}},
                "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}}]}}),
        };
        let mut body = json!({"apiVersion": d.api_version(), "kind": d.kind, "spec": spec, "template": template,
            "metadata": {"name": "w", "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 1, "state": {"running": {}}}]}});
        let mut all = Vec::new();
        places(&body, "", &mut all);
        all.remove(0);
        *body.pointer_mut(place.get::<String>(&all)).expect("a place of the body") = value;
        if let Ok(mut object) = kind.decode(body) {
            let mut old = object.boxed_clone();
            kind.default(object.as_mut());
            let once = object.to_value();
            kind.default(object.as_mut());
            prop_assert_eq!(once, object.to_value(), "defaulting twice is defaulting once");
            let cx = PrintContext { now: jiff::Timestamp::UNIX_EPOCH };
            prop_assert_eq!(kind.cells(object.as_ref(), &cx).len(), d.columns.len());
            kind.default(old.as_mut());
            kind.prepare_create(old.as_mut());
            let _ = kind.validate(old.as_ref());
            let _ = kind.warnings(old.as_ref(), None);
            let _ = kind.fields(old.as_ref());
            let _ = kind.deletion(old.as_ref(), Some(-1));
            kind.prepare_update(object.as_mut(), old.as_ref());
            let _ = kind.validate_update(object.as_ref(), old.as_ref());
            kind.prepare_status_update(object.as_mut(), old.as_ref());
            let _ = kind.validate_status_update(object.as_ref(), old.as_ref());
        }
    }
}

/// What is said of a change.
fn said_of(kind: &dyn KindOps, old: Value, change: &Value, status: bool) -> String {
    let read = |body: Value| {
        let mut object = kind.decode(body).expect("the body has the right types");
        kind.default(object.as_mut());
        let meta = object.meta_mut();
        (meta.namespace, meta.resource_version) = (Some("default".to_owned()), Some("1".to_owned()));
        object
    };
    let mut new = old.clone();
    json_patch::merge(&mut new, change);
    let (old, mut new) = (read(old), read(new));
    let faults = if status {
        kind.prepare_status_update(new.as_mut(), old.as_ref());
        kind.validate_status_update(new.as_ref(), old.as_ref())
    } else {
        kind.prepare_update(new.as_mut(), old.as_ref());
        kind.validate_update(new.as_ref(), old.as_ref())
    };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    if faults.is_empty() { "ok".to_owned() } else { faults.join(" | ") }
}

#[test]
fn jobs_are_told_what_is_wrong() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let new = |change: Value| {
        let mut body = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}});
        json_patch::merge(&mut body["spec"], &change);
        said(kind("Job"), body)
    };
    let indexed = |change: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 3});
        json_patch::merge(&mut spec, &change);
        new(spec)
    };
    insta::assert_snapshot!(new(json!({"template": {"spec": {"restartPolicy": "Foo"}}})), @r#"spec.template.spec.restartPolicy: Unsupported value: "Foo": supported values: "Always", "OnFailure", "Never" | spec.template.spec.restartPolicy: Unsupported value: "Foo": supported values: "OnFailure", "Never""#);
    insta::assert_snapshot!(indexed(json!({"parallelism": 100_001, "backoffLimitPerIndex": 1, "maxFailedIndexes": 4})), @"spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed | spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions");
    insta::assert_snapshot!(indexed(json!({"completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1})), @"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000 | spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index");
    insta::assert_snapshot!(indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-5"}, {"succeededIndexes": "0,2", "succeededCount": 3}]}})), @r#"spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-5": error parsing succeededIndexes: too large index: "5" | spec.successPolicy.rules[1].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"#);
    insta::assert_snapshot!(new(json!({"successPolicy": {"rules": [{"succeededCount": 1}]}})), @r#"spec.successPolicy: Invalid value: {"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}: requires indexed completion mode"#);
    let long = json!({"metadata": {"name": "x".repeat(62), "uid": "u"}, "spec": {"template": template, "completionMode": "Indexed", "completions": 3}});
    assert!(said(kind("Job"), long).ends_with("xx-2"));
}

#[test]
fn jobs_do_not_change_much() {
    let labels = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j", "batch.kubernetes.io/job-name": "j"});
    let job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"parallelism": 2, "completions": 2,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
    let spec = |change: Value| said_of(kind("Job"), job.clone(), &json!({ "spec": change }), false);
    insta::assert_snapshot!(spec(json!({"completions": 3})), @"spec.completions: Invalid value: 3: field is immutable");
    insta::assert_snapshot!(spec(json!({"completions": null})), @r#"spec.completions: Invalid value: "null": field is immutable"#);
    let policy = json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}, "podReplacementPolicy": null});
    insta::assert_snapshot!(spec(policy), @r#"spec.podFailurePolicy: Invalid value: {"Rules":[{"Action":"Ignore","OnExitCodes":{"ContainerName":null,"Operator":"In","Values":[1]},"OnPodConditions":null}]}: field is immutable"#);
    let template = spec(json!({"template": {"spec": {"restartPolicy": "OnFailure"}}}));
    assert!(
        template.starts_with(r#"spec.template: Invalid value: {"labels":{"batch.kubernetes.io/controller-uid":"u","#),
        "{template}"
    );
    assert!(
        template.contains(r#"},"Spec":{"Volumes":null,"InitContainers":null,"Containers":[{"Name":"c","Image":"x","#),
        "{template}"
    );
    let mut indexed = job.clone();
    indexed["spec"]["completionMode"] = json!("Indexed");
    let spec = |change: Value| said_of(kind("Job"), indexed.clone(), &json!({ "spec": change }), false);
    insta::assert_snapshot!(spec(json!({"completions": 3})), @"spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism");
    insta::assert_snapshot!(spec(json!({"completions": 3, "parallelism": 3})), @"ok");
}

#[test]
fn the_status_of_jobs_is_checked_closely() {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let job = |status: Value| {
        json!({"metadata": {"name": "j", "uid": "u"}, "status": status,
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}})
    };
    let change = |old: Value, change: Value| said_of(kind("Job"), job(old), &json!({ "status": change }), true);
    let time = "2020-01-01T00:00:00Z";
    let done = json!({"startTime": time, "completionTime": time, "succeeded": 1, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]});
    assert_eq!(change(json!({"active": 1}), json!({"active": 1, "ready": 1})), "ok");
    assert_eq!(change(json!({"startTime": time}), done.clone()), "ok");
    insta::assert_snapshot!(change(json!({}), json!({"conditions": [condition("Complete")]})), @"status.completionTime: Required value: completionTime is required for Complete jobs | status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition | status.startTime: Required value: startTime is required for finished job");
    insta::assert_snapshot!(change(json!({}), json!({"startTime": time, "active": 1, "conditions": [condition("Failed")]})), @"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition | status.active: Invalid value: 1: active>0 is invalid for finished job");
    insta::assert_snapshot!(change(done, json!({"succeeded": 0, "conditions": []})), @r#"status.completionTime: Invalid value: "2020-01-01T00:00:00Z": cannot set completionTime when there is no Complete=True condition | status.conditions: Invalid value: cannot disable the terminal Complete=True condition | status.succeeded: Invalid value: 0: cannot decrease the succeeded counter | status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"#);
    insta::assert_snapshot!(change(json!({}), json!({"active": 1, "ready": 2, "completedIndexes": "0"})), @r#"status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode | status.ready: Invalid value: 2: cannot set more ready pods than active"#);
}

#[test]
fn claims_show_what_changed() {
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let change = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    insta::assert_snapshot!(said_of(kind("PersistentVolumeClaim"), claim, &change, false), @r#"
    spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    @@ -1,6 +1,6 @@
     {
      "AccessModes": [
    -  "ReadWriteOnce"
    +  "ReadWriteMany"
      ],
      "Selector": null,
      "Resources": {
    "#);
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
    let said = said_of(kind("Deployment"), deployment, &json!({"spec": null}), false);
    assert!(said.ends_with("spec.selector: Invalid value: \"null\": field is immutable"), "{said}");
}

#[test]
fn owners_are_shown_as_go_writes_them() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": true});
    let body = json!({"metadata": {"name": "m", "ownerReferences": [owner("a"), owner("b")]}});
    insta::assert_snapshot!(said(kind("ConfigMap"), body), @r#"metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"a","uid":"a","controller":true},{"apiVersion":"v1","kind":"Pod","name":"b","uid":"b","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for Pod/a and Pod/b"#);
}

#[test]
fn addresses_of_pods_are_read_strictly() {
    let pod = |status: &Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}, "status": status});
    const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    const FAMILIES: &str = "may specify no more than one IP for each IP family";
    for (old, status, says) in [
        (json!({}), json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fe80::1"}]}), "ok".to_owned()),
        (json!({}), json!({"podIPs": [{"ip": "FE80::1"}]}), "ok".to_owned()),
        (json!({}), json!({"podIP": "x"}), format!("status.podIPs[0]: Invalid value: \"x\": {NO_IP}")),
        (json!({}), json!({"podIPs": [{"ip": ""}]}), format!("status.podIPs[0]: Invalid value: \"\": {NO_IP}")),
        (json!({}), json!({"podIPs": [{"ip": "010.0.0.1"}]}), "status.podIPs[0]: Invalid value: \"010.0.0.1\": must not have leading 0s".to_owned()),
        (
            json!({}),
            json!({"podIPs": [{"ip": "::ffff:1.2.3.4"}]}),
            "status.podIPs[0]: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address".to_owned(),
        ),
        // What is stored stays.
        (json!({"podIPs": [{"ip": "010.0.0.1"}]}), json!({"podIPs": [{"ip": "010.0.0.1"}], "phase": "Running"}), "ok".to_owned()),
        (
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "x"}]}),
            format!(
                "status.podIPs[1]: Invalid value: \"x\": {NO_IP} | status.podIPs: Internal error: failed to check for dual stack with \
                 error:invalid IP[1]: x | status.podIPs: Invalid value: [{{\"IP\":\"10.0.0.1\"}},{{\"IP\":\"x\"}}]: {FAMILIES}"
            ),
        ),
        (
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
            format!(
                "status.podIPs: Invalid value: [{{\"IP\":\"10.0.0.1\"}},{{\"IP\":\"10.0.0.1\"}}]: {FAMILIES} | status.podIPs[1]: \
                 Duplicate value: {{\"IP\":\"10.0.0.1\"}}"
            ),
        ),
        // The other way round for hosts.
        (
            json!({}),
            json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
            format!(
                "status.hostIPs[1]: Duplicate value: {{\"IP\":\"10.0.0.1\"}} | status.hostIPs: Invalid value: \
                 [{{\"IP\":\"10.0.0.1\"}},{{\"IP\":\"10.0.0.1\"}}]: {FAMILIES}"
            ),
        ),
        (
            json!({}),
            json!({"hostIP": "10.0.0.2", "hostIPs": [{"ip": "010.0.0.1"}]}),
            "status.hostIPs[0].ip: Invalid value: \"010.0.0.1\": must be equal to `hostIP` | status.hostIPs[0]: Invalid value: \
             \"010.0.0.1\": must not have leading 0s"
                .to_owned(),
        ),
    ] {
        assert_eq!(said_of(kind("Pod"), pod(&old), &json!({ "status": status }), true), says, "{status}");
    }
}

#[test]
fn stateful_sets_are_checked_with_their_claims() {
    let set = |change: &Value| {
        let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]}}});
        json_patch::merge(&mut spec, change);
        json!({"metadata": {"name": "s"}, "spec": spec})
    };
    let mounts = json!({"template": {"spec": {"containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}}});
    let mut claimed = mounts.clone();
    claimed["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let mut bare = mounts.clone();
    bare["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
    let new = |change: &Value| said(kind("StatefulSet"), set(change));
    assert_eq!(new(&claimed), "ok");
    insta::assert_snapshot!(new(&mounts), @r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#);
    insta::assert_snapshot!(new(&bare), @"spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required | spec.volumeClaimTemplates[0].spec.resources[storage]: Required value");
    let none = json!({"template": {"spec": {"containers": []}}});
    insta::assert_snapshot!(new(&none), @"spec.template.spec.containers: Required value");
    // What was stored before it was asked may be scaled; what was right may not become wrong.
    let changed =
        |old: &Value, change: Value| said_of(kind("StatefulSet"), set(old), &json!({ "spec": change }), false);
    assert_eq!(changed(&mounts, json!({"replicas": 5})), "ok");
    assert_eq!(changed(&claimed, json!({"replicas": 5})), "ok");
    insta::assert_snapshot!(changed(&claimed, none), @"spec.template.spec.containers: Required value");
}
