//! Which pod and which container a command means that acts inside pods: `logs`, `exec`, `attach`, `port-forward`.
//!
//! `web-1`, `pod/web-1`, `deployment/web`, `service/web`: of several pods the best one is taken, and kubectl's order decides what that
//! is (`kubectl/pkg/polymorphichelpers`, `kubectl/pkg/util/podutils`).
use crate::connect::{Session, with_query};
use crate::error::{CliError, Result};
use crate::rollout::selector_text;
use crate::target;
use serde_json::Value;
use std::cmp::Reverse;
use std::time::Duration;

/// The annotation that names the container which commands mean when they name none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// How long pods are looked for again, when there are none yet.
const PAUSE: Duration = Duration::from_millis(100);

/// What the pod is wanted for: the orders differ in one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Of equal pods the one that restarted most has most to say.
    Logs,
    Session,
}

/// `NAME`, `TYPE/NAME` or `TYPE NAME` as an object of the cluster; a bare name is a pod's.
pub async fn object(session: &Session, words: &[String]) -> Result<target::Target> {
    target::single(session, words, Some("pods")).await
}

/// The pods that belong to an object, best first.
pub async fn of(session: &Session, target: &target::Target, purpose: Purpose) -> Result<Vec<Value>> {
    if target.resource.kind == "Pod" {
        return Ok(vec![target.object.clone()]);
    }
    let spec = &target.object["spec"];
    let selector = match target.resource.kind.as_str() {
        "Service" | "ReplicationController" => match spec["selector"].as_object().filter(|s| !s.is_empty()) {
            Some(labels) => {
                let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
                labels.iter().map(|(k, v)| format!("{k}={}", text(v))).collect::<Vec<_>>().join(",")
            }
            None => {
                return Err(CliError::usage(format!(
                    "invalid service '{}': Service is defined without a selector",
                    target.name
                )));
            }
        },
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => selector_text(&spec["selector"]),
        _ => {
            return Err(CliError::usage(format!(
                "selector for {} not implemented",
                target.resource.api_version() + ", Kind=" + &target.resource.kind
            )));
        }
    };
    select(session, &target.namespace, &selector, purpose).await
}

/// The pods with these labels, best first.
pub async fn select(session: &Session, namespace: &str, selector: &str, purpose: Purpose) -> Result<Vec<Value>> {
    let path = with_query(&format!("/api/v1/namespaces/{namespace}/pods"), &[("labelSelector", selector)]);
    let mut list = session.get(&path).await?;
    let mut pods = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    pods.sort_by_cached_key(|pod| rank(pod, purpose));
    Ok(pods)
}

/// The best pod of an object; without any it is waited for.
pub async fn first(
    session: &Session,
    target: &target::Target,
    purpose: Purpose,
    patience: Duration,
) -> Result<(Value, usize)> {
    let look = async {
        loop {
            let mut pods = of(session, target, purpose).await?;
            if !pods.is_empty() {
                let count = pods.len();
                return Ok((pods.swap_remove(0), count));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(patience, look).await.map_err(|_| CliError::usage("timed out waiting for the condition"))?
}

/// Smaller is better.
fn rank(pod: &Value, purpose: Purpose) -> impl Ord + use<> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let status = &pod["status"];
    let ready = condition(pod, "Ready").filter(|c| c["status"] == "True");
    let since = ready.map(|c| text(&c["lastTransitionTime"]));
    let phase = match status["phase"].as_str() {
        Some("Running") => 0,
        Some("Unknown") => 1,
        Some("Pending") => 2,
        // Go's map knows neither Succeeded nor Failed and answers zero.
        _ => 0,
    };
    let all = status["containerStatuses"].as_array().into_iter().flatten();
    let restarts = all.map(|c| c["restartCount"].as_i64().unwrap_or(0)).max().unwrap_or(0);
    let leaving = purpose == Purpose::Session && pod["metadata"]["deletionTimestamp"].is_string();
    (
        text(&pod["spec"]["nodeName"]).is_empty(),
        phase,
        ready.is_none(),
        leaving,
        since.unwrap_or_default(),
        if purpose == Purpose::Logs { Reverse(restarts) } else { Reverse(-restarts) },
        text(&pod["metadata"]["creationTimestamp"]),
    )
}

/// A condition of an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind)
}

fn named<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str())
}

/// All containers of a pod in the order in which they start.
pub fn containers(pod: &Value) -> Vec<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(|list| named(pod, list)).map(str::to_owned).collect()
}

/// `main, side, setup (init)`
pub fn shown_containers(pod: &Value) -> String {
    let marked = |list, mark: &str| named(pod, list).map(|n| format!("{n}{mark}")).collect::<Vec<_>>();
    let all =
        [marked("containers", ""), marked("ephemeralContainers", " (ephem)"), marked("initContainers", " (init)")];
    all.concat().join(", ")
}

/// The container a command means, and what is to be told about the choice.
pub fn container(pod: &Value, wanted: Option<&str>) -> Result<(String, Option<String>)> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let all = containers(pod);
    if let Some(wanted) = wanted.filter(|w| !w.is_empty()) {
        return match all.iter().find(|c| *c == wanted) {
            Some(found) => Ok((found.clone(), None)),
            None => Err(CliError::usage(format!(
                "container {wanted} is not valid for pod {name} out of: {}",
                shown_containers(pod)
            ))),
        };
    }
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().filter(|a| !a.is_empty());
    let mut note = None;
    if let Some(annotated) = annotated {
        if all.iter().any(|c| c == annotated) {
            return Ok((annotated.to_owned(), None));
        }
        note = Some(format!("Default container name {annotated:?} not found in a pod"));
    }
    let Some(first) = named(pod, "containers").next() else {
        return Err(CliError::usage(format!("no container in pod {name}")));
    };
    if all.len() > 1 {
        let told = format!("Defaulted container {first:?} out of: {}", shown_containers(pod));
        note = Some(note.map_or(told.clone(), |n| format!("{n}\n{told}")));
    }
    Ok((first.to_owned(), note))
}

/// A pod to work in, by what was typed.
pub async fn choose(session: &Session, words: &[String], patience: &str) -> Result<Value> {
    let limit = patience_of(patience)?;
    let target = object(session, words).await?;
    Ok(first(session, &target, Purpose::Session, limit).await?.0)
}

/// `--pod-running-timeout`
pub fn patience_of(text: &str) -> Result<Duration> {
    crate::duration::parse(text)
        .filter(|d| !d.is_zero())
        .ok_or_else(|| CliError::usage("--pod-running-timeout must be higher than zero"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_best_pod_comes_first() {
        let pod = |name: &str, node: &str, phase: &str, ready: &str, restarts: i64| {
            json!({
                "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": node},
                "status": {"phase": phase, "containerStatuses": [{"restartCount": restarts}], "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
            })
        };
        let all = [
            pod("unassigned", "", "Pending", "False", 0),
            pod("pending", "n", "Pending", "False", 0),
            pod("unready", "n", "Running", "False", 0),
            pod("restarted", "n", "Running", "True", 3),
            pod("calm", "n", "Running", "True", 0),
        ];
        let order = |purpose| {
            let mut pods = all.to_vec();
            pods.sort_by_cached_key(|p| rank(p, purpose));
            pods.iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(Purpose::Logs), "restarted calm unready pending unassigned");
        assert_eq!(order(Purpose::Session), "calm restarted unready pending unassigned");
    }

    #[test]
    fn the_container_that_is_meant() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let told = "Defaulted container \"a\" out of: a, b, i (init)".to_owned();
        assert_eq!(container(&pod, None).unwrap(), ("a".into(), Some(told)));
        assert_eq!(container(&pod, Some("i")).unwrap(), ("i".into(), None));
        assert!(container(&pod, Some("x")).is_err());
        pod["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "b"});
        assert_eq!(container(&pod, None).unwrap(), ("b".into(), None));
        let single = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&single, None).unwrap(), ("a".into(), None));
    }
}
