//! What runs pods: Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets, Jobs, CronJobs.
use super::text::{Text, controller, date, items, joined, moment, name, number, selector, text, text_or, truth};
use super::{Describer, pod};
use crate::connect::with_query;
use crate::duration;
use crate::error::Result;
use crate::rollout::selector_text;
use serde_json::Value;

pub async fn deployment(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    out.field(0, "CreationTimestamp", &date(&o["metadata"]["creationTimestamp"]));
    out.marks(o);
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.field(
        0,
        "Replicas",
        &format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(&spec["replicas"]),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"])
        ),
    );
    out.field(0, "StrategyType", &text(&spec["strategy"]["type"]));
    out.field(0, "MinReadySeconds", &number(&spec["minReadySeconds"]).to_string());
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (unavailable, surge) = (text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
        out.field(0, "RollingUpdateStrategy", &format!("{unavailable} max unavailable, {surge} max surge"));
    }
    pod::template(out, &spec["template"]);
    conditions(out, o);
    let sets = owned(d, o, "/apis/apps/v1", "replicasets").await?;
    let (new, old): (Vec<&Value>, Vec<&Value>) = sets.iter().partition(|set| is_of_template(set, o));
    out.field(0, "OldReplicaSets", &names(&old));
    out.field(0, "NewReplicaSet", &names(&new));
    Ok(())
}

/// Whether a ReplicaSet is made of the Deployment's template.
fn is_of_template(set: &Value, deployment: &Value) -> bool {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    template == deployment["spec"]["template"]
}

fn names(sets: &[&Value]) -> String {
    let shown = sets.iter().map(|set| {
        let (created, wanted) = (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
        format!("{} ({created}/{wanted} replicas created)", name(set))
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "<none>".into() } else { shown.join(", ") }
}

fn conditions(out: &mut Text, o: &Value) {
    let all = items(&o["status"]["conditions"]);
    if all.is_empty() {
        return;
    }
    out.line(0, "Conditions:\n  Type\tStatus\tReason");
    out.line(1, "----\t------\t------");
    for c in all {
        out.line(1, &format!("{} \t{}\t{}", text(&c["type"]), text(&c["status"]), text(&c["reason"])));
    }
}

/// What an object controls, of those that its selector chooses.
async fn owned(d: &Describer<'_>, o: &Value, base: &str, plural: &str) -> Result<Vec<Value>> {
    let chosen = &o["spec"]["selector"];
    let is_plain =
        chosen.as_object().is_some_and(|s| !s.contains_key("matchLabels") && !s.contains_key("matchExpressions"));
    let query = if is_plain { joined(chosen) } else { selector_text(chosen) };
    let path = format!("{base}/namespaces/{}/{plural}", text(&o["metadata"]["namespace"]));
    let list = d.session.get(&with_query(&path, &[("labelSelector", &query)])).await?;
    let uid = &o["metadata"]["uid"];
    let is_owned = |x: &&Value| {
        items(&x["metadata"]["ownerReferences"]).iter().any(|r| r["controller"] == true && r["uid"] == *uid)
    };
    Ok(items(&list["items"]).iter().filter(is_owned).cloned().collect())
}

async fn pods_status(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let pods = owned(d, o, "/api/v1", "pods").await?;
    let count = |phase: &str| pods.iter().filter(|p| p["status"]["phase"] == phase).count();
    out.field(
        0,
        "Pods Status",
        &format!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
    Ok(())
}

/// ReplicaSets and ReplicationControllers differ only in their selectors.
pub async fn replicas(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let spec = &o["spec"];
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    let is_set = o["kind"] == "ReplicaSet";
    out.field(0, "Selector", &if is_set { selector(&spec["selector"]) } else { joined(&spec["selector"]) });
    out.marks(o);
    if let Some(owner) = controller(o).filter(|_| is_set) {
        out.field(0, "Controlled By", &owner);
    }
    let (current, desired) = (number(&o["status"]["replicas"]), number(&spec["replicas"]));
    out.field(0, "Replicas", &format!("{current} current / {desired} desired"));
    pods_status(d, out, o).await?;
    pod::template(out, &spec["template"]);
    conditions(out, o);
    Ok(())
}

pub async fn stateful_set(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let spec = &o["spec"];
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    out.field(0, "CreationTimestamp", &date(&o["metadata"]["creationTimestamp"]));
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.marks(o);
    out.some(0, "Service Name", &spec["serviceName"]);
    out.some(0, "Pod Management Policy", &spec["podManagementPolicy"]);
    let (desired, total) = (number(&spec["replicas"]), number(&o["status"]["replicas"]));
    out.field(0, "Replicas", &format!("{desired} desired | {total} total"));
    out.field(0, "Update Strategy", &text(&spec["updateStrategy"]["type"]));
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    out.some(1, "Partition", &rolling["partition"]);
    out.some(1, "MaxUnavailable", &rolling["maxUnavailable"]);
    let kept = &spec["persistentVolumeClaimRetentionPolicy"];
    if kept.is_object() {
        out.line(0, "Persistent Volume Claim Retention Policy:");
        out.field(1, "WhenDeleted", &text(&kept["whenDeleted"]));
        out.field(1, "WhenScaled", &text(&kept["whenScaled"]));
    }
    pods_status(d, out, o).await?;
    pod::template(out, &spec["template"]);
    claims(out, items(&spec["volumeClaimTemplates"]));
    Ok(())
}

fn claims(out: &mut Text, templates: &[Value]) {
    if templates.is_empty() {
        out.field(0, "Volume Claims", "<none>");
        return;
    }
    out.line(0, "Volume Claims:");
    for claim in templates {
        let spec = &claim["spec"];
        out.field(1, "Name", &name(claim));
        out.field(1, "StorageClass", &text(&spec["storageClassName"]));
        out.field(1, "Labels", &joined(&claim["metadata"]["labels"]).replace(',', "\n  \t"));
        out.field(1, "Annotations", &joined(&claim["metadata"]["annotations"]).replace(',', "\n  \t"));
        out.field(1, "Capacity", &text_or(&spec["resources"]["requests"]["storage"], "<default>"));
        let modes: Vec<String> = items(&spec["accessModes"]).iter().map(text).collect();
        out.field(1, "Access Modes", &format!("[{}]", modes.join(" ")));
    }
}

pub async fn daemon_set(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.field(0, "Node-Selector", &joined(&spec["template"]["spec"]["nodeSelector"]));
    out.marks(o);
    let counts = [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ];
    for (title, field) in counts {
        out.line(0, &format!("{title}: {}", number(&status[field])));
    }
    pods_status(d, out, o).await?;
    pod::template(out, &spec["template"]);
    Ok(())
}

pub fn job(out: &mut Text, o: &Value) {
    let (spec, status) = (&o["spec"], &o["status"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    out.field(0, "Selector", &selector(&spec["selector"]));
    out.marks(o);
    if let Some(owner) = controller(o) {
        out.field(0, "Controlled By", &owner);
    }
    out.field(0, "Parallelism", &text_or(&spec["parallelism"], "<unset>"));
    out.field(0, "Completions", &text_or(&spec["completions"], "<unset>"));
    out.some(0, "Completion Mode", &spec["completionMode"]);
    out.some(0, "Suspend", &spec["suspend"]);
    out.some(0, "Backoff Limit", &spec["backoffLimit"]);
    out.some(0, "TTL Seconds After Finished", &spec["ttlSecondsAfterFinished"]);
    let (start, end) = (moment(&status["startTime"]), moment(&status["completionTime"]));
    if start.is_some() {
        out.field(0, "Start Time", &date(&status["startTime"]));
    }
    if end.is_some() {
        out.field(0, "Completed At", &date(&status["completionTime"]));
    }
    if let (Some(start), Some(end)) = (start, end) {
        out.field(0, "Duration", &duration::human(end.duration_since(start).as_secs()));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        out.field(0, "Active Deadline Seconds", &format!("{seconds}s"));
    }
    let ready = status["ready"].as_i64().map(|n| format!(" ({n} Ready)")).unwrap_or_default();
    let count = |field: &str| number(&status[field]);
    let (active, succeeded, failed) = (count("active"), count("succeeded"), count("failed"));
    out.field(0, "Pods Statuses", &format!("{active} Active{ready} / {succeeded} Succeeded / {failed} Failed"));
    if spec["completionMode"] == "Indexed" {
        out.field(0, "Completed Indexes", &text_or(&status["completedIndexes"], "<none>"));
    }
    pod::template(out, &spec["template"]);
}

pub fn cron_job(out: &mut Text, o: &Value) {
    let (spec, job) = (&o["spec"], &o["spec"]["jobTemplate"]["spec"]);
    out.head(o);
    out.field(0, "Schedule", &text(&spec["schedule"]));
    out.field(0, "Concurrency Policy", &text(&spec["concurrencyPolicy"]));
    out.field(0, "Suspend", truth(&spec["suspend"]));
    out.field(0, "Time Zone", &text_or(&spec["timeZone"], "<unset>"));
    out.field(0, "Successful Job History Limit", &text_or(&spec["successfulJobsHistoryLimit"], "<unset>"));
    out.field(0, "Failed Job History Limit", &text_or(&spec["failedJobsHistoryLimit"], "<unset>"));
    let deadline = spec["startingDeadlineSeconds"].as_i64().map_or_else(|| "<unset>".into(), |s| format!("{s}s"));
    out.field(0, "Starting Deadline Seconds", &deadline);
    let chosen = if job["selector"].is_object() { selector(&job["selector"]) } else { "<unset>".into() };
    out.field(0, "Selector", &chosen);
    out.field(0, "Parallelism", &text_or(&job["parallelism"], "<unset>"));
    out.field(0, "Completions", &text_or(&job["completions"], "<unset>"));
    if let Some(seconds) = job["activeDeadlineSeconds"].as_i64() {
        out.field(0, "Active Deadline Seconds", &format!("{seconds}s"));
    }
    pod::template(out, &job["template"]);
    let last = &o["status"]["lastScheduleTime"];
    out.field(0, "Last Schedule Time", &if last.is_string() { date(last) } else { "<unset>".into() });
    let active: Vec<String> = items(&o["status"]["active"]).iter().map(|j| text(&j["name"])).collect();
    out.field(0, "Active Jobs", &if active.is_empty() { "<none>".into() } else { active.join(", ") });
}
