//! The objects a hollow node keeps about itself: its Node and its Lease (KEP-589).
use super::{HollowConfig, address};
use isopod_api::hollow;
use isopod_api::k8s::api::coordination::v1::{Lease, LeaseSpec};
use isopod_api::k8s::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Where leases of nodes live.
pub const LEASES: &str = "kube-node-lease";
/// After this long without renewal the node counts as lost; it is renewed four times as often (`pkg/kubelet/apis/config`).
pub const LEASE_SECONDS: i32 = 40;
/// The Kubernetes version whose kubelet is simulated.
const VERSION: &str = "v1.37.0";

fn labels(config: &HollowConfig, index: u32, name: &str) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", name),
        (hollow::LABEL, "true"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    if let Some(zone) = index.checked_rem(config.zones) {
        labels.insert("topology.kubernetes.io/zone".to_owned(), format!("zone-{zone}"));
    }
    labels
}

fn resources(config: &HollowConfig) -> BTreeMap<String, Quantity> {
    let quantity = |text: &str| Quantity(text.to_owned());
    BTreeMap::from([
        ("cpu".to_owned(), quantity(&config.cpu)),
        ("memory".to_owned(), quantity(&config.memory)),
        ("ephemeral-storage".to_owned(), quantity("100Gi")),
        ("pods".to_owned(), quantity(&config.pods.to_string())),
    ])
}

fn conditions(now: Timestamp) -> Vec<NodeCondition> {
    let second = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(second.clone()),
        last_transition_time: Some(second.clone()),
    };
    vec![
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", "hollow node is posting ready status"),
    ]
}

pub fn status(config: &HollowConfig, index: u32, name: &str, now: Timestamp) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let id = format!("hollow-{index}");
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", address::of_node(index).to_string()),
            address("Hostname", name.to_owned()),
        ]),
        capacity: Some(resources(config)),
        allocatable: Some(resources(config)),
        conditions: Some(conditions(now)),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            operating_system: "linux".to_owned(),
            os_image: "hollow".to_owned(),
            kernel_version: "hollow".to_owned(),
            container_runtime_version: "hollow://1".to_owned(),
            kubelet_version: VERSION.to_owned(),
            boot_id: id.clone(),
            machine_id: id.clone(),
            system_uuid: id,
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

pub fn node(config: &HollowConfig, index: u32, name: &str, now: Timestamp) -> Node {
    let metadata =
        ObjectMeta { name: Some(name.to_owned()), labels: Some(labels(config, index, name)), ..ObjectMeta::default() };
    let range = address::range(index);
    let spec = NodeSpec { pod_cidr: Some(range.clone()), pod_cidrs: Some(vec![range]), ..NodeSpec::default() };
    Node { metadata, spec: Some(spec), status: Some(status(config, index, name, now)) }
}

/// The first lease; afterwards only its `renewTime` moves.
pub fn lease(name: &str, uid: &str, now: Timestamp) -> Lease {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(LEASES.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}
