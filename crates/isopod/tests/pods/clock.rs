//! What depends on the time of day: tokens are renewed and expire, and a clock that jumps, as that of a laptop which wakes up does,
//! harms nothing.
//!
//! The cluster runs under Debian's libfaketime: its time of day is set by a file, its monotonic clock is the machine's. That is what a
//! sleep looks like to a process: timers stand still, and suddenly it is later.
use crate::support::Cluster;
use crate::world::{World, container, is_ready, pod, stays, with};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// The shortest life a token may have, and when it is renewed.
const LIFE: i64 = 600;
const DUE: i64 = 480;

/// The cluster's clock: so many seconds before that of the machine.
struct Clock(PathBuf);

impl Clock {
    fn of(cluster: &mut Cluster) -> Self {
        assert!(Path::new(LIBRARY).exists(), "the package libfaketime is missing (cargo xtask test installs it)");
        let clock = Self(cluster.dir.path().join("clock"));
        clock.ahead(0);
        let file = clock.0.to_str().unwrap();
        let settings = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        settings.into_iter().for_each(|(name, value)| cluster.env(name, value));
        clock
    }

    fn ahead(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("+{seconds}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).expect("a JSON web token");
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What must not change while nothing but time passes.
async fn state(w: &World) -> Value {
    let nodes = Api::<Node>::all(w.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let ready = |conditions: Option<Value>| {
        let all = conditions.and_then(|c| c.as_array().cloned()).unwrap_or_default();
        all.into_iter().find(|c| c["type"] == "Ready").map(|c| (c["status"].clone(), c["lastTransitionTime"].clone()))
    };
    let of = |object: &Value| ready(object["status"].get("conditions").cloned());
    let nodes: Vec<Value> = nodes.iter().map(|n| serde_json::to_value(n).unwrap()).collect();
    let pods: Vec<Pod> = w.pods().list(&ListParams::default()).await.unwrap().items;
    let pods: Vec<Value> = pods
        .iter()
        .map(|p| {
            let c = container(p);
            json!([p.metadata.uid, c.restart_count, c.container_id, of(&serde_json::to_value(p).unwrap())])
        })
        .collect();
    json!({"nodes": nodes.iter().map(of).collect::<Vec<_>>(), "taints": nodes.iter().map(|n| n["spec"]["taints"].clone()).collect::<Vec<_>>(), "pods": pods})
}

impl World {
    /// Who the API says that the bearer of a token is; `None`: nobody.
    async fn bearer(&self, token: &str) -> Option<String> {
        let url = self.ok(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]).await;
        let words = ["--server", &url, "--insecure-skip-tls-verify", "--token", token, "auth", "whoami"];
        let words = [&words[..], &["-o", "jsonpath={.status.userInfo.username}"]].concat();
        let mut command = self.command(&words);
        // The person's own certificate would speak for them.
        let out = command.env("KUBECONFIG", "/dev/null").output().await.unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || said.contains("You must be logged in to the server"), "{said}");
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    async fn token(&self) -> String {
        self.exec("bearer", "cat /t/token").await
    }

    async fn renewed(&self, old: &str) -> String {
        self.eventually("the token in the container is a new one", async || {
            Some(self.token().await).filter(|token| token != old)
        })
        .await
    }
}

pub async fn tokens_are_renewed_and_sleep_harms_nothing() {
    let mut cluster = Cluster::new(&[]);
    let clock = Clock::of(&mut cluster);
    let w = World::of(cluster).await;
    let volume = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": LIFE}}]}}]);
    let probe = json!({"exec": {"command": ["test", "-s", "/t/token"]}, "periodSeconds": 1, "timeoutSeconds": 30});
    let fields =
        json!({"volumeMounts": [{"name": "t", "mountPath": "/t"}], "readinessProbe": probe, "livenessProbe": probe});
    w.create(pod("bearer", json!({"containers": [with(stays("c"), fields)], "volumes": volume}))).await;
    w.until("bearer", "ready", is_ready).await;
    let before = state(&w).await;
    let first = w.token().await;
    let (issued, expires) = (claims(&first)["iat"].as_i64().unwrap(), claims(&first)["exp"].as_i64().unwrap());
    assert_eq!(expires - issued, LIFE);
    let account = "system:serviceaccount:default:default";
    assert_eq!(w.bearer(&first).await.as_deref(), Some(account));

    clock.ahead(DUE - 120);
    w.heartbeats().await;
    assert_eq!(w.token().await, first, "four fifths of its life are not over");

    clock.ahead(DUE + 1);
    let second = w.renewed(&first).await;
    assert!(claims(&second)["iat"].as_i64().unwrap() >= issued + DUE);
    for token in [&first, &second] {
        assert_eq!(w.bearer(token).await.as_deref(), Some(account), "the old one lives until its end");
    }

    // A minute of grace for clocks that differ, as in Kubernetes.
    clock.ahead(LIFE + 61);
    assert_eq!(w.bearer(&first).await, None);
    assert_eq!(w.bearer(&second).await.as_deref(), Some(account));

    asleep(&w, &clock, &second).await;
    assert_eq!(state(&w).await, before, "nothing but time has passed");
    let told = Api::<Event>::all(w.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let told: Vec<String> = told.into_iter().filter_map(|e| e.reason).collect();
    let bad = ["NodeNotReady", "Killing", "TaintManagerEviction", "FailedMount"];
    assert!(!told.iter().any(|reason| bad.contains(&reason.as_str())), "{told:?}");
    w.create(pod("late", json!({"containers": [stays("c")]}))).await;
    w.until("late", "ready", is_ready).await;
    w.finish().await;
}

/// Ten minutes, and a night.
async fn asleep(w: &World, clock: &Clock, token: &str) {
    let mut token = token.to_owned();
    for ahead in [LIFE + 61 + 600, 12 * 3600] {
        clock.ahead(ahead);
        // Whoever looks at the node now has not heard it for long.
        w.ok(&["label", "node", "--all", "--overwrite", &format!("slept={ahead}")]).await;
        let new = w.renewed(&token).await;
        assert_eq!(w.bearer(&token).await, None, "it has expired in its sleep");
        assert!(w.bearer(&new).await.is_some());
        w.heartbeats().await;
        token = new;
    }
}
