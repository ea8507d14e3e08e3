//! Hollow nodes: nodes that simulate. Their pods start, become ready, fail and stop on a schedule, in no time by default or as
//! their annotations order ([`orders`]), so that every rollout situation can be produced and thousands of pods cost next to nothing.
//!
//! A pod's life is a state machine ([`plan`]) rendered as a PodStatus ([`status`]); one table with one timer queue holds all pods of
//! all nodes ([`pods`]); this module is the thin shell that follows the watch and writes. Never for real work.
pub mod address;
mod image;
pub mod node;
pub mod orders;
pub mod plan;
pub mod pods;
mod register;
pub mod status;

use crate::volumes::local::{self, Ground, Local};
use crate::write::{self, WriteError};
use isopod_api::k8s::api::core::v1::Pod;
use isopod_reflect::{Key, Reflectors};
use jiff::Timestamp;
use kube::Client;
use pods::{Action, Pods, Write};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Writes under way at once, over all nodes: enough to keep group commits full, few enough to leave room for others.
const WRITES: usize = 128;

/// How many hollow nodes there are, and how large they say they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HollowConfig {
    pub count: u32,
    /// Nodes are called `<prefix><index>`.
    pub prefix: String,
    pub cpu: String,
    pub memory: String,
    /// How many pods a node takes; at most 1,022, which is how many addresses it has.
    pub pods: u32,
    /// Nodes are spread over this many zones; 0: they are in none.
    pub zones: u32,
}

impl Default for HollowConfig {
    fn default() -> Self {
        let (prefix, cpu, memory) = ("hollow-".to_owned(), "32".to_owned(), "256Gi".to_owned());
        Self { count: 0, prefix, cpu, memory, pods: 500, zones: 0 }
    }
}

impl HollowConfig {
    pub fn names(&self) -> Vec<String> {
        (0..self.count.min(address::MOST_NODES)).map(|i| format!("{}{i}", self.prefix)).collect()
    }
}

/// A write that came back.
struct Done {
    key: Key,
    uid: String,
    result: Result<(), WriteError>,
}

/// Runs all hollow nodes until `shutdown`. `client_for_node` gives a client that acts as `system:node:<name>`; `reflectors` must be
/// allowed to watch all pods.
pub async fn run(
    client_for_node: impl Fn(&str) -> Client + Send + Sync,
    reflectors: Reflectors,
    config: HollowConfig,
    shutdown: CancellationToken,
) {
    let names = config.names();
    let clients: HashMap<String, Client> = names.iter().map(|name| (name.clone(), client_for_node(name))).collect();
    let heartbeat = register::keep(&config, &clients, shutdown.clone());
    let volumes = provision(&names, &clients, &reflectors, &shutdown);
    let pods = follow(Pods::new(names.clone()), &clients, &reflectors, shutdown.clone());
    tokio::join!(heartbeat, volumes, pods);
}

/// Hollow volumes for hollow pods: claims are bound as on real nodes, to directories that nobody makes.
async fn provision(
    names: &[String],
    clients: &HashMap<String, Client>,
    reflectors: &Reflectors,
    shutdown: &CancellationToken,
) {
    let Some(client) = names.first().and_then(|name| clients.get(name)) else { return };
    let local = Local { nodes: names.iter().cloned().collect(), ground: Ground::Hollow };
    local::run(client.clone(), reflectors.clone(), local, shutdown.clone()).await;
}

async fn follow(
    mut pods: Pods,
    clients: &HashMap<String, Client>,
    reflectors: &Reflectors,
    shutdown: CancellationToken,
) {
    let mut changes = reflectors.of::<Pod>().subscribe();
    let (done, mut results) = mpsc::channel::<Done>(WRITES);
    let mut under_way: usize = 0;
    loop {
        let now = Timestamp::now();
        for write in pods.due(now, WRITES.saturating_sub(under_way)) {
            let Some(client) = clients.get(&write.node) else { continue };
            under_way = under_way.saturating_add(1);
            tokio::spawn(carry_out(client.clone(), write, done.clone()));
        }
        let full = under_way >= WRITES;
        let timer = sleep_until(pods.next().filter(|_| !full));
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(result) = results.recv() => {
                under_way = under_way.saturating_sub(1);
                finish(&mut pods, &result);
                while let Ok(result) = results.try_recv() {
                    under_way = under_way.saturating_sub(1);
                    finish(&mut pods, &result);
                }
            }
            batch = changes.next_batch() => {
                let Some(batch) = batch else { return };
                let now = Timestamp::now();
                for change in batch {
                    pods.observe(&change.key, change.new.as_ref(), now);
                }
            }
            () = timer => {}
        }
    }
}

/// For ever, if there is nothing to wait for.
async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => {
            let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
            tokio::time::sleep(wait).await;
        }
        None => std::future::pending().await,
    }
}

async fn carry_out(client: Client, write: Write, done: mpsc::Sender<Done>) {
    let Write { key, uid, action, .. } = write;
    let result = match action {
        Action::Status(status) => write::post_status(&client, &key, &uid, &status).await,
        Action::Delete => write::delete(&client, &key, &uid).await,
    };
    // The receiver is gone only when the node is shut down.
    let _stopped = done.send(Done { key, uid, result }).await;
}

fn finish(pods: &mut Pods, done: &Done) {
    let ok = match &done.result {
        Ok(()) => true,
        // The watch will say so too; until then nothing more is written.
        Err(error) if error.is_gone() => true,
        Err(error) => {
            tracing::warn!(pod = %done.key, %error, "hollow node could not write");
            false
        }
    };
    pods.written(&done.key, &done.uid, ok, Timestamp::now());
}
