//! Why new pods cannot start, and whether waiting may mend it. Pure, over pod statuses.
//!
//! A cause is *certain* when the kubelet's own next attempts will not change it:
//!
//! | seen | certain | because |
//! |---|---|---|
//! | `InvalidImageName`, `ErrImageNeverPull` | at once | nothing is tried again before something else changes |
//! | `ErrImagePull`, `ImagePullBackOff` of an image that is not there, or not for us | at once | the registry has answered |
//! | the same for another reason (registry not reached) | after [`PULL`] | the second attempt, 10 s after the first, has failed too |
//! | `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError` | after [`CONFIG`] | a ConfigMap applied right after the Deployment is no mistake |
//! | `CrashLoopBackOff` with [`RESTARTS`] restarts or more | then | it has died three times; one or two may be a database that was slow to start |
//!
//! A pod that finds no node is not here: that may mend itself, or not; the progress deadline is for it.
use crate::pod::{controller_of, is_active};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, ContainerStatus, Pod};

/// How long an image may be missing for reasons that may pass.
pub const PULL: SignedDuration = SignedDuration::from_secs(11);
/// How long what a container refers to may be missing.
pub const CONFIG: SignedDuration = SignedDuration::from_secs(10);
/// Restarts after which a crash loop is one.
pub const RESTARTS: i32 = 2;
/// The most characters of a kubelet's message that are repeated.
const DETAIL: usize = 160;

/// When a trouble counts as one that waiting does not mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certain {
    Now,
    /// If it is still there then.
    From(Timestamp),
    /// Only more of it will tell.
    NotYet,
}

/// Why one pod does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kubelet's word: `ErrImagePull`, `CrashLoopBackOff`, …
    pub reason: String,
    /// What a person reads. The same from one attempt to the next, so that it is not written anew each time.
    pub text: String,
    pub certain: Certain,
}

/// What keeps a ReplicaSet's pods from starting, as far as anything does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The plainest case: a certain one if there is one.
    pub trouble: Trouble,
    /// How many pods are in certain trouble.
    pub certain: i64,
    /// When more may be certain.
    pub look_again: Option<Timestamp>,
}

/// Over the pods of one ReplicaSet; `None`: nothing is wrong.
pub fn of_pods<'a>(pods: impl IntoIterator<Item = &'a Pod>, now: Timestamp) -> Option<Failing> {
    let mut troubles: Vec<Trouble> = pods.into_iter().filter_map(|p| of_pod(p, now)).collect();
    let is_certain = |t: &Trouble| t.certain == Certain::Now;
    let certain = troubles.iter().filter(|t| is_certain(t)).count();
    let look_again = troubles.iter().filter_map(|t| match t.certain {
        Certain::From(at) => Some(at),
        Certain::Now | Certain::NotYet => None,
    });
    let look_again = look_again.min();
    // Of several the same one each time, whatever order pods come in.
    troubles.sort_by(|a, b| is_certain(b).cmp(&is_certain(a)).then_with(|| a.text.cmp(&b.text)));
    let trouble = troubles.into_iter().next()?;
    Some(Failing { trouble, certain: i64::try_from(certain).unwrap_or(i64::MAX), look_again })
}

/// The uid of the ReplicaSet whose pod is in trouble: pods that are not are in no such index.
pub fn index_by_owner(pod: &Pod) -> Vec<String> {
    let owner = controller_of(&pod.metadata).filter(|_| is_active(pod) && waiting(pod).next().is_some());
    owner.map(|o| o.uid.clone()).into_iter().collect()
}

/// Containers that wait for a reason known here.
fn waiting(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, &ContainerStateWaiting)> {
    let status = pod.status.as_ref();
    let init = status.into_iter().flat_map(|s| s.init_container_statuses.iter().flatten());
    let regular = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    init.chain(regular)
        .filter_map(|c| Some((c, c.state.as_ref()?.waiting.as_ref()?)))
        .filter(|(_, w)| w.reason.as_deref().is_some_and(is_known))
}

fn is_known(reason: &str) -> bool {
    is_image(reason) || is_config(reason) || reason == "CrashLoopBackOff"
}

fn is_image(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError"
    )
}

fn is_config(reason: &str) -> bool {
    matches!(reason, "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError")
}

fn of_pod(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    if !is_active(pod) {
        return None;
    }
    let (container, wait) = waiting(pod).next()?;
    let reason = wait.reason.as_deref().unwrap_or_default();
    let message = wait.message.as_deref().unwrap_or_default();
    let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).or(pod.metadata.creation_timestamp.as_ref());
    let after = |grace: SignedDuration| {
        // Without a time nobody knows how long it has been: the deadline will tell.
        let Some(from) = started else { return Certain::NotYet };
        let at = from.0.checked_add(grace).unwrap_or(Timestamp::MAX);
        if at <= now { Certain::Now } else { Certain::From(at) }
    };
    Some(if is_image(reason) {
        image(pod, container, reason, message, after(PULL))
    } else if is_config(reason) {
        let text = format!("container \"{}\" cannot be made ({reason}): {}", container.name, detail(message));
        Trouble { reason: reason.to_owned(), text, certain: after(CONFIG) }
    } else {
        crash(container)
    })
}

fn image(pod: &Pod, container: &ContainerStatus, reason: &str, message: &str, later: Certain) -> Trouble {
    let spec = pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let wanted = all.into_iter().find(|c| c.name == container.name).and_then(|c| c.image.as_deref());
    let wanted = wanted.unwrap_or(&container.image);
    // A pull that failed is told as itself and, until the next attempt, as back-off: one trouble.
    let reason = if reason == "ImagePullBackOff" { "ErrImagePull" } else { reason };
    let message = message.split_once("ErrImagePull: ").map_or(message, |(_, rest)| rest);
    let certain = if matches!(reason, "InvalidImageName" | "ErrImageNeverPull") || is_refused(message) {
        Certain::Now
    } else {
        later
    };
    let text = format!("image \"{wanted}\" cannot be had ({reason}): {}", detail(message));
    Trouble { reason: reason.to_owned(), text, certain }
}

/// The registry says there is no such image, or none for us (containerd's, CRI-O's and our own words).
fn is_refused(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["not found", "manifest unknown", "does not exist", "no such image", "access denied", "unauthorized", "denied:"]
        .iter()
        .any(|words| message.contains(words))
}

fn crash(container: &ContainerStatus) -> Trouble {
    let last = container.last_state.as_ref().and_then(|s: &ContainerState| s.terminated.as_ref());
    let how = last.map_or_else(String::new, |t| match t.reason.as_deref() {
        Some(reason) if reason != "Error" => format!(": last exit code {} ({reason})", t.exit_code),
        _ => format!(": last exit code {}", t.exit_code),
    });
    let text = format!("container \"{}\" keeps crashing (CrashLoopBackOff){how}", container.name);
    let certain = if container.restart_count >= RESTARTS { Certain::Now } else { Certain::NotYet };
    Trouble { reason: "CrashLoopBackOff".to_owned(), text, certain }
}

fn detail(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(DETAIL).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(age: i64, restarts: i32, reason: &str, message: &str) -> Pod {
        let started = Timestamp::from_second(1000 - age).unwrap().to_string();
        serde_json::from_value(json!({
            "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s",
                "controller": true}]},
            "spec": {"containers": [{"name": "c", "image": "web:v9"}]},
            "status": {"phase": "Pending", "startTime": started, "containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "ready": false, "restartCount": restarts, "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}]}
        }))
        .unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1000).unwrap()
    }

    #[test]
    fn what_is_certain_when() {
        let back_off = |why: &str| format!("Back-off pulling image \"web:v9\": ErrImagePull: {why}");
        // (age, restarts, reason, message) → seconds until it is certain; none: not by time
        for (age, restarts, reason, message, want) in [
            (0, 0, "InvalidImageName", "couldn't parse", Some(0)),
            (0, 0, "ErrImageNeverPull", "is not present", Some(0)),
            (0, 0, "ErrImagePull", "docker.io/library/web:v9: not found", Some(0)),
            (3, 0, "ImagePullBackOff", &*back_off("pull access denied"), Some(0)),
            (1, 0, "ErrImagePull", "dial tcp: connection refused", Some(10)),
            (4, 0, "ImagePullBackOff", &*back_off("i/o timeout"), Some(7)),
            (11, 0, "ImagePullBackOff", &*back_off("i/o timeout"), Some(0)),
            (2, 0, "CreateContainerConfigError", "configmap \"cfg\" not found", Some(8)),
            (10, 0, "CreateContainerConfigError", "configmap \"cfg\" not found", Some(0)),
            (900, 1, "CrashLoopBackOff", "back-off 10s restarting", None),
            (1, 2, "CrashLoopBackOff", "back-off 20s restarting", Some(0)),
        ] {
            let p = pod(age, restarts, reason, message);
            let failing = of_pods([&p], now()).unwrap();
            let wait = match failing.trouble.certain {
                Certain::Now => Some(0),
                Certain::From(at) => Some(at.as_second() - 1000),
                Certain::NotYet => None,
            };
            assert_eq!(wait, want, "{age} {restarts} {reason} {message}");
            assert_eq!(failing.certain, i64::from(want == Some(0)));
            assert_eq!(failing.look_again.map(|t| t.as_second() - 1000), want.filter(|s| *s > 0));
            assert_eq!(index_by_owner(&p), ["s"]);
        }
    }

    /// Nothing is wrong with pods that are merely not there yet, or on their way out.
    #[test]
    fn patience_is_no_trouble() {
        let leaving = {
            let mut p = pod(99, 9, "CrashLoopBackOff", "");
            p.metadata.deletion_timestamp = Some(now().into());
            p
        };
        for p in [pod(99, 0, "ContainerCreating", ""), pod(99, 0, "PodInitializing", ""), leaving, Pod::default()] {
            assert_eq!(of_pods([&p], now()), None);
            assert_eq!(index_by_owner(&p), Vec::<String>::new());
        }
    }

    /// The text does not change with the attempts.
    #[test]
    fn words() {
        let text = |reason: &str, message: &str, restarts: i32| {
            of_pods([&pod(0, restarts, reason, message)], now()).unwrap().trouble.text
        };
        let first = text("ErrImagePull", "web:v9: not found", 0);
        assert_eq!(first, "image \"web:v9\" cannot be had (ErrImagePull): web:v9: not found");
        assert_eq!(
            first,
            text("ImagePullBackOff", "Back-off pulling image \"web:v9\": ErrImagePull: web:v9: not found", 0)
        );
        assert_eq!(
            text("CrashLoopBackOff", "back-off 10s", 1),
            "container \"c\" keeps crashing (CrashLoopBackOff): last exit code 3"
        );
        assert_eq!(text("CrashLoopBackOff", "", 1), text("CrashLoopBackOff", "", 7));
        // A certain trouble is told before an uncertain one.
        let (sure, unsure) = (pod(0, 5, "CrashLoopBackOff", ""), pod(0, 0, "ErrImagePull", "refused"));
        let both = of_pods([&unsure, &sure], now()).unwrap();
        assert_eq!((both.trouble.reason.as_str(), both.certain), ("CrashLoopBackOff", 1));
    }
}
