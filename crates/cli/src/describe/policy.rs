//! Rules over others: disruption budgets, autoscalers, roles and who has them.
use super::text::{Text, date, items, name, number, selector, text, text_or};
use serde_json::Value;

pub fn disruption_budget(out: &mut Text, o: &Value) {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    if spec["minAvailable"].is_null() {
        out.some(0, "Max unavailable", &spec["maxUnavailable"]);
    } else {
        out.some(0, "Min available", &spec["minAvailable"]);
    }
    let chosen = if spec["selector"].is_object() { selector(&spec["selector"]) } else { "<unset>".into() };
    out.field(0, "Selector", &chosen);
    out.line(0, "Status:");
    for (title, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        out.field(2, title, &number(&status[field]).to_string());
    }
}

pub fn autoscaler(out: &mut Text, o: &Value) {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.head(o);
    out.field(0, "CreationTimestamp", &date(&o["metadata"]["creationTimestamp"]));
    let target = &spec["scaleTargetRef"];
    out.field(0, "Reference", &format!("{}/{}", text(&target["kind"]), text(&target["name"])));
    out.field(0, "Metrics", "( current / target )");
    for (i, metric) in items(&spec["metrics"]).iter().enumerate() {
        let current = &status["currentMetrics"][i];
        out.line(1, &measured(metric, current, target));
    }
    out.field(0, "Min replicas", &text_or(&spec["minReplicas"], "<unset>"));
    out.field(0, "Max replicas", &number(&spec["maxReplicas"]).to_string());
    behaviour(out, &spec["behavior"]);
    out.line(
        0,
        &format!(
            "{} pods:\t{} current / {} desired",
            text(&target["kind"]),
            number(&status["currentReplicas"]),
            number(&status["desiredReplicas"])
        ),
    );
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:\n  Type\tStatus\tReason\tMessage");
        out.line(1, "----\t------\t------\t-------");
        for c in conditions {
            let (kind, status) = (text(&c["type"]), text(&c["status"]));
            out.line(1, &format!("{kind}\t{status}\t{}\t{}", text(&c["reason"]), text(&c["message"])));
        }
    }
}

fn measured(metric: &Value, current: &Value, target: &Value) -> String {
    let unknown = "<unknown>";
    let object = |title: String, source: &str| {
        let (wanted, now) = (&metric[source]["target"], &current[source]["current"]);
        let (field, suffix) = if wanted["averageValue"].is_null() { ("value", "") } else { ("averageValue", "") };
        format!("{title}{suffix}:\t{} / {}", text_or(&now[field], unknown), text(&wanted[field]))
    };
    match metric["type"].as_str() {
        Some("Resource") => {
            let (resource, wanted) = (&metric["resource"], &metric["resource"]["target"]);
            let now = &current["resource"]["current"];
            let title = format!("resource {} on pods", text(&resource["name"]));
            if wanted["averageValue"].is_null() {
                let used = match now["averageUtilization"].as_i64() {
                    Some(percent) => format!("{percent}% ({})", text(&now["averageValue"])),
                    None => unknown.into(),
                };
                format!("{title}  (as a percentage of request):\t{used} / {}%", number(&wanted["averageUtilization"]))
            } else {
                format!("{title}:\t{} / {}", text_or(&now["averageValue"], unknown), text(&wanted["averageValue"]))
            }
        }
        Some("Pods") => object(format!("{:?} on pods", text(&metric["pods"]["metric"]["name"])), "pods"),
        Some("External") => {
            object(format!("{:?} (target value)", text(&metric["external"]["metric"]["name"])), "external")
        }
        Some("Object") => {
            let described = &metric["object"]["describedObject"];
            let on = format!("{}/{}", text(&described["kind"]), text(&described["name"]));
            object(format!("{:?} on {on}", text(&metric["object"]["metric"]["name"])), "object")
        }
        _ => format!("<unknown metric type {:?}> {}", text(&metric["type"]), text(&target["name"])),
    }
}

fn behaviour(out: &mut Text, behaviour: &Value) {
    if !behaviour.is_object() {
        return;
    }
    out.line(0, "Behavior:");
    for (title, field) in [("Scale Up", "scaleUp"), ("Scale Down", "scaleDown")] {
        let rules = &behaviour[field];
        if !rules.is_object() {
            continue;
        }
        out.line(1, &format!("{title}:"));
        if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
            out.line(2, &format!("Stabilization Window: {seconds} seconds"));
        }
        if !items(&rules["policies"]).is_empty() {
            out.line(2, &format!("Select Policy: {}", text_or(&rules["selectPolicy"], "Max")));
            out.line(2, "Policies:");
            for p in items(&rules["policies"]) {
                let (kind, value, period) = (text(&p["type"]), number(&p["value"]), number(&p["periodSeconds"]));
                out.line(3, &format!("- Type: {kind}\tValue: {value}\tPeriod: {period} seconds"));
            }
        }
    }
}

/// Roles and ClusterRoles.
pub fn role(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    out.marks(o);
    out.line(0, "PolicyRule:");
    out.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    out.line(1, "---------\t-----------------\t--------------\t-----");
    let list = |all: &[String]| format!("[{}]", all.join(" "));
    let words = |v: &Value| items(v).iter().map(text).collect::<Vec<_>>();
    let mut rows = std::collections::BTreeMap::<(String, String, String), Vec<String>>::new();
    for rule in items(&o["rules"]) {
        let (names, urls, verbs) =
            (words(&rule["resourceNames"]), words(&rule["nonResourceURLs"]), words(&rule["verbs"]));
        let mut targets: Vec<String> = Vec::new();
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                targets.push(if group.is_empty() { resource } else { format!("{resource}.{group}") });
            }
        }
        if targets.is_empty() {
            targets.push(String::new());
        }
        for target in targets {
            let key = (target, list(&names), list(&urls));
            let known = rows.entry(key).or_default();
            for verb in &verbs {
                if !known.contains(verb) {
                    known.push(verb.clone());
                }
            }
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    // kubectl sorts rules by their compact form, in which the group stands in front.
    rows.sort_by_key(|((target, names, _), _)| {
        let (resource, group) = target.split_once('.').map_or((target.as_str(), ""), |(r, g)| (r, g));
        (std::cmp::Reverse(group.to_owned()), std::cmp::Reverse(resource.to_owned()), names.clone())
    });
    for ((target, names, urls), verbs) in rows {
        out.line(1, &format!("{target}\t{urls}\t{names}\t{}", list(&verbs)));
    }
}

pub fn binding(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    out.marks(o);
    out.line(0, "Role:");
    out.field(1, "Kind", &text(&o["roleRef"]["kind"]));
    out.field(1, "Name", &text(&o["roleRef"]["name"]));
    out.line(0, "Subjects:");
    out.line(1, "Kind\tName\tNamespace");
    out.line(1, "----\t----\t---------");
    for subject in items(&o["subjects"]) {
        let (kind, who, namespace) = (text(&subject["kind"]), text(&subject["name"]), text(&subject["namespace"]));
        out.line(1, &format!("{kind}\t{who}\t{namespace}"));
    }
}
