//! Claims: bound to a directory of this machine when their first pod comes, and what becomes of them.
use crate::world::{World, is_ready, phase, pod, sh, stays, with};
use serde_json::{Value, json};

fn claim(name: &str, class: Option<&str>, mode: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "storageClassName": class.unwrap_or("isopod-local"), "accessModes": [mode], "resources": {"requests": {"storage": "10Mi"}}}})
}

fn uses(name: &str, claim: &str, container: Value) -> Value {
    let container = with(container, json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}));
    pod(
        name,
        json!({"restartPolicy": "Never", "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}),
    )
}

async fn path(w: &World, claim: &str, path: &str) -> String {
    w.ok(&["get", "pvc", claim, "-o", &format!("jsonpath={{{path}}}")]).await
}

pub async fn claims_last_and_are_reclaimed(w: &World) {
    let classes = w.ok(&["get", "storageclass", "--no-headers"]).await;
    assert!(classes.contains("isopod-local (default)") && classes.contains("WaitForFirstConsumer"), "{classes}");
    let keeps = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "keeps"},
        "provisioner": "isopod.dev/local", "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"});
    let provisioner = w.ok(&["get", "storageclass", "isopod-local", "-o", "jsonpath={.provisioner}"]).await;
    let keeps = with(keeps, json!({"provisioner": provisioner}));
    w.apply(&[keeps, claim("lasting", None, "ReadWriteOnce"), claim("kept", Some("keeps"), "ReadWriteOnce")]).await;
    w.eventually("one that need not wait is bound", async || {
        (path(w, "kept", ".status.phase").await == "Bound").then_some(())
    })
    .await;
    assert_eq!(path(w, "lasting", ".status.phase").await, "Pending", "nobody wants it yet");
    w.create(uses("writer", "lasting", sh("c", "echo kept > /data/file"))).await;
    w.until("writer", "has written", phase("Succeeded")).await;
    assert_eq!(path(w, "lasting", ".status.phase").await, "Bound");
    w.ok(&["delete", "pod", "writer"]).await;
    w.create(uses("reader", "lasting", sh("c", "cat /data/file"))).await;
    w.until("reader", "has read", phase("Succeeded")).await;
    assert_eq!(w.ok(&["logs", "reader"]).await, "kept\n");
    let (volume, kept) = (path(w, "lasting", ".spec.volumeName").await, path(w, "kept", ".spec.volumeName").await);
    let directory = w.cluster.data().join("volumes").join(&volume);
    assert!(directory.join("file").exists() || directory.is_dir(), "{}", directory.display());
    // In use it is not taken away.
    w.ok(&["delete", "pvc", "lasting", "--wait=false"]).await;
    w.ok(&["delete", "pod", "reader"]).await;
    w.eventually("the volume is deleted with its claim", async || {
        let gone = w.kubectl(&["get", "pv", &volume]).await.err.contains("not found");
        (gone && !directory.exists()).then_some(())
    })
    .await;
    w.ok(&["delete", "pvc", "kept"]).await;
    w.eventually("what is to be kept is released", async || {
        (w.ok(&["get", "pv", &kept, "-o", "jsonpath={.status.phase}"]).await == "Released").then_some(())
    })
    .await;
    assert!(w.cluster.data().join("volumes").join(&kept).exists());
    w.ok(&["delete", "pv", &kept]).await;
}

pub async fn access_modes_are_respected(w: &World) {
    w.apply(&[claim("single", None, "ReadWriteOncePod")]).await;
    w.create(uses("first", "single", stays("c"))).await;
    w.until("first", "has it", is_ready).await;
    w.create(uses("second", "single", stays("c"))).await;
    w.told("second", "FailedScheduling").await;
    assert!(phase("Pending")(&w.pods().get("second").await.unwrap()));
    w.ok(&["delete", "pod", "first"]).await;
    w.until("second", "has it now", is_ready).await;
    w.ok(&["delete", "pod", "second"]).await;
    w.ok(&["delete", "pvc", "single"]).await;
}
