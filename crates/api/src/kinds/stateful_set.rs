//! StatefulSet: pods with names and disks of their own (`pkg/apis/apps/{v1,validation}`,
//! `pkg/registry/apps/statefulset/strategy.go`).
use super::deployment::int_or_percent;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scale, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus, StatefulSetUpdateStrategy};
use crate::k8s::api::core::v1::{
    PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::persistent_volume_claim;
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{annotations, defaults, template, warnings};
use crate::kinds::rules::{self, text};
use crate::kinds::workload::{self, SelectorWords, WIDE};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use crate::selector::Selector;
use serde::Serialize;
use serde_json::Value;

/// The row of stateful sets.
pub struct StatefulSets;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["sts"],
    categories: &["all"],
    status: true,
    scale: Scale::Replicas,
    generation: true,
    ..Descriptor::new(
        ("apps", "v1"),
        "StatefulSet",
        "statefulsets",
        "statefulset",
        Scope::Namespaced,
        &[NAME, column("Ready", "Ready pods of wanted pods."), AGE, WIDE[0], WIDE[1]],
    )
};

impl Kind for StatefulSets {
    type Object = StatefulSet;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// Its pods' host names are made of it.
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::dns1123_label(name, prefix)
    }
    fn before_decode(value: &mut Value) {
        workload::mark_empty_selector(value);
    }
    fn default(object: &mut StatefulSet) {
        canonical::metadata(&mut object.metadata);
        default_spec(&mut object.spec);
        let status = object.status.get_or_insert_default();
        prune!(status; conditions, current_replicas, current_revision, observed_generation, ready_replicas,
            update_revision, updated_replicas);
        // No `omitempty` in Go.
        status.available_replicas.get_or_insert(0);
    }
    fn prepare_create(object: &mut StatefulSet) {
        object.status = Some(StatefulSetStatus { available_replicas: Some(0), ..StatefulSetStatus::default() });
    }
    fn validate(object: &StatefulSet) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, None, &Path::new("spec"), &mut out);
        out
    }
    fn prepare_update(new: &mut StatefulSet, old: &StatefulSet) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &StatefulSet, old: &StatefulSet) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let (new, old) = (&new.spec, &old.spec);
        validate_spec(new, Some(old), &Path::new("spec"), &mut out);
        let mut rest = new.clone();
        rest.replicas = old.replicas;
        rest.template.clone_from(&old.template);
        rest.update_strategy.clone_from(&old.update_strategy);
        rest.min_ready_seconds = old.min_ready_seconds;
        rest.ordinals.clone_from(&old.ordinals);
        rest.revision_history_limit = old.revision_history_limit;
        rest.persistent_volume_claim_retention_policy.clone_from(&old.persistent_volume_claim_retention_policy);
        if rest != *old {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
                are forbidden";
            out.push(Error::forbidden(&Path::new("spec"), detail));
        }
        out
    }
    fn prepare_status_update(new: &mut StatefulSet, old: &StatefulSet) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &StatefulSet, old: &StatefulSet) -> Errors {
        let mut out = Errors::new();
        let none = StatefulSetStatus::default();
        let (status, before) = (new.status.as_ref().unwrap_or(&none), old.status.as_ref().unwrap_or(&none));
        validate_status(status, &mut out);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        workload::validate_collision_count(status.collision_count, before.collision_count, &mut out);
        out
    }
    fn warnings(new: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        let path = Path::new("spec");
        let spec = &new.spec;
        let unchanged = old.is_some_and(|old| old.metadata.generation == new.metadata.generation);
        let mut out = match old {
            None => warnings::workload(&new.metadata, Some(&spec.template), &path.child("template")),
            Some(_) if unchanged => Vec::new(),
            Some(_) => warnings::of_template(&spec.template, &path.child("template")),
        };
        if spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            let path = path.child("revisionHistoryLimit");
            out.push(format!("{path}: a negative value retains all historical revisions; a value >= 0 is recommended"));
        }
        out
    }
    fn cells(object: &StatefulSet, cx: &PrintContext) -> Vec<Value> {
        let spec = &object.spec;
        let ready = object.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or_default();
        let [containers, images] = workload::containers_and_images(Some(&spec.template));
        vec![
            object.metadata.name.clone().into(),
            format!("{ready}/{}", spec.replicas.unwrap_or_default()).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
        ]
    }
}

fn default_spec(spec: &mut StatefulSetSpec) {
    canonical::selector_keeping_empty(&mut spec.selector);
    prune!(spec; min_ready_seconds, pod_management_policy, volume_claim_templates);
    // No `omitempty` in Go.
    spec.service_name.get_or_insert_default();
    spec.pod_management_policy.get_or_insert_with(|| "OrderedReady".to_owned());
    let strategy = spec.update_strategy.get_or_insert_default();
    prune!(strategy; type_);
    if strategy.type_.get_or_insert_with(|| "RollingUpdate".to_owned()) == "RollingUpdate" {
        strategy.rolling_update.get_or_insert_default().partition.get_or_insert(0);
    }
    let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
    retention.when_deleted.get_or_insert_with(|| "Retain".to_owned());
    retention.when_scaled.get_or_insert_with(|| "Retain".to_owned());
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(10);
    defaults::template(&mut spec.template);
    for claim in spec.volume_claim_templates.iter_mut().flatten() {
        <persistent_volume_claim::PersistentVolumeClaims as Kind>::default(claim);
    }
}

const WORDS: SelectorWords = SelectorWords { empty: "empty selector is invalid for statefulset", unreadable: "" };

/// `before`: what an update finds stored.
fn validate_spec(spec: &StatefulSetSpec, before: Option<&StatefulSetSpec>, path: &Path, out: &mut Errors) {
    let policy_path = path.child("podManagementPolicy");
    match text(&spec.pod_management_policy) {
        "" => out.push(Error::required(&policy_path, "")),
        "OrderedReady" | "Parallel" => {}
        other => out.push(Error::invalid(&policy_path, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(strategy, &path.child("updateStrategy"), out);
    }
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (value, field) in [(&retention.when_deleted, "whenDeleted"), (&retention.when_scaled, "whenScaled")] {
            if !matches!(text(value), "Retain" | "Delete") {
                out.push(Error::not_supported(&path.child(field), text(value), &["Retain", "Delete"]));
            }
        }
    }
    nonnegative(spec.replicas.unwrap_or_default().into(), &path.child("replicas"), out);
    nonnegative(spec.min_ready_seconds.unwrap_or_default().into(), &path.child("minReadySeconds"), out);
    if let Some(ordinals) = &spec.ordinals {
        nonnegative(ordinals.start.unwrap_or_default().into(), &path.child("ordinals").child("start"), out);
    }
    let selector = workload::validate_selector(&spec.selector, WORDS, &path.child("selector"), out);
    let template_path = path.child("template");
    if let Some(selector) = selector {
        validate_template(spec, before, &selector, &template_path, out);
    }
    // Claim templates do not change.
    if before.is_none() {
        out.extend(claim_faults(spec, &path.child("volumeClaimTemplates")));
    }
    template::validate_always_running(&spec.template, "StatefulSet", &template_path, out);
    if let Some(service) = spec.service_name.as_deref().filter(|s| !s.is_empty()) {
        out.extend(invalid_each(&path.child("serviceName"), service, names::dns1123_label(service, false)));
    }
}

/// Pods find their claims among their volumes: each claim template stands for one of its name (`volumesToAddForTemplates`).
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.iter().flatten() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        let claim_name = name.clone();
        volumes.retain(|v| v.name != name);
        let source = PersistentVolumeClaimVolumeSource { claim_name, ..PersistentVolumeClaimVolumeSource::default() };
        volumes.push(Volume { name, persistent_volume_claim: Some(source), ..Volume::default() });
    }
    if volumes.is_empty() {
        template.spec.get_or_insert_default().volumes = None;
    }
    template
}

fn template_faults(spec: &StatefulSetSpec, path: &Path) -> Errors {
    let mut out = Errors::new();
    template::validate(&with_claims(spec), path, &mut out);
    out
}

fn claim_faults(spec: &StatefulSetSpec, path: &Path) -> Errors {
    let claims = spec.volume_claim_templates.iter().flatten().enumerate();
    let none = PersistentVolumeClaimSpec::default();
    let faults = claims.flat_map(|(i, claim)| {
        let path = path.index(i).child("spec");
        persistent_volume_claim::spec::validate(claim.spec.as_ref().unwrap_or(&none), None, &path)
    });
    faults.collect()
}

/// Pod templates and claim templates are checked since v1.34; what was stored with faults before may keep them (`before`).
fn validate_template(
    spec: &StatefulSetSpec,
    before: Option<&StatefulSetSpec>,
    selector: &Selector,
    path: &Path,
    out: &mut Errors,
) {
    template::validate_chosen(selector, &spec.template, path, out);
    let root = Path::root();
    if before.is_none_or(|before| template_faults(before, &root).is_empty()) {
        out.extend(template_faults(spec, path));
        return;
    }
    let meta = spec.template.metadata.clone().unwrap_or_default();
    out.extend(names::validate_labels(&meta.labels.unwrap_or_default(), &path.child("labels")));
    let given = meta.annotations.unwrap_or_default();
    let annotations_path = path.child("annotations");
    out.extend(names::validate_annotations(&given, &annotations_path));
    if let Some(pod_spec) = &spec.template.spec {
        annotations::validate(&given, pod_spec, &annotations_path, out);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoRolling {
    partition: i32,
    max_unavailable: Option<IntOrString>,
}

fn validate_strategy(strategy: &StatefulSetUpdateStrategy, path: &Path, out: &mut Errors) {
    let rolling_path = path.child("rollingUpdate");
    let rolling = strategy.rolling_update.as_ref();
    let go_rolling = || {
        rolling.map(|r| GoRolling {
            partition: r.partition.unwrap_or_default(),
            max_unavailable: r.max_unavailable.clone(),
        })
    };
    match (text(&strategy.type_), rolling) {
        ("", _) => out.push(Error::required(path, "")),
        ("OnDelete", None) => {}
        ("OnDelete", Some(_)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            out.push(Error::invalid(&rolling_path, go_rolling(), detail));
        }
        ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            nonnegative(rolling.partition.unwrap_or_default().into(), &rolling_path.child("partition"), out);
            if let Some(value) = &rolling.max_unavailable {
                let path = rolling_path.child("maxUnavailable");
                out.extend(rules::int_or_percent(value, &path));
                if int_or_percent(value) == 0 {
                    out.push(Error::invalid(&path, value, "cannot be 0"));
                }
                out.extend(rules::at_most_100_percent(value, &path));
            }
        }
        (other, _) => {
            let value = workload::GoStrategy::with(other, go_rolling());
            out.push(Error::invalid(path, value, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

fn validate_status(status: &StatefulSetStatus, out: &mut Errors) {
    let path = Path::new("status");
    let number = |n: Option<i32>| n.unwrap_or_default();
    let parts = [
        (number(status.ready_replicas), "readyReplicas"),
        (number(status.current_replicas), "currentReplicas"),
        (number(status.updated_replicas), "updatedReplicas"),
        (number(status.available_replicas), "availableReplicas"),
    ];
    nonnegative(status.replicas.into(), &path.child("replicas"), out);
    for (value, field) in parts {
        nonnegative(value.into(), &path.child(field), out);
    }
    nonnegative(status.observed_generation.unwrap_or_default(), &path.child("observedGeneration"), out);
    nonnegative(number(status.collision_count).into(), &path.child("collisionCount"), out);
    workload::at_most_replicas(&parts, status.replicas, out);
    if status.available_replicas > status.ready_replicas && number(status.available_replicas) > 0 {
        let path = path.child("availableReplicas");
        let detail = "cannot be greater than status.readyReplicas";
        out.push(Error::invalid(&path, number(status.available_replicas), detail));
    }
}
