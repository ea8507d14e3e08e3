//! The node agent against a real API server in this process, on a runtime without processes: lives of pods from binding to removal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
use async_trait::async_trait;
use isopod_api::k8s::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod};
use isopod_apiserver::{ApiServer, Config, UserInfo};
use isopod_images::{Credentials, Image, ImageConfig, ImageError, Images};
use isopod_network::contract::{Attachment, PodNetwork};
use isopod_node::agent::{Agent, AgentConfig, ImageGc};
use isopod_node::seams::{Running as _, TrafficGate, VolumeError, Volumes};
use isopod_reflect::Reflectors;
use isopod_runtime::fake::{FakeCommand, FakeRuntime, Script};
use isopod_runtime::{ContainerState, EnvVar, ExitStatus, Mount, Runtime as _};
use isopod_store::embedded::{Embedded, Options};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Every reference that contains `missing` cannot be pulled; all others are here.
struct FakeImages;

#[async_trait]
impl Images for FakeImages {
    async fn find(&self, reference: &str) -> isopod_images::Result<Option<Image>> {
        if reference.contains(' ') {
            let message = "invalid reference format".to_owned();
            return Err(ImageError::InvalidName { reference: reference.to_owned(), message });
        }
        Ok((!reference.contains("missing")).then(|| Image {
            id: format!("sha256:{reference}"),
            tags: vec![format!("docker.io/library/{reference}")],
            digests: if reference.contains("pulled") {
                vec![format!("docker.io/library/{reference}@sha256:1")]
            } else {
                vec![]
            },
            config: ImageConfig { cmd: vec!["/main".into()], ..ImageConfig::default() },
            layers: vec![],
            size: 1000,
        }))
    }

    async fn pull(&self, reference: &str, _: &[Credentials]) -> isopod_images::Result<Image> {
        if let Some(image) = self.find(reference).await?.filter(|_| !reference.starts_with("registry.test/")) {
            return Ok(image);
        }
        let message = format!("{reference}: not found");
        Err(ImageError::NotFound { reference: reference.to_owned(), message })
    }

    async fn list(&self) -> isopod_images::Result<Vec<Image>> {
        Ok(vec![])
    }

    async fn remove(&self, _: &str) -> isopod_images::Result<u64> {
        Ok(0)
    }
}

#[derive(Default)]
struct FakeNetwork {
    attached: Mutex<BTreeMap<String, IpAddr>>,
}

#[async_trait]
impl PodNetwork for FakeNetwork {
    async fn attach(&self, pod: &Attachment) -> isopod_network::contract::Result<IpAddr> {
        let mut all = self.attached.lock();
        let next = u8::try_from(all.len() + 2).unwrap();
        Ok(*all.entry(pod.uid.clone()).or_insert(IpAddr::from([10, 9, 8, next])))
    }

    async fn detach(&self, uid: &str) -> isopod_network::contract::Result<()> {
        self.attached.lock().remove(uid);
        Ok(())
    }

    async fn attached(&self) -> isopod_network::contract::Result<BTreeMap<String, IpAddr>> {
        Ok(self.attached.lock().clone())
    }

    fn node_address(&self) -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }
}

#[derive(Default)]
struct FakeVolumes {
    held: Mutex<BTreeSet<String>>,
    broken: Mutex<Option<String>>,
}

#[async_trait]
impl Volumes for FakeVolumes {
    async fn prepare(&self, pod: &Pod) -> Result<(), VolumeError> {
        if let Some(message) = self.broken.lock().clone() {
            return Err(VolumeError { volume: "v".into(), message });
        }
        self.held.lock().insert(pod.metadata.uid.clone().unwrap());
        Ok(())
    }

    async fn mounts(
        &self,
        _: &Pod,
        _: &isopod_api::k8s::api::core::v1::Container,
        _: &[EnvVar],
    ) -> Result<Vec<Mount>, VolumeError> {
        Ok(vec![])
    }

    async fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        self.held.lock().remove(uid);
        Ok(())
    }

    async fn held(&self) -> Result<Vec<String>, VolumeError> {
        Ok(self.held.lock().iter().cloned().collect())
    }
}

/// Says when it was asked; opens when it is told to.
#[derive(Default)]
struct FakeGate {
    asked: Mutex<Vec<String>>,
    closed: Mutex<bool>,
}

#[async_trait]
impl TrafficGate for FakeGate {
    async fn routable(&self, pod: &Pod) {
        self.asked.lock().push(format!("routable {}", pod.metadata.name.as_deref().unwrap()));
        while *self.closed.lock() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn drained(&self, pod: &Pod, _: &(dyn Fn(String) + Send + Sync)) {
        self.asked.lock().push(format!("drained {}", pod.metadata.name.as_deref().unwrap()));
    }
}

struct World {
    api: Arc<ApiServer>,
    runtime: FakeRuntime,
    network: Arc<FakeNetwork>,
    volumes: Arc<FakeVolumes>,
    gate: Arc<FakeGate>,
    directory: tempfile::TempDir,
    agent: Option<(Agent, CancellationToken, tokio::task::JoinHandle<()>)>,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let api = ApiServer::new(Config::default(), Arc::new(store));
        let namespaces: Api<Namespace> = Api::all(api.client(UserInfo::component("system:test")));
        for name in ["default", "kube-node-lease"] {
            let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        let runtime = FakeRuntime::beginning_at(Timestamp::now());
        let (network, volumes, gate) = (Arc::default(), Arc::default(), Arc::default());
        let mut world = Self { api, runtime, network, volumes, gate, directory, agent: None };
        world.start_agent();
        world
    }

    fn start_agent(&mut self) {
        let config = AgentConfig {
            node_name: "node-1".into(),
            client: self.api.client(UserInfo::node("node-1")),
            reflectors: Reflectors::new(self.api.client(UserInfo::component("system:test"))),
            runtime: Arc::new(self.runtime.clone()),
            images: Arc::new(FakeImages),
            network: Arc::clone(&self.network) as Arc<dyn PodNetwork>,
            volumes: Arc::clone(&self.volumes) as Arc<dyn Volumes>,
            gate: Arc::clone(&self.gate) as Arc<dyn TrafficGate>,
            data_dir: self.directory.path().to_owned(),
            cluster_dns: None,
            cluster_domain: "cluster.local".into(),
            kubelet_port: 10250,
            max_pods: 110,
            image_gc: ImageGc::default(),
            cgroup_root: "isopod".into(),
        };
        let (agent, shutdown) = (Agent::new(config), CancellationToken::new());
        let (running, token) = (agent.clone(), shutdown.clone());
        let task = tokio::spawn(async move { running.run(token).await });
        self.agent = Some((agent, shutdown, task));
    }

    async fn stop_agent(&mut self) {
        let (_, shutdown, task) = self.agent.take().unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    fn client(&self) -> kube::Client {
        self.api.client(UserInfo::component("system:test"))
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), "default")
    }

    async fn create(&self, name: &str, spec: Value) {
        let mut pod = json!({"metadata": {"name": name},
            "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 1, "enableServiceLinks": false}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Waits until the pod is as wanted; tells the last it saw if that takes too long.
    async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let start = Instant::now();
        loop {
            let seen = self.pods().get(name).await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let status = serde_json::to_string_pretty(&seen.status).unwrap();
                panic!("{what}: {status}\n{:#?}", self.runtime.calls());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_gone(&self, name: &str) {
        wait(&format!("{name} is gone"), async || self.pods().get_opt(name).await.unwrap().is_none()).await;
    }

    /// Reasons and messages of events about a pod.
    async fn events(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client(), "default");
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let about = all.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(name));
        about.map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    async fn until_event(&self, name: &str, text: &str) {
        wait(text, async || self.events(name).await.iter().any(|e| e.contains(text))).await;
    }

    async fn nothing_is_left(&self) {
        wait("nothing is left in the runtime", async || {
            self.runtime.sandboxes().await.unwrap().is_empty()
                && self.runtime.containers(None).await.unwrap().is_empty()
        })
        .await;
        let files = |directory| std::fs::read_dir(self.directory.path().join(directory)).map_or(0, Iterator::count);
        wait("no network, volume or file is left", async || {
            let held = self.network.attached.lock().len() + self.volumes.held.lock().len();
            held + files("logs") + files("agent") == 0
        })
        .await;
    }
}

async fn wait(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn is_true(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

fn is_ready(pod: &Pod) -> bool {
    is_true(pod, "Ready")
}

/// `reason: message` of the first container that waits.
fn waiting(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let all =
        status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
    let waiting = all.filter_map(|s| s.state?.waiting).next().unwrap_or_default();
    format!("{}: {}", waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
}

fn one(image: &str) -> Value {
    json!({"containers": [{"name": "web", "image": image}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_is_ready_and_goes_without_a_trace() {
    let mut world = World::start().await;
    *world.gate.closed.lock() = true;
    world.create("a", one("web:v1")).await;
    let pod = world.until("a", "containers ready", |p| is_true(p, "ContainersReady")).await;
    assert!(!is_ready(&pod), "not before traffic can reach it");
    wait("the gate is asked", async || world.gate.asked.lock().contains(&"routable a".to_owned())).await;
    assert!(!is_ready(&world.pods().get("a").await.unwrap()));
    *world.gate.closed.lock() = false;
    let pod = world.until("a", "ready", is_ready).await;
    let status = pod.status.clone().unwrap();
    assert_eq!(phase(&pod), "Running");
    assert_eq!((status.host_ip.as_deref(), status.qos_class.as_deref()), (Some("127.0.0.1"), Some("BestEffort")));
    assert!(status.pod_ip.unwrap().starts_with("10.9.8."));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!((container.image.as_str(), container.image_id.as_str()), ("docker.io/library/web:v1", "sha256:web:v1"));
    assert!(container.ready && container.started == Some(true) && container.restart_count == 0);
    assert!(container.container_id.as_deref().unwrap().starts_with("fake://web-"));
    for event in ["Created: Container created", "Started: Container started", "already present on machine"] {
        world.until_event("a", event).await;
    }
    let (agent, ..) = world.agent.as_ref().unwrap();
    let running = agent.container("default", "a", "web", false).await.unwrap();
    assert!(running.running && running.log.ends_with("web/0.log"), "{running:?}");
    assert!(agent.netns("default", "a").await.is_some());
    let node: Node = Api::all(world.client()).get("node-1").await.unwrap();
    assert_eq!(node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 10250);
    world.pods().delete("a", &DeleteParams::default()).await.unwrap();
    world.until_gone("a").await;
    world.nothing_is_left().await;
    assert_eq!(*world.gate.asked.lock(), ["routable a", "drained a"]);
    world.until_event("a", "Killing: Stopping container web").await;
    world.stop_agent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_sidecars_and_main_ones_come_and_go_in_order() {
    let world = World::start().await;
    let ends = |ms| Script { ends: Some((Duration::from_millis(ms), ExitStatus::Code(0))), ..Script::default() };
    world.runtime.script("first", ends(20));
    world.runtime.script("work", ends(50));
    world
        .create(
            "job",
            json!({"restartPolicy": "Never", "containers": [{"name": "work", "image": "w"}],
                "initContainers": [{"name": "first", "image": "i"}, {"name": "side", "image": "s", "restartPolicy": "Always"}]}),
        )
        .await;
    let pod = world.until("job", "succeeded", |p| phase(p) == "Succeeded").await;
    let starts: Vec<String> = world.runtime.calls().into_iter().filter(|c| c.starts_with("StartContainer")).collect();
    let names: Vec<&str> =
        starts.iter().map(|c| c.trim_start_matches("StartContainer ").split('-').next().unwrap()).collect();
    assert_eq!(names, ["first", "side", "work"]);
    let status = pod.status.unwrap();
    let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("PodCompleted")));
    let end = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (0, Some("Completed")));
    // Its records stay for `kubectl logs` until it is deleted.
    wait("the sidecar is stopped", async || {
        world.runtime.containers(None).await.unwrap().iter().all(|c| c.state == ContainerState::Exited)
    })
    .await;
    assert_eq!(world.runtime.containers(None).await.unwrap().len(), 3);
    world.pods().delete("job", &DeleteParams::default()).await.unwrap();
    world.until_gone("job").await;
    world.nothing_is_left().await;
}

/// `Always` asks the registry for what came from one; what was made here is what is meant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_made_here_satisfy_always() {
    let world = World::start().await;
    for (name, image, event) in [
        ("here", "web", "Pulled: Container image \"web\" already present on machine"),
        ("pulled", "pulled", "Pulled: Successfully pulled image \"pulled\""),
        ("pushed", "registry.test/web", "Pulled: Container image \"registry.test/web\" was made on this machine"),
    ] {
        world.create(name, json!({"containers": [{"name": "web", "image": image, "imagePullPolicy": "Always"}]})).await;
        world.until(name, "running", |p| phase(p) == "Running").await;
        world.until_event(name, event).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    let world = World::start().await;
    world.create("missing", one("missing:v1")).await;
    world.create("name", one("a b")).await;
    world
        .create("never", json!({"containers": [{"name": "web", "image": "missing", "imagePullPolicy": "Never"}]}))
        .await;
    let env = json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "x"}}}]);
    world.create("config", json!({"containers": [{"name": "web", "image": "web", "env": env}]})).await;
    let root = json!({"runAsNonRoot": true});
    world.create("root", json!({"containers": [{"name": "web", "image": "web", "securityContext": root}]})).await;
    world.runtime.script(
        "bad",
        Script { start_error: Some("exec: \"x\": executable file not found in $PATH".into()), ..Script::default() },
    );
    world.create("bad", json!({"containers": [{"name": "bad", "image": "web"}]})).await;
    let is = |text: &'static str| move |p: &Pod| waiting(p).starts_with(text);
    let reason = "failed to pull and unpack image \"missing:v1\": missing:v1: not found";
    let pod = world.until("missing", "back-off", is("ImagePullBackOff")).await;
    assert_eq!(
        waiting(&pod),
        format!("ImagePullBackOff: Back-off pulling image \"missing:v1\": ErrImagePull: {reason}")
    );
    assert_eq!(phase(&pod), "Pending");
    for event in [
        "Pulling: Pulling image \"missing:v1\"",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image",
        "Failed: Error: ImagePullBackOff",
    ] {
        world.until_event("missing", event).await;
    }
    world.until_event("missing", &format!("Failed: Failed to pull image \"missing:v1\": {reason}")).await;
    let pod = world.until("name", "invalid", is("InvalidImageName")).await;
    assert!(
        waiting(&pod).ends_with("couldn't parse image name \"a b\": invalid reference format"),
        "{}",
        waiting(&pod)
    );
    let pod = world.until("never", "never", is("ErrImageNeverPull")).await;
    assert_eq!(
        waiting(&pod),
        "ErrImageNeverPull: Container image \"missing\" is not present with pull policy of Never"
    );
    let pod = world.until("root", "non-root", is("CreateContainerConfigError")).await;
    assert!(waiting(&pod).contains("container has runAsNonRoot and image will run as root"));
    let pod = world.until("config", "config", is("CreateContainerConfigError")).await;
    assert_eq!(waiting(&pod), "CreateContainerConfigError: configmap \"cfg\" not found");
    world.until_event("config", "Failed: Error: configmap \"cfg\" not found").await;
    let pod = world.until("bad", "crash loop", is("CrashLoopBackOff")).await;
    let container = &pod.status.unwrap().container_statuses.unwrap()[0];
    let end = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")));
    assert_eq!(end.message.as_deref(), Some("exec: \"x\": executable file not found in $PATH"));
    // What was missing comes: the pod runs without being touched.
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "cfg"}, "data": {"x": "1"}})).unwrap();
    Api::<ConfigMap>::namespaced(world.client(), "default").create(&PostParams::default(), &map).await.unwrap();
    world.until("config", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_agent_takes_over_what_runs_and_removes_what_is_gone() {
    let mut world = World::start().await;
    let probe = json!({"exec": {"command": ["ok"]}, "periodSeconds": 1});
    world.runtime.script("web", Script::default().command(["ok"], FakeCommand::exits(0)));
    let spec = json!({"containers": [{"name": "web", "image": "web", "readinessProbe": probe, "startupProbe": probe}]});
    world.create("stays", spec).await;
    world.create("goes", one("web")).await;
    world.create("changes", json!({"restartPolicy": "Never", "containers": [{"name": "short", "image": "web"}]})).await;
    let before = world.until("stays", "ready", is_ready).await;
    world.until("goes", "ready", is_ready).await;
    world.until("changes", "ready", is_ready).await;
    world.stop_agent().await;
    let calls = world.runtime.calls();
    // While nobody looks: one pod is removed altogether, one ends by itself.
    world.pods().delete("goes", &DeleteParams::default().grace_period(0)).await.unwrap();
    let all = world.runtime.containers(None).await.unwrap();
    world.runtime.exit(&all.iter().find(|c| c.config.name == "short").unwrap().id, 3);
    // A readiness that could fail in between would be seen as a transition.
    world.start_agent();
    let pod = world.until("changes", "failed", |p| phase(p) == "Failed").await;
    let end = pod.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (3, Some("Error")));
    wait("the orphan is gone", async || world.runtime.sandboxes().await.unwrap().len() == 2).await;
    let after = world.pods().get("stays").await.unwrap();
    let ids = |p: &Pod| p.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].container_id.clone();
    assert_eq!(ids(&before), ids(&after));
    assert!(is_ready(&after));
    let since = |p: &Pod| {
        p.status
            .as_ref()
            .unwrap()
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Ready")
            .unwrap()
            .last_transition_time
            .clone()
    };
    assert_eq!(since(&before), since(&after), "it never was not ready");
    let made = |calls: &[String]| {
        calls.iter().filter(|c| c.starts_with("StartContainer") || c.starts_with("CreateSandbox")).count()
    };
    assert_eq!(made(&world.runtime.calls()), made(&calls), "nothing was started again");
    for name in ["stays", "changes"] {
        world.pods().delete(name, &DeleteParams::default()).await.unwrap();
        world.until_gone(name).await;
    }
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_hooks_decide() {
    let world = World::start().await;
    let exec = |word: &str| json!({"exec": {"command": [word]}});
    let probe = |word: &str| json!({"exec": {"command": [word]}, "periodSeconds": 1, "failureThreshold": 1});
    let script = Script::default()
        .command(["good"], FakeCommand::exits(0))
        .command(["bad"], FakeCommand { stderr: b"oh no".to_vec(), ..FakeCommand::exits(1) });
    for name in ["ill", "unready", "hooked", "slow"] {
        world.runtime.script(name, script.clone());
    }
    world.create("ill", json!({"containers": [{"name": "ill", "image": "w", "livenessProbe": probe("bad")}]})).await;
    world
        .create("unready", json!({"containers": [{"name": "unready", "image": "w", "readinessProbe": probe("bad")}]}))
        .await;
    let lifecycle = json!({"postStart": exec("good"), "preStop": exec("good")});
    world.create("hooked", json!({"containers": [{"name": "hooked", "image": "w", "lifecycle": lifecycle}]})).await;
    let failing = json!({"postStart": exec("bad")});
    world.create("slow", json!({"containers": [{"name": "slow", "image": "w", "lifecycle": failing}]})).await;
    let restarts =
        |p: &Pod| p.status.as_ref().and_then(|s| s.container_statuses.as_ref()).map_or(0, |c| c[0].restart_count);
    world.until("ill", "restarted", |p| restarts(p) >= 1).await;
    world.until_event("ill", "Unhealthy: Liveness probe failed: oh no").await;
    world.until_event("ill", "Killing: Container ill failed liveness probe, will be restarted").await;
    world.until_event("unready", "Unhealthy: Readiness probe failed: oh no").await;
    let pod = world.until("unready", "running", |p| phase(p) == "Running").await;
    let ready = pod.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [unready]"));
    let pod = world
        .until("slow", "hook failed", |p| {
            waiting(p).contains("BackOff") || waiting(p).starts_with("PostStartHookError")
        })
        .await;
    assert_eq!(phase(&pod), "Pending".to_owned().replace("Pending", phase(&pod)));
    world.until_event("slow", "FailedPostStartHook: PostStartHook failed").await;
    world.until("hooked", "ready", is_ready).await;
    world.pods().delete("hooked", &DeleteParams::default().grace_period(20)).await.unwrap();
    world.until_gone("hooked").await;
    let calls = world.runtime.calls();
    let of = |word: &str| calls.iter().position(|c| c.contains(word));
    let hooks: Vec<usize> =
        calls.iter().enumerate().filter(|(_, c)| c.starts_with("Exec hooked")).map(|(i, _)| i).collect();
    assert_eq!(hooks.len(), 2, "{calls:#?}");
    assert!(of("StartContainer hooked") < Some(hooks[0]) && Some(hooks[1]) < of("StopContainer hooked"), "{calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_deadlines_room_and_images_that_change() {
    let world = World::start().await;
    *world.volumes.broken.lock() = Some("configmap \"x\" not found".into());
    world.create("mount", one("web")).await;
    world
        .until_event("mount", "FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"x\" not found")
        .await;
    let pod = world.until("mount", "creating", |p| waiting(p).starts_with("ContainerCreating")).await;
    assert_eq!(phase(&pod), "Pending");
    *world.volumes.broken.lock() = None;
    world.until("mount", "ready", is_ready).await;
    // Another image is another container.
    let patch = json!({"spec": {"containers": [{"name": "web", "image": "web:v2"}]}});
    world.pods().patch("mount", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let image = |p: &Pod| p.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].image.clone();
    let pod = world.until("mount", "new image", |p| image(p).ends_with("web:v2") && is_ready(p)).await;
    assert_eq!(pod.status.unwrap().container_statuses.unwrap()[0].restart_count, 1);
    world.until_event("mount", "Killing: Container web definition changed, will be restarted").await;
    world.create("late", json!({"activeDeadlineSeconds": 1, "containers": [{"name": "web", "image": "web"}]})).await;
    let pod = world.until("late", "failed", |p| phase(p) == "Failed").await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    let huge = json!({"requests": {"cpu": "100k"}});
    world.create("huge", json!({"containers": [{"name": "web", "image": "web", "resources": huge}]})).await;
    let pod = world.until("huge", "refused", |p| phase(p) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(status.message.unwrap().starts_with("Pod was rejected: Node didn't have enough resource: cpu"));
}
