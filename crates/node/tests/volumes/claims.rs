//! Volumes that last: from a claim to a directory, and what becomes of it.
use crate::support::{NODE, World};
use isopod_node::seams::Volumes;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::fs;

fn claim(name: &str, with: Value) -> Value {
    let mut claim = json!({"metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    json_patch::merge(&mut claim, &with);
    claim
}

impl World {
    fn volumes_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    async fn phase(&self, name: &str) -> String {
        let claim = self.api::<PersistentVolumeClaim>().get_opt(name).await.unwrap();
        claim.map_or("gone".into(), |c| c.status.unwrap().phase.unwrap())
    }

    async fn until_claim(&self, name: &str, phase: &str) {
        self.until(&format!("claim {name} {phase}"), async || {
            let seen = self.phase(name).await;
            if seen == phase { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    async fn until_volume(&self, name: &str, phase: &str) {
        self.until(&format!("volume {name} {phase}"), async || {
            let volume = self.volumes_api().get_opt(name).await.unwrap();
            let seen = volume.map_or("gone".into(), |v| v.status.unwrap().phase.unwrap());
            if seen == phase { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    async fn told(&self, message: &str) {
        self.until(message, async || {
            let events: Api<Event> = Api::all(self.client.clone());
            let events = events.list(&ListParams::default()).await.unwrap().items;
            let all: Vec<_> = events.into_iter().filter_map(|e| e.message).collect();
            if all.iter().any(|m| m.contains(message)) { Ok(()) } else { Err(all) }
        })
        .await;
    }

    /// A pod that the scheduler places.
    async fn placed(&self, name: &str, volume: Value) -> Pod {
        self.pod(name, json!([volume]), json!({"spec": {"nodeName": null}})).await;
        self.until("a node", async || {
            let pod = self.api::<Pod>().get(name).await.unwrap();
            if pod.spec.as_ref().unwrap().node_name.is_some() { Ok(()) } else { Err(pod.status) }
        })
        .await;
        self.api::<Pod>().get(name).await.unwrap()
    }

    async fn end(&self, pod: &Pod) {
        self.volumes.remove(pod.metadata.uid.as_deref().unwrap()).await.unwrap();
        let params = DeleteParams::default().grace_period(0);
        self.api::<Pod>().delete(pod.metadata.name.as_deref().unwrap(), &params).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_bound_with_its_first_pod_and_its_data_lasts() {
    let world = World::new().await;
    world.populate().await;
    world
        .until("service account", async || {
            world
                .api::<k8s_openapi::api::core::v1::ServiceAccount>()
                .get("default")
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await;
    let made: PersistentVolumeClaim = world.create(claim("data", json!({}))).await;
    assert_eq!(made.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("isopod-local"));
    world.told("waiting for first consumer to be created before binding").await;
    assert_eq!(world.phase("data").await, "Pending");

    let source = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
    let first = world.placed("first", source.clone()).await;
    world.until_claim("data", "Bound").await;
    let volume = format!("pvc-{}", made.metadata.uid.clone().unwrap());
    world.until_volume(&volume, "Bound").await;
    world.told(&format!("Successfully provisioned volume {volume}")).await;
    world.prepare(&first).await.unwrap();
    let directory = world.data().join("volumes").join(&volume);
    assert_eq!(world.source(&first, "v").await, directory);
    fs::write(directory.join("row"), "1").unwrap();

    // It grows by being asked to.
    let patch = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    world.api::<PersistentVolumeClaim>().patch("data", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    world
        .until("growth", async || {
            let claim = world.api::<PersistentVolumeClaim>().get("data").await.unwrap();
            let has = claim.status.unwrap().capacity.unwrap()["storage"].0.clone();
            if has == "3Gi" { Ok(()) } else { Err(has) }
        })
        .await;
    let grown = world.volumes_api().get(&volume).await.unwrap();
    assert_eq!(grown.spec.unwrap().capacity.unwrap()["storage"].0, "3Gi");

    // Deleted while in use: it waits for its pod. A second pod finds the data.
    world.end(&first).await;
    let second = world.placed("second", source).await;
    world.prepare(&second).await.unwrap();
    assert_eq!(fs::read_to_string(world.source(&second, "v").await.join("row")).unwrap(), "1");
    world.api::<PersistentVolumeClaim>().delete("data", &DeleteParams::default()).await.unwrap();
    let held = world.api::<PersistentVolumeClaim>().get("data").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert!(directory.exists());
    world.end(&second).await;
    world.until_claim("data", "gone").await;
    world.until_volume(&volume, "gone").await;
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_decide_when_and_what_becomes_of_it() {
    let world = World::new().await;
    world.populate().await;
    let class: StorageClass =
        serde_json::from_value(json!({"metadata": {"name": "keep"}, "provisioner": "isopod.dev/local",
        "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"}))
        .unwrap();
    Api::all(world.client.clone()).create(&PostParams::default(), &class).await.unwrap();
    let made: PersistentVolumeClaim = world.create(claim("now", json!({"spec": {"storageClassName": "keep"}}))).await;
    world.until_claim("now", "Bound").await;
    let volume = format!("pvc-{}", made.metadata.uid.unwrap());
    let directory = world.data().join("volumes").join(&volume);
    fs::write(directory.join("row"), "1").unwrap();
    world.api::<PersistentVolumeClaim>().delete("now", &DeleteParams::default()).await.unwrap();
    world.until_volume(&volume, "Released").await;
    assert_eq!(fs::read_to_string(directory.join("row")).unwrap(), "1");

    // A volume made by hand is found by size and label, and released volumes are not given away.
    let by_hand = |name: &str, size: &str| -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"tier": "gold"}}, "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "hand",
            "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": format!("/nowhere/{name}")}}}))
        .unwrap()
    };
    for (name, size) in [("small", "1Gi"), ("medium", "5Gi"), ("large", "9Gi")] {
        world.volumes_api().create(&PostParams::default(), &by_hand(name, size)).await.unwrap();
    }
    let hand = json!({"spec": {"storageClassName": "hand", "selector": {"matchLabels": {"tier": "gold"}},
        "resources": {"requests": {"storage": "2Gi"}}}});
    world.create::<PersistentVolumeClaim>(claim("fits", hand)).await;
    world.until_claim("fits", "Bound").await;
    let bound = world.api::<PersistentVolumeClaim>().get("fits").await.unwrap();
    assert_eq!(bound.spec.unwrap().volume_name.as_deref(), Some("medium"));
    assert_eq!(bound.status.unwrap().capacity.unwrap()["storage"].0, "5Gi");
    world
        .create::<PersistentVolumeClaim>(claim(
            "much",
            json!({"spec": {"storageClassName": "none",
        "resources": {"requests": {"storage": "1Ti"}}}}),
        ))
        .await;
    world.told("storageclass.storage.k8s.io \"none\" not found").await;
    assert_eq!(world.phase("much").await, "Pending");
    // Nobody here can delete a volume made by hand: that is said.
    world.api::<PersistentVolumeClaim>().delete("fits", &DeleteParams::default()).await.unwrap();
    world.until_volume("medium", "Failed").await;
    world.told("no deletable volume plugin matched").await;
    // A claim that loses its volume says so for ever.
    let asked = json!({"spec": {"storageClassName": "hand", "volumeName": "large"}});
    world.create::<PersistentVolumeClaim>(claim("lost", asked)).await;
    world.until_claim("lost", "Bound").await;
    world.volumes_api().delete("large", &DeleteParams::default()).await.unwrap();
    let free = json!({"metadata": {"finalizers": null}});
    world.volumes_api().patch("large", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    world.until_claim("lost", "Lost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_own_claim_comes_and_goes_with_it() {
    let world = World::new().await;
    world.populate().await;
    world
        .until("service account", async || {
            world
                .api::<k8s_openapi::api::core::v1::ServiceAccount>()
                .get("default")
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await;
    let template = claim("ignored", json!({"metadata": null}));
    let pod = world.placed("p", json!({"name": "v", "ephemeral": {"volumeClaimTemplate": template}})).await;
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some(NODE));
    world.until_claim("p-v", "Bound").await;
    world.prepare(&pod).await.unwrap();
    let directory = world.source(&pod, "v").await;
    assert!(directory.starts_with(world.data().join("volumes")));
    world.end(&pod).await;
    world.until_claim("p-v", "gone").await;
    world.until("the directory", async || if directory.exists() { Err(directory.clone()) } else { Ok(()) }).await;
}
