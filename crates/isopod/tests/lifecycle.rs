//! `up`, `down`, `delete`, `status` as a person uses them, wrong use included.
#![allow(
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at what it did not expect"
)]

mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use support::Cluster;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_down_and_after_kill() {
    let cluster = Cluster::new(&["--no-node"]);
    assert_eq!(cluster.status()["state"], "none");
    cluster.up();
    let status = cluster.status();
    assert_eq!((&status["state"], &status["name"]), (&json!("running"), &json!("isopod")));
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, "default");
    maps.create(&PostParams::default(), &map("one")).await.unwrap();
    assert!(cluster.isopod(&["down"]).contains("is stopped"));
    assert_eq!(cluster.status()["state"], "stopped");
    assert!(cluster.isopod(&["down"]).contains("does not run"));
    cluster.up();
    maps.get("one").await.unwrap();
    maps.create(&PostParams::default(), &map("two")).await.unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    cluster.up();
    assert_ne!(cluster.pid(), u64::try_from(pid.as_raw()).unwrap());
    let names: Vec<_> =
        maps.list(&ListParams::default().fields("metadata.name!=kube-root-ca.crt")).await.unwrap().items;
    let names: Vec<_> = names.into_iter().filter_map(|m| m.metadata.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_live_side_by_side_and_up_is_idempotent() {
    let (a, b) = (Cluster::new(&["--no-node", "--name", "a"]), Cluster::new(&["--no-node", "--name", "b"]));
    a.up();
    b.up();
    let pid = a.pid();
    a.up();
    assert_eq!(a.pid(), pid, "a second up starts nothing");
    assert_ne!(a.status()["endpoints"], b.status()["endpoints"]);
    let spaces: Api<Namespace> = Api::all(a.client().await);
    let space = serde_json::from_value(json!({"metadata": {"name": "only-in-a"}})).unwrap();
    spaces.create(&PostParams::default(), &space).await.unwrap();
    let others: Api<Namespace> = Api::all(b.client().await);
    assert!(others.get_opt("only-in-a").await.unwrap().is_none());
    let (c, file) = (Cluster::new(&[]), a.kubeconfig());
    let before = std::fs::read_to_string(&file).unwrap();
    let out = c.try_isopod(&["up", "--no-node", "--name", "a", "--kubeconfig", &file.to_string_lossy()]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("is another cluster's") && said.contains("--name"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "the context is still that of a");
}

#[test]
fn wrong_use_is_explained_and_changes_nothing() {
    let cluster = Cluster::new(&["--no-node"]);
    let refused = |words: &[&str], expected: &str| {
        let out = cluster.try_isopod(words);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(expected), "{words:?}: {said}");
    };
    refused(&["down"], "start one with isopod up");
    refused(&["up", "--no-node", "--name", "Bad_Name"], "--name \"Bad_Name\"");
    refused(&["up", "--service-cidr", "10.96.0.0"], "not a range");
    cluster.up();
    refused(&["up", "--name", "other"], "this cluster has isopod");
    refused(&["server"], "runs already");
    assert_eq!(cluster.status()["state"], "running");
}

#[test]
fn keys_are_for_the_owner_alone() {
    let cluster = Cluster::new(&["--no-node"]);
    cluster.up();
    let mode = |path: &str| cluster.data().join(path).metadata().unwrap().permissions().mode() & 0o777;
    for path in ["pki/ca.key", "pki/sa.key", "pki/apiserver.key", "store/encryption.key"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    assert_eq!(mode(""), 0o700);
    assert_eq!(cluster.kubeconfig().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_with_a_key_file_of_ones_own() {
    let keys = tempfile::tempdir().unwrap();
    let [file, other] = ["keys", "other"].map(|name| keys.path().join(name).display().to_string());
    let cluster = Cluster::new(&["--no-node"]);
    let refused = |words: &[&str], expected: &str| {
        let out = cluster.try_isopod(words);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(expected), "{words:?}: {said}");
    };
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let up = ["up", "--kubeconfig", &kubeconfig, "--encryption-key-file"];
    refused(&[&up[..], &[&file]].concat(), "make one with isopod encryption new-key");
    for path in [&file, &other] {
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_isopod"))
            .args(["encryption", "new-key", path])
            .output()
            .unwrap();
        assert!(made.status.success());
    }
    cluster.isopod(&[&up[..], &[&file]].concat());
    assert!(!cluster.data().join("store/encryption.key").exists());
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await, "default");
    let secret = serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"k": "hunter2"}})).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    refused(&[&up[..], &[&other]].concat(), "--encryption-key-file");

    let first = std::fs::read_to_string(&file).unwrap();
    assert!(cluster.isopod(&["encryption", "rotate"]).contains("with the new key"));
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(first, second);
    cluster.isopod(&["down"]);
    refused(&[&up[..], &[&other]].concat(), "which it does not hold: add the line from");
    assert!(cluster.isopod(&["encryption", "rotate"]).contains("with the new key"));
    let third = std::fs::read_to_string(&file).unwrap();
    assert_ne!(second, third);
    std::fs::write(&file, &second).unwrap();
    refused(&["up", "--kubeconfig", &kubeconfig], "which is not in the encryption key file");
    std::fs::write(&file, &third).unwrap();
    cluster.up();
    let found = secrets.get("s").await.unwrap();
    assert_eq!(found.data.unwrap()["k"].0, b"hunter2");
}
