//! The Node object as this agent would have it. Pure; the kubelet's setters in `pkg/kubelet/nodestatus`.
use super::machine::{Machine, Room};
use isopod_api::k8s::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSwapStatus,
    NodeSystemInfo,
};
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use isopod_images::Image;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The Kubernetes version whose kubelet's behaviour this agent has.
pub const VERSION: &str = "v1.37.0";
/// The kubelet's default hard eviction thresholds (`pkg/kubelet/apis/config/v1beta1/defaults_linux.go`): memory.available<100Mi,
/// nodefs.available<10%, nodefs.inodesFree<5%. What they hold back is not allocatable.
pub const MEMORY_RESERVE: u64 = 100 << 20;
const DISK_RESERVE_PERCENT: u64 = 10;
const DISK_SHORTAGE: u64 = 2 << 30;
const INODE_RESERVE_PERCENT: u64 = 5;
/// The kubelet's `nodeStatusMaxImages`.
const MOST_IMAGES: usize = 50;
/// Names told of one image (`MaxNamesPerImageInNodeStatus`).
const MOST_NAMES: usize = 5;

/// What a node is, apart from its machine.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    pub address: IpAddr,
    pub kubelet_port: u16,
    pub max_pods: u32,
    /// `isopod://0.1.0`
    pub runtime: String,
}

/// Whether containers can be run now, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    NotReady(String),
}

fn quantity(text: impl std::fmt::Display) -> Quantity {
    Quantity(text.to_string())
}

fn kibi(bytes: u64) -> Quantity {
    quantity(format!("{}Ki", bytes / 1024))
}

/// What the machine has.
pub fn capacity(machine: &Machine, max_pods: u32) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), quantity(machine.cpus)),
        ("memory".to_owned(), kibi(machine.memory_bytes)),
        ("ephemeral-storage".to_owned(), kibi(machine.disk_bytes)),
        ("pods".to_owned(), quantity(max_pods)),
    ])
}

/// What pods may ask for: the capacity less what eviction holds back.
pub fn allocatable(machine: &Machine, max_pods: u32) -> BTreeMap<String, Quantity> {
    let mut all = capacity(machine, max_pods);
    all.insert("memory".to_owned(), kibi(machine.memory_bytes.saturating_sub(MEMORY_RESERVE)));
    let disk = machine.disk_bytes.saturating_sub(machine.disk_bytes / 100 * DISK_RESERVE_PERCENT);
    all.insert("ephemeral-storage".to_owned(), quantity(disk));
    all
}

/// Less room than the eviction thresholds leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// Bytes and inodes that should be free. A tenth of a large disk is no shortage on a machine that people work on: then
/// [`DISK_SHORTAGE`] is one. (kind and minikube switch these thresholds off.)
pub fn disk_reserve(room: &Room) -> (u64, u64) {
    let bytes = (room.disk_bytes / 100 * DISK_RESERVE_PERCENT).min(DISK_SHORTAGE);
    (bytes, room.inodes / 100 * INODE_RESERVE_PERCENT)
}

pub fn pressure(room: &Room) -> Pressure {
    let (bytes, inodes) = disk_reserve(room);
    Pressure {
        memory: room.memory_available_bytes > 0 && room.memory_available_bytes < MEMORY_RESERVE,
        disk: room.disk_available_bytes < bytes || room.inodes_free < inodes,
        // `--pod-max-pids` and pid.available have no default; a machine without a tenth of its pids is in trouble anyway.
        pids: room.pids_max > 0 && room.pids > room.pids_max / 10 * 9,
    }
}

/// The kubelet's `evictionPressureTransitionPeriod`: a node that has just evicted somebody is not filled up again at once.
const PRESSURE_STAYS: SignedDuration = SignedDuration::from_secs(5 * 60);

/// When each pressure was seen last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    memory: Option<Timestamp>,
    disk: Option<Timestamp>,
    pids: Option<Timestamp>,
}

impl Seen {
    /// What is told: a pressure stays for a while after it has gone.
    pub fn observe(&mut self, pressure: Pressure, now: Timestamp) -> Pressure {
        let told = |is: bool, last: &mut Option<Timestamp>| {
            if is {
                *last = Some(now);
            }
            last.is_some_and(|at| now.duration_since(at) < PRESSURE_STAYS)
        };
        Pressure {
            memory: told(pressure.memory, &mut self.memory),
            disk: told(pressure.disk, &mut self.disk),
            pids: told(pressure.pids, &mut self.pids),
        }
    }
}

fn condition(kind: &str, is_true: bool, (yes, no): ((&str, &str), (&str, &str)), now: Timestamp) -> NodeCondition {
    let (reason, message) = if is_true { yes } else { no };
    NodeCondition {
        type_: kind.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(second(now)),
        last_transition_time: Some(second(now)),
    }
}

fn second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The four conditions of a kubelet. Transition times are those of `known` where the status is the same.
pub fn conditions(known: &[NodeCondition], pressure: Pressure, health: &Health, now: Timestamp) -> Vec<NodeCondition> {
    let not_ready = match health {
        Health::Ready => "",
        Health::NotReady(why) => why,
    };
    let mut all = vec![
        condition(
            "MemoryPressure",
            pressure.memory,
            (
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
            now,
        ),
        condition(
            "DiskPressure",
            pressure.disk,
            (
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
            now,
        ),
        condition(
            "PIDPressure",
            pressure.pids,
            (
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
            now,
        ),
        condition(
            "Ready",
            *health == Health::Ready,
            (("KubeletReady", "kubelet is posting ready status"), ("KubeletNotReady", not_ready)),
            now,
        ),
    ];
    for condition in &mut all {
        let same = known.iter().find(|k| k.type_ == condition.type_ && k.status == condition.status);
        if let Some(at) = same.and_then(|k| k.last_transition_time.clone()) {
            condition.last_transition_time = Some(at);
        }
    }
    all
}

/// Largest first, as the scheduler's image locality wants to know of them.
fn images(mut all: Vec<Image>) -> Vec<ContainerImage> {
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    all.truncate(MOST_IMAGES);
    let one = |image: Image| {
        let names = image.digests.into_iter().chain(image.tags).take(MOST_NAMES).collect();
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    };
    all.into_iter().map(one).collect()
}

/// Everything that changes: to be merged over the known status.
pub fn status(
    identity: &Identity,
    machine: &Machine,
    conditions: Vec<NodeCondition>,
    all_images: Vec<Image>,
) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", identity.address.to_string()),
            address("Hostname", identity.name.clone()),
        ]),
        capacity: Some(capacity(machine, identity.max_pods)),
        allocatable: Some(allocatable(machine, identity.max_pods)),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(identity.kubelet_port) }),
        }),
        images: Some(images(all_images)),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            kernel_version: machine.kernel.clone(),
            container_runtime_version: identity.runtime.clone(),
            kubelet_version: VERSION.to_owned(),
            boot_id: machine.boot_id.clone(),
            machine_id: machine.machine_id.clone(),
            system_uuid: machine.system_uuid.clone(),
            swap: Some(NodeSwapStatus { capacity: i64::try_from(machine.swap_bytes).ok() }),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// The labels a kubelet gives its node.
pub fn labels(name: &str, machine: &Machine) -> BTreeMap<String, String> {
    let arch = machine.architecture.as_str();
    [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", name),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The object to register with.
pub fn node(identity: &Identity, machine: &Machine, status: NodeStatus) -> Node {
    let labels = Some(labels(&identity.name, machine));
    let annotations =
        BTreeMap::from([("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())]);
    let metadata = ObjectMeta {
        name: Some(identity.name.clone()),
        labels,
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Node { metadata, spec: None, status: Some(status) }
}

/// Whether `wanted` tells anything that `known` does not, heartbeat times aside.
pub fn differs(wanted: &NodeStatus, known: Option<&NodeStatus>) -> bool {
    let Some(known) = known else { return true };
    let known_conditions = known.conditions.as_deref().unwrap_or_default();
    let told = |c: &NodeCondition| {
        known_conditions
            .iter()
            .any(|k| k.type_ == c.type_ && k.status == c.status && k.reason == c.reason && k.message == c.message)
    };
    !wanted.conditions.iter().flatten().all(told)
        || wanted.addresses != known.addresses
        || wanted.capacity != known.capacity
        || wanted.allocatable != known.allocatable
        || wanted.daemon_endpoints != known.daemon_endpoints
        || wanted.node_info != known.node_info
        || wanted.images.as_deref().unwrap_or_default() != known.images.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_json_snapshot;

    fn machine() -> Machine {
        Machine {
            cpus: 4,
            memory_bytes: 8 << 30,
            disk_bytes: 100 << 30,
            architecture: "amd64".into(),
            ..Machine::default()
        }
    }

    #[test]
    fn what_eviction_holds_back_is_not_allocatable() {
        assert_json_snapshot!((capacity(&machine(), 110), allocatable(&machine(), 110)), @r#"
        [
          {
            "cpu": "4",
            "ephemeral-storage": "104857600Ki",
            "memory": "8388608Ki",
            "pods": "110"
          },
          {
            "cpu": "4",
            "ephemeral-storage": "96636764160",
            "memory": "8286208Ki",
            "pods": "110"
          }
        ]
        "#);
    }

    #[test]
    fn conditions_follow_room_and_health_and_keep_their_times() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let first = conditions(&[], Pressure::default(), &Health::Ready, at(100));
        let later = conditions(
            &first,
            Pressure { disk: true, ..Pressure::default() },
            &Health::NotReady("container runtime is down".into()),
            at(200),
        );
        let line = |c: &NodeCondition| {
            let since = c.last_transition_time.as_ref().unwrap().0.as_second();
            format!("{}={} {} {since}", c.type_, c.status, c.reason.as_deref().unwrap())
        };
        let lines: Vec<_> = later.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "MemoryPressure=False KubeletHasSufficientMemory 100",
                "DiskPressure=True KubeletHasDiskPressure 200",
                "PIDPressure=False KubeletHasSufficientPID 100",
                "Ready=False KubeletNotReady 200"
            ]
        );
        assert_eq!(later[3].message.as_deref(), Some("container runtime is down"));
    }

    #[test]
    fn pressure_is_less_than_the_thresholds() {
        let room = Room {
            memory_available_bytes: 200 << 20,
            disk_bytes: 1000,
            disk_available_bytes: 100,
            inodes: 1000,
            inodes_free: 50,
            pids_max: 1000,
            pids: 900,
        };
        assert_eq!(pressure(&room), Pressure::default());
        assert!(pressure(&Room { disk_available_bytes: 99, ..room }).disk);
        let large = Room { disk_bytes: 200 << 30, disk_available_bytes: 8 << 30, ..room };
        assert!(!pressure(&large).disk, "8 GiB are room enough");
        assert!(pressure(&Room { inodes_free: 49, ..room }).disk);
        assert!(pressure(&Room { memory_available_bytes: 99 << 20, ..room }).memory);
        assert!(pressure(&Room { pids: 901, ..room }).pids);
        assert_eq!(pressure(&Room::default()), Pressure::default(), "what cannot be read is no pressure");
    }

    #[test]
    fn pressure_is_told_for_a_while_after_it_has_gone() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let (none, disk) = (Pressure::default(), Pressure { disk: true, ..Pressure::default() });
        let mut seen = Seen::default();
        assert_eq!(seen.observe(none, at(0)), none);
        assert_eq!(seen.observe(disk, at(10)), disk);
        assert_eq!(seen.observe(none, at(309)), disk);
        assert_eq!(seen.observe(none, at(310)), none);
    }

    #[test]
    fn only_news_are_written() {
        let identity = Identity {
            name: "n".into(),
            address: "10.0.0.1".parse().unwrap(),
            kubelet_port: 10250,
            max_pods: 110,
            runtime: "isopod://0.1.0".into(),
        };
        let at = |s| Timestamp::from_second(s).unwrap();
        let make =
            |s, pressure| status(&identity, &machine(), conditions(&[], pressure, &Health::Ready, at(s)), Vec::new());
        let first = make(1, Pressure::default());
        assert!(differs(&first, None));
        assert!(!differs(&make(9, Pressure::default()), Some(&first)), "a heartbeat alone is no news");
        assert!(differs(&make(9, Pressure { memory: true, ..Pressure::default() }), Some(&first)));
    }
}
