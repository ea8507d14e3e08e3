//! One cluster for all cases, and what they ask of it.
use crate::support::Cluster;
use crate::support::machine::{build_image, left_of};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub cluster: Cluster,
    pub client: kube::Client,
}

/// How a command ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A pod that is quick to end.
pub fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// A ConfigMap or a Secret.
pub fn object(kind: &str, name: &str, data: Value) -> Value {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data})
}

/// A container that runs a shell script.
pub fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "web:v1", "command": ["sh", "-c", script]})
}

/// One that stays until it is told to go.
pub fn stays(name: &str) -> Value {
    sh(name, "trap 'exit 0' TERM; while true; do sleep 1000 & wait $!; done")
}

/// A container with more fields.
pub fn with(mut container: Value, fields: Value) -> Value {
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    container
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn phase(wanted: &'static str) -> impl Fn(&Pod) -> bool {
    move |pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(wanted)
}

pub fn container(pod: &Pod) -> ContainerStatus {
    let all = pod.status.as_ref().and_then(|s| s.container_statuses.clone()).unwrap_or_default();
    all.into_iter().next().unwrap_or_default()
}

/// The first container waits for this reason.
pub fn waits(reason: &'static str) -> impl Fn(&Pod) -> bool {
    move |pod| container(pod).state.and_then(|s| s.waiting).is_some_and(|w| w.reason.as_deref() == Some(reason))
}

impl World {
    pub async fn start() -> Self {
        Self::of(Cluster::new(&[])).await
    }

    /// A cluster that is not up yet.
    pub async fn of(cluster: Cluster) -> Self {
        cluster.up();
        build_image(&cluster);
        let client = cluster.client().await;
        let world = Self { cluster, client };
        let accounts: Api<ServiceAccount> = world.api();
        world.eventually("the default account", async || accounts.get_opt("default").await.unwrap()).await;
        world
    }

    /// Removes everything, and looks whether it is gone.
    pub async fn finish(self) {
        self.ok(&["delete", "pod", "--all", "--timeout=90s"]).await;
        let data = self.cluster.data();
        let count = |path: &str| std::fs::read_dir(data.join(path)).map_or(0, Iterator::count);
        self.eventually("nothing is left of the pods", async || {
            ["runtime/sandboxes", "logs", "pods", "agent"].iter().all(|path| count(path) == 0).then_some(())
        })
        .await;
        self.cluster.isopod(&["delete"]);
        self.eventually("nothing is left on the machine", async || left_of(&self.cluster).is_empty().then_some(()))
            .await;
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub async fn create(&self, pod: Value) {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// Objects of any kind.
    pub async fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let said = self.kubectl_with(&["apply", "-f", "-"], &list).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    pub async fn eventually<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The pod, once it is as wanted; the last it saw and what people were told, if that takes too long.
    pub async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let begun = Instant::now();
        loop {
            let seen = self.pods().get(name).await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            if begun.elapsed() > PATIENCE {
                let status = serde_json::to_string_pretty(&seen.status).unwrap();
                panic!("{name} never: {what}: {status}\n{:#?}", self.events(name).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `Type Reason Message` of the events about a pod.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let fields = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let all = self.api::<Event>().list(&fields).await.unwrap().items;
        let one = |e: Event| {
            let text = |part: Option<String>| part.unwrap_or_default();
            format!("{} {} {}", text(e.type_), text(e.reason), text(e.message))
        };
        all.into_iter().map(one).collect()
    }

    /// What kubectl says, once it says what is wanted.
    pub async fn says(&self, words: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let said = self.kubectl(words).await;
            if said.code == Some(0) && wanted(&said.out) {
                return said.out;
            }
            assert!(begun.elapsed() < PATIENCE, "kubectl {words:?} last said {said:?}");
        }
    }

    /// The node agent has looked at its tokens and images at least once meanwhile: it does as often as it renews its lease.
    pub async fn heartbeats(&self) {
        let name = self.ok(&["get", "node", "-o", "jsonpath={.items[0].metadata.name}"]).await;
        let words = ["get", "lease", "-n", "kube-node-lease", &name, "-o", "jsonpath={.spec.renewTime}"];
        for _ in 0..2 {
            let before = self.ok(&words).await;
            self.eventually("the next heartbeat", async || (self.ok(&words).await != before).then_some(())).await;
        }
    }

    pub async fn told(&self, name: &str, text: &str) {
        self.eventually(&format!("{name} is told {text:?}"), async || {
            self.events(name).await.iter().any(|e| e.contains(text)).then_some(())
        })
        .await;
    }

    pub async fn kubectl(&self, words: &[&str]) -> Said {
        self.kubectl_with(words, "").await
    }

    pub async fn kubectl_with(&self, words: &[&str], input: &str) -> Said {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl");
        let mut stdin = child.stdin.take().unwrap();
        // It may not want to read.
        let _closed = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let out = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let out = out.unwrap_or_else(|_| panic!("kubectl {words:?} does not end")).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
    }

    pub fn command(&self, words: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.cluster.kubeconfig()).kill_on_drop(true);
        command
    }

    /// What kubectl prints when it succeeds.
    pub async fn ok(&self, words: &[&str]) -> String {
        let said = self.kubectl(words).await;
        assert_eq!(said.code, Some(0), "kubectl {words:?}: {said:?}");
        said.out
    }

    /// What a script prints in a pod's first container.
    pub async fn exec(&self, pod: &str, script: &str) -> String {
        self.ok(&["exec", pod, "--", "sh", "-c", script]).await
    }

    /// A directory of the machine for one case.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.cluster.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}
