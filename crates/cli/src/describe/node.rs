//! Nodes: what they are, what state they are in, and what their room is used for.
use super::text::{Text, date, items, name, since, text, text_or};
use super::{Describer, config};
use crate::connect::with_query;
use crate::error::Result;
use isopod_api::quantity::{Format, Quantity};
use serde_json::{Map, Value};

const ROLE: &str = "node-role.kubernetes.io/";

pub async fn describe(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Roles", &roles(&o["metadata"]["labels"]));
    out.marks(o);
    out.field(0, "CreationTimestamp", &date(&o["metadata"]["creationTimestamp"]));
    let mut taints: Vec<String> = items(&spec["taints"]).iter().map(taint).collect();
    taints.sort();
    out.column("Taints", &taints);
    out.field(0, "Unschedulable", &(spec["unschedulable"] == true).to_string());
    lease(d, out, &name(o)).await?;
    conditions(out, items(&status["conditions"]));
    out.line(0, "Addresses:");
    for address in items(&status["addresses"]) {
        out.field(1, &text(&address["type"]), &text(&address["address"]));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        amounts(out, title, &status[field]);
    }
    system(out, &status["nodeInfo"]);
    out.some(0, "PodCIDR", &spec["podCIDR"]);
    let ranges: Vec<String> = items(&spec["podCIDRs"]).iter().map(text).collect();
    out.some(0, "PodCIDRs", &ranges.join(",").into());
    out.some(0, "ProviderID", &spec["providerID"]);
    let chosen = format!("spec.nodeName={},status.phase!=Failed,status.phase!=Succeeded", name(o));
    let pods = d.session.get(&with_query("/api/v1/pods", &[("fieldSelector", &chosen)])).await?;
    workloads(d, out, items(&pods["items"]), o);
    Ok(())
}

fn roles(labels: &Value) -> String {
    let mut all: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE) {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()).map(str::to_owned),
            _ => None,
        })
        .collect();
    all.sort();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

fn taint(t: &Value) -> String {
    let value = t["value"].as_str().filter(|v| !v.is_empty()).map(|v| format!("={v}")).unwrap_or_default();
    format!("{}{value}:{}", text(&t["key"]), text(&t["effect"]))
}

async fn lease(d: &Describer<'_>, out: &mut Text, node: &str) -> Result<()> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}");
    let lease = match d.session.get(&path).await {
        Ok(lease) => lease,
        Err(error) => {
            out.line(0, &format!("Lease:\tFailed to get lease: {}", error.message()));
            return Ok(());
        }
    };
    let time = |value: &Value| if value.is_string() { date(value) } else { "<unset>".to_owned() };
    let spec = &lease["spec"];
    out.line(0, "Lease:");
    out.field(1, "HolderIdentity", &text_or(&spec["holderIdentity"], "<unset>"));
    out.field(1, "AcquireTime", &time(&spec["acquireTime"]));
    out.field(1, "RenewTime", &time(&spec["renewTime"]));
    Ok(())
}

fn conditions(out: &mut Text, all: &[Value]) {
    if all.is_empty() {
        return;
    }
    out.line(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
    out.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    for c in all {
        let (kind, status) = (text(&c["type"]), text(&c["status"]));
        let (beat, change) = (date(&c["lastHeartbeatTime"]), date(&c["lastTransitionTime"]));
        let (reason, message) = (text(&c["reason"]), text(&c["message"]));
        out.line(1, &format!("{kind} \t{status} \t{beat} \t{change} \t{reason} \t{message}"));
    }
}

fn amounts(out: &mut Text, title: &str, amounts: &Value) {
    let mut all: Vec<_> = amounts.as_object().into_iter().flatten().collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|(name, _)| *name);
    out.line(0, &format!("{title}:"));
    for (name, amount) in all {
        out.field(1, name, &text(amount));
    }
}

fn system(out: &mut Text, info: &Value) {
    out.line(0, "System Info:");
    let fields = [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ];
    for (title, field) in fields {
        out.field(1, title, &text(&info[field]));
    }
}

/// `250m (12%)`
fn share(used: &Quantity, whole: &Quantity, is_cpu: bool) -> String {
    let measure = |q: &Quantity| if is_cpu { q.milli_value() } else { q.value() };
    let whole = measure(whole);
    let percent = if whole == 0 { 0 } else { (measure(used) as f64 / whole as f64 * 100.0) as i64 };
    format!("{used} ({percent}%)")
}

fn quantity(value: Option<&Value>) -> Quantity {
    value.and_then(|v| text(v).parse().ok()).unwrap_or_else(|| Quantity::new(0, Format::DecimalSi))
}

fn workloads(d: &Describer<'_>, out: &mut Text, pods: &[Value], node: &Value) {
    let room = ["allocatable", "capacity"].into_iter().map(|f| &node["status"][f]).find(|a| a.is_object());
    let room = room.unwrap_or(&Value::Null);
    let of = |name: &str| quantity(room.get(name));
    out.line(0, &format!("Non-terminated Pods:\t({} in total)", pods.len()));
    out.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    out.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    for pod in pods {
        let cell = |field: &str, resource: &str| {
            let all = config::of_pod(pod, field);
            let used = all.into_iter().find(|(n, _)| n == resource).map_or_else(|| quantity(None), |(_, q)| q);
            share(&used, &of(resource), resource == "cpu")
        };
        let age = since(&pod["metadata"]["creationTimestamp"], d.now);
        out.line(
            1,
            &format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{age}",
                text(&pod["metadata"]["namespace"]),
                name(pod),
                cell("requests", "cpu"),
                cell("limits", "cpu"),
                cell("requests", "memory"),
                cell("limits", "memory")
            ),
        );
    }
    out.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    out.line(1, "Resource\tRequests\tLimits\n  --------\t--------\t------");
    let (requests, limits) = (config::sums(pods, "requests"), config::sums(pods, "limits"));
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let cell = |sums: &Map<String, Value>| share(&quantity(sums.get(resource)), &of(resource), resource == "cpu");
        out.line(1, &format!("{resource}\t{}\t{}", cell(&requests), cell(&limits)));
    }
    let is_extra = |n: &&String| {
        !["cpu", "memory", "ephemeral-storage", "pods"].contains(&n.as_str())
            && (n.contains('/') || n.starts_with("hugepages-"))
    };
    let mut others: Vec<&String> = room.as_object().into_iter().flatten().map(|(n, _)| n).filter(is_extra).collect();
    others.sort();
    for resource in others {
        let (request, limit) = (quantity(requests.get(resource)), quantity(limits.get(resource)));
        if resource.starts_with("hugepages-") {
            let room = of(resource);
            out.line(1, &format!("{resource}\t{}\t{}", share(&request, &room, false), share(&limit, &room, false)));
        } else {
            out.line(1, &format!("{resource}\t{request}\t{limit}"));
        }
    }
}
