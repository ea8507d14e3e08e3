//! How pods begin, restart and end.
use crate::world::{World, container, is_ready, phase, pod, sh, stays, waits, with};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// A directory of the machine as a volume, in which containers leave word of what they did, in order.
fn diary(w: &World, name: &str) -> (std::path::PathBuf, Value, Value) {
    let directory = w.scratch(name);
    let volume = json!([{"name": "diary", "hostPath": {"path": directory}}]);
    (directory.join("log"), volume, json!([{"name": "diary", "mountPath": "/diary"}]))
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

pub async fn init_containers_and_sidecars_come_in_order(w: &World) {
    let (log, volumes, mounts) = diary(w, "order");
    let one = |name: &str, script: &str| with(sh(name, script), json!({"volumeMounts": mounts}));
    let stop = "trap 'echo -NAME >> /diary/log; exit 0' TERM; while true; do sleep 1000 & wait $!; done";
    let side = |name: &str| {
        let script = format!("echo {name} >> /diary/log; {}", stop.replace("NAME", name));
        let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
        with(one(name, &script), json!({"restartPolicy": "Always", "startupProbe": probe}))
    };
    let init = one("init", "echo init >> /diary/log; test -f /diary/again || { touch /diary/again; exit 1; }");
    let main = one("main", &format!("echo main >> /diary/log; {}", stop.replace("NAME", "main")));
    let spec = json!({"initContainers": [side("s1"), init, side("s2")], "containers": [main], "volumes": volumes,
        "terminationGracePeriodSeconds": 30});
    w.create(pod("order", spec)).await;
    let seen = w.until("order", "ready", is_ready).await;
    assert_eq!(read(&log), "s1 init init s2 main", "a failed init container is tried again");
    let init = seen.status.unwrap().init_container_statuses.unwrap();
    let shown: Vec<_> = init.iter().map(|s| (s.name.as_str(), s.restart_count, s.started, s.ready)).collect();
    assert_eq!(shown, [("s1", 0, Some(true), true), ("init", 1, Some(false), true), ("s2", 0, Some(true), true)]);
    w.ok(&["delete", "pod", "order"]).await;
    assert_eq!(
        read(&log),
        "s1 init init s2 main -main -s2 -s1",
        "main containers end first, sidecars in reverse order"
    );
}

pub async fn policies_decide_over_restarts_and_phases(w: &World) {
    let make = |name: &str, policy: &str, script: &str| {
        pod(name, json!({"restartPolicy": policy, "containers": [sh("c", script)]}))
    };
    w.create(make("never-well", "Never", "exit 0")).await;
    w.create(make("never-ill", "Never", "exit 7")).await;
    w.create(make("failure-well", "OnFailure", "exit 0")).await;
    w.create(make("failure-ill", "OnFailure", "exit 7")).await;
    w.create(make("always-well", "Always", "exit 0")).await;
    let code = |pod: &Pod| container(pod).state.unwrap().terminated.unwrap().exit_code;
    assert_eq!(code(&w.until("never-well", "succeeds", phase("Succeeded")).await), 0);
    assert_eq!(code(&w.until("never-ill", "fails", phase("Failed")).await), 7);
    assert_eq!(code(&w.until("failure-well", "succeeds", phase("Succeeded")).await), 0);
    for name in ["failure-ill", "always-well"] {
        let seen = w.until(name, "backs off", waits("CrashLoopBackOff")).await;
        assert!(phase("Running")(&seen) && container(&seen).restart_count >= 1, "{seen:?}");
        let message = container(&seen).state.unwrap().waiting.unwrap().message.unwrap();
        let uid = seen.metadata.uid.unwrap();
        assert_eq!(message, format!("back-off 10s restarting failed container=c pod={name}_default({uid})"));
        w.told(name, &format!("Warning BackOff Back-off restarting failed container c in pod {name}_default({uid})"))
            .await;
    }
    let deadline = json!({"activeDeadlineSeconds": 1, "containers": [stays("c")]});
    w.create(pod("deadline", deadline)).await;
    let late = w.until("deadline", "is over", phase("Failed")).await.status.unwrap();
    assert_eq!(late.reason.as_deref(), Some("DeadlineExceeded"));
}

pub async fn probes_of_all_kinds(w: &World) {
    let serve = "mkdir -p /srv; echo ok > /srv/health; httpd -p 8080 -h /srv; sleep 1000 & trap 'exit 0' TERM; wait $!";
    let quick = |probe: Value| {
        let Value::Object(mut probe) = probe else { unreachable!("a probe") };
        probe.extend(json!({"periodSeconds": 1, "timeoutSeconds": 5}).as_object().unwrap().clone());
        Value::Object(probe)
    };
    let get =
        quick(json!({"httpGet": {"path": "/health", "port": "web", "httpHeaders": [{"name": "X", "value": "1"}]}}));
    let probes = json!({"ports": [{"name": "web", "containerPort": 8080}], "readinessProbe": get,
        "startupProbe": quick(json!({"tcpSocket": {"port": 8080}, "failureThreshold": 60})),
        "livenessProbe": quick(json!({"exec": {"command": ["test", "!", "-f", "/ill"]}, "failureThreshold": 1}))});
    w.create(pod("probed", json!({"containers": [with(sh("c", serve), probes)]}))).await;
    let grpc = quick(json!({"grpc": {"port": 8081, "service": "x"}}));
    w.create(pod("grpc", json!({"containers": [with(sh("c", "sleep 1000"), json!({"readinessProbe": grpc}))]}))).await;
    w.until("probed", "ready", is_ready).await;
    w.exec("probed", "rm /srv/health").await;
    w.until("probed", "not ready", |p| !is_ready(p)).await;
    w.told("probed", "Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 404").await;
    assert_eq!(container(&w.pods().get("probed").await.unwrap()).restart_count, 0, "readiness restarts nothing");
    w.exec("probed", "touch /ill").await;
    let seen = w.until("probed", "restarted", |p| container(p).restart_count == 1).await;
    assert!(container(&seen).last_state.unwrap().terminated.is_some());
    w.told("probed", "Warning Unhealthy Liveness probe failed:").await;
    w.told("probed", "Normal Killing Container c failed liveness probe, will be restarted").await;
    w.until("probed", "ready again", is_ready).await;
    w.told("grpc", "Warning Unhealthy Readiness probe failed:").await;
    assert!(!is_ready(&w.pods().get("grpc").await.unwrap()));
}

pub async fn hooks_of_all_kinds(w: &World) {
    let (log, volumes, mounts) = diary(w, "hooks");
    let write = |what: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {what} >> /diary/log")]}});
    let main = "trap 'echo term >> /diary/log; exit 0' TERM; while true; do sleep 1000 & wait $!; done";
    let hooked = with(
        sh("c", main),
        json!({"volumeMounts": mounts, "lifecycle": {"postStart": write("post"), "preStop": write("pre")}}),
    );
    w.create(pod("hooked", json!({"containers": [hooked], "volumes": volumes, "terminationGracePeriodSeconds": 30})))
        .await;
    let sleepy = with(
        stays("c"),
        json!({"lifecycle": {"postStart": {"sleep": {"seconds": 1}}, "preStop": {"sleep": {"seconds": 1}}}}),
    );
    w.create(pod("sleepy", json!({"containers": [sleepy], "terminationGracePeriodSeconds": 30}))).await;
    let get = json!({"postStart": {"httpGet": {"path": "/", "port": 1}}});
    w.create(pod("unhooked", json!({"containers": [with(stays("c"), json!({"lifecycle": get}))]}))).await;
    w.until("hooked", "ready", is_ready).await;
    w.ok(&["delete", "pod", "hooked"]).await;
    assert_eq!(read(&log), "post pre term");
    w.until("sleepy", "ready", is_ready).await;
    let begun = std::time::Instant::now();
    w.ok(&["delete", "pod", "sleepy"]).await;
    assert!(begun.elapsed().as_secs_f64() > 1.0, "preStop sleeps first");
    w.told("unhooked", "Warning FailedPostStartHook PostStartHook failed").await;
    w.until("unhooked", "is started again", |p| container(p).restart_count >= 1).await;
}

pub async fn ends_are_in_order_and_bounded(w: &World) {
    let (log, volumes, mounts) = diary(w, "ends");
    let deaf = with(sh("c", "trap '' TERM; while true; do sleep 1; done"), json!({}));
    let trap = "trap 'echo usr1 >> /diary/log; exit 3' USR1; trap 'echo term >> /diary/log' TERM; while true; do sleep 1000 & wait $!; done";
    let other = with(sh("c", trap), json!({"volumeMounts": mounts, "lifecycle": {"stopSignal": "SIGUSR1"}}));
    w.create(pod("deaf", json!({"containers": [deaf], "terminationGracePeriodSeconds": 3}))).await;
    w.create(pod("signal", json!({"containers": [other], "volumes": volumes, "os": {"name": "linux"}, "terminationGracePeriodSeconds": 30})))
        .await;
    let last = with(sh("c", "echo -n bye > /tmp/words; exit 4"), json!({"terminationMessagePath": "/tmp/words"}));
    let said = with(sh("d", "echo oops; exit 5"), json!({"terminationMessagePolicy": "FallbackToLogsOnError"}));
    w.create(pod("words", json!({"restartPolicy": "Never", "containers": [last, said]}))).await;
    w.until("deaf", "ready", is_ready).await;
    let begun = std::time::Instant::now();
    w.ok(&["delete", "pod", "deaf"]).await;
    assert!(begun.elapsed().as_secs() >= 3, "it had its grace period");
    w.until("signal", "ready", is_ready).await;
    w.ok(&["delete", "pod", "signal"]).await;
    assert_eq!(read(&log), "usr1", "its own stop signal, and no other");
    let ended = w.until("words", "over", phase("Failed")).await.status.unwrap().container_statuses.unwrap();
    let ends: Vec<_> = ended.into_iter().map(|s| s.state.unwrap().terminated.unwrap()).collect();
    let shown: Vec<_> = ends.iter().map(|e| (e.exit_code, e.message.as_deref())).collect();
    assert_eq!(shown, [(4, Some("bye")), (5, Some("oops\n"))]);
}

pub async fn ephemeral_containers_look_into_a_pod(w: &World) {
    w.create(pod("patient", json!({"containers": [sh("c", "exec sleep 3333")]}))).await;
    w.until("patient", "ready", is_ready).await;
    let debug = [
        "debug",
        "patient",
        "--image=web:v1",
        "--target=c",
        "-c",
        "doctor",
        "--attach=false",
        "--",
        "sh",
        "-c",
        "ps | grep '[s]leep 3333' | wc -l; hostname",
    ];
    w.ok(&debug).await;
    let ended = |p: &Pod| {
        let all = p.status.as_ref().and_then(|s| s.ephemeral_container_statuses.clone()).unwrap_or_default();
        all.first().and_then(|s| s.state.clone()).is_some_and(|s| s.terminated.is_some())
    };
    let seen = w.until("patient", "the doctor has gone", ended).await;
    assert_eq!(
        w.ok(&["logs", "patient", "-c", "doctor"]).await,
        "1\npatient\n",
        "the target's processes, the pod's name"
    );
    assert!(is_ready(&seen), "the pod goes on");
    let twice = Patch::Strategic(json!({"spec": {"ephemeralContainers": [{"name": "doctor", "image": "other"}]}}));
    let refused = w.pods().patch_ephemeral_containers("patient", &PatchParams::default(), &twice).await.unwrap_err();
    assert!(
        refused.to_string().contains("may not be changed") || refused.to_string().contains("immutable"),
        "{refused}"
    );
}

pub async fn memory_kills_are_told(w: &World) {
    let hungry =
        with(sh("c", "head -c 200000000 /dev/zero | tail"), json!({"resources": {"limits": {"memory": "20Mi"}}}));
    w.create(pod("hungry", json!({"restartPolicy": "Never", "containers": [hungry]}))).await;
    let seen = w.until("hungry", "is killed", phase("Failed")).await;
    let end = container(&seen).state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")));
    assert!(w.ok(&["get", "pod", "hungry", "--no-headers"]).await.contains("OOMKilled"));
}
