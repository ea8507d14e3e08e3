//! The machine: what its Node tells, what its pods use, and pods that have its own world.
use crate::world::{World, is_ready, pod, sh, stays};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use serde_json::json;

pub async fn the_node_tells_what_it_is(w: &World) {
    let nodes = Api::<Node>::all(w.client.clone()).list(&ListParams::default()).await.unwrap().items;
    let [node] = nodes.as_slice() else { panic!("one machine, one node: {nodes:?}") };
    let status = node.status.clone().unwrap();
    for list in [status.capacity.clone(), status.allocatable.clone()] {
        let list = list.unwrap();
        assert!(["cpu", "memory", "ephemeral-storage", "pods"].iter().all(|name| list.contains_key(*name)), "{list:?}");
    }
    let conditions = status.conditions.unwrap();
    let shown: Vec<_> = conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap())).collect();
    assert_eq!(shown[0], ("MemoryPressure", "KubeletHasSufficientMemory"));
    assert_eq!(
        shown.iter().map(|s| s.0).collect::<Vec<_>>(),
        ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
    );
    let info = status.node_info.unwrap();
    assert!(info.container_runtime_version.starts_with("isopod://"), "{info:?}");
    let uname = std::process::Command::new("uname").arg("-r").output().unwrap();
    assert_eq!(info.kernel_version, String::from_utf8_lossy(&uname.stdout).trim());
    let name = node.metadata.name.clone().unwrap();
    w.eventually("the image is listed", async || {
        let images = w.ok(&["get", "node", &name, "-o", "jsonpath={.status.images[*].names[*]}"]).await;
        images.contains("docker.io/library/web:v1").then_some(())
    })
    .await;
    let lease = ["get", "lease", "-n", "kube-node-lease", &name, "-o", "jsonpath={.spec.renewTime}"];
    let first = w.ok(&lease).await;
    w.eventually("the heartbeat goes on", async || (w.ok(&lease).await != first).then_some(())).await;
}

pub async fn usage_is_told(w: &World) {
    w.create(pod("busy", json!({"containers": [sh("c", "while true; do :; done")]}))).await;
    w.until("busy", "ready", is_ready).await;
    let cores = |line: &str| line.split_whitespace().nth(1).and_then(|c| c.trim_end_matches('m').parse::<u32>().ok());
    let line = w.says(&["top", "pod", "busy", "--no-headers"], |line| cores(line) > Some(0)).await;
    assert!(line.starts_with("busy ") && line.contains("Mi"), "{line}");
    let node = w.ok(&["top", "node", "--no-headers"]).await;
    assert!(node.contains('%'), "{node}");
    w.ok(&["delete", "pod", "busy"]).await;
}

pub async fn a_pod_can_have_the_machines_own_world(w: &World) {
    w.create(pod(
        "on-host",
        json!({"hostNetwork": true, "hostPID": true, "hostIPC": true, "containers": [stays("c")]}),
    ))
    .await;
    let seen = w.until("on-host", "ready", is_ready).await.status.unwrap();
    assert_eq!(seen.pod_ip, seen.host_ip);
    // The machine's network, which is this test's, and its processes.
    let links = w.exec("on-host", "ls /sys/class/net | wc -l").await;
    let own = w.ok(&["get", "pods", "-o", "name"]).await;
    assert!(links.trim().parse::<usize>().unwrap() > 1, "{links} links, pods {own}");
    let server = w.exec("on-host", "ps | grep -c '[i]sopod server\\|[i]sopod .*server'").await;
    assert!(server.trim().parse::<usize>().unwrap() >= 1, "{server}");
}
