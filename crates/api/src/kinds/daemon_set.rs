//! DaemonSet: one pod on every node that fits (`pkg/apis/apps/{v1,validation}`, `pkg/registry/apps/daemonset/strategy.go`).
use super::deployment::int_or_percent;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::pod::{defaults, template, warnings};
use crate::kinds::rules::{self, text};
use crate::kinds::workload::{self, GoSelector, GoStrategy, WIDE};
use crate::names;
use crate::print::{self, AGE, NAME, age_cell, column, integer};
use crate::selector::Selector;
use serde_json::Value;

/// The row of daemon sets.
pub struct DaemonSets;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ds"],
    categories: &["all"],
    status: true,
    generation: true,
    ..Descriptor::new(
        ("apps", "v1"),
        "DaemonSet",
        "daemonsets",
        "daemonset",
        Scope::Namespaced,
        &[
            NAME,
            integer("Desired", "Nodes that should run its pod."),
            integer("Current", "Nodes that run at least one."),
            integer("Ready", "Nodes where it is ready."),
            integer("Up-to-date", "Nodes that run the newest template."),
            integer("Available", "Nodes where it has been ready for at least minReadySeconds."),
            column("Node Selector", "Labels a node must have."),
            AGE,
            WIDE[0],
            WIDE[1],
            WIDE[2],
        ],
    )
};

/// Counts changes of the template; a field of `extensions/v1beta1` that lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Kind for DaemonSets {
    type Object = DaemonSet;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn before_decode(value: &mut Value) {
        workload::mark_empty_selector(value);
    }
    fn default(object: &mut DaemonSet) {
        canonical::metadata(&mut object.metadata);
        let spec = &mut object.spec;
        canonical::selector_keeping_empty(&mut spec.selector);
        prune!(spec; min_ready_seconds);
        defaults::template(&mut spec.template);
        let strategy = spec.update_strategy.get_or_insert_default();
        prune!(strategy; type_);
        if strategy.type_.get_or_insert_with(|| "RollingUpdate".to_owned()) == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        spec.revision_history_limit.get_or_insert(10);
        let status = object.status.get_or_insert_default();
        prune!(status; conditions, number_available, number_unavailable, observed_generation, updated_number_scheduled);
        // The internal type has a number where v1 has an annotation: it is there, and owned, from the first decode on.
        let generation = template_generation(object);
        set_template_generation(object, generation);
    }
    fn prepare_create(object: &mut DaemonSet) {
        object.status = Some(DaemonSetStatus::default());
        if template_generation(object) < 1 {
            set_template_generation(object, 1);
        }
    }
    fn validate(object: &DaemonSet) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_spec(&object.spec, &Path::new("spec"), &mut out);
        out
    }
    fn prepare_update(new: &mut DaemonSet, old: &DaemonSet) {
        new.status.clone_from(&old.status);
        let changed = i64::from(new.spec.template != old.spec.template);
        set_template_generation(new, template_generation(old).saturating_add(changed));
    }
    fn validate_update(new: &DaemonSet, old: &DaemonSet) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate_spec(&new.spec, &Path::new("spec"), &mut out);
        workload::validate_selector_unchanged(&new.spec.selector, &old.spec.selector, &mut out);
        out
    }
    fn prepare_status_update(new: &mut DaemonSet, old: &DaemonSet) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &DaemonSet, old: &DaemonSet) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let none = DaemonSetStatus::default();
        let (status, before) = (new.status.as_ref().unwrap_or(&none), old.status.as_ref().unwrap_or(&none));
        validate_status(status, &mut out);
        workload::validate_collision_count(status.collision_count, before.collision_count, &mut out);
        out
    }
    fn warnings(new: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(old) == template_generation(new)) {
            return Vec::new();
        }
        warnings::of_template(&new.spec.template, &Path::new("spec").child("template"))
    }
    fn cells(object: &DaemonSet, cx: &PrintContext) -> Vec<Value> {
        let none = DaemonSetStatus::default();
        let status = object.status.as_ref().unwrap_or(&none);
        let [containers, images] = workload::containers_and_images(Some(&object.spec.template));
        let nodes = object.spec.template.spec.as_ref().and_then(|s| s.node_selector.as_ref());
        vec![
            object.metadata.name.clone().into(),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or_default().into(),
            status.number_available.unwrap_or_default().into(),
            print::labels(nodes).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
            containers,
            images,
            workload::selector_cell(Some(&object.spec.selector)),
        ]
    }
}

fn template_generation(object: &DaemonSet) -> i64 {
    let annotations = object.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(TEMPLATE_GENERATION)).and_then(|n| n.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut DaemonSet, generation: i64) {
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn validate_spec(spec: &DaemonSetSpec, path: &Path, out: &mut Errors) {
    let template_path = path.child("template");
    let given = spec.selector.match_labels.is_some() || spec.selector.match_expressions.is_some();
    out.extend(names::validate_label_selector(&spec.selector, &path.child("selector")));
    if let Ok(selector) = Selector::from_label_selector(given.then_some(&spec.selector)) {
        template::validate_chosen(&selector, &spec.template, &template_path, out);
        if given && selector.is_everything() {
            let detail = "empty selector is invalid for daemonset";
            out.push(Error::invalid(&path.child("selector"), GoSelector(&spec.selector), detail));
        }
    }
    template::validate(&spec.template, &template_path, out);
    template::validate_always_running(&spec.template, "DaemonSet", &template_path, out);
    nonnegative(spec.min_ready_seconds.unwrap_or_default().into(), &path.child("minReadySeconds"), out);
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(strategy, &path.child("updateStrategy"), out);
    }
    if let Some(limit) = spec.revision_history_limit {
        nonnegative(limit.into(), &path.child("revisionHistoryLimit"), out);
    }
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, out: &mut Errors) {
    let rolling_path = path.child("rollingUpdate");
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => out.push(Error::required(&rolling_path, "")),
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path, out),
        (other, rolling) => {
            let rolling = rolling.as_ref().map(|r| (r.max_unavailable.as_ref(), r.max_surge.as_ref()));
            out.push(Error::not_supported(path, GoStrategy::new(other, rolling), &["RollingUpdate", "OnDelete"]));
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateDaemonSet, path: &Path, out: &mut Errors) {
    let value = |v: &Option<IntOrString>| v.clone().unwrap_or_default();
    let (unavailable, surge) = (value(&rolling.max_unavailable), value(&rolling.max_surge));
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    out.extend(rules::int_or_percent(&unavailable, &unavailable_path));
    out.extend(rules::int_or_percent(&surge, &surge_path));
    out.extend(rules::at_most_100_percent(&unavailable, &unavailable_path));
    out.extend(rules::at_most_100_percent(&surge, &surge_path));
    match (int_or_percent(&unavailable) != 0, int_or_percent(&surge) != 0) {
        (true, true) => {
            out.push(Error::invalid(&surge_path, &surge, "may not be set when maxUnavailable is non-zero"));
        }
        (false, false) => out.push(Error::required(&unavailable_path, "cannot be 0 when maxSurge is 0")),
        _ => {}
    }
}

fn validate_status(status: &DaemonSetStatus, out: &mut Errors) {
    let path = Path::new("status");
    let counts = [
        (status.current_number_scheduled, "currentNumberScheduled"),
        (status.number_misscheduled, "numberMisscheduled"),
        (status.desired_number_scheduled, "desiredNumberScheduled"),
        (status.number_ready, "numberReady"),
        (status.updated_number_scheduled.unwrap_or_default(), "updatedNumberScheduled"),
        (status.number_available.unwrap_or_default(), "numberAvailable"),
        (status.number_unavailable.unwrap_or_default(), "numberUnavailable"),
        (status.collision_count.unwrap_or_default(), "collisionCount"),
    ];
    for (value, field) in counts {
        nonnegative(value.into(), &path.child(field), out);
    }
    nonnegative(status.observed_generation.unwrap_or_default(), &path.child("observedGeneration"), out);
}
