//! Decoding against what a real API server (v1.37) said and wrote: `fixtures/errors.jsonl`, `fixtures/defaults.jsonl`.
#![allow(clippy::expect_used, clippy::panic, clippy::type_complexity, clippy::unwrap_used, reason = "a test may panic")]
use isopod_api::decode::{self, Expected, Format};
use isopod_api::schema::{TypeRef, builtin};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Group, version and plural of a path.
fn resource(path: &str) -> Option<(String, String, String)> {
    let path = path.split('?').next()?;
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        _ => parts.next()?.to_owned(),
    };
    let version = parts.next()?.to_owned();
    let mut rest: Vec<&str> = parts.collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    // Subresources have bodies of other kinds.
    (rest.len() <= 2).then(|| rest.first().map(|plural| (group, version, (*plural).to_owned())))?
}

fn kind_of<'a>(group: &str, version: &str, plural: &str) -> Option<(&'static str, TypeRef<'a>)> {
    let kind = match plural {
        "deployments" => "Deployment",
        "configmaps" => "ConfigMap",
        "secrets" => "Secret",
        "services" => "Service",
        "pods" => "Pod",
        "persistentvolumeclaims" => "PersistentVolumeClaim",
        "namespaces" => "Namespace",
        _ => return None,
    };
    builtin().kind(group, version, kind).map(|ty| (kind, ty))
}

/// Every body of the recording is refused where the server refused it while decoding, in its words, and read where it went on.
#[test]
fn bodies_are_refused_alike() {
    let mut refused = 0;
    let mut read = 0;
    for (number, line) in (1..).zip(lines(include_str!("fixtures/errors.jsonl"))) {
        let (method, path) = (line["method"].as_str().unwrap(), line["path"].as_str().unwrap());
        if !["POST", "PUT"].contains(&method) || line["body"].is_null() || line["contentType"] != "application/json" {
            continue;
        }
        let Some((group, version, plural)) = resource(path) else { continue };
        let Some((kind, ty)) = kind_of(&group, &version, &plural) else { continue };
        let body = match &line["body"] {
            Value::String(raw) => raw.clone(),
            value => value.to_string(),
        };
        let registered = |g: &str, v: &str, k: &str| builtin().kind(g, v, k).is_some();
        let expected = Expected { group: &group, version: &version, kind, ty, custom: false, registered: &registered };
        let message = line["response"]["message"].as_str().unwrap_or_default();
        let outcome = decode::decode(body.as_bytes(), Format::Json, expected);
        if message.contains("cannot be handled as") || message.contains("the object provided is unrecognized") {
            refused += 1;
            let error = match outcome {
                Err(error) => error.message,
                Ok(decoded) => {
                    decode::cannot_handle(kind, &version, kind, decode::strict_error(&decoded.strict)).message
                }
            };
            assert_eq!(error, message, "line {number}");
        } else {
            read += 1;
            let decoded = outcome.unwrap_or_else(|e| panic!("line {number}: {e}, but the server said {message}"));
            let warnings: Vec<String> = decoded.strict.iter().map(|s| format!("299 - {}", Value::from(&**s))).collect();
            if path.contains("fieldValidation=Warn") {
                assert_eq!(Value::from(warnings), line["warnings"], "line {number}");
            }
        }
    }
    assert!(refused >= 10 && read >= 60, "{refused} refused, {read} read");
}

/// What the server wrote is canonical: read again, nothing is unknown and nothing changes.
#[test]
fn what_kubernetes_writes_decodes_to_itself() {
    for (number, line) in (1..).zip(lines(include_str!("fixtures/defaults.jsonl"))) {
        let mut created = line["created"].clone();
        let (api_version, kind) = (created["apiVersion"].as_str().unwrap(), created["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let ty = builtin().kind(group, version, kind).unwrap();
        let decoded = decode::decode_value(&created, ty, false).unwrap();
        assert_eq!(decoded.strict, Vec::<String>::new(), "line {number}");
        // Go writes an absent time as null.
        drop_nulls(&mut created);
        assert_eq!(decoded.value, created, "line {number}");
        let sent = decode::decode_value(&line["sent"], ty, false).unwrap();
        assert_eq!(sent.strict, Vec::<String>::new(), "line {number}");
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
