//! API versions that are served no more but still read: bodies in them are told which version is expected, and not that nobody knows
//! them (`pkg/apis/*/install`, `k8s.io/api/*/register.go`; their types stay for conversion).

/// Group, version, kinds.
const RETIRED: [(&str, &str, &[&str]); 14] = [
    ("apps", "v1beta1", &["Deployment", "StatefulSet", "ControllerRevision", "Scale"]),
    ("apps", "v1beta2", &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision", "Scale"]),
    ("extensions", "v1beta1", &["Deployment", "DaemonSet", "ReplicaSet", "Ingress", "NetworkPolicy", "Scale"]),
    ("batch", "v1beta1", &["CronJob"]),
    ("policy", "v1beta1", &["PodDisruptionBudget", "Eviction"]),
    ("networking.k8s.io", "v1beta1", &["Ingress", "IngressClass"]),
    ("discovery.k8s.io", "v1beta1", &["EndpointSlice"]),
    ("events.k8s.io", "v1beta1", &["Event"]),
    ("coordination.k8s.io", "v1beta1", &["Lease"]),
    ("scheduling.k8s.io", "v1beta1", &["PriorityClass"]),
    ("storage.k8s.io", "v1beta1", &["StorageClass", "VolumeAttachment", "CSIDriver", "CSINode"]),
    ("rbac.authorization.k8s.io", "v1beta1", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("authentication.k8s.io", "v1beta1", &["TokenReview"]),
    ("node.k8s.io", "v1beta1", &["RuntimeClass"]),
];

/// Whether bodies of this kind are still read.
pub fn is_read(group: &str, version: &str, kind: &str) -> bool {
    RETIRED.iter().any(|(g, v, kinds)| *g == group && *v == version && kinds.contains(&kind))
}
