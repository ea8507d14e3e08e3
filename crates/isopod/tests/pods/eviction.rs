//! Pods that use more disk than they may have, or than there is.
use crate::support::Cluster;
use crate::world::{World, is_ready, phase, pod, sh, stays, with};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::{Api, ListParams};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use std::path::PathBuf;

pub async fn who_uses_too_much_disk_is_evicted(w: &World) {
    let fill = "dd if=/dev/zero of=FILE bs=1M count=4 2>/dev/null; exec sleep 1000";
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volume = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]);
    let full = with(sh("c", &fill.replace("FILE", "/v/file")), mount.clone());
    w.create(pod("full-volume", json!({"containers": [full], "volumes": volume}))).await;
    let limits = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    w.create(pod(
        "full-layer",
        json!({"containers": [with(sh("c", &fill.replace("FILE", "/file")), limits), stays("d")]}),
    ))
    .await;
    let modest = with(stays("c"), mount);
    w.create(pod("modest", json!({"containers": [modest], "volumes": volume}))).await;
    for (name, message) in [
        ("full-volume", "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
        ("full-layer", "Container c exceeded its local ephemeral storage limit \"1Mi\". "),
    ] {
        let status = w.until(name, "is evicted", phase("Failed")).await.status.unwrap();
        assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some(message)));
        w.told(name, &format!("Warning Evicted {}", message.trim_end())).await;
        let described = w.ok(&["describe", "pod", name]).await;
        assert!(described.contains("Reason:           Evicted"), "{described}");
    }
    assert!(is_ready(&w.until("modest", "ready", is_ready).await));
}

/// A disk of its own in memory, too small to be left alone.
pub struct Disk(pub PathBuf);

impl Disk {
    pub fn of(size: &str) -> Self {
        let path = tempfile::tempdir().unwrap().keep();
        let size = format!("size={size}");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        Self(path)
    }

    /// All bytes, and those that are free.
    pub fn room(&self) -> (u64, u64) {
        let stat = nix::sys::statvfs::statvfs(&self.0).unwrap();
        (stat.blocks() * stat.fragment_size(), stat.blocks_available() * stat.fragment_size())
    }

    fn free(&self) -> u64 {
        self.room().1
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _best_effort = umount2(&self.0, MntFlags::MNT_DETACH).map(|()| std::fs::remove_dir(&self.0));
    }
}

/// Less than a tenth is left: the pod that uses the most beyond its request goes, and nobody else.
pub async fn on_a_full_disk() {
    let disk = Disk::of("256m");
    let world = World::of(Cluster::new_in(&disk.0)).await;
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volume = json!([{"name": "v", "emptyDir": {}}]);
    let some = with(sh("c", "dd if=/dev/zero of=/v/file bs=1M count=4; exec sleep 1000"), mount.clone());
    world.create(pod("modest", json!({"containers": [some], "volumes": volume}))).await;
    world.until("modest", "ready", is_ready).await;
    // The cluster itself must still be able to write.
    let megabytes = (disk.free() >> 20).saturating_sub(14);
    let fill = format!("dd if=/dev/zero of=/v/file bs=1M count={megabytes}; exec sleep 1000");
    world.create(pod("greedy", json!({"containers": [with(sh("c", &fill), mount)], "volumes": volume}))).await;
    let status = world.until("greedy", "is evicted", phase("Failed")).await.status.unwrap();
    let message = status.message.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    let expected = "The node was low on resource: ephemeral-storage. Threshold quantity: ";
    assert!(message.starts_with(expected) && message.contains(", available: "), "{message}");
    let target = status.conditions.into_iter().flatten().find(|c| c.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    world.eventually("its files are gone", async || (disk.free() >> 20 > megabytes / 2).then_some(())).await;
    let modest = world.pods().get("modest").await.unwrap();
    assert!(is_ready(&modest) && phase("Running")(&modest), "who uses little stays: {:?}", modest.status);
    let nodes: Api<Node> = Api::all(world.client.clone());
    world
        .eventually("the node says so, and for a while", async || {
            let node = nodes.list(&ListParams::default()).await.unwrap().items.pop()?;
            let conditions = node.status?.conditions?;
            conditions.iter().any(|c| c.type_ == "DiskPressure" && c.status == "True").then_some(())
        })
        .await;
    let told = Api::<Event>::all(world.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let reasons: Vec<_> = told.into_iter().filter_map(|e| e.reason).collect();
    assert!(reasons.iter().any(|r| r == "EvictionThresholdMet"), "{reasons:?}");
    // As long as it says so it takes nobody.
    world.create(pod("late", json!({"nodeSelector": {}, "containers": [stays("c")]}))).await;
    world.told("late", "untolerated taint").await;
    world.finish().await;
}
