//! What a container shall be for the runtime: its spec, its image and what the node adds, put together. Pure.
pub mod env;
pub mod expand;
pub mod resources;
pub mod security;
pub mod service_env;

use super::observed::{Kind, hash, label};
use expand::expand;
use isopod_api::k8s::api::core::v1::{Container, Pod};
use isopod_images::Image;
use isopod_runtime::{ContainerConfig, ContainerId, EnvVar, Mount, MountSource, Propagation};
use security::SecurityError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where programs are when neither image nor pod says (containerd's `WithDefaultPathEnv`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a container leaves its last words when it does not say.
const WORDS: &str = "/dev/termination-log";

/// Everything a container is made of.
pub struct Ingredients<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub kind: Kind,
    pub attempt: u32,
    pub image: &'a Image,
    pub env: Vec<EnvVar>,
    /// Of its volumes.
    pub mounts: Vec<Mount>,
    /// The pod's `/etc/hosts` on the machine.
    pub hosts: Option<&'a Path>,
    /// The file on the machine for its last words.
    pub words: Option<&'a Path>,
    pub hostname: &'a str,
    pub machine_bytes: u64,
    /// Where `Localhost` seccomp profiles are.
    pub profiles: &'a Path,
    /// Whose processes it sees, if not its own.
    pub pid_of: Option<ContainerId>,
}

/// Why there can be no such container.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// Neither the pod nor the image says what to run.
    #[error("no command specified")]
    NoCommand,
}

/// Where the container wants to leave its last words.
pub fn words_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(WORDS)
}

fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        source: MountSource::Bind(source.to_owned()),
        target: PathBuf::from(target),
        read_only: false,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }
}

/// The name people know the image by: the normalized one of the tags if it is there.
fn image_name(image: &Image, wanted: &str) -> String {
    let last = wanted.rsplit('/').next().unwrap_or(wanted);
    let tagged = if last.contains(':') { wanted.to_owned() } else { format!("{wanted}:latest") };
    let same = |t: &&String| **t == tagged || t.ends_with(&format!("/{tagged}"));
    image.tags.iter().find(same).cloned().unwrap_or_else(|| wanted.to_owned())
}

fn command(i: &Ingredients<'_>) -> Vec<String> {
    let known: BTreeMap<&str, &str> = i.env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
    let value = |name: &str| known.get(name).map(|v| (*v).to_owned());
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &value)).collect()
    };
    let (command, args) = (expanded(&i.container.command), expanded(&i.container.args));
    let image = &i.image.config;
    match (command.is_empty(), args.is_empty()) {
        (false, _) => command.into_iter().chain(args).collect(),
        (true, false) => image.entrypoint.iter().cloned().chain(args).collect(),
        (true, true) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
    }
}

fn environment(i: &Ingredients<'_>) -> Vec<EnvVar> {
    let var = |name: &str, value: &str| EnvVar { name: name.to_owned(), value: value.to_owned() };
    let mut all = vec![var("PATH", PATH), var("HOSTNAME", i.hostname)];
    if i.container.tty == Some(true) {
        all.push(var("TERM", "xterm"));
    }
    let of_image = i.image.config.env.iter().map(|e| e.split_once('=').unwrap_or((e, "")));
    all.extend(of_image.map(|(name, value)| var(name, value)));
    all.extend(i.env.iter().cloned());
    all
}

/// The container as the runtime shall make it.
pub fn config(i: &Ingredients<'_>) -> Result<ContainerConfig, ConfigError> {
    let args = command(i);
    if args.is_empty() {
        return Err(ConfigError::NoCommand);
    }
    let container = i.container;
    let mut mounts = i.mounts.clone();
    let own = |path: &str| i.mounts.iter().any(|m| m.target == Path::new(path));
    mounts.extend(i.hosts.filter(|_| !own("/etc/hosts")).map(|h| bind(h, "/etc/hosts")));
    mounts.extend(i.words.map(|w| bind(w, words_path(container))));
    let meta = &i.pod.metadata;
    let labels = [
        (label::POD_NAME, meta.name.clone().unwrap_or_default()),
        (label::POD_NAMESPACE, meta.namespace.clone().unwrap_or_default()),
        (label::POD_UID, meta.uid.clone().unwrap_or_default()),
        (label::CONTAINER_NAME, container.name.clone()),
        (label::HASH, hash(container)),
        (label::IMAGE_ID, i.image.digests.first().unwrap_or(&i.image.id).clone()),
        (label::TERMINATION_FILE, i.words.map(|w| w.display().to_string()).unwrap_or_default()),
    ];
    let wanted = container.image.as_deref().unwrap_or_default();
    let stop = container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone());
    let stop = stop.unwrap_or_else(|| i.image.config.stop_signal.clone());
    let working_dir = container.working_dir.clone().filter(|w| !w.is_empty());
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: i.attempt,
        labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        image: image_name(i.image, wanted),
        layers: i.image.layers.clone(),
        args,
        env: environment(i),
        cwd: working_dir.unwrap_or_else(|| i.image.config.working_dir.clone()).into(),
        mounts,
        pid_of: i.pid_of.clone(),
        security: security::security(i.pod, container, &i.image.config, i.profiles)?,
        resources: resources::limits(i.pod, i.kind, container, i.machine_bytes),
        rlimits: Vec::new(),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        log_path: Some(PathBuf::from(&container.name).join(format!("{}.log", i.attempt))),
        // One that cannot be read is as if it were not there: the API has checked the pod's, and the image must still run.
        stop_signal: stop.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_images::ImageConfig;
    use serde_json::{Value, json};

    fn made(container: Value) -> Result<ContainerConfig, String> {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [container]}}),
        )
        .unwrap();
        let image = Image {
            id: "sha256:1".into(),
            tags: vec!["docker.io/library/web:v1".into()],
            digests: vec![],
            config: ImageConfig {
                entrypoint: vec!["entry".into()],
                cmd: vec!["cmd".into()],
                env: vec!["A=image".into(), "B=image".into()],
                working_dir: "/work".into(),
                stop_signal: "SIGQUIT".into(),
                ..ImageConfig::default()
            },
            layers: vec!["/layer".into()],
            size: 1,
        };
        let env = vec![EnvVar { name: "A".into(), value: "pod".into() }];
        let container = &pod.spec.as_ref().unwrap().containers[0];
        config(&Ingredients {
            pod: &pod,
            container,
            kind: Kind::Main,
            attempt: 2,
            image: &image,
            env,
            mounts: vec![],
            hosts: Some(Path::new("/h")),
            words: Some(Path::new("/w")),
            hostname: "p",
            machine_bytes: 1,
            profiles: Path::new("/seccomp"),
            pid_of: None,
        })
        .map_err(|e| e.to_string())
    }

    #[test]
    fn command_and_args_replace_those_of_the_image() {
        let table = [
            (json!({"name": "c"}), vec!["entry", "cmd"]),
            (json!({"name": "c", "args": ["x", "$(A)"]}), vec!["entry", "x", "pod"]),
            (json!({"name": "c", "command": ["sh"]}), vec!["sh"]),
            (json!({"name": "c", "command": ["sh"], "args": ["-c", "$$(A)"]}), vec!["sh", "-c", "$(A)"]),
        ];
        for (container, expected) in table {
            assert_eq!(made(container.clone()).unwrap().args, expected, "{container}");
        }
    }

    #[test]
    fn image_and_pod_are_put_together() {
        let made = made(json!({"name": "c", "image": "web:v1", "tty": true})).unwrap();
        assert_eq!(made.image, "docker.io/library/web:v1");
        assert_eq!((made.cwd.to_str(), made.stop_signal.map(|s| s.number())), (Some("/work"), Some(3)));
        assert_eq!(made.log_path.unwrap().to_str(), Some("c/2.log"));
        let env: Vec<_> = made.env.iter().skip(1).map(|e| format!("{}={}", e.name, e.value)).collect();
        assert_eq!(env, ["HOSTNAME=p", "TERM=xterm", "A=image", "B=image", "A=pod"]);
        let targets: Vec<_> = made.mounts.iter().map(|m| m.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/etc/hosts", "/dev/termination-log"]);
        assert_eq!(made.labels.get(label::IMAGE_ID).map(String::as_str), Some("sha256:1"));
    }
}
