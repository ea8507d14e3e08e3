//! Pods, and the templates they are made of.
use super::text::{Text, controller, date, items, name, number, selector, since, text};
use super::{container, volume};
use jiff::Timestamp;
use serde_json::Value;

pub fn describe(out: &mut Text, pod: &Value, now: Timestamp) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    out.field(0, "Name", &name(pod));
    out.field(0, "Namespace", &text(&pod["metadata"]["namespace"]));
    out.some(0, "Priority", &spec["priority"]);
    out.some(0, "Priority Class Name", &spec["priorityClassName"]);
    out.some(0, "Runtime Class Name", &spec["runtimeClassName"]);
    out.some(0, "Service Account", &spec["serviceAccountName"]);
    match spec["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(node) => out.field(0, "Node", &format!("{node}/{}", text(&status["hostIP"]))),
        None => out.field(0, "Node", "<none>"),
    }
    if status["startTime"].is_string() {
        out.field(0, "Start Time", &date(&status["startTime"]));
    }
    out.marks(pod);
    phase(out, pod, now);
    out.some(0, "Reason", &status["reason"]);
    out.some(0, "Message", &status["message"]);
    container::seccomp(out, 0, &spec["securityContext"]["seccompProfile"]);
    addresses(out, status);
    if let Some(owner) = controller(pod) {
        out.field(0, "Controlled By", &owner);
    }
    out.some(0, "NominatedNodeName", &status["nominatedNodeName"]);
    if spec["resources"].is_object() {
        out.line(0, "Resources:");
        container::resources(out, 1, &spec["resources"]);
    }
    let mut list = |title: &str, field: &str, statuses: &str| {
        container::all(out, title, items(&spec[field]), items(&status[statuses]), Some(pod));
    };
    if !items(&spec["initContainers"]).is_empty() {
        list("Init Containers", "initContainers", "initContainerStatuses");
    }
    list("Containers", "containers", "containerStatuses");
    if !items(&spec["ephemeralContainers"]).is_empty() {
        list("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses");
    }
    conditions(out, pod);
    volume::all(out, items(&spec["volumes"]), "");
    out.some(0, "QoS Class", &status["qosClass"]);
    out.labels("Node-Selectors", &spec["nodeSelector"]);
    tolerations(out, "Tolerations", &spec["tolerations"]);
    spreading(out, "", &spec["topologySpreadConstraints"]);
}

fn phase(out: &mut Text, pod: &Value, now: Timestamp) {
    let phase = text(&pod["status"]["phase"]);
    let metadata = &pod["metadata"];
    if metadata["deletionTimestamp"].is_string() && phase != "Failed" && phase != "Succeeded" {
        out.field(0, "Status", &format!("Terminating (lasts {})", since(&metadata["deletionTimestamp"], now)));
        out.field(0, "Termination Grace Period", &format!("{}s", number(&metadata["deletionGracePeriodSeconds"])));
    } else {
        out.field(0, "Status", &phase);
    }
}

fn addresses(out: &mut Text, status: &Value) {
    out.field(0, "IP", &text(&status["podIP"]));
    let all = items(&status["podIPs"]);
    if all.is_empty() {
        out.field(0, "IPs", "<none>");
        return;
    }
    out.line(0, "IPs:");
    for address in all {
        out.field(1, "IP", &text(&address["ip"]));
    }
}

fn conditions(out: &mut Text, pod: &Value) {
    let all = items(&pod["status"]["conditions"]);
    let gates = items(&pod["spec"]["readinessGates"]);
    if !gates.is_empty() {
        out.line(0, "Readiness Gates:\n  Type\tStatus");
        for gate in gates {
            let status = all.iter().find(|c| c["type"] == gate["conditionType"]).map(|c| text(&c["status"]));
            let status = status.unwrap_or_else(|| "<none>".into());
            out.line(1, &format!("{} \t{status} ", text(&gate["conditionType"])));
        }
    }
    if !all.is_empty() {
        out.line(0, "Conditions:\n  Type\tStatus");
        for condition in all {
            out.line(1, &format!("{} \t{} ", text(&condition["type"]), text(&condition["status"])));
        }
    }
}

fn tolerations(out: &mut Text, title: &str, all: &Value) {
    let mut all: Vec<&Value> = items(all).iter().collect();
    all.sort_by_key(|t| text(&t["key"]));
    let lines: Vec<String> = all.into_iter().map(toleration).collect();
    out.column(title, &lines);
}

fn toleration(t: &Value) -> String {
    let mut line = text(&t["key"]);
    for (field, mark) in [("value", '='), ("effect", ':')] {
        if let Some(value) = t[field].as_str().filter(|v| !v.is_empty()) {
            line.push(mark);
            line.push_str(value);
        }
    }
    if t["operator"] == "Exists" && text(&t["value"]).is_empty() {
        line.push_str(if line.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = t["tolerationSeconds"].as_i64() {
        line.push_str(&format!(" for {seconds}s"));
    }
    line
}

fn spreading(out: &mut Text, space: &str, constraints: &Value) {
    let mut all: Vec<&Value> = items(constraints).iter().collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|c| text(&c["topologyKey"]));
    let line = |c: &Value| {
        let chosen = if c["labelSelector"].is_object() {
            format!(" for selector {}", selector(&c["labelSelector"]))
        } else {
            String::new()
        };
        format!(
            "{}:{} when max skew {} is exceeded{chosen}",
            text(&c["topologyKey"]),
            text(&c["whenUnsatisfiable"]),
            number(&c["maxSkew"])
        )
    };
    let lines: Vec<String> = all.into_iter().map(line).collect();
    out.column(&format!("{space}Topology Spread Constraints"), &lines);
}

/// `Pod Template:` and what is in it.
pub fn template(out: &mut Text, template: &Value) {
    out.line(0, "Pod Template:");
    if template.is_null() {
        out.block("  <unset>");
        return;
    }
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    out.labels("  Labels", &metadata["labels"]);
    if metadata["annotations"].as_object().is_some_and(|a| !a.is_empty()) {
        out.annotations("  Annotations", &metadata["annotations"]);
    }
    out.some(1, "Service Account", &spec["serviceAccountName"]);
    if !items(&spec["initContainers"]).is_empty() {
        container::all(out, "Init Containers", items(&spec["initContainers"]), &[], None);
    }
    container::all(out, "Containers", items(&spec["containers"]), &[], None);
    volume::all(out, items(&spec["volumes"]), "  ");
    spreading(out, "  ", &spec["topologySpreadConstraints"]);
    out.some(1, "Priority Class Name", &spec["priorityClassName"]);
    out.labels("  Node-Selectors", &spec["nodeSelector"]);
    tolerations(out, "  Tolerations", &spec["tolerations"]);
}
