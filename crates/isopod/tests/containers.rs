//! Real containers of the built binary, from a Dockerfile to nothing left: run as root, in a network namespace of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Event, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::Cluster;
use support::machine::{build_image, own_network};

fn pod(name: &str, spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 2}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "web:v1", "command": ["sh", "-c", script]})
}

/// Every field that the node translates: init containers, a sidecar, probes, hooks, environment, volumes, limits, users.
fn full() -> Pod {
    let data = json!([{"name": "data", "mountPath": "/data"}]);
    let mut init = sh("init", "echo prepared > /data/init; echo done > /dev/termination-log");
    init["volumeMounts"] = data.clone();
    let mut side = sh("side", "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done");
    side["restartPolicy"] = json!("Always");
    side["startupProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    // Ready only if everything is as it should be.
    let check = "test \"$(cat /data/init /config/color)\" = 'prepared\nred' && test $COLOR = red && test $(id -u) = 1000 \
        && grep -q '^1.2.3.4.other$' /etc/hosts && test $(hostname) = me && test -n \"$IP\" && test ! -w /config/color";
    let web = json!({"name": "web", "image": "web:v1",
        "env": [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "color"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        "securityContext": {"runAsUser": 1000},
        "startupProbe": {"exec": {"command": ["sh", "-c", check]}, "periodSeconds": 1, "timeoutSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/data/init", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 10},
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/config"}]});
    let volumes = json!([{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "config"}}]);
    let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["other"]}]);
    pod(
        "full",
        json!({"hostname": "me", "hostAliases": aliases, "volumes": volumes, "initContainers": [init, side], "containers": [web]}),
    )
}

struct World {
    cluster: Cluster,
    client: kube::Client,
}

impl World {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Waits until the pod is as wanted; tells the last it saw, and the events, if that takes too long.
    async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let start = Instant::now();
        loop {
            let seen = self.pods().get(name).await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            if start.elapsed() > Duration::from_secs(120) {
                let events = Api::<Event>::namespaced(self.client.clone(), "default");
                let events = events.list(&ListParams::default()).await.unwrap().items;
                let events: Vec<_> = events.into_iter().filter_map(|e| e.message).collect();
                panic!("{what}: {}\n{events:#?}", serde_json::to_string_pretty(&seen.status).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn container(pod: &Pod) -> ContainerStatus {
    let all = pod.status.as_ref().and_then(|s| s.container_statuses.clone()).unwrap_or_default();
    all.into_iter().next().unwrap_or_default()
}

fn waits(pod: &Pod, reason: &str) -> bool {
    container(pod).state.and_then(|s| s.waiting).is_some_and(|w| w.reason.as_deref() == Some(reason))
}

/// What identifies a run of a pod: its container, its restarts, and since when it is ready.
fn run(pod: &Pod) -> String {
    let ready = pod.status.as_ref().unwrap().conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap();
    let container = container(pod);
    format!("{:?} {} {:?}", container.container_id, container.restart_count, ready.last_transition_time)
}

async fn wait(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn from_a_dockerfile_to_nothing_left() {
    own_network();
    let cluster = Cluster::new(&[]);
    cluster.up();
    build_image(&cluster);
    let client = cluster.client().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    wait("the default account", async || accounts.get_opt("default").await.unwrap().is_some()).await;
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "config"}, "data": {"color": "red"}})).unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), "default").create(&PostParams::default(), &map).await.unwrap();
    let world = World { cluster, client };
    let mut oom = sh("c", "head -c 200000000 /dev/zero | tail");
    oom["resources"] = json!({"limits": {"memory": "20Mi"}});
    let mut crash = sh("c", "echo it broke; exit 3");
    crash["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let pods = [
        full(),
        pod("crash", json!({"containers": [crash]})),
        pod("nocommand", json!({"containers": [{"name": "c", "image": "web:v1", "command": ["/nope"]}]})),
        pod("noimage", json!({"containers": [{"name": "c", "image": "nope:v1", "imagePullPolicy": "Never"}]})),
        pod("oom", json!({"restartPolicy": "Never", "containers": [oom]})),
        pod("job", json!({"restartPolicy": "Never", "containers": [sh("c", "echo well; exit 0")]})),
    ];
    for pod in &pods {
        world.pods().create(&PostParams::default(), pod).await.unwrap();
    }
    let before = world.until("full", "ready", is_ready).await;
    let status = before.status.clone().unwrap();
    let init = status.init_container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((init.exit_code, init.message.as_deref()), (0, Some("done\n")));
    let crash = container(&world.until("crash", "backs off", |p| waits(p, "CrashLoopBackOff")).await);
    let end = crash.last_state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref(), end.message.as_deref()), (3, Some("Error"), Some("it broke\n")));
    let end = container(&world.until("nocommand", "backs off", |p| waits(p, "CrashLoopBackOff")).await);
    let end = end.last_state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")));
    assert!(end.message.as_deref().unwrap().contains("\"/nope\""), "{end:?}");
    world.until("noimage", "says why", |p| waits(p, "ErrImageNeverPull")).await;
    let phase =
        |wanted: &'static str| move |p: &Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(wanted);
    let end = container(&world.until("oom", "killed", phase("Failed")).await).state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")));
    world.until("job", "done", phase("Succeeded")).await;
    // Killing everything of ours but the containers changes nothing for them.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.cluster.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.cluster.up();
    let world = World { client: world.cluster.client().await, cluster: world.cluster };
    let generation = world.pods().get("crash").await.unwrap();
    world
        .until("crash", "seen by the new agent", |p| container(p).restart_count > container(&generation).restart_count)
        .await;
    assert_eq!(run(&world.pods().get("full").await.unwrap()), run(&before));
    world.pods().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let pods = world.pods();
    wait("all pods are gone", async || pods.list(&ListParams::default()).await.unwrap().items.is_empty()).await;
    let data = world.cluster.data();
    let count = |path: &str| std::fs::read_dir(data.join(path)).map_or(0, Iterator::count);
    wait("nothing is left of them", async || {
        ["runtime/sandboxes", "logs", "pods", "agent"].iter().all(|path| count(path) == 0)
    })
    .await;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = data.to_string_lossy().into_owned();
    let left: Vec<&str> = mounts.lines().filter(|l| l.contains(&ours) && l.contains("sandboxes")).collect();
    assert!(left.is_empty(), "{left:#?}");
}
