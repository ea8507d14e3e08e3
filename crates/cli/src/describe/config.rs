//! What pods are given and what a namespace may hold: ConfigMaps, Secrets, ServiceAccounts, quotas, limits, Namespaces.
use super::Describer;
use super::text::{Text, items, name, number, text, text_or};
use crate::error::Result;
use base64::Engine as _;
use isopod_api::quantity::Quantity;
use serde_json::{Map, Value};

fn sorted(map: &Value) -> Vec<(&String, &Value)> {
    let mut all: Vec<_> = map.as_object().into_iter().flatten().collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

fn length(encoded: &Value) -> usize {
    base64::engine::general_purpose::STANDARD.decode(text(encoded)).map_or(0, |bytes| bytes.len())
}

pub fn config_map(out: &mut Text, o: &Value) {
    out.head(o);
    out.line(0, "\nData\n====");
    for (key, value) in sorted(&o["data"]) {
        out.line(0, &format!("{key}:\n----\n{}\n", text(value)));
    }
    out.line(0, "\nBinaryData\n====");
    for (key, value) in sorted(&o["binaryData"]) {
        out.line(0, &format!("{key}: {} bytes", length(value)));
    }
    out.line(0, "");
}

pub fn secret(out: &mut Text, o: &Value) {
    out.head(o);
    out.line(0, &format!("\nType:\t{}\n\nData\n====", text(&o["type"])));
    for (key, value) in sorted(&o["data"]) {
        if o["type"] == "kubernetes.io/service-account-token" && key == "token" {
            let token = base64::engine::general_purpose::STANDARD.decode(text(value)).unwrap_or_default();
            out.field(0, key, &String::from_utf8_lossy(&token));
        } else {
            out.field(0, key, &format!("{} bytes", length(value)));
        }
    }
}

pub fn service_account(out: &mut Text, o: &Value) {
    out.head(o);
    // Mountable secrets and tokens are things of the past that kubectl shows only when they are there.
    for (title, field) in [("Image pull secrets", "imagePullSecrets"), ("Mountable secrets", "secrets")] {
        let all: Vec<String> = items(&o[field]).iter().map(|s| text(&s["name"])).collect();
        if field == "imagePullSecrets" || !all.is_empty() {
            out.column(title, &all);
        }
    }
}

pub fn quota(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    let scopes: Vec<String> = items(&o["spec"]["scopes"]).iter().map(text).collect();
    if !scopes.is_empty() {
        let mut scopes = scopes;
        scopes.sort();
        out.field(0, "Scopes", &scopes.join(", "));
        for scope in &scopes {
            if let Some(help) = scope_help(scope) {
                out.line(0, &format!(" * {help}"));
            }
        }
    }
    out.line(0, "Resource\tUsed\tHard\n--------\t----\t----");
    let status = &o["status"];
    for (resource, hard) in sorted(&status["hard"]) {
        out.line(0, &format!("{resource}\t{}\t{}", text_or(&status["used"][resource.as_str()], "0"), text(hard)));
    }
}

fn scope_help(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "Terminating" => {
            "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system."
        }
        "NotTerminating" => {
            "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate."
        }
        "BestEffort" => {
            "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service."
        }
        "NotBestEffort" => {
            "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service."
        }
        _ => return None,
    })
}

const LIMITS: &str = "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio";
const RULER: &str = "----\t--------\t---\t---\t---------------\t-------------\t-----------------------";

pub fn limit_range(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    out.line(0, &format!("{LIMITS}\n{RULER}"));
    limits(out, o, "");
}

fn limits(out: &mut Text, o: &Value, space: &str) {
    for limit in items(&o["spec"]["limits"]) {
        let fields = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
        let mut names: Vec<&String> = fields.iter().flat_map(|f| sorted(&limit[*f])).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        for resource in names {
            let cells: Vec<String> = fields.iter().map(|f| text_or(&limit[*f][resource.as_str()], "-")).collect();
            out.line(0, &format!("{space}{}\t{resource}\t{}", text(&limit["type"]), cells.join("\t")));
        }
    }
}

pub async fn namespace(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    out.field(0, "Name", &name(o));
    out.marks(o);
    out.field(0, "Status", &text(&o["status"]["phase"]));
    let conditions = items(&o["status"]["conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:\n  Type\tStatus\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t------------------\t------\t-------");
        for c in conditions {
            let at = super::text::date(&c["lastTransitionTime"]);
            let (kind, status) = (text(&c["type"]), text(&c["status"]));
            out.line(1, &format!("{kind}\t{status}\t{at}\t{}\t{}", text(&c["reason"]), text(&c["message"])));
        }
    }
    let path = |plural: &str| format!("/api/v1/namespaces/{}/{plural}", name(o));
    let quotas = d.session.get(&path("resourcequotas")).await?;
    out.line(0, "");
    if items(&quotas["items"]).is_empty() {
        out.line(0, "No resource quota.");
    } else {
        out.line(0, "Resource Quotas");
        for quota in items(&quotas["items"]) {
            out.field(1, "Name", &name(quota));
            quota_scopes(out, quota);
            out.line(1, "Resource\tUsed\tHard\n  --------\t---\t---");
            for (resource, hard) in sorted(&quota["status"]["hard"]) {
                let used = &quota["status"]["used"][resource.as_str()];
                out.line(1, &format!("{resource}\t{}\t{}", text_or(used, "0"), text(hard)));
            }
        }
    }
    let ranges = d.session.get(&path("limitranges")).await?;
    out.line(0, "");
    if items(&ranges["items"]).is_empty() {
        out.line(0, "No LimitRange resource.");
    } else {
        out.line(0, &format!("Resource Limits\n {LIMITS}\n {RULER}"));
        items(&ranges["items"]).iter().for_each(|range| limits(out, range, " "));
    }
    Ok(())
}

fn quota_scopes(out: &mut Text, quota: &Value) {
    let mut scopes: Vec<String> = items(&quota["spec"]["scopes"]).iter().map(text).collect();
    if scopes.is_empty() {
        return;
    }
    scopes.sort();
    out.field(1, "Scopes", &scopes.join(", "));
    for help in scopes.iter().filter_map(|s| scope_help(s)) {
        out.line(1, &format!("* {help}"));
    }
}

/// Sums of what the pods of a node ask for and may use, by resource name.
pub fn sums(pods: &[Value], field: &str) -> Map<String, Value> {
    let mut sums: Vec<(String, Quantity)> = Vec::new();
    for pod in pods {
        for (resource, amount) in of_pod(pod, field) {
            match sums.iter_mut().find(|(name, _)| *name == resource) {
                Some((_, sum)) => sum.add(&amount),
                None => sums.push((resource, amount)),
            }
        }
    }
    sums.into_iter().map(|(name, sum)| (name, sum.to_string().into())).collect()
}

/// What a pod asks for: its containers together, or its hungriest init container if that is more; and its overhead.
pub fn of_pod(pod: &Value, field: &str) -> Vec<(String, Quantity)> {
    let mut sums: Vec<(String, Quantity)> = Vec::new();
    let amounts = |c: &Value| -> Vec<(String, Quantity)> {
        sorted(&c["resources"][field])
            .into_iter()
            .filter_map(|(n, q)| Some((n.clone(), text(q).parse().ok()?)))
            .collect()
    };
    for container in items(&pod["spec"]["containers"]) {
        for (name, amount) in amounts(container) {
            match sums.iter_mut().find(|(n, _)| *n == name) {
                Some((_, sum)) => sum.add(&amount),
                None => sums.push((name, amount)),
            }
        }
    }
    for container in items(&pod["spec"]["initContainers"]) {
        let restarts = container["restartPolicy"] == "Always";
        for (name, amount) in amounts(container) {
            match sums.iter_mut().find(|(n, _)| *n == name) {
                Some((_, sum)) if restarts => sum.add(&amount),
                Some((_, sum)) if amount > *sum => *sum = amount,
                Some(_) => {}
                None => sums.push((name, amount)),
            }
        }
    }
    for (name, amount) in sorted(&pod["spec"]["overhead"]) {
        if let Ok(amount) = text(amount).parse::<Quantity>()
            && let Some((_, sum)) = sums.iter_mut().find(|(n, _)| n == name)
        {
            sum.add(&amount);
        }
    }
    sums
}

pub fn priority_class(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    out.field(0, "Value", &number(&o["value"]).to_string());
    out.field(0, "GlobalDefault", &(o["globalDefault"] == true).to_string());
    out.field(0, "PreemptionPolicy", &text(&o["preemptionPolicy"]));
    out.field(0, "Description", &text(&o["description"]));
    out.field(0, "Annotations", &super::text::joined(&o["metadata"]["annotations"]));
}
