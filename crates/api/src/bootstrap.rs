//! The objects a new cluster has before anybody asks for one. (The Service `kubernetes` is the API server's: it knows its
//! own address.)
//!
//! Creating them is creating any object: an API server that starts creates those that are missing, and leaves alone those
//! that are there, whatever people made of them.
use crate::catalogue::KindOps;
use crate::kinds::{self, priority_class::SYSTEM_CLASSES, storage_class::DEFAULT_ANNOTATION};
use serde_json::{Value, json};

/// For the system's own pods, for people, for what everybody may read, and for the nodes' heartbeats.
pub const NAMESPACES: [&str; 4] = ["kube-system", "default", "kube-public", "kube-node-lease"];
/// The class of claims that name none: directories of the node a pod landed on.
pub const STORAGE_CLASS: &str = "isopod-local";
/// Who makes volumes of [`STORAGE_CLASS`].
pub const PROVISIONER: &str = "isopod.dev/local";

/// Kind and body of each, in the order in which they are to be created.
pub fn objects() -> Vec<(&'static dyn KindOps, Value)> {
    let namespaces =
        NAMESPACES.iter().map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    let classes = SYSTEM_CLASSES.iter().map(|(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": { "name": name },
            "value": value,
            "description": description,
        })
    });
    let storage = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": STORAGE_CLASS, "annotations": { DEFAULT_ANNOTATION: "true" } },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        // A directory is as large as one says.
        "allowVolumeExpansion": true,
    });
    let all = kinds::all();
    let of = |body: &Value| {
        all.iter().copied().find(|k| {
            let d = k.descriptor();
            body["apiVersion"] == d.api_version() && body["kind"] == d.kind
        })
    };
    namespaces.chain(classes).chain([storage]).filter_map(|body| Some((of(&body)?, body))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::aggregate;

    #[test]
    fn a_new_cluster_is_valid() {
        let mut names = Vec::new();
        for (kind, body) in objects() {
            let mut object = kind.decode(body).unwrap();
            kind.default(object.as_mut());
            kind.prepare_create(object.as_mut());
            let faults = kind.validate(object.as_ref());
            assert_eq!(aggregate(&faults), "[]");
            names.push(format!("{}/{}", kind.descriptor().plural, object.meta().name.clone().unwrap()));
        }
        assert_eq!(
            names.join(" "),
            "namespaces/kube-system namespaces/default namespaces/kube-public namespaces/kube-node-lease \
             priorityclasses/system-node-critical priorityclasses/system-cluster-critical storageclasses/isopod-local"
        );
    }
}
