//! HorizontalPodAutoscaler: as many replicas as a metric asks for (`pkg/apis/autoscaling/{v2,validation}`,
//! `pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go`). Served as v2 and v1, stored as v2.
mod printing;
pub mod v1;
mod validate;

use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::Errors;
use crate::k8s::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use crate::kinds::pod::canonical::{self, prune};
use crate::kinds::rules;
use crate::names;
use crate::print::{AGE, NAME, column};
use crate::quantity::canonicalize;
use serde_json::Value;

/// The row of autoscalers.
pub struct HorizontalPodAutoscalers;

const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "What it scales."),
    column("Targets", "Each metric as it is, and as it should be."),
    column("MinPods", "Never fewer replicas."),
    column("MaxPods", "Never more replicas."),
    column("Replicas", "Replicas there are."),
    AGE,
];

const fn descriptor(version: &'static str) -> Descriptor {
    Descriptor {
        short_names: &["hpa"],
        categories: &["all"],
        status: true,
        ..Descriptor::new(
            ("autoscaling", version),
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            Scope::Namespaced,
            COLUMNS,
        )
    }
}

static DESCRIPTOR: Descriptor = descriptor("v2");

impl Kind for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut HorizontalPodAutoscaler) {
        canonical::metadata(&mut object.metadata);
        default_spec(&mut object.spec);
        let status = object.status.get_or_insert_default();
        prune!(status; conditions, current_replicas);
    }
    fn prepare_create(object: &mut HorizontalPodAutoscaler) {
        object.status = Some(HorizontalPodAutoscalerStatus::default());
    }
    fn validate(object: &HorizontalPodAutoscaler) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate::spec(&object.spec, &mut out);
        out
    }
    fn prepare_update(new: &mut HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate::spec(&new.spec, &mut out);
        out
    }
    fn prepare_status_update(new: &mut HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        validate::status(new.status.as_ref(), &mut out);
        out
    }
    fn cells(object: &HorizontalPodAutoscaler, cx: &PrintContext) -> Vec<Value> {
        printing::cells(object, cx)
    }
    /// Go writes a status without metrics as `null`, and clients see it.
    fn to_storage(mut value: Value) -> Value {
        if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
            status.entry("currentMetrics").or_insert(Value::Null);
        }
        value
    }
}

/// `pkg/apis/autoscaling/v2/defaults.go`
fn default_spec(spec: &mut HorizontalPodAutoscalerSpec) {
    spec.min_replicas.get_or_insert(1);
    prune!(spec; metrics);
    let metrics = spec.metrics.get_or_insert_with(|| vec![cpu_at(80)]);
    for metric in metrics {
        let targets = [
            metric.resource.as_mut().map(|m| &mut m.target),
            metric.container_resource.as_mut().map(|m| &mut m.target),
            metric.pods.as_mut().map(|m| &mut m.target),
            metric.object.as_mut().map(|m| &mut m.target),
            metric.external.as_mut().map(|m| &mut m.target),
        ];
        for target in targets.into_iter().flatten() {
            target.value.iter_mut().chain(target.average_value.iter_mut()).for_each(canonicalize);
        }
    }
    if let Some(behavior) = &mut spec.behavior {
        default_behavior(behavior);
    }
}

/// The one metric that everybody has.
fn cpu_at(percent: i32) -> MetricSpec {
    let target =
        MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(percent), ..MetricTarget::default() };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}

/// Up: at once, by the more of four pods and the double every 15 seconds. Down: all that is too much, after the window the
/// controller has (five minutes).
fn default_behavior(behavior: &mut HorizontalPodAutoscalerBehavior) {
    let policy = |type_: &str, value: i32| HPAScalingPolicy { type_: type_.to_owned(), value, period_seconds: 15 };
    let fill = |rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>| {
        rules.select_policy.get_or_insert_with(|| "Max".to_owned());
        rules.policies.get_or_insert(policies);
        rules.tolerance.iter_mut().for_each(canonicalize);
    };
    if let Some(up) = &mut behavior.scale_up {
        up.stabilization_window_seconds.get_or_insert(0);
        fill(up, vec![policy("Pods", 4), policy("Percent", 100)]);
    } else {
        let mut up = HPAScalingRules { stabilization_window_seconds: Some(0), ..HPAScalingRules::default() };
        fill(&mut up, vec![policy("Pods", 4), policy("Percent", 100)]);
        behavior.scale_up = Some(up);
    }
    fill(behavior.scale_down.get_or_insert_default(), vec![policy("Percent", 100)]);
}
