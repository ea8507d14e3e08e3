//! Volumes made of API objects and of nothing.
use crate::support::{NODE, World, mounts_below};
use isopod_apiserver::UserInfo;
use isopod_node::seams::Volumes;
use isopod_node::volumes::PodVolumes;
use isopod_runtime::{EnvVar, MountSource};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Mode, owner and group.
fn rights(path: &Path) -> (u32, u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names in a volume that are not machinery.
fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|n| !n.starts_with(".."));
    names.sort();
    names
}

async fn objects(world: &World) {
    world.settle().await;
    world
        .create::<ConfigMap>(json!({"metadata": {"name": "cfg"}, "data": {"a": "1", "b": "2"},
            "binaryData": {"bin": "AP8="}}))
        .await;
    world.create::<Secret>(json!({"metadata": {"name": "sec"}, "stringData": {"password": "hush"}})).await;
}

async fn a_pod(world: &World) -> Pod {
    let volumes = json!([
        {"name": "all", "configMap": {"name": "cfg"}},
        {"name": "some", "configMap": {"name": "cfg", "items": [{"key": "a", "path": "deep/er/a", "mode": 0o755}]}},
        {"name": "maybe", "configMap": {"name": "none", "optional": true}},
        {"name": "sec", "secret": {"secretName": "sec", "defaultMode": 0o400}},
        {"name": "mix", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
            {"configMap": {"name": "cfg", "items": [{"key": "b", "path": "b"}]}},
            {"secret": {"name": "sec"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
        {"name": "info", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    ]);
    let with = json!({"spec": {"securityContext": {"fsGroup": 2000, "runAsUser": 1000}}});
    world.pod("p", volumes, with).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_change_and_go() {
    let world = World::new().await;
    objects(&world).await;
    let pod = a_pod(&world).await;
    let uid = pod.metadata.uid.clone().unwrap();
    world.prepare(&pod).await.unwrap();

    let at = async |volume: &str| world.source(&pod, volume).await;
    let all = at("all").await;
    assert_eq!(names(&all), ["a", "b", "bin"]);
    assert_eq!(fs::read(all.join("bin")).unwrap(), [0, 255]);
    assert_eq!(rights(&all.join("a")), (0o644, 0, 2000));
    let some = at("some").await;
    assert_eq!((names(&some), rights(&some.join("deep/er/a"))), (vec!["deep".to_owned()], (0o755, 0, 2000)));
    assert!(names(&at("maybe").await).is_empty());
    let sec = at("sec").await;
    assert_eq!((read(&sec.join("password")).as_str(), rights(&sec.join("password"))), ("hush", (0o440, 0, 2000)));
    let mix = at("mix").await;
    assert_eq!(names(&mix), ["b", "name", "password", "token"]);
    assert_eq!(rights(&mix.join("token")), (0o640, 1000, 2000));
    let token = read(&mix.join("token"));
    assert_eq!(token.split('.').count(), 3, "{token}");
    let info = at("info").await;
    assert_eq!((read(&info.join("labels")), read(&info.join("cpu"))), ("app=\"x\"".into(), "4".into()));
    let (scratch, mem) = (at("scratch").await, at("mem").await);
    assert_eq!(rights(&scratch), (0o2777, 0, 2000));
    fs::write(mem.join("small"), "x").unwrap();
    let full = fs::write(mem.join("large"), vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(mem.join("large")).unwrap();
    fs::write(scratch.join("kept"), "x").unwrap();
    // Secrets, tokens and what the pod knows of itself are in memory; the rest is not.
    let mounted = mounts_below(&world.data());
    for (path, memory) in [(&sec, true), (&mix, true), (&info, true), (&mem, true), (&all, false), (&scratch, false)] {
        assert_eq!(mounted.contains(path), memory, "{}", path.display());
    }

    // Changes arrive by themselves; what is removed under a running pod stays in it.
    let patch = json!({"data": {"a": "new", "b": null, "c": "3"}});
    world.api::<ConfigMap>().patch("cfg", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    world
        .until("the new content", async || {
            let there = names(&all) == ["a", "bin", "c"] && read(&all.join("a")) == "new";
            if there && read(&some.join("deep/er/a")) == "new" { Ok(()) } else { Err(names(&all)) }
        })
        .await;
    world.api::<Secret>().delete("sec", &DeleteParams::default()).await.unwrap();
    world
        .until("an event", async || {
            let events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
            let told: Vec<_> = events.into_iter().filter_map(|e| e.message).collect();
            let wanted = "MountVolume.SetUp failed for volume \"sec\" : secret \"sec\" not found";
            if told.iter().any(|m| m == wanted) { Ok(()) } else { Err(told) }
        })
        .await;
    world.prepare(&pod).await.unwrap();
    assert_eq!(read(&sec.join("password")), "hush");

    // Labels come with the pod; a new node agent finds everything as it was, and asks for tokens anew.
    let patch = json!({"metadata": {"labels": {"app": "y"}}});
    let pod = world.api::<Pod>().patch("p", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let again = PodVolumes::new(world.server.client(UserInfo::node(NODE)), NODE, world.data(), world.shutdown.clone());
    again.prepare(&pod).await.unwrap();
    assert_eq!(read(&info.join("labels")), "app=\"y\"");
    assert_eq!(names(&scratch), ["kept"]);
    assert_eq!(names(&mem), ["small"]);
    assert_eq!(again.held().await.unwrap(), std::slice::from_ref(&uid));
    again.remove(&uid).await.unwrap();
    again.remove(&uid).await.unwrap();
    assert!(mounts_below(&world.data()).is_empty());
    assert!(again.held().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(world.data().join("pods")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_volumes_are_mounted() {
    let world = World::new().await;
    objects(&world).await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "host").unwrap();
    let mounts = json!([
        {"name": "all", "mountPath": "/etc/a", "subPath": "a"},
        {"name": "scratch", "mountPath": "/logs", "subPathExpr": "logs/$(POD)"},
        {"name": "host", "mountPath": "/host", "readOnly": true}
    ]);
    let volumes = json!([
        {"name": "all", "configMap": {"name": "cfg"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "unused", "secret": {"secretName": "not there"}},
        {"name": "host", "hostPath": {"path": outside.path(), "type": "Directory"}}
    ]);
    let with = json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]}});
    let pod = world.pod("p", volumes, with).await;
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    world.prepare(&pod).await.unwrap();
    let env = [EnvVar { name: "POD".into(), value: "p".into() }];
    let mounts = world.volumes.mounts(&pod, &container, &env).await.unwrap();
    // The service account's own volume comes last.
    let sources: Vec<_> = mounts
        .iter()
        .map(|m| match &m.source {
            MountSource::Bind(path) => path.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(mounts.len(), 4, "{mounts:?}");
    assert_eq!(read(&sources[0]), "1");
    assert!(sources[1].is_dir());
    assert_eq!((read(&sources[2].join("f")).as_str(), mounts[2].read_only), ("host", true));
    assert!(sources[3].join("token").exists());

    // Restarted containers see what is there now; nobody sees through a link that leads out.
    let scratch = sources[1].clone();
    fs::write(scratch.join("x"), "1").unwrap();
    let again = world.volumes.mounts(&pod, &container, &env).await.unwrap();
    assert_eq!(again, mounts);
    let root = world
        .data()
        .join("pods")
        .join(pod.metadata.uid.as_deref().unwrap())
        .join("volumes/kubernetes.io~empty-dir/scratch");
    assert_eq!(read(&root.join("logs/p/x")), "1");
    std::os::unix::fs::symlink(outside.path(), root.join("logs/evil")).unwrap();
    let evil = [EnvVar { name: "POD".into(), value: "evil/f".into() }];
    let error = world.volumes.mounts(&pod, &container, &evil).await.unwrap_err();
    assert_eq!(error.message, "failed to prepare subPath for volumeMount \"scratch\" of container \"c\"");
    let error = world.volumes.mounts(&pod, &container, &[]).await.unwrap_err();
    assert_eq!(error.message, "missing value for POD");

    world.volumes.remove(pod.metadata.uid.as_deref().unwrap()).await.unwrap();
    assert!(mounts_below(&world.data()).is_empty());
    assert_eq!(read(&outside.path().join("f")), "host", "what is the machine's stays");
    assert_eq!(fs::read_dir(world.data().join("pods")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_said_and_comes_by_itself() {
    let world = World::new().await;
    objects(&world).await;
    let table = [
        (json!({"configMap": {"name": "none"}}), "configmap \"none\" not found"),
        (json!({"secret": {"secretName": "none"}}), "secret \"none\" not found"),
        (
            json!({"configMap": {"name": "cfg", "items": [{"key": "z", "path": "z"}]}}),
            "configmap references non-existent config key: z",
        ),
        (
            json!({"secret": {"secretName": "sec", "items": [{"key": "z", "path": "z"}]}}),
            "references non-existent secret key: z",
        ),
        (
            json!({"projected": {"sources": [{"secret": {"name": "none"}}, {"configMap": {"name": "none"}}]}}),
            "[secret \"none\" not found, configmap \"none\" not found]",
        ),
        (json!({"emptyDir": {"medium": "HugePages"}}), "isopod does not support emptyDir with medium HugePages"),
        (
            json!({"hostPath": {"path": "/nowhere/at/all", "type": "Directory"}}),
            "hostPath type check failed: /nowhere/at/all is not a directory",
        ),
        (json!({"nfs": {"server": "s", "path": "/"}}), "no volume plugin matched: isopod does not support nfs volumes"),
        (
            json!({"persistentVolumeClaim": {"claimName": "none"}}),
            "error processing PVC ns/none: failed to fetch PVC from API server: persistentvolumeclaims \"none\" not found",
        ),
    ];
    for (i, (source, expected)) in table.into_iter().enumerate() {
        let mut volume = json!({"name": "v"});
        json_patch::merge(&mut volume, &source);
        let pod = world.pod(&format!("p{i}"), json!([volume]), json!({})).await;
        let error = world.prepare(&pod).await.unwrap_err();
        assert_eq!(error.to_string(), format!("MountVolume.SetUp failed for volume \"v\" : {expected}"));
        world.volumes.remove(pod.metadata.uid.as_deref().unwrap()).await.unwrap();
    }
    assert!(mounts_below(&world.data()).is_empty(), "nothing is left behind");

    let pod = world.pod("late", json!([{"name": "v", "configMap": {"name": "late"}}]), json!({})).await;
    let mut updates = world.volumes.updates();
    world.prepare(&pod).await.unwrap_err();
    world.create::<ConfigMap>(json!({"metadata": {"name": "late"}, "data": {"k": "v"}})).await;
    world
        .until("the volume", async || {
            match tokio::time::timeout(std::time::Duration::from_secs(1), updates.recv()).await {
                Ok(Ok(uid)) if Some(&uid) == pod.metadata.uid.as_ref() => {
                    world.prepare(&pod).await.map_err(|e| e.to_string())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    assert_eq!(read(&world.source(&pod, "v").await.join("k")), "v");
    world.volumes.remove(pod.metadata.uid.as_deref().unwrap()).await.unwrap();
}
