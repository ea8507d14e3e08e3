//! CSIDriver: what a storage driver can do.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::storage::v1::{CSIDriver, CSIDriverSpec, TokenRequest};
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;
use std::collections::BTreeSet;

pub struct CsiDrivers;

const fn flag(name: &'static str, description: &'static str) -> Column {
    Column { kind: "boolean", ..column(name, description) }
}

const COLUMNS: [Column; 8] = [
    NAME,
    flag("AttachRequired", "Whether volumes are attached before they are mounted."),
    flag("PodInfoOnMount", "Whether the driver is told of the pod."),
    flag("StorageCapacity", "Whether the scheduler looks at the driver's capacity."),
    column("TokenRequests", "The audiences the driver gets tokens for."),
    flag("RequiresRepublish", "Whether mounted volumes are published again and again."),
    column("Modes", "The life cycles of the driver's volumes."),
    AGE,
];

static DESCRIPTOR: Descriptor = Descriptor {
    unconditional_update: false,
    ..Descriptor::new((GROUP, "v1"), "CSIDriver", "csidrivers", "csidriver", Scope::Cluster, &COLUMNS)
};

const FS_GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const TEN_MINUTES: i64 = 10 * 60;

impl Kind for CsiDrivers {
    type Object = CSIDriver;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// `SetDefaults_CSIDriver`
    fn default(object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".into());
        if spec.volume_lifecycle_modes.as_ref().is_none_or(Vec::is_empty) {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".into()]);
        }
    }
    fn validate(object: &CSIDriver) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, &mut out);
        out
    }
    fn prepare_update(new: &mut CSIDriver, old: &CSIDriver) {
        let (spec, before) = (&new.spec, &old.spec);
        let same = spec.token_requests == before.token_requests
            && spec.requires_republish == before.requires_republish
            && spec.se_linux_mount == before.se_linux_mount;
        if !same {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or_default().saturating_add(1));
        }
    }
    fn validate_update(new: &CSIDriver, old: &CSIDriver) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_spec(&new.spec, &mut out);
        let path = Path::new("spec");
        let (spec, before) = (&new.spec, &old.spec);
        // So spelled in Kubernetes.
        out.extend(rules::immutable(&spec.attach_required, &before.attach_required, &path.child("attachedRequired")));
        let modes_path = path.child("volumeLifecycleModes");
        out.extend(rules::immutable(&spec.volume_lifecycle_modes, &before.volume_lifecycle_modes, &modes_path));
        out
    }
    fn returns_deleted() -> bool {
        true
    }
    fn cells(object: &CSIDriver, cx: &PrintContext) -> Vec<Value> {
        let spec = &object.spec;
        let audiences =
            |list: &Vec<TokenRequest>| list.iter().map(|t| t.audience.as_str()).collect::<Vec<_>>().join(",");
        let modes = spec.volume_lifecycle_modes.clone().unwrap_or_default().join(",");
        vec![
            object.metadata.name.clone().into(),
            spec.attach_required.unwrap_or(true).into(),
            spec.pod_info_on_mount.unwrap_or_default().into(),
            spec.storage_capacity.unwrap_or_default().into(),
            spec.token_requests.as_ref().map_or_else(|| "<unset>".to_owned(), audiences).into(),
            spec.requires_republish.unwrap_or_default().into(),
            crate::print::none_if_empty(modes).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate_spec(spec: &CSIDriverSpec, out: &mut Errors) {
    let path = Path::new("spec");
    let required = [
        (spec.attach_required, "attachedRequired"),
        (spec.pod_info_on_mount, "podInfoOnMount"),
        (spec.storage_capacity, "storageCapacity"),
    ];
    for (_, field) in required.iter().filter(|(flag, _)| flag.is_none()) {
        out.push(Error::required(&path.child(field), ""));
    }
    if let Some(policy) = &spec.fs_group_policy {
        out.extend(rules::one_of(policy, &FS_GROUP_POLICIES, &path.child("fsGroupPolicy")));
    }
    token_requests(spec.token_requests.as_deref().unwrap_or_default(), &path.child("tokenRequests"), out);
    for mode in spec.volume_lifecycle_modes.iter().flatten() {
        out.extend(rules::one_of(mode, &["Persistent", "Ephemeral"], &path.child("volumeLifecycleModes")));
    }
    if spec.se_linux_mount.is_none() {
        out.push(Error::required(&path.child("seLinuxMount"), ""));
    }
    if let Some(period) = spec.node_allocatable_update_period_seconds.filter(|p| *p < 10) {
        let at = path.child("nodeAllocatableUpdatePeriodSeconds");
        out.push(Error::invalid(&at, period, "must be greater than or equal to 10 seconds"));
    }
}

fn token_requests(requests: &[TokenRequest], path: &Path, out: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        let path = path.index(i);
        if !seen.insert(request.audience.as_str()) {
            out.push(Error::duplicate(&path.child("audience"), &request.audience));
            continue;
        }
        let Some(seconds) = request.expiration_seconds else { continue };
        let at = path.child("expirationSeconds");
        if seconds < TEN_MINUTES {
            out.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
        }
        if seconds > 1 << 32 {
            out.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
    }
}
