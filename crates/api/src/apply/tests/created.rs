//! `metadata.managedFields` of freshly created objects, as a real API server (v1.37) recorded them.
use crate::apply::{FieldSet, Request, update};
use crate::schema;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("created.jsonl");

/// Fields that are in the answer but were not yet there when ownership was decided: admission, the kind's strategy and the allocators set
/// them later. Those that were sent are owned.
fn set_later(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &[
            "/spec/containers/0/volumeMounts",
            "/spec/preemptionPolicy",
            "/spec/priority",
            "/spec/serviceAccount",
            "/spec/serviceAccountName",
            "/spec/tolerations",
            "/spec/volumes",
        ],
        "Service" => &[
            "/spec/clusterIP",
            "/spec/clusterIPs",
            "/spec/ipFamilies",
            "/spec/ipFamilyPolicy",
            "/spec/ports/0/nodePort",
            "/spec/ports/1/nodePort",
        ],
        "PersistentVolume" | "PersistentVolumeClaim" => &["/metadata/finalizers"],
        "Job" => &["/metadata/labels", "/spec/selector", "/spec/template/metadata/labels"],
        "Namespace" => &["/spec/finalizers"],
        _ => &[],
    }
}

#[test]
fn owns_what_kubernetes_owns() {
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let created = &line["created"];
        let (api_version, kind) = (created["apiVersion"].as_str().unwrap(), created["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut new = created.clone();
        new["metadata"].as_object_mut().unwrap().remove("managedFields");
        for pointer in set_later(kind) {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            if line["sent"].pointer(pointer).is_some() {
                continue;
            }
            if let Some(parent) = new.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.remove(name);
            }
        }
        let reset =
            if created.get("status").is_some() { FieldSet::from_fields(&[&["status"]]) } else { FieldSet::new() };
        let request = Request {
            ty: schema::builtin().kind(group, version, kind).unwrap(),
            manager: "test",
            api_version,
            kind,
            subresource: "",
            reset: &reset,
            now: "2026-11-23T01:31:22Z".parse().unwrap(),
        };
        update(&request, None, &mut new);
        let (ours, theirs) = (&new["metadata"]["managedFields"], &created["metadata"]["managedFields"]);
        if ours != theirs {
            wrong.push(format!("{kind} {}\nours   {ours}\ntheirs {theirs}", json!(created["metadata"]["name"])));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
