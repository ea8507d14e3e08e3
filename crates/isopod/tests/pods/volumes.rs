//! Volumes of all kinds, how changes arrive, and why one cannot be mounted.
use crate::world::{World, is_ready, object, pod, stays, with};
use serde_json::{Value, json};

pub async fn all_kinds_are_there(w: &World) {
    w.apply(&[
        object("ConfigMap", "vol-map", json!({"a": "1", "b": "2"})),
        object("Secret", "vol-secret", json!({"key": "s"})),
    ])
    .await;
    let host = w.scratch("host-path");
    std::fs::write(host.join("file"), "machine").unwrap();
    let names = ["empty", "memory", "host", "map", "secret", "projected", "down", "own"];
    let mounts: Vec<Value> = names.iter().map(|n| json!({"name": n, "mountPath": format!("/v/{n}")})).collect();
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let volumes = json!([
        {"name": "empty", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
        {"name": "map", "configMap": {"name": "vol-map", "defaultMode": 256, "items": [{"key": "a", "path": "deep/a"}]}},
        {"name": "secret", "secret": {"secretName": "vol-secret"}},
        {"name": "projected", "projected": {"sources": [{"configMap": {"name": "vol-map"}},
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "vault"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
        {"name": "down", "downwardAPI": {"items": [{"path": "cpu", "resourceFieldRef":
            {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}]}},
        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
    ]);
    let c = with(stays("c"), json!({"volumeMounts": mounts, "resources": {"limits": {"cpu": "100m"}}}));
    w.create(pod("volumes", json!({"containers": [c], "volumes": volumes}))).await;
    w.until("volumes", "ready", is_ready).await;
    let script = "cd /v; echo x > empty/x; cat host/file; echo; cat map/deep/a; echo; stat -L -c %a map/deep/a; ls map; cat secret/key; echo
        cat projected/b projected/name; echo; cat down/cpu; echo; touch own/x memory/x; df -m memory | tail -1 | awk '{print $2}'
        mount | grep -c '/v/secret type tmpfs'; touch map/new 2>&1";
    let expected = "machine\n1\n400\ndeep\ns\n2volumes\n100\n1\n1\ntouch: map/new: Read-only file system\n";
    let said = w.kubectl(&["exec", "volumes", "--", "sh", "-c", script]).await;
    assert_eq!(said.out, expected, "{said:?}");
    let token = w.exec("volumes", "cat /v/projected/token").await;
    assert_eq!(token.split('.').count(), 3, "a JSON web token: {token}");
    let account = w.exec("volumes", "ls /var/run/secrets/kubernetes.io/serviceaccount").await;
    assert_eq!(account, "ca.crt\nnamespace\ntoken\n");
    w.ok(&["delete", "pod", "volumes"]).await;
    w.eventually("its own claim goes with it", async || {
        w.kubectl(&["get", "pvc", "volumes-own"]).await.err.contains("not found").then_some(())
    })
    .await;
}

pub async fn updates_arrive_all_at_once(w: &World) {
    let both = |text: &str| {
        [
            object("ConfigMap", "new-map", json!({"a": text, "b": text})),
            object("Secret", "new-secret", json!({"k": text})),
        ]
    };
    w.apply(&both("old")).await;
    let volumes = json!([{"name": "map", "configMap": {"name": "new-map"}}, {"name": "secret", "secret": {"secretName": "new-secret"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]);
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/v/{name}")});
    let c = with(stays("c"), json!({"volumeMounts": [mount("map"), mount("secret"), mount("down")]}));
    w.create(pod("updated", json!({"containers": [c], "volumes": volumes}))).await;
    w.until("updated", "ready", is_ready).await;
    // Each look goes through one link: never one file of each.
    let watch = "cd /v/map; while true; do d=$(readlink ..data); x=$(cat $d/a 2>/dev/null; cat $d/b 2>/dev/null)
        case \"$x\" in oldold|newnew|old|new|'') ;; *) echo mixed $x; exit;; esac; test \"$x\" = newnew && break; done; cat ../secret/k";
    let words = ["exec", "updated", "--", "sh", "-c", watch];
    let watcher = w.kubectl(&words);
    let change = async {
        w.apply(&both("new")).await;
        w.ok(&["label", "pod", "updated", "color=blue"]).await;
    };
    let (seen, ()) = futures::join!(watcher, change);
    assert!(seen.out == "new" || seen.out == "old", "{seen:?}");
    w.eventually("secret and labels", async || {
        let all = w.exec("updated", "cat /v/secret/k /v/down/labels").await;
        (all.starts_with("new") && all.contains("color=\"blue\"")).then_some(())
    })
    .await;
}

pub async fn what_cannot_be_mounted_says_why(w: &World) {
    let one = |name: &str, source: Value| {
        let volume = with(json!({"name": "v"}), source);
        let c = with(stays("c"), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
        pod(name, json!({"containers": [c], "volumes": [volume]}))
    };
    w.create(one("nomap", json!({"configMap": {"name": "absent"}}))).await;
    w.create(one("nodir", json!({"hostPath": {"path": "/no/such/directory", "type": "Directory"}}))).await;
    let failed = "Warning FailedMount MountVolume.SetUp failed for volume \"v\" : ";
    w.told("nomap", &format!("{failed}configmap \"absent\" not found")).await;
    w.told("nodir", &format!("{failed}hostPath type check failed: /no/such/directory is not a directory")).await;
    let described = w.ok(&["describe", "pod", "nomap"]).await;
    assert!(described.contains("FailedMount") && described.contains("ContainerCreating"), "{described}");
    w.apply(&[object("ConfigMap", "absent", json!({"a": "1"}))]).await;
    w.until("nomap", "runs once it is there", is_ready).await;
}
