//! The row of an autoscaler (`printHorizontalPodAutoscaler`).
use crate::catalogue::PrintContext;
use crate::k8s::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use crate::print;
use serde_json::Value;

/// One cell for each column.
pub fn cells(object: &HorizontalPodAutoscaler, cx: &PrintContext) -> Vec<Value> {
    let (spec, status) = (&object.spec, object.status.as_ref());
    let statuses = status.and_then(|s| s.current_metrics.as_deref()).unwrap_or_default();
    vec![
        object.metadata.name.clone().into(),
        format!("{}/{}", spec.scale_target_ref.kind, spec.scale_target_ref.name).into(),
        targets(spec.metrics.as_deref().unwrap_or_default(), statuses).into(),
        spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        spec.max_replicas.into(),
        status.and_then(|s| s.current_replicas).unwrap_or_default().into(),
        print::age_cell(object.metadata.creation_timestamp.as_ref(), cx),
    ]
}

/// Two metrics, and how many more there are.
fn targets(metrics: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    const SHOWN: usize = 2;
    let texts: Vec<String> = metrics.iter().enumerate().map(|(i, m)| metric(m, statuses.get(i))).collect();
    match texts.len() {
        0 => "<none>".to_owned(),
        count if count > SHOWN => {
            let first = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            format!("{first} + {} more...", count.saturating_sub(SHOWN))
        }
        _ => texts.join(", "),
    }
}

fn metric(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    if let Some(source) = &spec.resource {
        let current = status.and_then(|s| s.resource.as_ref()).map(|s| &s.current);
        return format!("{}: {}", source.name, resource(&source.target, current));
    }
    if let Some(source) = &spec.container_resource {
        let current = status.and_then(|s| s.container_resource.as_ref()).map(|s| &s.current);
        return format!("{}: {}", source.name, resource(&source.target, current));
    }
    if let Some(source) = &spec.pods {
        return average(&source.target, status.and_then(|s| s.pods.as_ref()).map(|s| &s.current), "");
    }
    if let Some(source) = &spec.object {
        return value(&source.target, status.and_then(|s| s.object.as_ref()).map(|s| &s.current));
    }
    if let Some(source) = &spec.external {
        return value(&source.target, status.and_then(|s| s.external.as_ref()).map(|s| &s.current));
    }
    "<unknown type>".to_owned()
}

const UNKNOWN: &str = "<unknown>";

fn resource(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if target.average_value.is_some() {
        return average(target, current, "");
    }
    let percent = |n: Option<i32>, none: &str| n.map_or_else(|| none.to_owned(), |n| format!("{n}%"));
    let now = percent(current.and_then(|c| c.average_utilization), UNKNOWN);
    format!("{now}/{}", percent(target.average_utilization, "<auto>"))
}

fn average(target: &MetricTarget, current: Option<&MetricValueStatus>, tail: &str) -> String {
    let now = current.and_then(|c| c.average_value.as_ref()).map_or(UNKNOWN, |q| &q.0);
    let wanted = target.average_value.as_ref().map_or("<auto>", |q| &q.0);
    format!("{now}/{wanted}{tail}")
}

fn value(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if target.average_value.is_some() {
        return average(target, current, " (avg)");
    }
    let now = current.and_then(|c| c.value.as_ref()).map_or(UNKNOWN, |q| &q.0);
    format!("{now}/{}", target.value.as_ref().map_or("<auto>", |q| &q.0))
}
