//! The documents hold together: every reference leads somewhere, every text is there, and what kubectl looks for is found.
use super::*;
use crate::kinds;

fn documented() -> Vec<Documented<'static>> {
    kinds::all().into_iter().map(|k| Documented::builtin(k.descriptor())).collect()
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => out.push(target.clone()),
                    _ => references(value, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

fn check_references(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 100);
    for target in found {
        let pointer = target.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

#[test]
fn third_version() {
    let apps = v3("apps", "v1", &documented(), "v1.37.0");
    check_references(&apps);
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    // kubectl's check that the server validates fields.
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert!(apps["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"] == "listAppsV1DeploymentForAllNamespaces");
    let status = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status"]["put"];
    assert_eq!(status["operationId"], "replaceAppsV1NamespacedDeploymentStatus");
    let schemas = &apps["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    assert!(deployment["properties"]["spec"]["description"].as_str().is_some_and(|d| d.contains("Deployment")));
    insta::assert_snapshot!(schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"], @r##"{"description":"List of containers belonging to the pod. Containers cannot currently be added or removed. There must be at least one container in a Pod. Cannot be updated.","items":{"$ref":"#/components/schemas/io.k8s.api.core.v1.Container"},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map","x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}"##);
}

#[test]
fn every_type_and_field_is_described() {
    let mut silent = Vec::new();
    let mut fields = 0;
    for kind in documented() {
        let d = kind.descriptor;
        let document = v3(d.group, d.version, &[kind], "v1.37.0");
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                fields += 1;
                if property["description"].as_str().unwrap_or_default().is_empty() {
                    silent.push(format!("{name}.{field}"));
                }
            }
        }
    }
    silent.sort();
    silent.dedup();
    // A handful of fields have no comment upstream either.
    assert!(fields > 1000 && silent.len() < 20, "{} of {fields}: {silent:?}", silent.len());
}

#[test]
fn second_version() {
    let document = v2(&documented(), "v1.37.0");
    check_references(&document);
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    let bytes = v2_protobuf(&document);
    // Field 1, length 3, "2.0": and then well-formed to the end.
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    let mut rest = bytes.as_slice();
    let mut definitions = 0;
    while let Some((key, after)) = varint(rest) {
        let (length, after) = varint(after).unwrap();
        assert_eq!(key & 7, 2);
        definitions += usize::from(key >> 3 == 9);
        rest = &after[usize::try_from(length).unwrap()..];
    }
    assert!(rest.is_empty() && definitions == 1);
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|b| b & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |v, b| v << 7 | u64::from(b & 0x7f));
    Some((value, &bytes[end + 1..]))
}

#[test]
fn index() {
    assert_eq!(
        v3_index([("api/v1", "AB")]),
        json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=AB"}}})
    );
}
