//! Rules of autoscalers (`pkg/apis/autoscaling/validation`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
    MetricIdentifier, MetricSpec, MetricTarget,
};
use crate::k8s::apimachinery::pkg::api::resource::Quantity;
use crate::kinds::pod::probes::nonnegative;
use crate::kinds::rules;
use crate::names;

const WINDOW_MAX_SECONDS: i32 = 3600;
const PERIOD_MAX_SECONDS: i32 = 1800;
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// `validateHorizontalPodAutoscalerSpec`
pub fn spec(spec: &HorizontalPodAutoscalerSpec, out: &mut Errors) {
    let path = Path::new("spec");
    if let Some(min) = spec.min_replicas.filter(|m| *m < 1) {
        out.push(Error::invalid(&path.child("minReplicas"), min, "must be greater than or equal to 1"));
    }
    let max_path = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        out.push(Error::invalid(&max_path, spec.max_replicas, "must be greater than 0"));
    }
    if spec.min_replicas.is_some_and(|min| spec.max_replicas < min) {
        let detail = "must be greater than or equal to `minReplicas`";
        out.push(Error::invalid(&max_path, spec.max_replicas, detail));
    }
    reference(&spec.scale_target_ref, &path.child("scaleTargetRef"), out);
    for (i, metric) in spec.metrics.iter().flatten().enumerate() {
        validate_metric(metric, &path.child("metrics").index(i), out);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (rules, field) in [(&behavior.scale_up, "scaleUp"), (&behavior.scale_down, "scaleDown")] {
            if let Some(rules) = rules {
                scaling_rules(rules, &path.child(field), out);
            }
        }
    }
}

fn reference(target: &CrossVersionObjectReference, path: &Path, out: &mut Errors) {
    for (value, field) in [(&target.kind, "kind"), (&target.name, "name")] {
        let path = path.child(field);
        if value.is_empty() {
            out.push(Error::required(&path, ""));
        } else {
            out.extend(invalid_each(&path, value, names::path_segment(value, false)));
        }
    }
}

fn validate_metric(metric: &MetricSpec, path: &Path, out: &mut Errors) {
    let type_path = path.child("type");
    let expected = SOURCES.iter().find(|(name, _)| *name == metric.type_).map(|(_, field)| *field);
    if metric.type_.is_empty() {
        out.push(Error::required(&type_path, "must specify a metric source type"));
    } else if expected.is_none() {
        out.push(Error::not_supported(&type_path, &metric.type_, &SOURCES.map(|(name, _)| name)));
    }
    let mut present = Vec::new();
    if let Some(source) = &metric.object {
        present.push("object");
        let path = path.child("object");
        reference(&source.described_object, &path.child("describedObject"), out);
        identifier(&source.metric, &path.child("metric"), out);
        target(&source.target, &path.child("target"), out);
        raw_value(&source.target, &path.child("target"), out);
    }
    if let Some(source) = &metric.external {
        present.push("external");
        let path = path.child("external");
        identifier(&source.metric, &path.child("metric"), out);
        target(&source.target, &path.child("target"), out);
        raw_value(&source.target, &path.child("target"), out);
        if source.target.value.is_some() && source.target.average_value.is_some() {
            let detail = "may not set both a target value for metric and a per-pod target";
            out.push(Error::forbidden(&path.child("target").child("value"), detail));
        }
    }
    if let Some(source) = &metric.pods {
        present.push("pods");
        let path = path.child("pods");
        identifier(&source.metric, &path.child("metric"), out);
        target(&source.target, &path.child("target"), out);
        if source.target.average_value.as_ref().is_none_or(|v| rules::number(v).sign() <= 0) {
            let detail = "must specify a positive target averageValue";
            out.push(Error::required(&path.child("target").child("averageValue"), detail));
        }
    }
    if let Some(source) = &metric.container_resource {
        present.push("containerResource");
        let path = path.child("containerResource");
        if source.container.is_empty() {
            out.push(Error::required(&path.child("container"), "must specify a container"));
        }
        resource(&source.name, &source.target, &path, out);
    }
    if let Some(source) = &metric.resource {
        present.push("resource");
        resource(&source.name, &source.target, &path.child("resource"), out);
    }
    only_source(expected, &present, path, out);
}

/// The source that the type names, and no other.
fn only_source(expected: Option<&str>, present: &[&str], path: &Path, out: &mut Errors) {
    let Some(expected) = expected else { return };
    if !present.contains(&expected) {
        out.push(Error::required(&path.child(expected), "must populate information for the given metric source"));
    }
    if present.len() != 1 {
        let mut others: Vec<&str> = present.iter().copied().filter(|source| *source != expected).collect();
        others.sort_unstable();
        let detail = "must populate the given metric source only";
        out.extend(others.into_iter().map(|source| Error::forbidden(&path.child(source), detail)));
    }
}

fn resource(name: &str, metric_target: &MetricTarget, path: &Path, out: &mut Errors) {
    if name.is_empty() {
        out.push(Error::required(&path.child("name"), "must specify a resource name"));
    }
    let path = path.child("target");
    target(metric_target, &path, out);
    match (metric_target.average_utilization.is_some(), metric_target.average_value.is_some()) {
        (false, false) => {
            let detail = "must set either a target raw value or a target utilization";
            out.push(Error::required(&path.child("averageUtilization"), detail));
        }
        (true, true) => {
            let detail = "may not set both a target raw value and a target utilization";
            out.push(Error::forbidden(&path.child("averageValue"), detail));
        }
        _ => {}
    }
}

fn raw_value(target: &MetricTarget, path: &Path, out: &mut Errors) {
    if target.value.is_none() && target.average_value.is_none() {
        let detail = "must set either a target value for metric or a per-pod target";
        out.push(Error::required(&path.child("averageValue"), detail));
    }
}

fn identifier(metric: &MetricIdentifier, path: &Path, out: &mut Errors) {
    let path = path.child("name");
    if metric.name.is_empty() {
        out.push(Error::required(&path, "must specify a metric name"));
    } else {
        out.extend(invalid_each(&path, &metric.name, names::path_segment(&metric.name, false)));
    }
}

fn target(target: &MetricTarget, path: &Path, out: &mut Errors) {
    let type_path = path.child("type");
    match target.type_.as_str() {
        "" => out.push(Error::required(&type_path, "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            out.push(Error::invalid(&type_path, other, "must be either Utilization, Value, or AverageValue"));
        }
    }
    let positive = |value: &Option<Quantity>, field: &str, out: &mut Errors| {
        if let Some(value) = value.as_ref().filter(|v| rules::number(v).sign() <= 0) {
            out.push(Error::invalid(&path.child(field), &value.0, "must be positive"));
        }
    };
    positive(&target.value, "value", out);
    positive(&target.average_value, "averageValue", out);
    if let Some(percent) = target.average_utilization.filter(|p| *p < 1) {
        out.push(Error::invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path, out: &mut Errors) {
    if let Some(window) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if window < 0 {
            out.push(Error::invalid(&path, window, "must be greater than or equal to zero"));
        }
        if window > WINDOW_MAX_SECONDS {
            let detail = format!("must be less than or equal to {WINDOW_MAX_SECONDS}");
            out.push(Error::invalid(&path, window, detail));
        }
    }
    const SELECT: [&str; 3] = ["Disabled", "Max", "Min"];
    if let Some(select) = rules.select_policy.as_deref().filter(|s| !SELECT.contains(s)) {
        out.push(Error::not_supported(&path.child("selectPolicy"), select, &SELECT));
    }
    let path = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        out.push(Error::required(&path, "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = path.index(i);
        if !matches!(policy.type_.as_str(), "Pods" | "Percent") {
            out.push(Error::not_supported(&path.child("type"), &policy.type_, &["Percent", "Pods"]));
        }
        for (value, field) in [(policy.value, "value"), (policy.period_seconds, "periodSeconds")] {
            if value <= 0 {
                out.push(Error::invalid(&path.child(field), value, "must be greater than zero"));
            }
        }
        if policy.period_seconds > PERIOD_MAX_SECONDS {
            let detail = format!("must be less than or equal to {PERIOD_MAX_SECONDS}");
            out.push(Error::invalid(&path.child("periodSeconds"), policy.period_seconds, detail));
        }
    }
}

/// `validateHorizontalPodAutoscalerStatus`
pub fn status(status: Option<&HorizontalPodAutoscalerStatus>, out: &mut Errors) {
    let Some(status) = status else { return };
    let path = Path::new("status");
    nonnegative(status.current_replicas.unwrap_or_default().into(), &path.child("currentReplicas"), out);
    nonnegative(status.desired_replicas.into(), &path.child("desiredReplicas"), out);
}
