//! The decisions of `pv_controller.go` and `index.go`, as tables.
use super::plan::{self, ClaimStep, Reclaim, View, VolumeStep};
use super::{binding, matching};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

fn merged<T: DeserializeOwned>(mut base: Value, change: &Value) -> T {
    fn merge(base: &mut Value, change: &Value) {
        match (base.as_object_mut(), change.as_object()) {
            (Some(into), Some(from)) => {
                for (key, value) in from {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            _ => *base = change.clone(),
        }
    }
    merge(&mut base, change);
    serde_json::from_value(base).unwrap()
}

fn claim(change: Value) -> PersistentVolumeClaim {
    merged(
        json!({"metadata": {"name": "c", "namespace": "ns", "uid": "cu", "resourceVersion": "1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "2Gi"}}},
            "status": {"phase": "Pending"}}),
        &change,
    )
}

fn volume(name: &str, change: Value) -> Arc<PersistentVolume> {
    Arc::new(merged(
        json!({"metadata": {"name": name, "uid": "vu"}, "spec": {"capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain"}, "status": {"phase": "Available"}}),
        &change,
    ))
}

fn reference(name: &str, uid: &str) -> Value {
    json!({"spec": {"claimRef": {"namespace": "ns", "name": name, "uid": uid}}, "status": {"phase": "Bound"}})
}

#[derive(Default)]
struct World {
    volumes: Vec<Arc<PersistentVolume>>,
    claims: Vec<PersistentVolumeClaim>,
    classes: Vec<StorageClass>,
    pods: Vec<String>,
}

impl View for World {
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.iter().find(|v| v.metadata.name.as_deref() == Some(name)).cloned()
    }
    fn volumes_for(&self, _: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>> {
        self.volumes.clone()
    }
    fn claim(&self, _: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.iter().find(|c| c.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
    }
    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.iter().find(|c| c.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
    }
    fn classes(&self) -> Vec<Arc<StorageClass>> {
        self.classes.iter().cloned().map(Arc::new).collect()
    }
    fn waiting_pods(&self, _: &PersistentVolumeClaim) -> Vec<String> {
        self.pods.clone()
    }
}

fn class(name: &str, provisioner: &str, mode: &str, default: bool) -> StorageClass {
    serde_json::from_value(json!({"provisioner": provisioner, "volumeBindingMode": mode, "metadata": {"name": name,
        "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}}}))
    .unwrap()
}

#[test]
fn the_closest_fit_is_chosen() {
    let size = |size: &str| json!({"spec": {"capacity": {"storage": size}}});
    let change = |field: &str, value: Value| json!({"spec": {field: value}});
    let many = json!(["ReadWriteOnce", "ReadWriteMany"]);
    let selector = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}});
    // (claim, delayed, volumes) → name
    type Case<'a> = (Value, bool, Vec<(&'a str, Value)>, &'a str);
    let table: Vec<Case<'_>> = vec![
        (json!({}), false, vec![("large", size("9Gi")), ("small", size("1Gi")), ("fits", size("3Gi"))], "fits"),
        (json!({}), false, vec![("b", size("2Gi")), ("a", size("2048Mi"))], "a"),
        (json!({}), false, vec![("small", size("1Gi"))], ""),
        (json!({}), false, vec![("many", change("accessModes", many.clone())), ("one", size("9Gi"))], "one"),
        (
            change("accessModes", json!(["ReadWriteMany"])),
            false,
            vec![("one", size("9Gi")), ("many", change("accessModes", many))],
            "many",
        ),
        (json!({}), false, vec![("classy", change("storageClassName", json!("x")))], ""),
        (json!({}), false, vec![("block", change("volumeMode", json!("Block")))], ""),
        (json!({}), false, vec![("busy", json!({"status": {"phase": "Released"}}))], ""),
        (json!({}), false, vec![("leaving", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))], ""),
        (json!({}), false, vec![("taken", reference("other", "x")), ("ours", reference("c", ""))], "ours"),
        (json!({}), false, vec![("near", size("2Gi")), ("ours", reference("c", "cu"))], "ours"),
        (json!({}), false, vec![("anothers", reference("c", "older"))], ""),
        (json!({}), true, vec![("free", size("2Gi"))], ""),
        (json!({}), true, vec![("free", size("2Gi")), ("ours", reference("c", "cu"))], "ours"),
        (selector.clone(), false, vec![("bare", size("2Gi"))], ""),
        (
            selector,
            false,
            vec![("bare", size("2Gi")), ("labelled", json!({"metadata": {"labels": {"a": "b"}}}))],
            "labelled",
        ),
    ];
    for (wanted, delayed, volumes, expected) in table {
        let volumes: Vec<_> = volumes.into_iter().map(|(name, change)| volume(name, change)).collect();
        let got = matching::best(&claim(wanted.clone()), &volumes, delayed);
        assert_eq!(got.and_then(|v| v.metadata.name.clone()).unwrap_or_default(), expected, "{wanted} {volumes:?}");
    }
}

#[test]
fn a_claim_takes_its_next_step() {
    let done = json!({"metadata": {"annotations": {super::BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "v"}});
    let asks = |annotations: Value| json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": "v"}});
    let of = |class: Value| json!({"spec": {"storageClassName": class}});
    let selected =
        json!({"metadata": {"annotations": {super::SELECTED_NODE: "n"}}, "spec": {"storageClassName": "late"}});
    let world = || World {
        classes: vec![
            class("late", "isopod.dev/local", "WaitForFirstConsumer", true),
            class("now", "csi.example.com", "Immediate", false),
            class("by-hand", "kubernetes.io/no-provisioner", "Immediate", false),
        ],
        ..World::default()
    };
    let with = |volume: Arc<PersistentVolume>| World { volumes: vec![volume], ..world() };
    let pods = |names: &[&str]| World { pods: names.iter().map(|n| (*n).to_owned()).collect(), ..world() };
    let bind = "bind v";
    let table: Vec<(Value, World, &str)> = vec![
        (json!({}), with(volume("v", json!({}))), bind),
        (
            json!({}),
            world(),
            "wait: FailedBinding no persistent volumes available for this claim and no storage class is set",
        ),
        (
            of(Value::Null),
            World::default(),
            "wait: FailedBinding no persistent volumes available for this claim and no storage class is set",
        ),
        (of(Value::Null), world(), "class late"),
        (
            of(json!("late")),
            world(),
            "wait: WaitForFirstConsumer waiting for first consumer to be created before binding",
        ),
        (of(json!("late")), pods(&["p"]), "wait: WaitForPodScheduled waiting for pod p to be scheduled"),
        (of(json!("late")), pods(&["p", "q"]), "wait: WaitForPodScheduled waiting for pods p,q to be scheduled"),
        (
            selected,
            world(),
            "provision isopod.dev/local: ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'isopod.dev/local' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
        ),
        (
            of(json!("now")),
            world(),
            "provision csi.example.com: ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'csi.example.com' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
        ),
        (
            of(json!("by-hand")),
            world(),
            "wait: ProvisioningFailed no volume plugin matched name: kubernetes.io/no-provisioner",
        ),
        (of(json!("none")), world(), "wait: ProvisioningFailed storageclass.storage.k8s.io \"none\" not found"),
        (asks(json!({})), World::default(), "wait"),
        (asks(json!({})), with(volume("v", json!({}))), bind),
        (
            asks(json!({})),
            with(volume("v", json!({"spec": {"capacity": {"storage": "1Gi"}}}))),
            "wait: VolumeMismatch Cannot bind to requested volume \"v\": requested PV is too small",
        ),
        (
            asks(json!({})),
            with(volume("v", json!({"spec": {"storageClassName": "x"}}))),
            "wait: VolumeMismatch Cannot bind to requested volume \"v\": storageClassName does not match",
        ),
        (
            asks(json!({})),
            with(volume("v", json!({"spec": {"accessModes": ["ReadOnlyMany"]}}))),
            "wait: VolumeMismatch Cannot bind to requested volume \"v\": incompatible accessMode",
        ),
        (asks(json!({})), with(volume("v", reference("c", ""))), bind),
        (
            asks(json!({})),
            with(volume("v", reference("d", "du"))),
            "wait: FailedBinding volume \"v\" already bound to a different claim.",
        ),
        (asks(json!({super::BOUND_BY_CONTROLLER: "yes"})), with(volume("v", reference("d", "du"))), "leave"),
        (done.clone(), with(volume("v", reference("c", "cu"))), bind),
        (done.clone(), with(volume("v", json!({}))), bind),
        (
            done.clone(),
            World::default(),
            "lose: ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ),
        (
            done.clone(),
            with(volume("v", reference("c", "older"))),
            "lose: ClaimMisbound Two claims are bound to the same volume, this one is bound incorrectly",
        ),
        (
            json!({"metadata": {"annotations": {super::BIND_COMPLETED: "yes"}}}),
            world(),
            "lose: ClaimLost Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
    ];
    for (change, world, expected) in table {
        let plan = plan::claim(&claim(change.clone()), &world);
        let mut got = match plan.step {
            ClaimStep::Wait => "wait".to_owned(),
            ClaimStep::Lose => "lose".to_owned(),
            ClaimStep::Leave => "leave".to_owned(),
            ClaimStep::Bind(v) => format!("bind {}", v.metadata.name.as_deref().unwrap()),
            ClaimStep::Class(name) => format!("class {name}"),
            ClaimStep::Provision(by) => format!("provision {by}"),
        };
        if let Some(note) = plan.note {
            got.push_str(&format!(": {} {}", note.reason, note.message));
        }
        assert_eq!(got, expected, "{change}");
    }
}

#[test]
fn a_volume_takes_its_next_step() {
    let policy = |policy: &str| json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    let provisioned = |by: &str| json!({"metadata": {"annotations": {super::PROVISIONED_BY: by}}});
    let bound_to = |name: &str| claim(json!({"spec": {"volumeName": name}}));
    let gone = World::default;
    let there = |claim: PersistentVolumeClaim| World { claims: vec![claim], ..World::default() };
    let ours = reference("c", "cu");
    let fail = |reason, message: &str| VolumeStep::Release(Reclaim::Fail { reason, message: message.to_owned() });
    let table: Vec<(Vec<Value>, World, VolumeStep)> = vec![
        (vec![], gone(), VolumeStep::Phase("Available")),
        (vec![reference("c", "")], gone(), VolumeStep::Phase("Available")),
        (vec![ours.clone()], there(claim(json!({}))), VolumeStep::WakeClaim(isopod_reflect::Key::new("ns", "c"))),
        (vec![ours.clone()], there(bound_to("v")), VolumeStep::Phase("Bound")),
        (vec![ours.clone()], there(bound_to("w")), VolumeStep::Unbind),
        (
            vec![ours.clone(), policy("Delete"), provisioned("isopod.dev/local")],
            there(bound_to("w")),
            VolumeStep::Release(Reclaim::Nothing),
        ),
        (vec![ours.clone()], gone(), VolumeStep::Release(Reclaim::Nothing)),
        (vec![reference("c", "older")], there(bound_to("v")), VolumeStep::Release(Reclaim::Nothing)),
        (
            vec![ours.clone(), policy("Delete"), provisioned("isopod.dev/local")],
            gone(),
            VolumeStep::Release(Reclaim::Nothing),
        ),
        (
            vec![ours.clone(), policy("Delete")],
            gone(),
            fail(
                "VolumeFailedDelete",
                "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched",
            ),
        ),
        (
            vec![ours, policy("Recycle")],
            gone(),
            fail("VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        ),
    ];
    for (changes, world, expected) in table {
        let mut object = serde_json::to_value(&*volume("v", json!({}))).unwrap();
        for change in &changes {
            object = merged(object, change);
        }
        let object: PersistentVolume = serde_json::from_value(object).unwrap();
        assert_eq!(plan::volume(&object, &world), expected, "{changes:?}");
    }
}

/// Whoever is killed between two writes finds the rest to do; who has done all finds nothing.
#[test]
fn a_binding_survives_a_crash_after_any_write() {
    let (mut v, mut c) = ((*volume("v", json!({}))).clone(), claim(json!({})));
    let mut writes = Vec::new();
    let now = jiff::Timestamp::UNIX_EPOCH;
    loop {
        // Each time everything is decided anew from what is stored.
        let world = World { volumes: vec![Arc::new(v.clone())], ..World::default() };
        let ClaimStep::Bind(chosen) = plan::claim(&c, &world).step else { panic!("{c:?} {v:?}") };
        if let Some(new) = binding::claimed(&chosen, &c) {
            v = new;
            writes.push("volume");
        } else if let Some(new) = binding::with_phase(&chosen, "Bound", "", now) {
            v = new;
            writes.push("volume's phase");
        } else if let Some(new) = binding::completed(&c, &chosen) {
            c = new;
            writes.push("claim");
        } else if let Some(new) = binding::with_status(&c, "Bound", Some(&chosen)) {
            c = new;
            writes.push("claim's status");
        } else {
            break;
        }
    }
    assert_eq!(writes, ["volume", "volume's phase", "claim", "claim's status"]);
    assert_eq!(c.status.as_ref().unwrap().capacity.as_ref().unwrap()["storage"].0, "5Gi");
    assert!(
        binding::annotated(&c.metadata, super::BOUND_BY_CONTROLLER)
            && binding::annotated(&v.metadata, super::BOUND_BY_CONTROLLER)
    );
    // Bound by us it is free again; reserved by a person it stays reserved, for any claim of that name.
    assert_eq!(binding::released(&v).spec.unwrap().claim_ref, None);
    v.metadata.annotations = None;
    let kept = binding::released(&v).spec.unwrap().claim_ref.unwrap();
    assert_eq!((kept.name.as_deref(), kept.uid), (Some("c"), None));
}
