//! Whom to evict, and what to say: a pure function of pods, what they use and what there is (the kubelet's `pkg/kubelet/eviction`).
use crate::agent::amounts::{Side, total};
use crate::agent::node::machine::Room;
use crate::agent::node::status::{MEMORY_RESERVE, disk_reserve};
use crate::agent::node::status::{Pressure, pressure};
use isopod_api::k8s::api::core::v1::{Container, Pod, Volume};
use isopod_api::quantity::{Format, Quantity, parse};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// `scheduling.SystemCriticalPriority`: such pods are never evicted.
const CRITICAL: i32 = 2_000_000_000;
pub(super) const DISK: &str = "ephemeral-storage";
pub(super) const MEMORY: &str = "memory";
const INODES: &str = "inodes";

/// What a pod uses, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub containers: BTreeMap<String, ContainerUsage>,
    /// emptyDir volumes on disk.
    pub volumes: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerUsage {
    /// Writable layer and logs.
    pub disk: u64,
    /// Working set.
    pub memory: u64,
}

impl Usage {
    fn disk(&self) -> u64 {
        let containers = self.containers.values().map(|c| c.disk);
        containers.chain(self.volumes.values().copied()).fold(0, u64::saturating_add)
    }

    fn memory(&self) -> u64 {
        self.containers.values().map(|c| c.memory).fold(0, u64::saturating_add)
    }
}

/// A resource that the machine runs out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// `memory`, `ephemeral-storage`, `inodes`.
    pub resource: &'static str,
    /// What should be left at least, and what is.
    pub threshold: u64,
    pub available: u64,
}

/// What there is too little of; memory goes before disk (`byEvictionPriority`).
pub(super) fn shortage(room: &Room) -> Option<Shortage> {
    let Pressure { memory, disk, .. } = pressure(room);
    if memory {
        return Some(Shortage { resource: MEMORY, threshold: MEMORY_RESERVE, available: room.memory_available_bytes });
    }
    if !disk {
        return None;
    }
    let (bytes, inodes) = disk_reserve(room);
    Some(if room.disk_available_bytes < bytes {
        Shortage { resource: DISK, threshold: bytes, available: room.disk_available_bytes }
    } else {
        Shortage { resource: INODES, threshold: inodes, available: room.inodes_free }
    })
}

fn words(bytes: u64) -> String {
    Quantity::new(i64::try_from(bytes).unwrap_or(i64::MAX), Format::BinarySi).to_string()
}

fn is_critical(pod: &Pod) -> bool {
    priority(pod) >= CRITICAL
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

fn limit(container: &Container) -> Option<Quantity> {
    let limit = container.resources.as_ref()?.limits.as_ref()?.get(DISK)?;
    parse(limit).ok().filter(|q| q.sign() > 0)
}

fn request(container: &Container, resource: &str) -> Quantity {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let found = requests.and_then(|r| r.get(resource)).and_then(|text| parse(text).ok());
    found.unwrap_or_else(|| Quantity::new(0, Format::BinarySi))
}

fn size_limit(volume: &Volume) -> Option<Quantity> {
    let source = volume.empty_dir.as_ref()?;
    parse(source.size_limit.as_ref()?).ok().filter(|q| q.sign() > 0)
}

fn bytes(quantity: &Quantity) -> u64 {
    u64::try_from(quantity.value()).unwrap_or(0)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers))
}

/// Whether a pod has said how much disk it may use: only then it is measured while there is enough.
pub(super) fn has_limits(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.filter_map(size_limit).next().is_some() || containers(pod).any(|c| limit(c).is_some())
}

/// Why a pod uses more disk than it may, if it does (`localStorageEviction`).
pub(super) fn beyond_limits(pod: &Pod, usage: &Usage) -> Option<String> {
    if is_critical(pod) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    for volume in spec.volumes.iter().flatten() {
        let Some(limit) = size_limit(volume) else { continue };
        if usage.volumes.get(&volume.name).is_some_and(|used| *used > bytes(&limit)) {
            return Some(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
                volume.name,
                limit.to_string()
            ));
        }
    }
    // Together the containers may use what each may: init containers come one by one, so the greatest of them counts.
    let init = spec.init_containers.iter().flatten().filter_map(limit).map(|q| bytes(&q)).max();
    let main: Vec<u64> = spec.containers.iter().filter_map(limit).map(|q| bytes(&q)).collect();
    let sum = main.iter().copied().fold(0, u64::saturating_add).max(init.unwrap_or(0));
    if sum > 0 && main.len() == spec.containers.len() && usage.disk() > sum {
        let limit = words(sum);
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
    }
    for container in &spec.containers {
        let Some(limit) = limit(container) else { continue };
        if usage.containers.get(&container.name).is_some_and(|used| used.disk > bytes(&limit)) {
            let name = &container.name;
            return Some(format!(
                "Container {name} exceeded its local ephemeral storage limit {:?}. ",
                limit.to_string()
            ));
        }
    }
    None
}

fn used(usage: &Usage, resource: &str) -> u64 {
    if resource == MEMORY { usage.memory() } else { usage.disk() }
}

fn requested(pod: &Pod, resource: &str) -> u64 {
    let all = pod.spec.as_ref().map(|spec| total(spec, Side::Requests)).unwrap_or_default();
    all.get(resource).and_then(|amount| u64::try_from(*amount).ok()).unwrap_or(0)
}

/// The pod to go, and the message for its owner: those that use more than they asked for go first, then the less important, then
/// those that use the most beyond their request (`rankMemoryPressure`; for disk the usage itself, `rankDiskPressureFunc`).
pub(super) fn choose<'a>(shortage: &Shortage, pods: &'a [(Pod, Usage)]) -> Option<(&'a Pod, String)> {
    let resource = if shortage.resource == MEMORY { MEMORY } else { DISK };
    let rank = |(pod, usage): &&(Pod, Usage)| {
        let (used, requested) = (used(usage, resource), requested(pod, resource));
        let most = if resource == MEMORY { used.saturating_sub(requested) } else { used };
        (Reverse(used > requested), priority(pod), Reverse(most), pod.metadata.uid.clone())
    };
    let (pod, usage) = pods.iter().filter(|(pod, _)| !is_critical(pod)).min_by_key(rank)?;
    Some((pod, message(shortage, pod, usage)))
}

fn message(shortage: &Shortage, pod: &Pod, usage: &Usage) -> String {
    let resource = shortage.resource;
    let (threshold, available) = (words(shortage.threshold), words(shortage.available));
    let mut text =
        format!("The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. ");
    if resource == INODES {
        return text;
    }
    for container in containers(pod) {
        let Some(usage) = usage.containers.get(&container.name) else { continue };
        let used = if resource == MEMORY { usage.memory } else { usage.disk };
        let (name, request) = (&container.name, request(container, resource));
        if used > bytes(&request) {
            let used = words(used);
            text.push_str(&format!(
                "Container {name} was using {used}, request is {request}, has larger consumption of {resource}. "
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).unwrap()
    }

    fn asks(name: &str, priority: i32, side: &str, disk: &str) -> Pod {
        let container = json!({"name": "c", "resources": {side: {"ephemeral-storage": disk, "memory": disk}}});
        pod(name, json!({"priority": priority, "containers": [container]}))
    }

    fn uses(disk: u64, memory: u64, volume: u64) -> Usage {
        Usage {
            containers: [("c".to_owned(), ContainerUsage { disk, memory })].into(),
            volumes: [("v".to_owned(), volume)].into(),
        }
    }

    #[test]
    fn limits_of_volumes_containers_and_pods_hold() {
        let volume =
            json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}], "containers": [{"name": "c"}]});
        let volume = pod("volume", volume);
        let limited = asks("limited", 0, "limits", "1Mi");
        let critical = asks("critical", CRITICAL, "limits", "1Mi");
        let mib = 1 << 20;
        assert_eq!(beyond_limits(&volume, &uses(9 * mib, 0, mib)), None, "its container may use what it likes");
        let message = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
        assert_eq!(beyond_limits(&volume, &uses(0, 0, mib + 1)).as_deref(), Some(message));
        assert_eq!(beyond_limits(&limited, &uses(mib / 2, 0, mib / 2)), None);
        let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
        assert_eq!(beyond_limits(&limited, &uses(mib / 2, 0, mib / 2 + 1)).as_deref(), Some(message));
        let mut two = limited.clone();
        let other = json!({"name": "d"});
        two.spec.as_mut().unwrap().containers.push(serde_json::from_value(other).unwrap());
        let message = "Container c exceeded its local ephemeral storage limit \"1Mi\". ";
        assert_eq!(beyond_limits(&two, &uses(mib + 1, 0, 0)).as_deref(), Some(message));
        assert_eq!(beyond_limits(&critical, &uses(9 * mib, 0, 0)), None);
        assert!(has_limits(&volume) && has_limits(&limited) && !has_limits(&asks("r", 0, "requests", "1Mi")));
    }

    #[test]
    fn the_greedy_go_first_then_the_unimportant_then_the_large() {
        let mib = 1 << 20;
        let all = [
            (asks("modest", 0, "requests", "100Mi"), uses(50 * mib, 50 * mib, 0)),
            (asks("important", 10, "requests", "1Mi"), uses(90 * mib, 0, 0)),
            (asks("small", 0, "requests", "1Mi"), uses(2 * mib, 90 * mib, 0)),
            (asks("large", 0, "requests", "1Mi"), uses(0, 2 * mib, 20 * mib)),
            (asks("critical", CRITICAL, "requests", "1Mi"), uses(900 * mib, 900 * mib, 0)),
        ];
        let order = |resource: &'static str| {
            let mut left = all.to_vec();
            let shortage = Shortage { resource, threshold: 1, available: 0 };
            let mut names = Vec::new();
            while let Some(name) = choose(&shortage, &left).and_then(|(pod, _)| pod.metadata.name.clone()) {
                left.retain(|(pod, _)| pod.metadata.name.as_deref() != Some(&name));
                names.push(name);
            }
            names.join(" ")
        };
        assert_eq!(order(DISK), "large small important modest");
        // Of memory the important one uses nothing.
        assert_eq!(order(MEMORY), "small large modest important");
    }

    #[test]
    fn people_are_told_how_little_there_is_and_who_uses_it() {
        let shortage = Shortage { resource: DISK, threshold: 10 << 20, available: 1_234_567 };
        let one = [(asks("p", 0, "requests", "1Mi"), uses(3 << 20, 0, 0))];
        assert_eq!(
            choose(&shortage, &one).unwrap().1,
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 1234567. \
             Container c was using 3Mi, request is 1Mi, has larger consumption of ephemeral-storage. "
        );
    }

    #[test]
    fn shortages_of_a_machine() {
        let room = Room {
            memory_available_bytes: 200 << 20,
            disk_bytes: 1000,
            disk_available_bytes: 500,
            inodes: 1000,
            inodes_free: 500,
            ..Room::default()
        };
        assert_eq!(shortage(&room), None);
        let of = |room: &Room| shortage(room).map(|s| (s.resource, s.threshold, s.available));
        assert_eq!(of(&Room { disk_available_bytes: 99, ..room }), Some((DISK, 100, 99)));
        assert_eq!(of(&Room { inodes_free: 49, ..room }), Some((INODES, 50, 49)));
        let both = Room { memory_available_bytes: 1, disk_available_bytes: 1, ..room };
        assert_eq!(of(&both), Some((MEMORY, MEMORY_RESERVE, 1)));
    }
}
