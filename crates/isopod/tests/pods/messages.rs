//! What people are told: why something cannot run, what happened, how it is.
use crate::world::{World, container, is_ready, pod, sh, stays, waits, with};
use serde_json::json;

pub async fn what_cannot_run_says_why(w: &World) {
    let image = |name: &str, image: &str, policy: &str| {
        pod(name, json!({"containers": [{"name": "c", "image": image, "imagePullPolicy": policy}]}))
    };
    // Nobody listens there.
    w.create(image("nopull", "127.0.0.1:1/none:v1", "IfNotPresent")).await;
    w.create(image("nolocal", "none:v1", "Never")).await;
    w.create(image("noname", "Not A Name", "Never")).await;
    w.create(pod("nocommand", json!({"containers": [{"name": "c", "image": "web:v1", "command": ["/nope"]}]}))).await;
    let seen = w.until("nopull", "first the error", |p| waits("ErrImagePull")(p) || waits("ImagePullBackOff")(p)).await;
    assert!(container(&seen).image.contains("127.0.0.1:1/none"), "{seen:?}");
    let seen = w.until("nopull", "then the back-off", waits("ImagePullBackOff")).await;
    let message = container(&seen).state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("Back-off pulling image \"127.0.0.1:1/none:v1\": ErrImagePull: "), "{message}");
    for text in [
        "Normal Pulling Pulling image \"127.0.0.1:1/none:v1\"",
        "Warning Failed Failed to pull image \"127.0.0.1:1/none:v1\": ",
        "Warning Failed Error: ErrImagePull",
        "Normal BackOff Back-off pulling image \"127.0.0.1:1/none:v1\"",
        "Warning Failed Error: ImagePullBackOff",
    ] {
        w.told("nopull", text).await;
    }
    let seen = w.until("nolocal", "never pulled", waits("ErrImageNeverPull")).await;
    let message = container(&seen).state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "Container image \"none:v1\" is not present with pull policy of Never");
    w.until("noname", "no name", waits("InvalidImageName")).await;
    let seen =
        w.until("nocommand", "cannot start", |p| container(p).last_state.is_some_and(|s| s.terminated.is_some())).await;
    let end = container(&seen).last_state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")));
    assert!(end.message.as_deref().unwrap().contains("exec: \"/nope\""), "{end:?}");
    let described = w.ok(&["describe", "pod", "nocommand"]).await;
    assert!(described.contains("Warning  Failed") && described.contains("\"/nope\""), "{described}");
}

pub async fn events_are_kubernetes_own(w: &World) {
    w.create(pod("told", json!({"containers": [stays("c")]}))).await;
    w.until("told", "ready", is_ready).await;
    for text in [
        "Normal Scheduled Successfully assigned default/told to ",
        "Normal Pulled Container image \"web:v1\" already present on machine",
        "Normal Created Container created",
        "Normal Started Container started",
    ] {
        w.told("told", text).await;
    }
    let described = w.ok(&["describe", "pod", "told"]).await;
    let order: Vec<_> =
        ["Scheduled", "Pulled", "Created", "Started"].iter().map(|r| described.find(&format!("Normal  {r}"))).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{described}");
    w.ok(&["delete", "pod", "told"]).await;
    w.told("told", "Normal Killing Stopping container c").await;
}

pub async fn statuses_are_whole(w: &World) {
    let crash = with(
        sh("c", "test -f /data/second || { touch /data/second; exit 9; }; exec sleep 1000"),
        json!({
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
    );
    w.create(pod("whole-status", json!({"containers": [crash], "volumes": [{"name": "data", "emptyDir": {}}]}))).await;
    let seen = w.until("whole-status", "runs again", |p| is_ready(p) && container(p).restart_count == 1).await;
    let status = seen.status.clone().unwrap();
    let conditions: Vec<_> = status.conditions.iter().flatten().map(|c| format!("{}={}", c.type_, c.status)).collect();
    for wanted in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert!(conditions.contains(&format!("{wanted}=True")), "{conditions:?}");
    }
    let ip = status.pod_ip.clone().unwrap();
    assert_eq!(status.pod_ips.unwrap()[0].ip, ip);
    assert_eq!(status.host_ips.unwrap()[0].ip, status.host_ip.unwrap());
    assert!(status.start_time.is_some() && status.qos_class.as_deref() == Some("BestEffort"));
    let c = container(&seen);
    assert_eq!((c.image.as_str(), c.started, c.ready), ("docker.io/library/web:v1", Some(true), true));
    assert!(c.image_id.contains("sha256:"), "{}", c.image_id);
    assert!(c.container_id.unwrap().starts_with("isopod://"));
    let before = c.last_state.unwrap().terminated.unwrap();
    assert_eq!((before.exit_code, before.reason.as_deref()), (9, Some("Error")));
    assert!(before.started_at <= before.finished_at && c.state.unwrap().running.unwrap().started_at.is_some());
    let wide = w.ok(&["get", "pod", "whole-status", "-o", "wide", "--no-headers"]).await;
    assert!(wide.contains("1/1") && wide.contains("Running") && wide.contains(&ip), "{wide}");
}
