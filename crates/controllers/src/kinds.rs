//! Which kinds the API server serves, followed as they come and go (custom resources). Discovery-driven controllers — garbage
//! collection, namespace deletion, quota counts — act on all of them.
use isopod_reflect::{Backoff, Key, MetaReflector, Reflectors};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A definition's kind is served shortly after it is written: ask again after a moment, and once more.
const AFTER_A_CHANGE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// One kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    pub resource: ApiResource,
    pub namespaced: bool,
    verbs: Vec<String>,
}

impl Kind {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
    /// `pods`, `deployments.apps`
    pub fn qualified(&self) -> String {
        let r = &self.resource;
        if r.group.is_empty() { r.plural.clone() } else { format!("{}.{}", r.plural, r.group) }
    }
    /// `pods.`, `deployments.apps`: as messages of namespace conditions name it.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }
    /// Events are no part of ownership, and there are many.
    pub fn is_event(&self) -> bool {
        self.resource.plural == "events"
    }
    pub fn api(&self, client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
    /// Whether an owner reference names this kind (its version may be another served one).
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.resource.group == group && self.resource.kind == kind
    }
}

/// What is served now. Cheap to clone.
#[derive(Clone)]
pub struct Kinds {
    served: watch::Receiver<Option<Arc<Vec<Kind>>>>,
}

impl Kinds {
    /// The loop that keeps it true; run it for as long as anybody asks.
    pub fn follow(client: kube::Client, reflectors: Reflectors) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, served) = watch::channel(None);
        (Self { served }, run(client, reflectors, sender))
    }

    /// Waits for the first discovery.
    pub async fn known(&self) -> Arc<Vec<Kind>> {
        let mut served = self.served.clone();
        match served.wait_for(Option::is_some).await {
            Ok(kinds) => kinds.clone().unwrap_or_default(),
            // The loop has ended: the process ends.
            Err(_) => Arc::default(),
        }
    }

    /// Resolves when other kinds are served than at the last call on this receiver.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Vec<Kind>>>> {
        self.served.clone()
    }
}

async fn run(client: kube::Client, reflectors: Reflectors, sender: watch::Sender<Option<Arc<Vec<Kind>>>>) {
    let mut failures = 0;
    loop {
        match discover(&client).await {
            Ok(kinds) => {
                publish(&sender, kinds);
                break;
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, "discovery failed");
                tokio::time::sleep(Backoff::WATCH.delay(failures)).await;
            }
        }
    }
    let Some(definitions) = definitions(&sender, &reflectors) else {
        // No custom resources here: nothing can change.
        return std::future::pending().await;
    };
    let mut changes = definitions.subscribe_meta();
    while changes.next_batch_meta().await.is_some() {
        for delay in AFTER_A_CHANGE {
            tokio::time::sleep(delay).await;
            match discover(&client).await {
                Ok(kinds) => publish(&sender, kinds),
                Err(error) => tracing::warn!(%error, "discovery failed; keeping the kinds known"),
            }
        }
    }
}

fn publish(sender: &watch::Sender<Option<Arc<Vec<Kind>>>>, kinds: Vec<Kind>) {
    sender.send_if_modified(|known| {
        if known.as_ref().is_some_and(|k| **k == kinds) {
            return false;
        }
        *known = Some(Arc::new(kinds));
        true
    });
}

fn definitions(
    sender: &watch::Sender<Option<Arc<Vec<Kind>>>>,
    reflectors: &Reflectors,
) -> Option<Arc<dyn MetaReflector>> {
    let known = sender.borrow();
    let kind = known.as_ref()?.iter().find(|k| k.qualified() == "customresourcedefinitions.apiextensions.k8s.io")?;
    Some(reflectors.metadata(&kind.resource))
}

async fn discover(client: &kube::Client) -> Result<Vec<Kind>, kube::Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // Servers before aggregated discovery answer with another document.
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let mut kinds: Vec<Kind> = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .map(|(resource, caps)| Kind { resource, namespaced: caps.scope == Scope::Namespaced, verbs: caps.operations })
        .filter(|kind| kind.can("list"))
        .collect();
    kinds.sort_by(|a, b| (&a.resource.group, &a.resource.plural).cmp(&(&b.resource.group, &b.resource.plural)));
    Ok(kinds)
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Group and plural.
    pub kind: (Arc<str>, Arc<str>),
    pub key: Key,
}
