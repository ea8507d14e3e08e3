//! `autoscaling/v1`: one percentage of cpu. What v2 says beyond that rides along in annotations, so that a client of v1 can
//! write back what it has read and lose nothing (`pkg/apis/autoscaling/v1/conversion.go`).
use super::{HorizontalPodAutoscalers as V2, printing};
use crate::catalogue::{Descriptor, Kind, PrintContext};
use crate::field::Errors;
use crate::k8s::api::autoscaling::v1::HorizontalPodAutoscaler;
use crate::k8s::api::autoscaling::v2;
use crate::kinds::pod::canonical::{self, prune};
use serde_json::{Map, Value, json};

/// The row of autoscalers as `autoscaling/v1`.
pub struct HorizontalPodAutoscalersV1;

static DESCRIPTOR: Descriptor = super::descriptor("v1");

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

impl Kind for HorizontalPodAutoscalersV1 {
    type Object = HorizontalPodAutoscaler;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut HorizontalPodAutoscaler) {
        canonical::metadata(&mut object.metadata);
        object.spec.min_replicas.get_or_insert(1);
        let status = object.status.get_or_insert_default();
        prune!(status; current_cpu_utilization_percentage, observed_generation);
    }
    fn prepare_create(object: &mut HorizontalPodAutoscaler) {
        object.status = Some(Default::default());
    }
    fn validate(object: &HorizontalPodAutoscaler) -> Errors {
        V2::validate(&newest(object))
    }
    fn prepare_update(new: &mut HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) -> Errors {
        V2::validate_update(&newest(new), &newest(old))
    }
    fn prepare_status_update(new: &mut HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler) -> Errors {
        V2::validate_status_update(&newest(new), &newest(old))
    }
    fn cells(object: &HorizontalPodAutoscaler, cx: &PrintContext) -> Vec<Value> {
        printing::cells(&newest(object), cx)
    }
    fn from_storage(value: Value) -> Value {
        to_v1(value)
    }
    fn to_storage(value: Value) -> Value {
        V2::to_storage(to_v2(value))
    }
}

/// The same object as v2, whose rules hold for both.
fn newest(object: &HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let value = serde_json::to_value(object).map(to_v2).unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

/// The percentage of a cpu metric.
fn cpu_percent(metric: &Value, of: &str) -> Option<i64> {
    let resource = metric.get("resource").filter(|r| metric["type"] == "Resource" && r["name"] == "cpu")?;
    resource.get(of)?.get("averageUtilization")?.as_i64()
}

fn fields<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    value.get_mut(name).and_then(Value::as_object_mut)
}

fn to_v1(mut value: Value) -> Value {
    let mut kept: Vec<(&str, Value)> = Vec::new();
    let mut split = |fields: Option<&mut Map<String, Value>>, (list, of, flat): (&str, &str, &str), key| {
        let Some(fields) = fields else { return };
        let Some(Value::Array(metrics)) = fields.remove(list) else { return };
        let first = metrics.iter().position(|m| cpu_percent(m, of).is_some());
        let percent = first.and_then(|i| cpu_percent(metrics.get(i)?, of));
        let rest: Vec<Value> =
            metrics.into_iter().enumerate().filter(|(i, _)| Some(*i) != first).map(|(_, m)| m).collect();
        if let Some(percent) = percent {
            fields.insert(flat.to_owned(), percent.into());
        }
        if !rest.is_empty() {
            kept.push((key, rest.into()));
        }
    };
    split(fields(&mut value, "spec"), ("metrics", "target", "targetCPUUtilizationPercentage"), METRICS);
    let current = ("currentMetrics", "current", "currentCPUUtilizationPercentage");
    split(fields(&mut value, "status"), current, CURRENT_METRICS);
    let mut keep = |part: &str, field: &str, key: &'static str| {
        kept.extend(fields(&mut value, part).and_then(|f| f.remove(field)).map(|v| (key, v)));
    };
    keep("spec", "behavior", BEHAVIOR);
    keep("status", "conditions", CONDITIONS);
    value["apiVersion"] = json!("autoscaling/v1");
    for (key, kept) in kept {
        value["metadata"]["annotations"][key] = kept.to_string().into();
    }
    value
}

fn to_v2(mut value: Value) -> Value {
    let mut take = |key: &str| -> Option<Value> {
        let annotations = value.pointer_mut("/metadata/annotations")?.as_object_mut()?;
        // What is no JSON was not put there by us: it is dropped with its annotation, as upstream does.
        serde_json::from_str(annotations.remove(key)?.as_str()?).ok()
    };
    let (metrics, behavior) = (take(METRICS), take(BEHAVIOR));
    let (current, conditions) = (take(CURRENT_METRICS), take(CONDITIONS));
    if value.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
        fields(&mut value, "metadata").and_then(|m| m.remove("annotations"));
    }
    let cpu = |percent: Value, of: &str| {
        let mut of_target = json!({"averageUtilization": percent});
        if of == "target" {
            of_target["type"] = json!("Utilization");
        }
        let mut resource = json!({"name": "cpu"});
        resource[of] = of_target;
        json!({"type": "Resource", "resource": resource})
    };
    let mut join = |part: &str, flat: &str, of: &str, list: &str, rest: Option<Value>| {
        let Some(fields) = fields(&mut value, part) else { return };
        let mut all: Vec<Value> = fields.remove(flat).into_iter().map(|percent| cpu(percent, of)).collect();
        if let Some(Value::Array(rest)) = rest {
            all.extend(rest);
        }
        if !all.is_empty() {
            fields.insert(list.to_owned(), all.into());
        }
    };
    join("spec", "targetCPUUtilizationPercentage", "target", "metrics", metrics);
    join("status", "currentCPUUtilizationPercentage", "current", "currentMetrics", current);
    let mut put = |part: &str, field: &str, kept: Option<Value>| {
        if let (Some(fields), Some(kept)) = (fields(&mut value, part), kept) {
            fields.insert(field.to_owned(), kept);
        }
    };
    put("spec", "behavior", behavior);
    put("status", "conditions", conditions);
    value["apiVersion"] = json!("autoscaling/v2");
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_loses_nothing() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "5"}}});
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "metrics": [cpu, pods], "behavior": {"scaleDown": {"selectPolicy": "Min"}}},
            "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]},
        });
        let served = to_v1(stored.clone());
        assert_eq!(served["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert_eq!(served["status"], json!({"desiredReplicas": 1}));
        assert_eq!(to_v2(served), stored);
    }
}
