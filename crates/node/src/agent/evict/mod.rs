//! Ends pods that use more disk than they may, and others when the machine runs out of disk or memory: one look every ten seconds, at
//! most one pod for a shortage each time, after images that nobody uses have gone. Who goes is decided in [`plan`]; the pod's
//! worker ends it, within a second, as `Failed` with the reason `Evicted`.
mod plan;

use super::context::Context;
use super::memory::Eviction;
use super::node::machine::Room;
use super::{gc, node, sandbox};
use isopod_api::k8s::api::core::v1::Pod;
use isopod_reflect::EventType;
use isopod_runtime::{ContainerState, disk_usage};
use plan::{ContainerUsage, Shortage, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The kubelet's `evictionMonitoringPeriod`.
const PERIOD: Duration = Duration::from_secs(10);
/// `podCleanupTimeout`, `podCleanupPollFreq`
const CLEANUP: Duration = Duration::from_secs(30);
const CLEANUP_LOOK: Duration = Duration::from_secs(1);
/// `immediateEvictionGracePeriodSeconds`
const GRACE: u64 = 1;

/// Looks until `shutdown`.
pub(super) async fn keep(ctx: &Context, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            look(ctx).await;
            cleaned_up(ctx).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Until what was evicted has given back what it had: looked at before, the machine would seem to need more of them.
async fn cleaned_up(ctx: &Context) {
    let gone = async {
        while !ctx.evictions.lock().is_empty() {
            tokio::time::sleep(CLEANUP_LOOK).await;
        }
    };
    if tokio::time::timeout(CLEANUP, gone).await.is_err() {
        tracing::warn!("evicted pods have not gone within {CLEANUP:?}");
        // One that went by itself just before it was told to.
        let here: BTreeSet<String> = ctx.table.pods().into_iter().filter_map(|pod| pod.metadata.uid).collect();
        ctx.evictions.lock().retain(|uid, _| here.contains(uid));
    }
}

async fn look(ctx: &Context) {
    let pods: Vec<Pod> = ctx.table.pods().into_iter().filter(|pod| is_active(ctx, pod)).collect();
    let mut evicted = false;
    for pod in pods.iter().filter(|pod| plan::has_limits(pod)) {
        if let Some(message) = plan::beyond_limits(pod, &measure(ctx, pod).await) {
            evict(ctx, pod, message, false);
            evicted = true;
        }
    }
    if evicted {
        return;
    }
    let Some(shortage) = plan::shortage(&Room::look(&ctx.config.data_dir)) else { return };
    relieve(ctx, shortage, pods).await;
}

async fn relieve(ctx: &Context, mut shortage: Shortage, pods: Vec<Pod>) {
    let about = node::reference(&ctx.config.node_name);
    let message = format!("Attempting to reclaim {}", shortage.resource);
    ctx.recorder.record(about, EventType::Warning, "EvictionThresholdMet", message);
    if shortage.resource != plan::MEMORY {
        gc::remove_unused(ctx).await;
        match plan::shortage(&Room::look(&ctx.config.data_dir)) {
            Some(still) => shortage = still,
            None => return,
        }
    }
    let mut measured = Vec::with_capacity(pods.len());
    for pod in pods {
        let usage = measure(ctx, &pod).await;
        measured.push((pod, usage));
    }
    match plan::choose(&shortage, &measured) {
        Some((pod, message)) => evict(ctx, pod, message, true),
        None => tracing::warn!(resource = shortage.resource, "the machine runs out of it, and no pod can be evicted"),
    }
}

/// Only a pod that is here to stay can give something back.
fn is_active(ctx: &Context, pod: &Pod) -> bool {
    let over = matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"));
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    !over && pod.metadata.deletion_timestamp.is_none() && !ctx.evictions.lock().contains_key(uid)
}

fn evict(ctx: &Context, pod: &Pod, message: String, disrupted: bool) {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let eviction = Eviction { reason: "Evicted".to_owned(), message, grace: Some(GRACE), disrupted };
    ctx.evictions.lock().insert(uid, eviction);
    ctx.evicted.notify_one();
}

/// What a pod uses now. Of what cannot be read nothing is known, and nobody is evicted for that.
async fn measure(ctx: &Context, pod: &Pod) -> Usage {
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let runtime = ctx.config.runtime.as_ref();
    let mut containers: BTreeMap<String, ContainerUsage> = BTreeMap::new();
    for id in ctx.table.sandboxes(namespace, name) {
        for container in runtime.containers(Some(&id)).await.unwrap_or_default() {
            if container.state != ContainerState::Running {
                continue;
            }
            let Ok(stats) = runtime.stats(&container.id).await else { continue };
            let logs = sandbox::log_directory(&ctx.config.data_dir, pod).join(&container.config.name);
            let logs = tokio::task::spawn_blocking(move || disk_usage(&logs)).await.unwrap_or(0);
            let usage = containers.entry(container.config.name).or_default();
            usage.disk = usage.disk.saturating_add(stats.writable_bytes).saturating_add(logs);
            usage.memory = usage.memory.saturating_add(stats.memory_working_set_bytes);
        }
    }
    Usage { containers, volumes: ctx.config.volumes.used(pod).await }
}
