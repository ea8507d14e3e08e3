//! Registers the Nodes and renews their Leases: one task for all, one renewal at a time, spread evenly over the interval.
use super::HollowConfig;
use super::node::{self, LEASE_SECONDS, LEASES};
use futures::StreamExt as _;
use isopod_api::k8s::api::coordination::v1::Lease;
use isopod_api::k8s::api::core::v1::Node;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::MicroTime;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Every lease is renewed this often (a quarter of its duration).
const RENEWAL: Duration = Duration::from_secs(LEASE_SECONDS.unsigned_abs() as u64 / 4);
/// Registrations under way at once.
const AT_ONCE: usize = 16;
/// Between attempts to register a node.
const RETRY: Duration = Duration::from_millis(500);

fn code(error: &Error) -> u16 {
    if let Error::Api(status) = error { status.code } else { 0 }
}

/// Makes the node, or makes a known one ready again, and its lease. Returns the node's uid.
async fn register(config: &HollowConfig, index: u32, name: &str, client: &Client) -> Result<String, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let now = Timestamp::now();
    let fresh = node::node(config, index, name, now);
    let known = match nodes.create(&PostParams::default(), &fresh).await {
        Err(error) if code(&error) == 409 => nodes.get(name).await?,
        other => other?,
    };
    if known.status.as_ref().and_then(|s| s.conditions.as_ref()).is_none_or(|c| !is_fresh(c, &fresh)) {
        let status = json!({ "status": fresh.status });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
    }
    let uid = known.metadata.uid.unwrap_or_default();
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    match leases.create(&PostParams::default(), &node::lease(name, &uid, now)).await {
        Err(error) if code(&error) == 409 => renew(&leases, name).await?,
        other => drop(other?),
    }
    Ok(uid)
}

fn is_fresh(known: &[isopod_api::k8s::api::core::v1::NodeCondition], wanted: &Node) -> bool {
    let wanted = wanted.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    wanted.iter().all(|w| known.iter().any(|k| k.type_ == w.type_ && k.status == w.status && k.reason == w.reason))
}

async fn renew(leases: &Api<Lease>, name: &str) -> Result<(), Error> {
    let patch = json!({"spec": {"holderIdentity": name, "renewTime": MicroTime(Timestamp::now())}});
    leases.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Registers every node, then renews leases until `shutdown`.
pub(super) async fn keep(config: &HollowConfig, clients: &HashMap<String, Client>, shutdown: CancellationToken) {
    let names = config.names();
    // Made before they are polled: a stream that maps borrowed names could not be sent between threads.
    let registrations: Vec<_> = names
        .iter()
        .zip(0_u32..)
        .map(|(name, index)| register_until_done(config, index, name, clients, &shutdown))
        .collect();
    let uids: Vec<String> = futures::stream::iter(registrations).buffered(AT_ONCE).collect().await;
    let step = RENEWAL.checked_div(config.count.max(1)).unwrap_or(RENEWAL);
    let mut ticks = tokio::time::interval(step);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for (name, uid) in names.iter().zip(&uids).cycle() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(client) = clients.get(name) else { continue };
        let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
        let renewed = match renew(&leases, name).await {
            Err(error) if code(&error) == 404 => {
                leases.create(&PostParams::default(), &node::lease(name, uid, Timestamp::now())).await.map(drop)
            }
            other => other,
        };
        if let Err(error) = renewed {
            tracing::warn!(node = %name, %error, "could not renew the lease");
        }
    }
}

async fn register_until_done(
    config: &HollowConfig,
    index: u32,
    name: &str,
    clients: &HashMap<String, Client>,
    shutdown: &CancellationToken,
) -> String {
    let Some(client) = clients.get(name) else { return String::new() };
    loop {
        match register(config, index, name, client).await {
            Ok(uid) => return uid,
            Err(error) => tracing::warn!(node = %name, %error, "could not register the node"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return String::new(),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
