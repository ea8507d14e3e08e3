//! Makes a pod's surroundings: volumes, sandbox, network, `/etc/hosts`; and takes them away.
use super::context::Context;
use super::dns::{self, Names};
use super::observed::label;
use super::sandbox::{self, Surroundings};
use futures::future::join_all;
use isopod_api::k8s::api::core::v1::Pod;
use isopod_network::contract::Attachment;
use isopod_reflect::EventType;
use isopod_runtime::{NetworkNamespace, RuntimeError, SandboxId, SandboxState, SandboxStatus};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What systemd-resolved asks itself.
const UPSTREAM_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// What is there now.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub sandbox: SandboxId,
    /// The pod's own, or the machine's.
    pub address: IpAddr,
}

/// Why not: told in an event already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotMade(String);

fn names<'a>(ctx: &'a Context, host: &'a str) -> Names<'a> {
    Names { cluster_dns: ctx.config.cluster_dns, cluster_domain: &ctx.config.cluster_domain, host }
}

/// Volumes, then a new sandbox in place of `earlier` ones, then its network.
pub(super) async fn make(
    ctx: &Context,
    pod: &Arc<Pod>,
    attempt: u32,
    earlier: Vec<SandboxId>,
) -> Result<Made, NotMade> {
    let tell = |reason: &str, message: String| {
        ctx.tell(pod, EventType::Warning, reason, message.clone());
        NotMade(message)
    };
    ctx.config.volumes.prepare(pod).await.map_err(|e| tell("FailedMount", e.to_string()))?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let failed =
        |why: &dyn std::fmt::Display| tell("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"));
    if !earlier.is_empty() {
        let message = "Pod sandbox changed, it will be killed and re-created.";
        ctx.tell(pod, EventType::Normal, "SandboxChanged", message);
        for id in &earlier {
            ctx.config.runtime.stop_sandbox(id).await.map_err(|e| failed(&e))?;
        }
        ctx.config.network.detach(&uid).await.map_err(|e| failed(&e))?;
    }
    let resolv_conf = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let upstream = std::fs::read_to_string(UPSTREAM_RESOLV_CONF).ok();
    let surroundings = Surroundings {
        names: names(ctx, dns::reachable(&resolv_conf, upstream.as_deref())),
        cgroup_root: &ctx.config.cgroup_root,
        data_dir: &ctx.config.data_dir,
        node_name: &ctx.config.node_name,
    };
    let (config, shortages) = sandbox::config(pod, attempt, &surroundings).map_err(|e| failed(&e))?;
    for shortage in shortages {
        ctx.tell(pod, EventType::Warning, shortage.reason(), shortage.to_string());
    }
    std::fs::create_dir_all(&config.log_directory).map_err(|e| failed(&e))?;
    let runtime = &ctx.config.runtime;
    let id = match runtime.create_sandbox(config).await {
        Ok(id) => id,
        // An interrupted attempt has left it.
        Err(RuntimeError::AlreadyExists { .. }) => {
            existing(ctx, &uid, attempt).await.ok_or_else(|| failed(&"it exists and cannot be found"))?
        }
        Err(error) => return Err(failed(&error)),
    };
    ctx.sandboxes.lock().insert(id.clone(), uid.clone());
    ctx.limit_classes().await;
    let status = runtime.sandbox(&id).await.map_err(|e| failed(&e))?;
    match connect(ctx, pod, &status).await {
        Ok(address) => Ok(Made { sandbox: id, address }),
        Err(error) => {
            let error = failed(&format!("failed to set up its network: {error}"));
            if let Err(error) = runtime.remove_sandbox(&id).await {
                tracing::warn!(sandbox = %id, %error, "could not remove the sandbox");
            }
            Err(error)
        }
    }
}

async fn existing(ctx: &Context, uid: &str, attempt: u32) -> Option<SandboxId> {
    let all = ctx.config.runtime.sandboxes().await.ok()?;
    let same = |s: &SandboxStatus| s.config.uid == uid && s.config.attempt == attempt && s.state == SandboxState::Ready;
    all.into_iter().find(same).map(|s| s.id)
}

/// Gives a ready sandbox its network and the pod its `/etc/hosts`. Idempotent.
pub(super) async fn connect(ctx: &Context, pod: &Pod, status: &SandboxStatus) -> Result<IpAddr, String> {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let address = match (&status.config.network, &status.netns_path) {
        (NetworkNamespace::Host, _) => ctx.host,
        (_, Some(netns)) => {
            let m = &pod.metadata;
            let attachment = Attachment {
                uid: uid.clone(),
                pod: format!(
                    "{}/{}",
                    m.namespace.as_deref().unwrap_or_default(),
                    m.name.as_deref().unwrap_or_default()
                ),
                netns: netns.clone(),
                host_ports: pod.spec.as_ref().map(sandbox::host_ports).unwrap_or_default(),
            };
            ctx.config.network.attach(&attachment).await.map_err(|e| e.to_string())?
        }
        (_, None) => return Err("the sandbox has no network namespace".to_owned()),
    };
    // For `/etc/hosts` of containers that do not get ours.
    ctx.config.runtime.set_addresses(&status.id, vec![address]).await.map_err(|e| e.to_string())?;
    let machine = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let text = sandbox::hosts(pod, address, &ctx.config.cluster_domain, &machine);
    let directory = sandbox::directory(&ctx.config.data_dir, &uid);
    write(&directory, "etc-hosts", &text).map_err(|e| format!("cannot write {}: {e}", directory.display()))?;
    Ok(address)
}

/// In place: containers have the file itself mounted.
fn write(directory: &Path, name: &str, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(name);
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    std::fs::write(path, text)
}

/// Takes down what an ended pod had, but for its logs and the records of its containers. Idempotent.
pub(super) async fn take_down(ctx: &Context, uid: &str, sandboxes: &[SandboxId]) -> Result<(), String> {
    let stops = sandboxes.iter().map(|id| ctx.config.runtime.stop_sandbox(id));
    for result in join_all(stops).await {
        result.map_err(|e| format!("error killing pod: {e}"))?;
    }
    ctx.config.network.detach(uid).await.map_err(|e| format!("error killing pod: {e}"))?;
    ctx.config.volumes.remove(uid).await.map_err(|e| e.to_string())
}

/// Removes the last of it: sandboxes with their containers, logs, files.
pub(super) async fn forget(ctx: &Context, uid: &str, sandboxes: &[SandboxId]) -> Result<(), String> {
    for id in sandboxes {
        let logs = ctx.config.runtime.sandbox(id).await.map(|s| s.config.log_directory);
        ctx.config.runtime.remove_sandbox(id).await.map_err(|e| e.to_string())?;
        ctx.sandboxes.lock().remove(id);
        if let Ok(logs) = logs.as_ref().map(|l| l.as_path()) {
            remove_tree(logs)?;
        }
    }
    remove_tree(&sandbox::directory(&ctx.config.data_dir, uid))
}

pub(super) fn remove_tree(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

/// Ends and removes what is here of a pod that no longer exists, with the kubelet's short grace for orphans.
pub(super) async fn remove_orphan(ctx: &Context, uid: &str, sandboxes: &[SandboxStatus]) -> Result<(), String> {
    let runtime = &ctx.config.runtime;
    let ids: Vec<SandboxId> = sandboxes.iter().map(|s| s.id.clone()).collect();
    for sandbox in sandboxes {
        let name = sandbox.config.labels.get(label::POD_NAME).cloned().unwrap_or_default();
        tracing::info!(uid, pod = name, sandbox = %sandbox.id, "removing what is left of a pod that is gone");
        let containers = runtime.containers(Some(&sandbox.id)).await.map_err(|e| e.to_string())?;
        let stops = containers.iter().map(|c| runtime.stop_container(&c.id, super::stop::LEAST));
        for result in join_all(stops).await {
            result.map_err(|e| e.to_string())?;
        }
    }
    take_down(ctx, uid, &ids).await?;
    forget(ctx, uid, &ids).await
}
