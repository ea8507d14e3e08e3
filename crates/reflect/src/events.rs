//! Events: what components tell people about objects (`k8s.io/client-go/tools/record`).
//!
//! Recording never waits and never fails: events are best effort. They are correlated as client-go does: the same event again
//! counts up, more than ten similar ones within ten minutes are combined, and one object's flood is cut off (25, then one in five
//! minutes), so that a thousand pods made by one ReplicaSet do not cost a thousand events.
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events that wait to be sent; more are dropped. A controller's burst is 500 pods.
const WAITING: usize = 1024;
/// Objects and events remembered for correlation; beyond, memory of old ones is lost (client-go: an LRU of 4,096).
const REMEMBERED: usize = 4096;
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL: Duration = Duration::from_secs(300);
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Note {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events of one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Note>,
}

/// The reference by which events name an object.
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl Recorder {
    /// Must be called within a tokio runtime. `component` is `source.component`; `host` is `source.host` (node agents).
    pub fn new(client: kube::Client, component: &str, host: Option<&str>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let source = EventSource { component: Some(component.to_owned()), host: host.map(ToOwned::to_owned) };
        tokio::spawn(send_all(client, source, receiver));
        Self { sender }
    }

    /// Tells about an object. Events about cluster-scoped objects go to the namespace `default`.
    pub fn record(&self, about: ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let note = Note { about, kind, reason: reason.to_owned(), message: message.into(), at: Timestamp::now() };
        if self.sender.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }
}

async fn send_all(client: kube::Client, source: EventSource, mut receiver: mpsc::Receiver<Note>) {
    let mut correlator = Correlator::default();
    while let Some(note) = receiver.recv().await {
        let decision = correlator.decide(&note, Instant::now());
        let namespace = note.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let result = match decision {
            Decision::Drop => continue,
            Decision::Again { name, count, message } => {
                let change = json!({"count": count, "lastTimestamp": Time(note.at), "message": message});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
            }
            Decision::New { identity, message } => {
                let event = event(&note, &source, &namespace, message);
                let name = event.metadata.name.clone().unwrap_or_default();
                let made = api.create(&PostParams::default(), &event).await;
                if made.is_ok() {
                    correlator.made(identity, name);
                }
                made.map(drop)
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, reason = note.reason, "event not recorded");
        }
    }
}

fn event(note: &Note, source: &EventSource, namespace: &str, message: String) -> Event {
    let name = format!("{}.{:x}", note.about.name.as_deref().unwrap_or(""), note.at.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() },
        involved_object: note.about.clone(),
        type_: Some(note.kind.as_str().to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(message),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        source: Some(source.clone()),
        ..Event::default()
    }
}

/// Object, type and reason.
type Similar = (String, EventType, String);
/// An event that counts up: similar ones with the same message about the same part of the object, or (without these) all similar
/// ones combined.
type Identity = (Similar, Option<(String, Option<String>)>);

enum Decision {
    Drop,
    New { identity: Identity, message: String },
    Again { name: String, count: i32, message: String },
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

struct Group {
    messages: std::collections::HashSet<String>,
    last: Instant,
}

#[derive(Default)]
struct Correlator {
    buckets: HashMap<String, Bucket>,
    groups: HashMap<Similar, Group>,
    sent: HashMap<Identity, (String, i32)>,
}

impl Correlator {
    fn decide(&mut self, note: &Note, now: Instant) -> Decision {
        if self.sent.len() > REMEMBERED || self.buckets.len() > REMEMBERED || self.groups.len() > REMEMBERED {
            *self = Self::default();
        }
        let object = format!(
            "{}/{}/{}",
            note.about.kind.as_deref().unwrap_or(""),
            note.about.namespace.as_deref().unwrap_or(""),
            note.about.uid.as_deref().or(note.about.name.as_deref()).unwrap_or("")
        );
        let similar = (object.clone(), note.kind, note.reason.clone());
        let group =
            self.groups.entry(similar.clone()).or_insert_with(|| Group { messages: Default::default(), last: now });
        if now.duration_since(group.last) > SIMILAR_WITHIN {
            group.messages.clear();
        }
        group.last = now;
        // Enough to know that there are too many.
        if group.messages.len() <= SIMILAR {
            group.messages.insert(note.message.clone());
        }
        let (identity, message) = if group.messages.len() > SIMILAR {
            ((similar, None), format!("(combined from similar events): {}", note.message))
        } else {
            let part = note.about.field_path.clone();
            ((similar, Some((note.message.clone(), part))), note.message.clone())
        };
        if !self.allowed(object, now) {
            return Decision::Drop;
        }
        match self.sent.get_mut(&identity) {
            Some((name, count)) => {
                *count = count.saturating_add(1);
                Decision::Again { name: name.clone(), count: *count, message }
            }
            None => Decision::New { identity, message },
        }
    }

    fn allowed(&mut self, object: String, now: Instant) -> bool {
        let bucket = self.buckets.entry(object).or_insert(Bucket { tokens: SPAM_BURST, at: now });
        let refill = now.duration_since(bucket.at).as_secs_f64() / SPAM_REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refill).min(SPAM_BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn made(&mut self, identity: Identity, name: String) {
        self.sent.insert(identity, (name, 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(object: &str, message: &str) -> Note {
        Note {
            about: ObjectReference { uid: Some(object.into()), ..Default::default() },
            kind: EventType::Normal,
            reason: "R".into(),
            message: message.into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_up_combines_and_cuts_off() {
        let mut c = Correlator::default();
        let mut seen = Vec::new();
        for i in 0..40 {
            let n = note("a", &format!("m{}", i / 2));
            seen.push(match c.decide(&n, Instant::now()) {
                Decision::New { identity, message } => {
                    c.made(identity, format!("e{i}"));
                    format!("new {message}")
                }
                Decision::Again { name, count, .. } => format!("{name} ×{count}"),
                Decision::Drop => "-".into(),
            });
        }
        assert_eq!(seen[0..3], ["new m0", "e0 ×2", "new m1"]);
        assert_eq!(seen[19..22], ["e18 ×2", "new (combined from similar events): m10", "e20 ×2"]);
        assert_eq!(seen.iter().filter(|s| *s != "-").count(), 25);
        assert!(
            matches!(c.decide(&note("b", "x"), Instant::now()), Decision::New { .. }),
            "another object is not cut off"
        );
        let part = |name: &str| {
            let mut note = note("c", "x");
            note.about.field_path = Some(format!("spec.containers{{{name}}}"));
            note
        };
        for name in ["one", "two"] {
            let decided = c.decide(&part(name), Instant::now());
            let Decision::New { identity, .. } = decided else { panic!("{name} is another container") };
            c.made(identity, name.to_owned());
        }
        assert!(matches!(c.decide(&part("two"), Instant::now()), Decision::Again { name, .. } if name == "two"));
        tokio::time::advance(SPAM_REFILL).await;
        assert!(!matches!(c.decide(&note("a", "later"), Instant::now()), Decision::Drop));
    }
}
