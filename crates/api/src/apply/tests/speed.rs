//! How long the update path takes: it runs on every write. By hand:
//! `cargo test --release -p isopod-api --lib apply::tests::speed -- --ignored --nocapture`.
use super::Server;
use crate::apply::{FieldSet, update};
use serde_json::{Value, json};
use std::time::Duration;

/// A pod of about 3 KB with three managers: its creator, the scheduler and the node.
fn running_pod() -> (Server, Value) {
    let env: Vec<Value> =
        (0..12).map(|i| json!({"name": format!("VARIABLE_{i}"), "value": format!("value-{i}")})).collect();
    let container = |name: &str| {
        json!({"name": name, "image": "registry.example/team/app:v1.2.3", "imagePullPolicy": "IfNotPresent", "env": env,
            "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}, {"containerPort": 9090, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
    };
    let mut pod = json!({
        "metadata": {"name": "app-5d4f8c7b9-abcde", "namespace": "default", "labels": {"app": "app", "pod-template-hash": "5d4f8c7b9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-5d4f8c7b9", "uid": "1", "controller": true}]},
        "spec": {"containers": [container("app"), container("sidecar")], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30},
    });
    let mut s = Server::new("v1", "Pod");
    s.update("kube-controller-manager", pod.clone());
    pod["spec"]["nodeName"] = json!("node-1");
    s.update("isopod-scheduler", pod.clone());
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    pod["status"] = json!({"phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}],
        "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
        "conditions": [condition("PodScheduled", "True"), condition("Initialized", "True"), condition("ContainersReady", "False"), condition("Ready", "False")],
        "containerStatuses": [{"name": "app", "ready": false, "restartCount": 0, "image": "x", "imageID": "y", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}}]});
    s.update_through("kubelet", "status", pod.clone());
    pod["status"]["conditions"][2]["status"] = json!("True");
    pod["status"]["conditions"][3]["status"] = json!("True");
    pod["status"]["containerStatuses"][0]["ready"] = json!(true);
    pod["status"]["containerStatuses"][0]["state"] = json!({"running": {"startedAt": "2026-01-01T00:00:03Z"}});
    (s, pod)
}

/// Time this thread had a processor: other work on the machine does not count.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "a measurement"]
fn a_status_update_is_fast() {
    let (mut s, pod) = running_pod();
    s.tick();
    let live = s.live.clone().unwrap();
    let mut new = s.object(pod);
    new["metadata"]["uid"] = json!("u");
    new["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
    let reset = FieldSet::from_fields(&[&["spec"]]);
    let request = s.request("kubelet", "status", &reset);
    const ROUNDS: usize = 1_000;
    let mut objects: Vec<Value> = vec![new.clone(); ROUNDS];
    let start = on_cpu();
    for object in &mut objects {
        update(&request, Some(&live), object);
    }
    let each = (on_cpu() - start) / u32::try_from(ROUNDS).unwrap();
    assert_ne!(objects[0]["metadata"]["managedFields"], live["metadata"]["managedFields"]);
    println!("{} bytes, {} managers: {each:?} a status update", new.to_string().len(), s.managers().len());
    let mut same: Vec<Value> = vec![live.clone(); ROUNDS];
    let start = on_cpu();
    for object in &mut same {
        update(&request, Some(&live), object);
    }
    println!("{:?} an update that changes nothing", (on_cpu() - start) / u32::try_from(ROUNDS).unwrap());
}
