//! A rollout that fails goes back by itself, and every revision says why it was made: on hollow nodes in every way a pod can fail, and
//! on real containers with a service under load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]

mod support;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, AttachParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::Cluster;
use support::machine::{build_image, own_network};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

fn web(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"isopod.dev/auto-rollback": "true"}},
        "spec": {"replicas": 3, "progressDeadlineSeconds": 8, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 4, "containers": [{"name": "c", "image": image}]}
        }}
    })
}

fn condition(d: &Deployment, kind: &str) -> String {
    let all = d.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
    let found = all.into_iter().find(|c| c.type_.as_deref() == Some(kind)).cloned().unwrap_or_default();
    let text = |t: Option<String>| t.unwrap_or_default();
    format!("{} {}: {}", text(found.status), text(found.reason), text(found.message))
}

/// Waits for a state of a Deployment; tells the last it saw if that takes too long.
async fn until(all: &Api<Deployment>, name: &str, what: &str, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
    let start = Instant::now();
    loop {
        let seen = all.get(name).await.unwrap();
        let current = seen.status.as_ref().is_some_and(|s| s.observed_generation == seen.metadata.generation);
        if current && wanted(&seen) {
            return seen;
        }
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "{name}: {what}: {}",
            serde_json::to_string_pretty(&seen).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rolled_out(d: &Deployment) -> bool {
    let s = d.status.clone().unwrap_or_default();
    [s.replicas, s.updated_replicas, s.available_replicas] == [Some(3); 3]
        && condition(d, "Progressing").starts_with("True NewReplicaSetAvailable")
}

fn rolled_back(d: &Deployment) -> bool {
    rolled_out(d) && condition(d, "RolledBack").starts_with("True ")
}

/// Causes by revision.
async fn history(client: &kube::Client, name: &str) -> Vec<String> {
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    let list = sets.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap();
    let of = |rs: &ReplicaSet, key: &str| rs.metadata.annotations.clone().unwrap_or_default().remove(key);
    let mut all: Vec<(i64, String)> = list
        .items
        .iter()
        .map(|rs| (of(rs, REVISION).unwrap().parse().unwrap(), of(rs, CAUSE).unwrap_or_default()))
        .collect();
    all.sort();
    all.into_iter().map(|(revision, cause)| format!("{revision}: {cause}")).collect()
}

async fn change(all: &Api<Deployment>, name: &str, patch: &Value) {
    let params = PatchParams { field_manager: Some("ci".into()), ..PatchParams::default() };
    all.patch(name, &params, &Patch::Strategic(patch)).await.unwrap();
}

fn fault(how: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"isopod.dev/hollow-fail": how}}}}})
}

#[tokio::test]
async fn every_failure_goes_back_and_is_refused_again() {
    let cluster = Cluster::new(&["--hollow-nodes", "2"]);
    cluster.up();
    let client = cluster.client().await;
    let all: Api<Deployment> = Api::default_namespaced(client.clone());
    let faults = [
        ("image", "ErrImagePull"),
        ("config", "CreateContainerConfigError"),
        ("crash", "CrashLoopBackOff"),
        ("unready", "ProgressDeadlineExceeded"),
    ];
    for (how, _) in faults {
        let mut d = web(how, "web:v1");
        // A crash loop needs longer to be one.
        d["spec"]["progressDeadlineSeconds"] = json!(if how == "unready" { 8 } else { 120 });
        all.create(&PostParams::default(), &serde_json::from_value(d).unwrap()).await.unwrap();
    }
    until(&all, "image", "the first rollout", rolled_out).await;
    nothing_is_sent_to_hollow_nodes(&client).await;
    for (how, _) in faults {
        until(&all, how, "the first rollout", rolled_out).await;
        let first = history(&client, how).await.concat();
        assert!(first.starts_with("1: isopod-admin") && first.ends_with(": created with image web:v1"), "{first}");
        change(&all, how, &fault(how)).await;
    }
    for (how, reason) in faults {
        let d = until(&all, how, "back", rolled_back).await;
        assert!(d.spec.template.metadata.clone().unwrap().annotations.is_none(), "{how}: {d:?}");
        let told = condition(&d, "RolledBack");
        assert!(told.starts_with(&format!("True {reason}: automatic rollback of revision 2 to 1: ")), "{how}: {told}");
        let causes = history(&client, how).await;
        let cause = told.split_once(": ").unwrap().1;
        let expected = ["2: isopod-admin, ci: +annotation isopod.dev/hollow-fail".to_owned(), format!("3: {cause}")];
        assert_eq!(causes, expected, "{how}");
        // The same again, as a loop would have it.
        change(&all, how, &fault(how)).await;
        let d = until(&all, how, "refused", |d| condition(d, "Progressing").contains("is not rolled out again")).await;
        assert!(condition(&d, "Progressing").starts_with("False ProgressDeadlineExceeded: "), "{d:?}");
        assert!(condition(&d, "Available").starts_with("True "), "{d:?}");
    }
    // A refusal outlives the controllers, and ends when it is told to: here the fault is mended, and the template the same.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    cluster.up();
    let all: Api<Deployment> = Api::default_namespaced(cluster.client().await);
    let d = all.get("unready").await.unwrap();
    assert!(condition(&d, "Progressing").contains("is not rolled out again"), "{d:?}");
    change(&all, "unready", &json!({"metadata": {"annotations": {"isopod.dev/retry": "1"}}})).await;
    let d = until(&all, "unready", "tried again, and back", rolled_back).await;
    assert!(condition(&d, "RolledBack").contains("revision 4 to 3"), "{d:?}");
    assert_eq!(history(&cluster.client().await, "unready").await.len(), 2);
}

/// At the addresses of their nodes and pods nobody is, or somebody else.
async fn nothing_is_sent_to_hollow_nodes(client: &kube::Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod =
        pods.list(&ListParams::default().labels("app=image")).await.unwrap().items.remove(0).metadata.name.unwrap();
    let refused = [
        pods.logs(&pod, &LogParams::default()).await.unwrap_err().to_string(),
        pods.exec(&pod, ["ls"], &AttachParams::default()).await.err().unwrap().to_string(),
        client
            .request_text(
                http::Request::get(format!("/api/v1/namespaces/default/pods/{pod}/proxy/")).body(vec![]).unwrap(),
            )
            .await
            .unwrap_err()
            .to_string(),
    ];
    for (answer, says) in refused.iter().zip(["simulated", "400", "simulated"]) {
        assert!(answer.contains(says), "{answer}");
    }
}

/// Asks the service all the time; how many answers came, how many did not.
fn load(address: SocketAddr, stop: Arc<AtomicBool>, failed: Arc<AtomicU32>) -> u32 {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // No page is there: that is an answer too.
        Ok(answer.starts_with("HTTP/1."))
    };
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        if !matches!(ask(), Ok(true)) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    asked
}

#[tokio::test]
async fn a_typo_in_an_image_is_back_in_seconds_and_no_request_fails() {
    own_network();
    let cluster = Cluster::new(&[]);
    cluster.up();
    build_image(&cluster);
    let client = cluster.client().await;
    let all: Api<Deployment> = Api::default_namespaced(client.clone());
    let mut d = web("web", "web:v1");
    d["spec"]["progressDeadlineSeconds"] = json!(600);
    d["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    all.create(&PostParams::default(), &serde_json::from_value(d).unwrap()).await.unwrap();
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let service = services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    let address: Ipv4Addr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    until(&all, "web", "the first rollout", rolled_out).await;
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let asking = {
        let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
        // Threads made by this one are in its network.
        std::thread::spawn(move || load(SocketAddr::from((address, 80)), stop, failed))
    };
    let typo = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "wbe:v2"}]}}}});
    let begun = Instant::now();
    change(&all, "web", &typo).await;
    let told = until(&all, "web", "says why", |d| condition(d, "Progressing").contains("wbe:v2")).await;
    let (named, why) = (begun.elapsed(), condition(&told, "Progressing"));
    let d = until(&all, "web", "back", rolled_back).await;
    let back = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    println!("named after {named:.1?} ({why}), back after {back:.1?}; {asked} requests, {failed:?} failed");
    assert_eq!(d.spec.template.spec.unwrap().containers[0].image.as_deref(), Some("web:v1"));
    assert_eq!((failed.load(Ordering::Relaxed), asked > 50), (0, true), "{asked} asked");
    // 13 s on an idle machine, of which 11 are for a registry that may come back; room for tests that run beside this one.
    assert!(back < Duration::from_secs(25), "named {named:?}, back {back:?}");
}
