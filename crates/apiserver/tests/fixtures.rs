//! What a real API server answered (`fixtures/*.jsonl`, recorded from Kubernetes v1.37), line by line against ours, in-process.
//!
//! `fixtures/allowed.txt` names the lines that still differ, each with its reason: `FILE LINE REASON`. A line that is named there and
//! has come right fails the test: the list may only shrink.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use support::Api;

fn lines(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn allowed(file: &str) -> BTreeMap<usize, String> {
    include_str!("fixtures/allowed.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| {
            let mut parts = l.splitn(3, ' ');
            let (of, line, reason) = (parts.next()?, parts.next()?, parts.next()?);
            (of == file).then(|| (line.parse().unwrap(), reason.to_owned()))
        })
        .collect()
}

/// Compares what differs with what may.
fn judge(file: &str, differ: &BTreeMap<usize, String>) {
    let allowed = allowed(file);
    let mut report = String::new();
    for (line, why) in differ {
        if !allowed.contains_key(line) {
            report.push_str(&format!("{file} line {line}:\n{why}\n"));
        }
    }
    for line in allowed.keys().filter(|l| !differ.contains_key(l)) {
        report.push_str(&format!("{file} line {line} has come right: take it out of allowed.txt\n"));
    }
    assert!(report.is_empty(), "{} of the lines differ\n{report}", differ.len());
}

/// Whether the catalogue has the resource (a subresource: its parent). Kinds come later; what is served must be right.
fn served(api: &Api, version: &str, resource: &str) -> bool {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let plural = resource.split('/').next().unwrap();
    api.server.resources().get(group, version, plural).is_some()
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
}

/// Namespaces `golden` and `default`, and in `golden` the objects `ok` and an immutable ConfigMap.
async fn golden() -> Api {
    let api = Api::whole().await;
    for ns in ["golden", "default", "kube-system"] {
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": ns}})).await;
    }
    let ns = "/api/v1/namespaces/golden";
    api.made(&format!("{ns}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await;
    api.made("/apis/apps/v1/namespaces/golden/deployments", &deployment("ok")).await;
    deployed(&api).await;
    let service = json!({"metadata": {"name": "ok"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    api.made(&format!("{ns}/services"), &service).await;
    let pod = json!({"metadata": {"name": "ok"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    api.made(&format!("{ns}/pods"), &pod).await;
    let immutable = json!({"metadata": {"name": "im"}, "immutable": true, "data": {"a": "b"}});
    api.made(&format!("{ns}/configmaps"), &immutable).await;
    api
}

/// What the Deployment controller had said of `ok` when the errors were recorded: one of them shows the whole object.
async fn deployed(api: &Api) {
    let condition = |kind: &str, reason: &str, message: &str| {
        let time = "2026-11-23T01:29:51Z";
        json!({"type": kind, "status": "True", "lastUpdateTime": time, "lastTransitionTime": time, "reason": reason, "message": message})
    };
    let progress = "ReplicaSet \"ok-6864657c7c\" has successfully progressed.";
    let patch = json!({
        "metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}},
        "status": {"observedGeneration": 1, "terminatingReplicas": 0, "conditions": [
            condition("Available", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            condition("Progressing", "NewReplicaSetAvailable", progress)]}});
    let path = "/apis/apps/v1/namespaces/golden/deployments/ok/status";
    let merge = Some("application/merge-patch+json");
    let answer = api.send_as("kube-controller-manager", "PATCH", path, merge, patch.to_string()).await;
    assert_eq!(answer.code, 200, "{}", answer.json());
}

/// The parts of a Status that every run has anew.
fn comparable(mut status: Value) -> String {
    if let Some(map) = status.as_object_mut() {
        map.remove("metadata");
        map.remove("apiVersion");
        if map.get("kind").is_some_and(|k| k == "Status") {
            map.remove("kind");
        }
    }
    let mut text = status.to_string();
    let uid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    for (from, to) in [
        (uid, "UID"),
        (r"current: \d+", "current: N"),
        (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "TIME"),
        (r#"resourceVersion\\+":\\+"\d+"#, "resourceVersion"),
    ] {
        text = regex::Regex::new(from).unwrap().replace_all(&text, to).into_owned();
    }
    text
}

#[tokio::test]
async fn errors() {
    let api = golden().await;
    let mut differ = BTreeMap::new();
    for (i, line) in lines("errors.jsonl").into_iter().enumerate() {
        let method = line["method"].as_str().unwrap();
        let path = line["path"].as_str().unwrap();
        let content_type = line["contentType"].as_str();
        let body = match &line["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let got = api.send(method, path, content_type, body).await;
        let want_code = line["code"].as_u64().unwrap();
        let success = want_code < 300;
        let want = match &line["response"] {
            Value::Object(o) if success => json!({"kind": o["kind"]}).to_string(),
            other => comparable(other.clone()),
        };
        let is = if success && got.code < 300 {
            json!({"kind": got.json()["kind"]}).to_string()
        } else {
            comparable(got.json())
        };
        let want_warnings: Vec<String> = serde_json::from_value(line["warnings"].clone()).unwrap();
        if u64::from(got.code) != want_code || is != want || got.warnings != want_warnings {
            let warnings = format!("{want_warnings:?} / {:?}", got.warnings);
            let why = format!(
                "  {method} {path} {}\n  want {want_code} {want}\n  got  {} {is}\n  warnings {warnings}",
                line["body"], got.code
            );
            differ.insert(i + 1, why);
        }
        if got.code == 201 && !path.contains("dryRun") {
            let name = got.json()["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let base = path.split('?').next().unwrap();
            api.send("DELETE", &format!("{base}/{name}?gracePeriodSeconds=0"), None, String::new()).await;
        }
    }
    judge("errors", &differ);
}

fn mask(value: &mut Value, pointer: &str) {
    if let Some(found) = value.pointer_mut(pointer) {
        *found = json!("*");
    }
}

/// Every run has them anew: identity, times, what the cluster allocates.
fn masked(mut object: Value) -> Value {
    for pointer in ["/metadata/uid", "/metadata/resourceVersion", "/metadata/creationTimestamp", "/spec/clusterIP"] {
        mask(&mut object, pointer);
    }
    mask(&mut object, "/spec/clusterIPs/0");
    if object.pointer("/metadata/generateName").is_some() {
        mask(&mut object, "/metadata/name");
    }
    let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        entry["time"] = json!("*");
    }
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port.get("nodePort").is_some() {
            port["nodePort"] = json!("*");
        }
    }
    let uid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let time = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z";
    let anew = regex::Regex::new(&format!("{uid}|{time}")).unwrap();
    let object = anew.replace_all(&object.to_string(), "*").into_owned();
    let token_volume = regex::Regex::new(r"kube-api-access-\w{5}").unwrap();
    serde_json::from_str(&token_volume.replace_all(&object, "kube-api-access-*")).unwrap()
}

#[tokio::test]
async fn defaults() {
    let api = Api::whole().await;
    for ns in ["shape", "default", "kube-system"] {
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": ns}})).await;
    }
    api.made("/api/v1/namespaces/shape/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    let mut differ = BTreeMap::new();
    for (i, line) in lines("defaults.jsonl").into_iter().enumerate() {
        let path = line["path"].as_str().unwrap();
        let sent = line["sent"].to_string();
        let got = api.send_as("test", "POST", path, Some("application/json"), sent).await;
        let (want, is) = (masked(line["created"].clone()), masked(got.json()));
        if want != is {
            let mut why = format!("  {path} answered {}", got.code);
            difference("", &want, &is, &mut why);
            differ.insert(i + 1, why);
        }
    }
    judge("defaults", &differ);
}

fn difference(at: &str, want: &Value, is: &Value, out: &mut String) {
    match (want, is) {
        (Value::Object(w), Value::Object(i)) => {
            let keys: std::collections::BTreeSet<&String> = w.keys().chain(i.keys()).collect();
            for key in keys {
                let nothing = Value::Null;
                let (w, i) = (w.get(key).unwrap_or(&nothing), i.get(key).unwrap_or(&nothing));
                difference(&format!("{at}.{key}"), w, i, out);
            }
        }
        (Value::Array(w), Value::Array(i)) if w.len() == i.len() => {
            for (n, (w, i)) in w.iter().zip(i).enumerate() {
                difference(&format!("{at}[{n}]"), w, i, out);
            }
        }
        (want, is) if want != is => out.push_str(&format!("\n  {at}: want {want}\n  {at}: got  {is}")),
        _ => {}
    }
}

#[tokio::test]
async fn columns() {
    let api = Api::whole().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    let mut differ = BTreeMap::new();
    let mut unserved = 0;
    for (i, line) in lines("columns.jsonl").into_iter().enumerate() {
        let (version, resource) = (line["groupVersion"].as_str().unwrap(), line["resource"].as_str().unwrap());
        if !served(&api, version, resource) {
            unserved += 1;
            continue;
        }
        let root = if version.contains('/') { "apis" } else { "api" };
        let got = api.table(&format!("/{root}/{version}/{resource}")).await;
        let short = |c: &Value| json!([c["name"], c["type"], c["format"], c["priority"]]);
        let list = |v: &Value| v.as_array().into_iter().flatten().map(short).collect::<Vec<_>>();
        let (want, is) = (list(&line["columns"]), list(&got.json()["columnDefinitions"]));
        if want != is {
            let (want, is) = (Value::from(want), Value::from(is));
            differ.insert(i + 1, format!("  {version} {resource} answered {}\n  want {want}\n  got  {is}", got.code));
        }
    }
    assert!(unserved <= 20, "{unserved} resources are not served: kinds went missing");
    judge("columns", &differ);
}

#[tokio::test]
async fn discovery() {
    let api = Api::whole().await;
    let mut differ = BTreeMap::new();
    let mut unserved = 0;
    for (i, mut line) in lines("discovery.jsonl").into_iter().enumerate() {
        let version = line.as_object_mut().unwrap().remove("groupVersion").unwrap();
        let version = version.as_str().unwrap();
        if !served(&api, version, line["name"].as_str().unwrap()) {
            unserved += 1;
            continue;
        }
        let root = if version.contains('/') { "apis" } else { "api" };
        let list = api.get(&format!("/{root}/{version}")).await.json();
        let mut is = list["resources"].as_array().into_iter().flatten().find(|r| r["name"] == line["name"]).cloned();
        if let Some(map) = is.as_mut().and_then(Value::as_object_mut) {
            // A hash of the store's format, not of the resource.
            map.remove("storageVersionHash");
        }
        line.as_object_mut().unwrap().remove("storageVersionHash");
        if is.as_ref() != Some(&line) {
            let is = is.unwrap_or_default();
            differ.insert(i + 1, format!("  {version} {}\n  want {line}\n  got  {is}", line["name"]));
        }
    }
    assert!(unserved <= 31, "{unserved} resources are not served: kinds went missing");
    judge("discovery", &differ);
}
