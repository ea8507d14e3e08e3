//! LimitRanger: containers get the namespace's default requests and limits, and must stay within its bounds
//! (`plugin/pkg/admission/limitranger`).
use isopod_api::k8s::api::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use isopod_api::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use isopod_api::quantity::{Format, Quantity, parse};
use std::collections::BTreeMap;

type List = BTreeMap<String, Text>;
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn items(ranges: &[LimitRange]) -> impl Iterator<Item = &LimitRangeItem> {
    ranges.iter().filter_map(|r| r.spec.as_ref()).flat_map(|s| s.limits.iter())
}

/// Fills in defaults; what was set is written into an annotation.
pub fn default_pod(pod: &mut Pod, ranges: &[LimitRange]) {
    for range in ranges {
        let (mut requests, mut limits) = (List::new(), List::new());
        for item in items(std::slice::from_ref(range)).filter(|i| i.type_ == "Container") {
            requests.extend(item.default_request.clone().unwrap_or_default());
            limits.extend(item.default.clone().unwrap_or_default());
        }
        let Some(spec) = pod.spec.as_mut() else { return };
        let mut notes = Vec::new();
        for container in &mut spec.containers {
            fill(container, "container", &requests, &limits, &mut notes);
        }
        for container in spec.init_containers.iter_mut().flatten() {
            fill(container, "init container", &requests, &limits, &mut notes);
        }
        if !notes.is_empty() {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", notes.join("; ")));
        }
    }
}

fn fill(container: &mut Container, kind: &str, requests: &List, limits: &List, notes: &mut Vec<String>) {
    let resources = container.resources.get_or_insert_default();
    for (defaults, list, word) in
        [(requests, &mut resources.requests, "request"), (limits, &mut resources.limits, "limit")]
    {
        let missing: Vec<(&String, &Text)> =
            defaults.iter().filter(|(k, _)| !list.as_ref().is_some_and(|l| l.contains_key(*k))).collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.iter().map(|(k, _)| k.as_str()).collect();
        let note = format!("{} {word} for {kind} {}", names.join(", "), container.name);
        let list = list.get_or_insert_default();
        list.extend(missing.into_iter().map(|(k, v)| (k.clone(), v.clone())));
        notes.push(note);
    }
}

/// The bounds a pod breaks.
pub fn check_pod(pod: &Pod, ranges: &[LimitRange]) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut broken = Vec::new();
    for item in items(ranges) {
        match item.type_.as_str() {
            "Container" => {
                for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                    let (requests, limits) = lists(container);
                    check(item, &requests, &limits, &mut broken);
                }
            }
            "Pod" => {
                let (requests, limits): (Vec<List>, Vec<List>) = spec.containers.iter().map(lists).unzip();
                check(item, &sum(&requests), &sum(&limits), &mut broken);
            }
            _ => {}
        }
    }
    broken
}

/// The bounds a claim breaks: its request alone counts.
pub fn check_claim(claim: &PersistentVolumeClaim, ranges: &[LimitRange]) -> Vec<String> {
    let resources = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let requests = resources.and_then(|r| r.requests.clone()).unwrap_or_default();
    let mut broken = Vec::new();
    for item in items(ranges).filter(|i| i.type_ == "PersistentVolumeClaim") {
        for (name, bound) in item.min.iter().flatten() {
            broken.extend(minimum(item, name, bound, &requests, &List::new()));
        }
        for (name, bound) in item.max.iter().flatten() {
            let request = requests.get(name).map(read);
            if request.is_some_and(|r| r > read(bound)) {
                broken.push(format!(
                    "maximum {name} usage per {} is {}, but request is {}",
                    item.type_,
                    bound.0,
                    shown(&requests, name)
                ));
            }
        }
    }
    broken
}

fn lists(container: &Container) -> (List, List) {
    let resources = container.resources.clone().unwrap_or_default();
    (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default())
}

/// Totals of what every container names; what one of them leaves out has no total.
fn sum(lists: &[List]) -> List {
    let Some(first) = lists.first() else { return List::new() };
    let shared = first.keys().filter(|k| lists.iter().all(|l| l.contains_key(*k)));
    shared
        .map(|key| {
            let mut total = Quantity::new(0, Format::DecimalSi);
            lists.iter().filter_map(|l| l.get(key)).for_each(|q| total.add(&read(q)));
            (key.clone(), Text(total.to_string()))
        })
        .collect()
}

fn check(item: &LimitRangeItem, requests: &List, limits: &List, broken: &mut Vec<String>) {
    for (name, bound) in item.min.iter().flatten() {
        broken.extend(minimum(item, name, bound, requests, limits));
    }
    for (name, bound) in item.max.iter().flatten() {
        broken.extend(maximum(item, name, bound, requests, limits));
    }
    for (name, bound) in item.max_limit_request_ratio.iter().flatten() {
        broken.extend(ratio(item, name, bound, requests, limits));
    }
}

fn minimum(item: &LimitRangeItem, name: &str, bound: &Text, requests: &List, limits: &List) -> Option<String> {
    let rule = format!("minimum {name} usage per {} is {}", item.type_, bound.0);
    let at_least = read(bound);
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{rule}.  No request is specified")),
        (Some(r), _) if read(r) < at_least => Some(format!("{rule}, but request is {}", r.0)),
        (_, Some(l)) if read(l) < at_least => Some(format!("{rule}, but limit is {}", l.0)),
        _ => None,
    }
}

fn maximum(item: &LimitRangeItem, name: &str, bound: &Text, requests: &List, limits: &List) -> Option<String> {
    let rule = format!("maximum {name} usage per {} is {}", item.type_, bound.0);
    let at_most = read(bound);
    match (limits.get(name), requests.get(name)) {
        (None, _) => Some(format!("{rule}.  No limit is specified")),
        (Some(l), _) if read(l) > at_most => Some(format!("{rule}, but limit is {}", l.0)),
        (_, Some(r)) if read(r) > at_most => Some(format!("{rule}, but request is {}", r.0)),
        _ => None,
    }
}

fn ratio(item: &LimitRangeItem, name: &str, bound: &Text, requests: &List, limits: &List) -> Option<String> {
    let rule = format!("{name} max limit to request ratio per {} is {}", item.type_, bound.0);
    let given = |list: &List| list.get(name).map(read).filter(|q| !q.is_zero());
    let Some(request) = given(requests) else {
        return Some(format!("{rule}, but no request is specified or request is 0"));
    };
    let Some(limit) = given(limits) else {
        return Some(format!("{rule}, but no limit is specified or limit is 0"));
    };
    let observed = limit.as_f64() / request.as_f64();
    (observed > read(bound).as_f64()).then(|| format!("{rule}, but provided ratio is {observed:.6}"))
}

/// Quantities were checked when they were decoded.
fn read(text: &Text) -> Quantity {
    parse(text).unwrap_or(Quantity::ZERO)
}

fn shown(list: &List, name: &str) -> String {
    list.get(name).map(|q| q.0.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn range(limits: Value) -> Vec<LimitRange> {
        vec![serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": {"limits": limits}})).unwrap()]
    }
    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}}))
            .unwrap()
    }

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let ranges = range(
            json!([{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]),
        );
        let mut p = pod(json!({"limits": {"memory": "2Gi"}}));
        default_pod(&mut p, &ranges);
        assert_eq!(
            serde_json::to_value(&p.spec.unwrap().containers[0].resources).unwrap(),
            json!({"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            p.metadata.annotations.unwrap()[ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        );
    }

    #[test]
    fn bounds_are_kept() {
        let cases = [
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({}),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({"requests": {"cpu": "50m"}}),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({"limits": {"cpu": "2"}}),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                json!({"requests": {"cpu": "2"}}),
                "maximum cpu usage per Pod is 1.  No limit is specified",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
        ];
        for (item, resources, expected) in cases {
            assert_eq!(check_pod(&pod(resources), &range(json!([item]))), [expected]);
        }
        let fine = pod(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}));
        let all = range(
            json!([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2"}}]),
        );
        assert_eq!(check_pod(&fine, &all), Vec::<String>::new());
    }
}
