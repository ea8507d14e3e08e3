//! What is known of a rollout: mirrors of the Deployment, its ReplicaSets and pods, and what events last said of each pod.
//!
//! Pure: [`Observed::apply`] takes changes one by one, wherever they come from.
use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event as Told, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use std::collections::BTreeMap;

/// One change of what is known.
#[derive(Clone, Debug)]
pub enum Change {
    Deployment(Event<Deployment>),
    Set(Event<ReplicaSet>),
    Pod(Event<Pod>),
    Told(Event<Told>),
    /// The watch of the Deployment failed; it is tried again. In words.
    Silent(String),
}

/// All objects of a kind, by uid.
#[derive(Clone, Debug)]
pub struct Mirror<K> {
    known: BTreeMap<String, K>,
    /// A list that is being read again: it replaces what is known when it is complete.
    fresh: Option<BTreeMap<String, K>>,
    complete: bool,
}

impl<K> Default for Mirror<K> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), fresh: None, complete: false }
    }
}

impl<K: Metadata<Ty = ObjectMeta>> Mirror<K> {
    fn apply(&mut self, event: Event<K>) {
        let uid = |object: &K| object.metadata().uid.clone().unwrap_or_default();
        match event {
            Event::Init => self.fresh = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                self.fresh.get_or_insert_default().insert(uid(&object), object);
            }
            Event::InitDone => {
                self.known = self.fresh.take().unwrap_or_default();
                self.complete = true;
            }
            Event::Apply(object) => {
                self.known.insert(uid(&object), object);
            }
            Event::Delete(object) => {
                self.known.remove(&uid(&object));
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &K> {
        self.known.values()
    }
}

/// The last words of events about one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `3 connections`; nothing once its containers are being stopped. What isopod's node agent says while it drains a pod.
    pub draining: Option<String>,
    /// `Readiness probe failed: …`
    pub unhealthy: Option<String>,
}

/// Since when the API server has not answered, and how that showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub since: Timestamp,
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    deployments: Mirror<Deployment>,
    pub sets: Mirror<ReplicaSet>,
    pub pods: Mirror<Pod>,
    /// By uid of the pod.
    words: BTreeMap<String, Words>,
    pub silence: Option<Silence>,
}

impl Observed {
    pub fn apply(&mut self, change: Change, now: Timestamp) {
        match change {
            Change::Deployment(event) => {
                self.silence = None;
                self.deployments.apply(event);
            }
            Change::Set(event) => self.sets.apply(event),
            Change::Pod(event) => {
                if let Event::Delete(pod) = &event {
                    self.words.remove(pod.metadata.uid.as_deref().unwrap_or_default());
                }
                self.pods.apply(event);
            }
            Change::Told(Event::InitApply(told) | Event::Apply(told)) => self.hear(&told),
            Change::Told(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            Change::Silent(why) => {
                let since = self.silence.as_ref().map_or(now, |s| s.since);
                self.silence = Some(Silence { since, why });
            }
        }
    }

    fn hear(&mut self, told: &Told) {
        let Some(uid) = told.involved_object.uid.clone() else { return };
        let message = told.message.clone().unwrap_or_default();
        let words = match told.reason.as_deref() {
            Some("Draining") => {
                // `draining: 3 connections`, `draining: waiting for the proxy of n`, `drain timed out after 15s with …`
                let what = message.strip_prefix("draining: ").unwrap_or(&message).to_owned();
                Words { draining: Some(what), unhealthy: None }
            }
            Some("Killing") => Words::default(),
            Some("Unhealthy") => {
                let known = self.words.get(&uid).and_then(|w| w.draining.clone());
                Words { draining: known, unhealthy: Some(message) }
            }
            _ => return,
        };
        self.words.insert(uid, words);
    }

    /// The Deployment; `None`: it is not there, or not read yet.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.deployments.all().next()
    }

    /// Everything was read at least once.
    pub fn is_complete(&self) -> bool {
        self.deployments.complete && self.sets.complete && self.pods.complete
    }

    pub fn words(&self, pod: &Pod) -> Words {
        pod.metadata.uid.as_ref().and_then(|uid| self.words.get(uid)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}})).unwrap()
    }

    fn told(uid: &str, reason: &str, message: &str) -> Change {
        let event = json!({"metadata": {}, "involvedObject": {"uid": uid}, "reason": reason, "message": message});
        Change::Told(Event::Apply(serde_json::from_value(event).unwrap()))
    }

    #[test]
    fn a_list_read_again_replaces_what_is_known() {
        let mut mirror = Mirror::default();
        let names = |m: &Mirror<Pod>| m.all().map(|p| p.metadata.name.clone().unwrap()).collect::<Vec<_>>().join(" ");
        for event in [Event::Init, Event::InitApply(pod("a")), Event::InitApply(pod("b"))] {
            mirror.apply(event);
        }
        assert_eq!((names(&mirror).as_str(), mirror.complete), ("", false));
        mirror.apply(Event::InitDone);
        mirror.apply(Event::Apply(pod("c")));
        mirror.apply(Event::Delete(pod("a")));
        assert_eq!((names(&mirror).as_str(), mirror.complete), ("b c", true));
        mirror.apply(Event::Init);
        mirror.apply(Event::InitApply(pod("d")));
        assert_eq!(names(&mirror), "b c", "what is known stays until the new list is complete");
        mirror.apply(Event::InitDone);
        assert_eq!(names(&mirror), "d");
    }

    #[test]
    fn the_last_words_of_a_pod() {
        let mut observed = Observed::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut say = |reason: &str, message: &str| {
            observed.apply(told("p", reason, message), now);
            let words = observed.words(&pod("p"));
            (words.draining.unwrap_or_default(), words.unhealthy.unwrap_or_default())
        };
        assert_eq!(
            say("Unhealthy", "Readiness probe failed: 503"),
            (String::new(), "Readiness probe failed: 503".into())
        );
        assert_eq!(say("Draining", "draining: 3 connections"), ("3 connections".into(), String::new()));
        assert_eq!(say("Pulled", "x"), ("3 connections".into(), String::new()));
        assert_eq!(say("Killing", "Stopping container web"), (String::new(), String::new()));
        observed.apply(told("p", "Draining", "draining: 1 connection"), now);
        observed.apply(Change::Pod(Event::Delete(pod("p"))), now);
        assert_eq!(observed.words(&pod("p")), Words::default());
    }

    #[test]
    fn silence_counts_from_the_first_failure() {
        let mut observed = Observed::default();
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        observed.apply(Change::Silent("refused".into()), at(1));
        observed.apply(Change::Silent("reset".into()), at(5));
        assert_eq!(observed.silence, Some(Silence { since: at(1), why: "reset".into() }));
        observed.apply(Change::Deployment(Event::Init), at(6));
        assert_eq!(observed.silence, None);
    }
}
