//! Images on a disk that is getting full: who goes, who stays, and what people are told.
#[path = "../../../images/tests/support/docker_registry.rs"]
mod docker_registry;

use crate::eviction::Disk;
use crate::support::Cluster;
use crate::world::{World, is_ready, phase, pod, sh, stays, with};
use docker_registry::Registry;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// From 70 % of the disk in use down to 66 %: less than one of the images.
const SETTINGS: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
    imageGCHighThresholdPercent: 70\nimageGCLowThresholdPercent: 66\nimageMinimumGCAge: 0s\n";
const IMAGE_MEGABYTES: usize = 12;

/// Images of one layer that nothing compresses, in the registry and nowhere else.
fn publish(cluster: &Cluster, registry: &Registry, names: &[&str]) {
    let elsewhere = tempfile::tempdir().unwrap();
    for name in names {
        let context = elsewhere.path().join(name);
        std::fs::create_dir(&context).unwrap();
        std::fs::copy("/bin/busybox", context.join("busybox")).unwrap();
        let noise = std::process::Command::new("dd")
            .args(["if=/dev/urandom", "bs=1M", &format!("count={IMAGE_MEGABYTES}"), "status=none"])
            .arg(format!("of={}", context.join("noise").display()))
            .status();
        assert!(noise.unwrap().success());
        let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY noise /noise\n";
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let (image, data) = (registry.name(name), elsewhere.path().join("data"));
        let data = data.to_str().unwrap();
        let isopod = |words: &[&str]| {
            let out = std::process::Command::new(env!("CARGO_BIN_EXE_isopod")).args(words).output().unwrap();
            assert!(out.status.success(), "{words:?}: {out:?}");
        };
        isopod(&["build", "-t", &image, context.to_str().unwrap(), "--data-dir", data]);
        isopod(&["image", "push", "-q", &image, "--data-dir", data]);
        std::fs::remove_file(context.join("noise")).unwrap();
    }
    // One that no registry has.
    let context = elsewhere.path().join("own");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM web:v1\nLABEL made=here\n").unwrap();
    cluster.isopod(&["build", "-t", "own:v1", context.to_str().unwrap()]);
}

struct Case {
    world: World,
    disk: Disk,
    registry: Registry,
    filler: usize,
}

impl Case {
    /// `repository:tag` of all images, as both tell them who can be asked.
    async fn images(&self) -> BTreeSet<String> {
        let listed: Value = serde_json::from_str(&self.world.cluster.isopod(&["image", "ls", "-o", "json"])).unwrap();
        let name = |line: &Value| format!("{}:{}", line["repository"].as_str().unwrap(), line["tag"].as_str().unwrap());
        let listed: BTreeSet<String> = listed.as_array().unwrap().iter().map(name).collect();
        let nodes: Api<Node> = Api::all(self.world.client.clone());
        self.world
            .eventually("the node tells the images that are there", async || {
                let node = nodes.list(&ListParams::default()).await.unwrap().items.pop()?;
                let names = node.status?.images?.into_iter().flat_map(|image| image.names.unwrap_or_default());
                let tags = names.filter(|n| !n.contains('@')).map(|n| n.replace("docker.io/library/", ""));
                (tags.collect::<BTreeSet<_>>() == listed).then_some(())
            })
            .await;
        listed
    }

    fn has(&self, name: &str) -> bool {
        let shown = self.world.cluster.isopod(&["image", "ls", "-q", &self.registry.name(name)]);
        !shown.trim().is_empty()
    }

    /// A file of somebody else's, so large that more than 70 % of the disk are in use.
    fn fill(&mut self) {
        let (size, free) = self.disk.room();
        let bytes = free.saturating_sub(size * 29 / 100);
        assert!(bytes > 0, "the images alone fill the disk");
        self.filler += 1;
        let file = std::fs::File::create(self.disk.0.join(format!("filler-{}", self.filler))).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, i64::try_from(bytes).unwrap()).unwrap();
    }

    async fn goes(&self, name: &str) {
        self.world.eventually(&format!("{name} goes"), async || (!self.has(name)).then_some(())).await;
    }
}

async fn begin() -> Case {
    let disk = Disk::of("256m");
    let settings = disk.0.join("kubelet.yaml");
    let mut cluster = Cluster::new_in(&disk.0);
    std::fs::write(&settings, SETTINGS.replace("66", "70")).unwrap();
    let words = ["up", "--kubelet-config", settings.to_str().unwrap()];
    let refused = String::from_utf8(cluster.try_isopod(&words).stderr).unwrap();
    let why = "imageGCLowThresholdPercent 70 must be less than imageGCHighThresholdPercent 70";
    assert!(refused.contains(why), "{refused}");
    std::fs::write(&settings, SETTINGS).unwrap();
    cluster.flag("--kubelet-config", settings.to_str().unwrap());
    let world = World::of(cluster).await;
    let registry = Registry::start("");
    publish(&world.cluster, &registry, &["first", "second", "ended", "busy"]);
    Case { world, disk, registry, filler: 0 }
}

pub async fn unused_images_make_room() {
    let mut case = begin().await;
    let w = &case.world;
    let image = |name: &str| json!({"image": case.registry.name(name)});
    for name in ["second", "first", "busy"] {
        w.create(pod(name, json!({"containers": [with(stays("c"), image(name))]}))).await;
        w.until(name, "ready", is_ready).await;
    }
    let once = with(sh("c", "true"), image("ended"));
    w.create(pod("ended", json!({"restartPolicy": "Never", "containers": [once]}))).await;
    w.until("ended", "is over", phase("Succeeded")).await;
    // Come later, but used last: the other one has been unused for longer.
    w.ok(&["delete", "pod", "first"]).await;
    w.heartbeats().await;
    w.ok(&["delete", "pod", "second"]).await;
    let all = case.images().await;
    assert_eq!(all.len(), 6, "{all:?}");

    case.fill();
    case.goes("first").await;
    let left = case.images().await;
    assert_eq!(left.len(), 5, "one is enough: {left:?}");
    assert!(case.has("second"), "it was used later: {left:?}");
    case.fill();
    case.goes("second").await;
    case.fill();
    let left = nothing_more_to_take(&case).await;
    let expected = [
        "own:v1".to_owned(),
        "web:v1".to_owned(),
        case.registry.name("busy:latest"),
        case.registry.name("ended:latest"),
    ];
    assert_eq!(left, BTreeSet::from(expected), "what is used, or was made here, stays");
    assert!(is_ready(&case.world.pods().get("busy").await.unwrap()));
    case.world.finish().await;
}

/// Nobody uses what is left, or it could not be had again: people have to make room themselves.
async fn nothing_more_to_take(case: &Case) -> BTreeSet<String> {
    let w = &case.world;
    let events: Api<Event> = Api::all(w.client.clone());
    let told = w
        .eventually("people are told that it was not enough", async || {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            all.into_iter().find(|e| e.reason.as_deref() == Some("FreeDiskSpaceFailed"))
        })
        .await;
    let message = told.message.unwrap();
    assert_eq!((told.involved_object.kind.as_deref(), told.type_.as_deref()), (Some("Node"), Some("Warning")));
    assert!(
        message.starts_with("Failed to garbage collect required amount of images. Attempted to free "),
        "{message}"
    );
    assert!(message.contains("but only found 0 bytes eligible to free."), "{message}");
    assert!(message.ends_with("isopod image prune --all removes them."), "{message}");
    let log = std::fs::read_to_string(w.cluster.data().join("log/server.log")).unwrap();
    assert_eq!(log.matches("removed an unused image: the disk is getting full").count(), 2, "{log}");
    case.images().await
}
