//! What a container sees, may and may not.
use crate::world::{World, is_ready, pod, sh, stays, with};
use serde_json::json;
use std::fs;

pub async fn containers_of_a_pod_share_what_they_should(w: &World) {
    let server = sh(
        "a",
        "trap 'exit 0' TERM; mkdir /srv; echo hello > /srv/x; httpd -p 9000 -h /srv; touch /dev/shm/mark; sleep 1000 & wait $!",
    );
    w.create(pod("shared", json!({"containers": [stays("b"), server], "hostname": "same"}))).await;
    w.create(pod(
        "together",
        json!({"shareProcessNamespace": true, "containers": [stays("b"), sh("a", "sleep 1234")]}),
    ))
    .await;
    w.until("shared", "ready", is_ready).await;
    let network = w.eventually("one network", async || {
        let said = w.kubectl(&["exec", "shared", "-c", "b", "--", "sh", "-c", "wget -q -O - 127.0.0.1:9000/x"]).await;
        (said.out == "hello\n").then_some(())
    });
    network.await;
    assert_eq!(w.exec("shared", "hostname; ls /dev/shm; ps | grep -c '[h]ttpd' || true").await, "same\nmark\n0\n");
    w.until("together", "ready", is_ready).await;
    assert_eq!(w.exec("together", "ps | grep -c '[s]leep 1234'").await, "1\n", "one process table");
}

pub async fn rights_files_and_users(w: &World) {
    let own = json!({"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "runAsUser": 1000, "runAsGroup": 2000,
        "capabilities": {"drop": ["ALL"]}});
    let mounts = json!([{"name": "data", "mountPath": "/data"}]);
    let strict = with(stays("strict"), json!({"securityContext": own, "workingDir": "/data", "volumeMounts": mounts}));
    let capable = with(stays("capable"), json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}));
    let of_pod = json!({"fsGroup": 3000, "supplementalGroups": [4000], "sysctls": [{"name": "net.core.somaxconn", "value": "77"}]});
    let spec = json!({"securityContext": of_pod, "containers": [strict, capable], "volumes": [{"name": "data", "emptyDir": {}}]});
    w.create(pod("rights", spec)).await;
    w.until("rights", "ready", is_ready).await;
    let script =
        "id -u; id -g; id -G; pwd; touch /x 2>&1; touch /data/x; stat -c %g /data/x; cat /proc/sys/net/core/somaxconn
        grep -E '^(CapEff|NoNewPrivs)' /proc/self/status";
    let expected = "1000\n2000\n2000 3000 4000\n/data\ntouch: /x: Read-only file system\n3000\n77\n\
        CapEff:\t0000000000000000\nNoNewPrivs:\t1\n";
    assert_eq!(w.exec("rights", script).await, expected);
    // Bit 12 is NET_ADMIN, bit 27 MKNOD: nobody makes devices unless told to.
    let script = "id -u; grep CapEff /proc/self/status; cat /proc/kcore | wc -c; ls /proc/scsi /sys/firmware | wc -l
        echo 1 > /proc/sys/kernel/panic; mknod /dev/x c 1 3";
    let said = w.kubectl(&["exec", "rights", "-c", "capable", "--", "sh", "-c", script]).await;
    let capabilities = said.out.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
    let capabilities = u64::from_str_radix(capabilities, 16).unwrap();
    assert_eq!((capabilities >> 12 & 1, capabilities >> 27 & 1), (1, 0), "{said:?}");
    assert!(said.out.starts_with("0\n") && said.out.contains("\n0\n"), "masked paths are empty: {said:?}");
    assert!(said.err.contains("/proc/sys/kernel/panic: Read-only file system"), "{said:?}");
    assert!(said.err.contains("mknod: /dev/x: Operation not permitted"), "{said:?}");
}

pub async fn seccomp_profiles(w: &World) {
    let profiles = w.cluster.data().join("seccomp/team");
    fs::create_dir_all(&profiles).unwrap();
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(profiles.join("nodirs.json"), text).unwrap();
    let filtered = |name: &str, profile: serde_json::Value, script: &str| {
        with(sh(name, script), json!({"securityContext": {"seccompProfile": profile}}))
    };
    let local = |path: &str| json!({"type": "Localhost", "localhostProfile": path});
    let own = filtered("own", local("team/nodirs.json"), "mkdir /a 2>&1; touch /b && echo made");
    let default =
        filtered("default", json!({"type": "RuntimeDefault"}), "unshare true 2>&1; grep -w Seccomp: /proc/self/status");
    let none = filtered("none", local("team/none.json"), "echo never");
    w.create(pod("seccomp", json!({"restartPolicy": "Never", "containers": [own, default, none]}))).await;
    w.eventually("both have run", async || {
        let both = w.kubectl(&["logs", "seccomp", "-c", "default"]).await.out;
        (both == "unshare: unshare(0x0): Operation not permitted\nSeccomp:\t2\n" || both.ends_with("Seccomp:\t2\n"))
            .then_some(())
    })
    .await;
    let log = w.ok(&["logs", "seccomp", "-c", "own"]).await;
    assert_eq!(log, "mkdir: can't create directory '/a': Operation not permitted\nmade\n");
    let log = w.ok(&["logs", "seccomp", "-c", "default"]).await;
    assert!(log.contains("Operation not permitted"), "{log}");
    w.told("seccomp", "cannot load seccomp profile").await;
}

pub async fn nobody_gets_out(w: &World) {
    let secret = w.scratch("outside");
    fs::write(secret.join("file"), "host").unwrap();
    w.create(pod("out-one", json!({"containers": [sh("c", "touch /mine; exec sleep 4321")]}))).await;
    w.create(pod("out-two", json!({"containers": [stays("c")]}))).await;
    w.until("out-one", "ready", is_ready).await;
    w.until("out-two", "ready", is_ready).await;
    let path = secret.join("file").display().to_string();
    let script = format!(
        "ls {path} /mine /proc/1/root/../mine 2>&1 | grep -c 'No such file'; ps | grep -c '[s]leep 4321'
         ls -d /proc/[0-9]* | wc -l; kill -0 4321 2>&1 | head -1; mkdir -p /mnt; mount -t proc p /mnt 2>&1 | grep -c -i 'not permitted\\|denied'
         ls /dev | grep -c '^[sv]d[a-z]'; dmesg 2>&1 | head -1 | grep -c -i 'not permitted' "
    );
    let said = w.kubectl(&["exec", "out-two", "--", "sh", "-c", &script]).await;
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.first(), Some(&"3"), "files of the machine and of others: {said:?}");
    assert_eq!(lines.get(1), Some(&"0"), "others' processes: {said:?}");
    let processes: u32 = lines.get(2).and_then(|n| n.parse().ok()).unwrap();
    assert!(processes < 10, "only its own processes: {said:?}");
    assert_eq!(lines.get(4), Some(&"1"), "no mounts: {said:?}");
    assert_eq!(lines.get(5), Some(&"0"), "no disks: {said:?}");
}
