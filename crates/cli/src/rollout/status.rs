//! `rollout status`: where a rollout is, until it is done or has failed. On a terminal a live picture ([`live`]), else kubectl's lines.
use super::Which;
use super::live::{self, Live, LiveError, Outcome};
use crate::connect::{JSON, Session};
use crate::error::{CliError, Result};
use crate::target::Target;
use crate::{duration, output};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::Request;
use serde_json::Value;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Go on until it is done.
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    watch: bool,
    /// Give up after this long, such as 60s; 0 never.
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// Fail unless this revision is the one being rolled out; 0 is the last.
    #[arg(long, default_value_t = 0)]
    revision: i64,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let limit = duration::parse(&args.timeout)
        .ok_or_else(|| CliError::usage(format!("invalid argument {:?} for \"--timeout\" flag", args.timeout)))?;
    let limit = if limit.is_zero() { Duration::MAX } else { limit };
    let (targets, mut errors) = args.which.fetch(session).await?;
    if targets.is_empty() && errors.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
    }
    if let [target] = targets.as_slice()
        && errors.is_empty()
        && args.watch
        && target.resource.kind == "Deployment"
        // A link named kubectl does what kubectl does.
        && session.program != "kubectl"
        && live::is_possible()
        && !matches!(describe("Deployment", &target.object, args.revision), Ok((_, true)))
    {
        let limit = (limit < Duration::MAX).then_some(limit);
        let live = Live::new(session.client.clone(), &target.namespace, &target.name).within(limit);
        match live.of_revision(args.revision).run().await {
            Ok(outcome) => return ended(&outcome, target),
            Err(LiveError::Api(error)) => return Err(CliError::of(error, &session.host)),
            // A terminal that cannot be drawn on can still show lines.
            Err(LiveError::Terminal(error)) => tracing::debug!(%error, "no live picture"),
        }
    }
    for target in targets {
        let path = format!(
            "{}?fieldSelector=metadata.name%3D{}",
            target.resource.collection(Some(&target.namespace)),
            target.name
        );
        let followed = tokio::time::timeout(limit, follow(args, session, &target.resource.kind, &path));
        match followed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error),
            Err(_) => errors.push(CliError::usage("timed out waiting for the condition")),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

/// What is said under the last picture; the exit codes are kubectl's.
fn ended(outcome: &Outcome, target: &Target) -> Result<()> {
    let name = &target.name;
    let place = if target.namespace == "default" { String::new() } else { format!(" -n {}", target.namespace) };
    match outcome {
        Outcome::RolledOut => output::say(&format!("deployment {name:?} successfully rolled out")),
        Outcome::Failed(why) => {
            eprintln!("{why}");
            if target.object["metadata"]["annotations"]["isopod.dev/auto-rollback"] == "true" {
                eprintln!(
                    "It goes back by itself (isopod.dev/auto-rollback); look again: isopod rollout status deployment/{name}{place}"
                );
            } else {
                eprintln!("Take it back: isopod rollout undo deployment/{name}{place}");
            }
            Err(CliError::Exit(1))
        }
        Outcome::Deleted => Err(CliError::usage("object has been deleted")),
        Outcome::TimedOut => Err(CliError::usage("timed out waiting for the condition")),
        Outcome::Interrupted => {
            eprintln!("The rollout of deployment {name:?} goes on without being watched.");
            eprintln!("Look again: isopod rollout status deployment/{name}{place}");
            eprintln!("Take it back: isopod rollout undo deployment/{name}{place}");
            Err(CliError::Exit(1))
        }
    }
}

/// From list to watch, and again when a watch ends.
async fn follow(args: &Args, session: &Session, kind: &str, path: &str) -> Result<()> {
    loop {
        let list = session.get(path).await?;
        let Some(object) = list["items"].as_array().and_then(|i| i.first()) else {
            return Err(CliError::usage("object has been deleted"));
        };
        if told(args, kind, object)? || !args.watch {
            return Ok(());
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let request = Request::get(format!("{path}&watch=true&resourceVersion={version}"))
            .header(http::header::ACCEPT, JSON)
            .body(Vec::new())
            .map_err(|e| CliError::usage(e.to_string()))?;
        let stream = session.client.request_stream(request).await.map_err(|e| CliError::of(e, &session.host))?;
        let mut lines = Box::pin(stream.lines());
        while let Some(Ok(line)) = lines.next().await {
            let event: Value = serde_json::from_str(&line)?;
            match event["type"].as_str() {
                Some("DELETED") => return Err(CliError::usage("object has been deleted")),
                Some("ADDED" | "MODIFIED") if told(args, kind, &event["object"])? => return Ok(()),
                Some("ERROR") => break,
                _ => {}
            }
        }
    }
}

fn told(args: &Args, kind: &str, object: &Value) -> Result<bool> {
    let (text, done) = describe(kind, object, args.revision)?;
    output::write(&text)?;
    Ok(done)
}

/// What kubectl says of a workload's rollout, and whether it is done (`polymorphichelpers/rollout_status.go`).
pub fn describe(kind: &str, object: &Value, revision: i64) -> Result<(String, bool)> {
    match kind {
        "Deployment" => deployment(object, revision),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        _ => Err(CliError::usage(format!("no status viewer has been implemented for {kind}"))),
    }
}

struct Numbers<'a>(&'a Value);

impl Numbers<'_> {
    fn status(&self, name: &str) -> i64 {
        self.0["status"][name].as_i64().unwrap_or(0)
    }
    fn is_observed(&self) -> bool {
        self.0["metadata"]["generation"].as_i64().unwrap_or(0) <= self.status("observedGeneration")
    }
    fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }
    fn desired(&self) -> Option<i64> {
        self.0["spec"]["replicas"].as_i64()
    }
}

fn deployment(object: &Value, revision: i64) -> Result<(String, bool)> {
    let n = Numbers(object);
    if revision > 0 {
        let running = object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        let running: i64 = running.and_then(|r| r.parse().ok()).ok_or_else(|| {
            CliError::usage(format!("cannot get the revision of deployment {:?}: annotation is missing", n.name()))
        })?;
        if running != revision {
            return Err(CliError::usage(format!(
                "desired revision ({revision}) is different from the running revision ({running})"
            )));
        }
    }
    if !n.is_observed() {
        return Ok(("Waiting for deployment spec update to be observed...\n".into(), false));
    }
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut progressing = conditions.filter(|c| c["type"] == "Progressing");
    if progressing.any(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return Err(CliError::usage(format!("deployment {:?} exceeded its progress deadline", n.name())));
    }
    let (updated, replicas) = (n.status("updatedReplicas"), n.status("replicas"));
    let wait = format!("Waiting for deployment {:?} rollout to finish:", n.name());
    if let Some(desired) = n.desired().filter(|d| updated < *d) {
        return Ok((format!("{wait} {updated} out of {desired} new replicas have been updated...\n"), false));
    }
    if replicas > updated {
        return Ok((format!("{wait} {} old replicas are pending termination...\n", replicas - updated), false));
    }
    let available = n.status("availableReplicas");
    if available < updated {
        return Ok((format!("{wait} {available} of {updated} updated replicas are available...\n"), false));
    }
    Ok((format!("deployment {:?} successfully rolled out\n", n.name()), true))
}

fn only_rolling(object: &Value) -> Result<()> {
    match object["spec"]["updateStrategy"]["type"].as_str() {
        Some("RollingUpdate") => Ok(()),
        _ => Err(CliError::usage("rollout status is only available for RollingUpdate strategy type")),
    }
}

fn daemon_set(object: &Value) -> Result<(String, bool)> {
    only_rolling(object)?;
    let n = Numbers(object);
    if !n.is_observed() {
        return Ok(("Waiting for daemon set spec update to be observed...\n".into(), false));
    }
    let (updated, desired) = (n.status("updatedNumberScheduled"), n.status("desiredNumberScheduled"));
    let wait = format!("Waiting for daemon set {:?} rollout to finish:", n.name());
    if updated < desired {
        return Ok((format!("{wait} {updated} out of {desired} new pods have been updated...\n"), false));
    }
    let available = n.status("numberAvailable");
    if available < desired {
        return Ok((format!("{wait} {available} of {desired} updated pods are available...\n"), false));
    }
    Ok((format!("daemon set {:?} successfully rolled out\n", n.name()), true))
}

fn stateful_set(object: &Value) -> Result<(String, bool)> {
    only_rolling(object)?;
    let n = Numbers(object);
    if n.status("observedGeneration") == 0 || !n.is_observed() {
        return Ok(("Waiting for statefulset spec update to be observed...\n".into(), false));
    }
    let (ready, updated) = (n.status("readyReplicas"), n.status("updatedReplicas"));
    if let Some(desired) = n.desired().filter(|d| ready < *d) {
        return Ok((format!("Waiting for {} pods to be ready...\n", desired - ready), false));
    }
    let partition = object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    if let Some(wanted) = n.desired().map(|d| d - partition).filter(|_| partition > 0) {
        if updated < wanted {
            let text = "Waiting for partitioned roll out to finish:";
            return Ok((format!("{text} {updated} out of {wanted} new pods have been updated...\n"), false));
        }
        return Ok((format!("partitioned roll out complete: {updated} new pods have been updated...\n"), true));
    }
    let revision = |name: &str| object["status"][name].as_str().unwrap_or_default().to_owned();
    let (update, current) = (revision("updateRevision"), revision("currentRevision"));
    if update != current {
        return Ok((
            format!("waiting for statefulset rolling update to complete {updated} pods at revision {update}...\n"),
            false,
        ));
    }
    let pods = n.status("currentReplicas");
    Ok((format!("statefulset rolling update complete {pods} pods at revision {current}...\n"), true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn say(status: Value) -> String {
        let object = json!({"metadata": {"name": "web", "generation": 3, "annotations": {"deployment.kubernetes.io/revision": "2"}}, "spec": {"replicas": 4}, "status": status});
        match describe("Deployment", &object, 0) {
            Ok((text, done)) => format!("{}{}", text.trim_end(), if done { " (done)" } else { "" }),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn deployments_in_every_state() {
        let cases = [
            (json!({"observedGeneration": 2}), "Waiting for deployment spec update to be observed..."),
            (
                json!({"observedGeneration": 3, "replicas": 5, "updatedReplicas": 1}),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 4 new replicas have been updated...",
            ),
            (
                json!({"observedGeneration": 3, "replicas": 5, "updatedReplicas": 4}),
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
            ),
            (
                json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 3}),
                "Waiting for deployment \"web\" rollout to finish: 3 of 4 updated replicas are available...",
            ),
            (
                json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4}),
                "deployment \"web\" successfully rolled out (done)",
            ),
            (
                json!({"observedGeneration": 3, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
                "error: deployment \"web\" exceeded its progress deadline",
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(say(status), expected);
        }
        let other = json!({"metadata": {"name": "web", "annotations": {"deployment.kubernetes.io/revision": "2"}}});
        let refused = describe("Deployment", &other, 7).unwrap_err().to_string();
        assert_eq!(refused, "error: desired revision (7) is different from the running revision (2)");
    }
}
