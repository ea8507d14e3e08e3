//! Starts one container: image, environment, volumes, creation, start, postStart hook (the kubelet's `startContainer`).
use super::container::env::{self, Sources};
use super::container::{Ingredients, config, service_env};
use super::context::Context;
use super::memory::{Backoff, StartError};
use super::observed::{Kind, find};
use super::pull::{self, NoImage};
use super::{hook, image_volumes, sandbox, stop};
use isopod_api::k8s::api::core::v1::{ConfigMap, Container, Pod, Secret};
use isopod_reflect::EventType;
use isopod_runtime::{ContainerId, ContainerState, Runtime, RuntimeError, SandboxId};
use kube::api::Api;
use rand::Rng as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is to be started.
pub(super) struct Start {
    pub pod: Arc<Pod>,
    pub name: String,
    pub attempt: u32,
    pub sandbox: SandboxId,
    pub address: IpAddr,
    pub hostname: String,
    /// The volumes are known to be there.
    pub prepared: bool,
    pub backoff: Option<(String, Backoff)>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub name: String,
    pub backoff: Option<(String, Backoff)>,
    pub result: Result<(), Failed>,
}

#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub error: StartError,
    pub how: How,
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The image could not be pulled.
    Pull,
    /// No container came of it.
    NotMade,
    /// It has ended, and is restarted like any that ends.
    Ended,
}

fn failed(reason: &str, message: impl Into<String>, how: How) -> Failed {
    Failed { error: StartError { reason: reason.to_owned(), message: message.into() }, how }
}

/// Never fails to answer.
pub(super) async fn start(ctx: &Context, start: Start) -> Outcome {
    let (name, backoff) = (start.name.clone(), start.backoff.clone());
    let Some((kind, container)) = start.pod.spec.as_ref().and_then(|s| find(s, &name)) else {
        let result = Err(failed("CreateContainerConfigError", "the container is not in the pod", How::NotMade));
        return Outcome { name, backoff, result };
    };
    let result = carry_out(ctx, &start, kind, &container).await;
    if let Err(failure) = &result {
        let text = match failure.error.reason.as_str() {
            reason @ ("ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError") => reason,
            _ => &failure.error.message,
        };
        if failure.error.reason != "PostStartHookError" {
            ctx.tell_of(&start.pod, (kind, &name), EventType::Warning, "Failed", &format!("Error: {text}"));
        }
    }
    Outcome { name, backoff, result }
}

async fn carry_out(ctx: &Context, start: &Start, kind: Kind, container: &Container) -> Result<(), Failed> {
    let image = pull::ensure(ctx, &start.pod, kind, container).await.map_err(|e| match e {
        NoImage::Pull(error) => Failed { error, how: How::Pull },
        NoImage::Other(error) => Failed { error, how: How::NotMade },
    })?;
    // After the pull and before the hook, which may both take long. The semaphore is never closed.
    let permit = ctx.starts.acquire().await;
    let config_error = |message: String| failed("CreateContainerConfigError", message, How::NotMade);
    if !start.prepared {
        ctx.config.volumes.prepare(&start.pod).await.map_err(|e| {
            ctx.tell(&start.pod, EventType::Warning, "FailedMount", e.to_string());
            config_error(e.to_string())
        })?;
    }
    let sources = sources(ctx, start, container).await.map_err(config_error)?;
    let env = env::environment(&start.pod, container, &sources).map_err(|e| config_error(e.to_string()))?;
    let mounts = ctx.config.volumes.mounts(&start.pod, container, &env).await;
    let mounts = mounts.map_err(|e| config_error(e.to_string()))?;
    let uid = start.pod.metadata.uid.as_deref().unwrap_or_default();
    let directory = sandbox::directory(&ctx.config.data_dir, uid);
    let own = directory.join("containers").join(&container.name);
    let mounts = image_volumes::add(own.join("image-volumes"), start.attempt, &image, mounts).await;
    let mounts = mounts.map_err(|e| config_error(format!("cannot make the image's volumes: {e}")))?;
    let words = words_file(own).map_err(|e| config_error(e.to_string()))?;
    let hosts = directory.join("etc-hosts");
    let profiles = ctx.profiles();
    let pid_of = target(ctx, start, kind).await.map_err(config_error)?;
    let config = config(&Ingredients {
        pod: &start.pod,
        container,
        kind,
        attempt: start.attempt,
        image: &image,
        env,
        mounts,
        hosts: hosts.exists().then_some(hosts.as_path()),
        words: Some(&words),
        hostname: &start.hostname,
        machine_bytes: ctx.machine.memory_bytes,
        profiles: &profiles,
        pid_of,
    });
    let config = config.map_err(|e| match e {
        super::container::ConfigError::Security(e) => config_error(e.to_string()),
        super::container::ConfigError::NoCommand => failed("CreateContainerError", e.to_string(), How::NotMade),
    })?;
    let id = create(ctx.config.runtime.as_ref(), &start.sandbox, config).await;
    let id = id.map_err(|e| failed("CreateContainerError", e.to_string(), How::NotMade))?;
    let who = (kind, container.name.as_str());
    ctx.tell_of(&start.pod, who, EventType::Normal, "Created", "Container created");
    let started = ctx.config.runtime.start_container(&id).await;
    started.map_err(|e| failed("RunContainerError", e.to_string(), How::Ended))?;
    ctx.tell_of(&start.pod, who, EventType::Normal, "Started", "Container started");
    drop(permit);
    post_start(ctx, start, kind, container, &id).await
}

/// The running container whose processes an ephemeral one wants to see.
async fn target(ctx: &Context, start: &Start, kind: Kind) -> Result<Option<ContainerId>, String> {
    let ephemeral = start.pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
    let own = ephemeral.filter(|_| kind == Kind::Ephemeral).find(|e| e.name == start.name);
    let Some(name) = own.and_then(|e| e.target_container_name.as_deref()).filter(|n| !n.is_empty()) else {
        return Ok(None);
    };
    let all = ctx.config.runtime.containers(Some(&start.sandbox)).await.map_err(|e| e.to_string())?;
    let running = all.into_iter().find(|c| c.config.name == name && c.state == ContainerState::Running);
    running.map(|c| Some(c.id)).ok_or_else(|| format!("target container {name:?} is not running"))
}

/// A container of this number that an interrupted start has left is made anew.
async fn create(
    runtime: &dyn Runtime,
    sandbox: &SandboxId,
    config: isopod_runtime::ContainerConfig,
) -> Result<ContainerId, RuntimeError> {
    match runtime.create_container(sandbox, config.clone()).await {
        Err(RuntimeError::AlreadyExists { id, .. }) => {
            runtime.remove_container(&ContainerId(id)).await?;
            runtime.create_container(sandbox, config).await
        }
        other => other,
    }
}

async fn post_start(
    ctx: &Context,
    start: &Start,
    kind: Kind,
    container: &Container,
    id: &ContainerId,
) -> Result<(), Failed> {
    let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    let runtime = ctx.config.runtime.as_ref();
    let Err(message) = hook::run(runtime, &start.pod, container, id, start.address, handler).await else {
        return Ok(());
    };
    // What the hook said may be a secret: the event does not repeat it.
    let who = (kind, container.name.as_str());
    ctx.tell_of(&start.pod, who, EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
    let grace = start.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    let kill = stop::Kill {
        pod: Arc::clone(&start.pod),
        container: container.clone(),
        kind,
        id: id.clone(),
        address: start.address,
        message: "FailedPostStartHook".to_owned(),
    };
    stop::kill(ctx, &kill, tokio::time::Instant::now() + grace).await;
    Err(failed("PostStartHookError", message, How::Ended))
}

/// An empty file for the container's last words, writable by whomever it runs as.
fn words_file(directory: PathBuf) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{:08x}", rand::rng().random::<u32>()));
    std::fs::write(&path, b"")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

async fn sources(ctx: &Context, start: &Start, container: &Container) -> Result<Sources, String> {
    let namespace = start.pod.metadata.namespace.clone().unwrap_or_default();
    let needs = env::needs(container);
    let client = &ctx.config.client;
    let mut sources = Sources {
        pod_ips: vec![start.address.to_string()],
        host_ips: vec![ctx.host.to_string()],
        allocatable: ctx.allocatable(),
        ..Sources::default()
    };
    for name in needs.config_maps {
        let found = Api::<ConfigMap>::namespaced(client.clone(), &namespace).get_opt(&name).await;
        if let Some(found) = found.map_err(|e| e.to_string())? {
            sources.config_maps.insert(name, found);
        }
    }
    for name in needs.secrets {
        let found = Api::<Secret>::namespaced(client.clone(), &namespace).get_opt(&name).await;
        if let Some(found) = found.map_err(|e| e.to_string())? {
            sources.secrets.insert(name, found);
        }
    }
    ctx.services.synced().await;
    let links = start.pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
    let mut services = ctx.services.list_in(&namespace);
    if namespace != "default" {
        services.extend(ctx.services.get("default", "kubernetes"));
    }
    sources.services = service_env::environment(&namespace, links, &services);
    Ok(sources)
}
