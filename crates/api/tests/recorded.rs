//! What a real API server (v1.37) answered, line by line, against our catalogue: discovery, columns, defaults, and the errors
//! of requests whose validation decides them. `tests/fixtures` holds the recordings.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::type_complexity,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and is handed literals"
)]
use isopod_api::catalogue::{KindOps, Object, PrintContext, Scale, Scope, Verbs};
use isopod_api::field::{Errors, aggregate};
use isopod_api::k8s::api::core::v1::Service;
use isopod_api::kinds;
use isopod_api::kinds::service::{families, linked};
use serde_json::{Value, json};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a fixture line is JSON")).collect()
}

/// The kind and namespace that a collection's path names: `/apis/GROUP/VERSION/namespaces/NS/PLURAL`.
fn resolve(path: &str) -> Option<(&'static dyn KindOps, Option<String>)> {
    let parts: Vec<&str> = path.split('?').next()?.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", rest @ ..] => ("", rest),
        ["apis", group, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (version, plural, namespace) = match rest {
        [version, "namespaces", namespace, plural] => (version, plural, Some((*namespace).to_owned())),
        [version, plural] => (version, plural, None),
        _ => return None,
    };
    let kind = kinds::all().into_iter().find(|k| {
        let d = k.descriptor();
        d.group == group && d.version == *version && d.plural == *plural
    })?;
    Some((kind, namespace))
}

/// What the API server does with a POST, as far as kinds decide it.
fn create(kind: &dyn KindOps, namespace: Option<String>, body: Value) -> (Box<dyn Object>, Errors, Vec<String>) {
    let d = kind.descriptor();
    let mut body = body;
    body["apiVersion"] = json!(d.api_version());
    body["kind"] = json!(d.kind);
    let mut object = kind.decode(body).expect("the body has the right types");
    kind.default(object.as_mut());
    let meta = object.meta_mut();
    meta.namespace = namespace;
    meta.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
    if meta.name.is_none()
        && let Some(prefix) = meta.generate_name.clone()
    {
        meta.name = Some(format!("{prefix}x7k2p"));
    }
    kind.prepare_create(object.as_mut());
    let mut faults = Errors::new();
    if let Some(service) = object.downcast_mut::<Service>() {
        faults = families::init(service, None, &["IPv4"]);
        allocate(service);
    }
    if faults.is_empty() {
        faults = kind.validate(object.as_ref());
    }
    let warnings = kind.warnings(object.as_ref(), None);
    (object, faults, warnings)
}

/// Stands in for the API server's allocators.
fn allocate(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    if linked::needs_cluster_ip(spec) && spec.cluster_ips.is_none() {
        spec.cluster_ip = Some("10.96.0.99".into());
        spec.cluster_ips = Some(vec!["10.96.0.99".into()]);
    }
    if linked::allocates_node_ports(spec) {
        for (port, number) in spec.ports.iter_mut().flatten().zip(30000..) {
            port.node_port.get_or_insert(number);
        }
    }
}

#[test]
fn errors_are_kubernetes_own() {
    let mut checked = 0;
    for (number, line) in (1..).zip(lines(include_str!("fixtures/errors.jsonl"))) {
        let code = line["code"].as_i64();
        if line["method"] != "POST" || !matches!(code, Some(201 | 422)) {
            continue;
        }
        let Some((kind, namespace)) = resolve(line["path"].as_str().unwrap_or_default()) else { continue };
        let field = &line["response"]["details"]["causes"][0]["field"];
        if field == "fieldValidation" || field == "dryRun" {
            continue; // said by the query, not by the body
        }
        let strict = line["body"]["apiVersion"].is_null() || line["path"].as_str().unwrap_or_default().contains('?');
        let name = json!(line["response"]["details"]["name"].as_str().unwrap_or_default());
        // Some bodies are recorded as the text that was sent.
        let body = line["body"]
            .as_str()
            .map_or_else(|| line["body"].clone(), |text| serde_json::from_str(text).expect("JSON"));
        let (_, faults, warnings) = create(kind, namespace, body);
        if code == Some(201) {
            assert_eq!(aggregate(&faults), "[]", "line {number}");
        } else {
            let d = kind.descriptor();
            let said = format!("{} {name} is invalid: {}", d.qualified_kind(), aggregate(&faults));
            assert_eq!(json!(said), line["response"]["message"], "line {number}");
            let causes: Vec<Value> = faults
                .iter()
                .map(|f| json!({ "reason": f.rule.reason(), "message": f.body(), "field": f.path.to_string() }))
                .collect();
            assert_eq!(json!(causes), line["response"]["details"]["causes"], "line {number}");
        }
        // A refused object is not warned about.
        if !strict && code == Some(201) {
            let headers: Vec<String> = warnings.iter().map(|w| format!("299 - \"{w}\"")).collect();
            assert_eq!(json!(headers), line["warnings"], "line {number}");
        }
        checked += 1;
    }
    assert!(checked >= 72, "only {checked} lines were checked");
}

#[test]
fn defaults_are_kubernetes_own() {
    let mut checked = 0;
    for (number, line) in (1..).zip(lines(include_str!("fixtures/defaults.jsonl"))) {
        let Some((kind, namespace)) = resolve(line["path"].as_str().unwrap_or_default()) else { continue };
        let (object, faults, _) = create(kind, namespace, line["sent"].clone());
        assert_eq!(aggregate(&faults), "[]", "line {number}");
        let (mut ours, mut theirs) = (object.to_value(), line["created"].clone());
        forget(&mut ours);
        forget(&mut theirs);
        if kind.descriptor().kind == "Pod" {
            forget_admission(&mut theirs);
        }
        // The API server counts generations of kinds that ask it to.
        if kind.descriptor().generation {
            ours["metadata"]["generation"] = json!(1);
        }
        let (ours, theirs) = (serde_json::to_string_pretty(&ours), serde_json::to_string_pretty(&theirs));
        assert_eq!(ours.expect("prints"), theirs.expect("prints"), "line {number}");
        checked += 1;
    }
    assert!(checked >= 21, "only {checked} lines were checked");
}

/// Replaces and patches whose outcome the kind's update rules decide, with the object as it was in the store.
#[test]
fn updates_are_kubernetes_own() {
    let recorded = lines(include_str!("fixtures/errors.jsonl"));
    let line = |number: usize| recorded[number - 1].clone();
    let deployment = || (line(91)["body"].clone(), "/apis/apps/v1/namespaces/golden/deployments");
    let changed = |(mut body, path): (Value, &'static str), pointer: &str, value: Value| {
        *body.pointer_mut(pointer).expect("the pointer leads somewhere") = value;
        (body, path)
    };
    let mut pod = lines(include_str!("fixtures/defaults.jsonl"))[6]["created"].clone();
    pod["metadata"] = json!({"name": "ok", "resourceVersion": "1"});
    pod["spec"].as_object_mut().expect("a spec").remove("nodeSelector");
    let pod = || (pod.clone(), "/api/v1/namespaces/golden/pods");
    let cases = [
        (92, deployment(), (line(92)["body"].clone(), deployment().1)),
        (97, deployment(), changed(deployment(), "/spec/replicas", json!(-3))),
        (
            112,
            pod(),
            changed(pod(), "/spec/containers/0", {
                let mut container = pod().0["spec"]["containers"][0].clone();
                container["command"] = json!(["a"]);
                container
            }),
        ),
    ];
    for (number, (old, path), (new, _)) in cases {
        let (kind, namespace) = resolve(path).expect("a kind of ours");
        let stored = |body: Value| {
            let mut object = kind.decode(body).expect("decodes");
            kind.default(object.as_mut());
            object.meta_mut().name = Some("ok".to_owned());
            object.meta_mut().namespace = namespace.clone();
            object.meta_mut().resource_version = Some("1".to_owned());
            object
        };
        let (old, mut new) = (stored(old), stored(new));
        kind.prepare_update(new.as_mut(), old.as_ref());
        let faults = kind.validate_update(new.as_ref(), old.as_ref());
        let said = format!("{} \"ok\" is invalid: {}", kind.descriptor().qualified_kind(), aggregate(&faults));
        assert_eq!(said, line(number)["response"]["message"].as_str().unwrap_or_default(), "line {number}");
    }
}

/// What differs from run to run, and what the API server adds itself.
fn forget(object: &mut Value) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        meta.remove(field);
    }
    if meta.get("generateName").is_some() {
        meta.remove("name");
    }
    // Protection finalizers are added by admission.
    if meta.get("finalizers").is_some_and(|f| f[0].as_str().is_some_and(|f| f.ends_with("-protection"))) {
        meta.remove("finalizers");
    }
    if let Some(status) = object["status"].as_object_mut() {
        status.remove("lastPhaseTransitionTime");
        // An absent list that Go writes out (HorizontalPodAutoscaler); ours leaves it out.
        status.retain(|_, value| !value.is_null());
    }
    if object["kind"] == "Job" {
        forget_uid(object);
    }
    if object["kind"] == "Service"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        if spec.get("clusterIP").is_some_and(|ip| ip != "None") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().and_then(|p| p.remove("nodePort"));
        }
    }
}

/// What the admission plug-ins ServiceAccount, DefaultTolerationSeconds and Priority give a pod.
fn forget_admission(pod: &mut Value) {
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    for field in ["volumes", "tolerations", "serviceAccount", "serviceAccountName", "priority", "preemptionPolicy"] {
        spec.remove(field);
    }
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        container.as_object_mut().and_then(|c| c.remove("volumeMounts"));
    }
}

/// A Job is labelled with its own uid.
fn forget_uid(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if key.ends_with("controller-uid") {
                    *value = json!("UID");
                } else {
                    forget_uid(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(forget_uid),
        _ => {}
    }
}

#[test]
fn discovery_is_kubernetes_own() {
    let recorded = lines(include_str!("fixtures/discovery.jsonl"));
    for kind in kinds::all() {
        let d = kind.descriptor();
        let of_ours = |line: &&Value| {
            let name = line["name"].as_str().unwrap_or_default();
            line["groupVersion"] == json!(d.api_version())
                && (name == d.plural || name.strip_prefix(d.plural).is_some_and(|rest| rest.starts_with('/')))
        };
        let theirs: Vec<Value> = recorded.iter().filter(of_ours).cloned().collect();
        assert_eq!(json!(discovery(kind)), json!(theirs), "{} {}", d.api_version(), d.plural);
    }
}

fn discovery(kind: &dyn KindOps) -> Vec<Value> {
    let d = kind.descriptor();
    let verbs: &[&str] = match d.verbs {
        Verbs::All => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        Verbs::NoDeleteCollection => &["create", "delete", "get", "list", "patch", "update", "watch"],
        Verbs::CreateOnly => &["create"],
        Verbs::ReadOnly => &["get", "list"],
    };
    let namespaced = d.scope == Scope::Namespaced;
    let line = |name: &str, singular: &str, kind: &str, verbs: &[&str]| {
        json!({ "groupVersion": d.api_version(), "name": name, "singularName": singular, "namespaced": namespaced,
                "kind": kind, "verbs": verbs })
    };
    let mut own = line(d.plural, d.singular, d.kind, verbs);
    if !d.short_names.is_empty() {
        own["shortNames"] = json!(d.short_names);
    }
    if !d.categories.is_empty() {
        own["categories"] = json!(d.categories);
    }
    let mut out = vec![own];
    if d.status {
        out.push(line(&format!("{}/status", d.plural), "", d.kind, &["get", "patch", "update"]));
    }
    if !matches!(d.scale, Scale::None) {
        let mut scale = line(&format!("{}/scale", d.plural), "", "Scale", &["get", "patch", "update"]);
        scale["group"] = json!("autoscaling");
        scale["version"] = json!("v1");
        out.push(scale);
    }
    for sub in d.subresources {
        let mut value = line(&format!("{}/{}", d.plural, sub.name), "", sub.kind, sub.verbs);
        if !sub.version.is_empty() && (sub.group, sub.version) != (d.group, d.version) {
            value["group"] = json!(sub.group);
            value["version"] = json!(sub.version);
        }
        out.push(value);
    }
    out.sort_by_key(|v| v["name"].as_str().map(str::to_owned));
    out
}

#[test]
fn columns_are_kubernetes_own() {
    let recorded = lines(include_str!("fixtures/columns.jsonl"));
    for kind in kinds::all() {
        let d = kind.descriptor();
        if d.verbs == Verbs::CreateOnly {
            continue;
        }
        let theirs = recorded.iter().find(|l| l["groupVersion"] == json!(d.api_version()) && l["resource"] == d.plural);
        let ours: Vec<Value> = d
            .columns
            .iter()
            .map(|c| json!({ "name": c.name, "type": c.kind, "format": c.format, "priority": c.priority }))
            .collect();
        assert_eq!(Some(&json!(ours)), theirs.map(|l| &l["columns"]), "{} {}", d.api_version(), d.plural);
        let empty = kind.decode(json!({ "apiVersion": d.api_version(), "kind": d.kind })).expect("decodes");
        let cells = kind.cells(empty.as_ref(), &PrintContext { now: jiff::Timestamp::UNIX_EPOCH });
        assert_eq!(cells.len(), d.columns.len(), "{}: a cell for each column", d.plural);
    }
}
