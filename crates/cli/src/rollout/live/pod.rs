//! What one pod of a rollout is doing, in one state and a few words. Pure.
use super::observed::Words;
use isopod_api::catalogue::PrintContext;
use isopod_api::kinds::pod::printing;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

/// In the order in which they deserve attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Cannot start, for a reason that waiting may not mend.
    Failing,
    /// Told to go; its connections are being waited for.
    Draining,
    /// Told to go; its containers are being stopped.
    Stopping,
    /// Not ready yet.
    Starting,
    /// Ready, but not for `minReadySeconds` yet.
    Settling,
    /// Counts as available.
    Available,
    /// Its containers are over.
    Ended,
}

/// One pod as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLine {
    pub name: String,
    pub state: State,
    /// `ready`, `ContainerCreating`, `draining 3 connections`: groups pods when there are many.
    pub word: String,
    /// Why it is so, when that is known.
    pub why: Option<String>,
    /// Seconds since it was made.
    pub age: i64,
    pub node: Option<String>,
    pub restarts: i32,
}

/// Reasons for which a container waits that are no steps of starting (`kubelet/images`, `kubelet/kuberuntime`).
const FAILURES: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PostStartHookError",
];

/// `settle`: the Deployment's `minReadySeconds`.
pub fn line(pod: &Pod, words: &Words, settle: SignedDuration, now: Timestamp) -> PodLine {
    let (state, word, why) = judge(pod, words, settle, now);
    let age = pod.metadata.creation_timestamp.as_ref().map_or(0, |t| now.duration_since(t.0).as_secs());
    PodLine {
        name: pod.metadata.name.clone().unwrap_or_default(),
        state,
        word,
        why: why.filter(|w| !w.is_empty()),
        age,
        node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        restarts: containers(pod).map(|c| c.restart_count).fold(0, i32::saturating_add),
    }
}

fn judge(pod: &Pod, words: &Words, settle: SignedDuration, now: Timestamp) -> (State, String, Option<String>) {
    if pod.metadata.deletion_timestamp.is_some() {
        return leaving(pod, words, now);
    }
    let cells = printing::cells(pod, &PrintContext { now });
    let status = cells.get(2).and_then(|c| c.as_str()).unwrap_or("Unknown").to_owned();
    let is_true = |name: &str| condition(pod, name).is_some_and(|c| c.status == "True");
    if matches!(phase(pod), "Succeeded" | "Failed") {
        let why = pod.status.as_ref().and_then(|s| s.message.clone());
        // An evicted pod's container may have ended well: that it was evicted says more.
        let reason = pod.status.as_ref().and_then(|s| s.reason.clone());
        return (State::Ended, reason.unwrap_or(status), why);
    }
    if let Some(ready) = condition(pod, "Ready").filter(|c| c.status == "True") {
        let since = ready.last_transition_time.as_ref().map_or(now, |t| t.0);
        let left = settle - now.duration_since(since);
        if left > SignedDuration::ZERO {
            let why = format!("counts as available in {}s (minReadySeconds)", left.as_secs().saturating_add(1));
            return (State::Settling, "ready".into(), Some(why));
        }
        return (State::Available, "ready".into(), None);
    }
    if let Some(refused) = condition(pod, "PodScheduled").filter(|c| c.status == "False") {
        let word = refused.reason.clone().unwrap_or_else(|| "Unschedulable".into());
        return (State::Failing, word, refused.message.clone());
    }
    let waiting = containers(pod).find_map(|c| c.state.as_ref()?.waiting.as_ref());
    let message = waiting.and_then(|w| w.message.as_deref()).map(heart);
    let inner = status.strip_prefix("Init:").unwrap_or(&status);
    let crashed =
        inner == "Error" || inner == "OOMKilled" || inner.starts_with("ExitCode:") || inner.starts_with("Signal:");
    if crashed || FAILURES.contains(&inner) {
        return (State::Failing, status, message.or_else(|| last_end(pod)));
    }
    match status.as_str() {
        "Running" if is_true("ContainersReady") => (
            State::Starting,
            "becoming reachable".into(),
            Some("its containers are ready; Services learn of it".into()),
        ),
        "Running" => (State::Starting, "running, not ready".into(), words.unhealthy.clone()),
        _ => (State::Starting, status, message),
    }
}

fn leaving(pod: &Pod, words: &Words, now: Timestamp) -> (State, String, Option<String>) {
    let left = pod.metadata.deletion_timestamp.as_ref().map_or(0, |t| t.0.duration_since(now).as_secs());
    let why = (left > 0).then(|| format!("at most {left}s more"));
    match &words.draining {
        Some(what) => (State::Draining, format!("draining: {what}"), why),
        None => (State::Stopping, "stopping".into(), why),
    }
}

/// Connections that a draining pod is waited for, of `draining: 3 connections`.
pub fn connections(line: &PodLine) -> u64 {
    let count = line.word.strip_prefix("draining: ").and_then(|w| w.split_once(" connection"));
    count.and_then(|(n, _)| n.parse().ok()).filter(|_| line.state == State::Draining).unwrap_or(0)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == name)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten())
}

/// A message without the steps of a pull that failed, which only repeat the image's name before they come to what is wrong.
fn heart(message: &str) -> String {
    let mut text = message.to_owned();
    for step in ["failed to pull and unpack image \"", "failed to resolve reference \""] {
        let Some((before, rest)) = text.split_once(step) else { continue };
        let Some((_, after)) = rest.split_once("\": ") else { continue };
        text = format!("{before}{after}");
    }
    text
}

/// How a container that is down ended last.
fn last_end(pod: &Pod) -> Option<String> {
    let ended = containers(pod).find_map(|c| {
        let state = c.state.as_ref().and_then(|s| s.terminated.as_ref());
        state.or_else(|| c.last_state.as_ref().and_then(|s| s.terminated.as_ref())).map(|t| (c, t))
    })?;
    let (container, end) = ended;
    let said = end.message.as_deref().and_then(|m| m.lines().last()).map(|m| format!(": {m}")).unwrap_or_default();
    Some(format!("container {} ended with code {}{said}", container.name, end.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn judged(status: &Value, deleted: bool, words: &Words) -> String {
        let mut pod = json!({"metadata": {"name": "p", "creationTimestamp": "2026-11-30T11:59:30Z"},
            "spec": {"containers": [{"name": "web"}]}, "status": status});
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:25Z");
        }
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let line = line(&pod, words, SignedDuration::from_secs(10), NOW.parse().unwrap());
        assert_eq!(line.age, 30);
        format!("{:?} | {} | {}", line.state, line.word, line.why.unwrap_or_default())
    }

    #[test]
    fn every_state_has_its_words() {
        let container = |state: Value| {
            json!({"phase": "Running", "containerStatuses": [{"name": "web", "ready": false, "restartCount": 2,
            "image": "", "imageID": "", "state": state, "lastState": {"terminated": {"exitCode": 3, "message": "a\nboom"}}}]})
        };
        let ready = |since: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]});
        let waiting =
            |reason: &str, message: Option<&str>| container(json!({"waiting": {"reason": reason, "message": message}}));
        let unhealthy = Words { draining: None, unhealthy: Some("Readiness probe failed: 503".into()) };
        let draining = Words { draining: Some("3 connections".into()), unhealthy: None };
        let none = Words::default();
        let refused = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
        let reachable = json!({"phase": "Running", "conditions": [{"type": "ContainersReady", "status": "True"}]});
        let cases = [
            (json!({"phase": "Pending"}), false, &none, "Starting | Pending | "),
            (waiting("ContainerCreating", None), false, &none, "Starting | ContainerCreating | "),
            (
                waiting("ImagePullBackOff", Some("no such image")),
                false,
                &none,
                "Failing | ImagePullBackOff | no such image",
            ),
            (
                waiting(
                    "ErrImagePull",
                    Some(
                        "failed to pull and unpack image \"a/web:v1\": failed to resolve reference \"a/web:v1\": cannot connect to a",
                    ),
                ),
                false,
                &none,
                "Failing | ErrImagePull | cannot connect to a",
            ),
            (
                waiting("CrashLoopBackOff", None),
                false,
                &none,
                "Failing | CrashLoopBackOff | container web ended with code 3: boom",
            ),
            (
                container(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
                false,
                &none,
                "Failing | Error | container web ended with code 1",
            ),
            (
                container(json!({"running": {}})),
                false,
                &unhealthy,
                "Starting | running, not ready | Readiness probe failed: 503",
            ),
            (reachable, false, &none, "Starting | becoming reachable | its containers are ready; Services learn of it"),
            (
                ready("2026-11-30T11:59:54Z"),
                false,
                &none,
                "Settling | ready | counts as available in 5s (minReadySeconds)",
            ),
            (ready("2026-11-30T11:59:50Z"), false, &none, "Available | ready | "),
            (refused, false, &none, "Failing | Unschedulable | 0/3 nodes are available"),
            (ready(NOW), true, &none, "Stopping | stopping | at most 25s more"),
            (ready(NOW), true, &draining, "Draining | draining: 3 connections | at most 25s more"),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}),
                false,
                &none,
                "Ended | Evicted | low on disk",
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "containerStatuses": [{"name": "web", "ready": false,
                    "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                false,
                &none,
                "Ended | Evicted | ",
            ),
        ];
        for (status, deleted, words, expected) in cases {
            assert_eq!(judged(&status, deleted, words), expected);
        }
    }

    #[test]
    fn connections_are_counted_of_the_words() {
        let of = |word: &str, state| {
            connections(&PodLine {
                name: "p".into(),
                state,
                word: word.into(),
                why: None,
                age: 0,
                node: None,
                restarts: 0,
            })
        };
        assert_eq!(of("draining: 3 connections", State::Draining), 3);
        assert_eq!(of("draining: 1 connection", State::Draining), 1);
        assert_eq!(of("draining: waiting for the proxy of n1", State::Draining), 0);
        assert_eq!(of("draining: 3 connections", State::Stopping), 0);
    }
}
