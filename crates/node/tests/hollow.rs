//! The life of hollow pods, as what is written to the API: scripts of time in, transcripts out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
use isopod_api::k8s::api::core::v1::Pod;
use isopod_node::hollow::pods::{Action, Pods};
use isopod_node::hollow::status;
use isopod_reflect::Key;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

fn merge(to: &mut Value, with: &Value) {
    match (to, with) {
        (Value::Object(to), Value::Object(with)) => {
            for (key, value) in with {
                merge(to.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (to, with) => *to = with.clone(),
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap().saturating_add(SignedDuration::from_millis(ms)).unwrap()
}

fn pod(with: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"nodeName": "hollow-0", "restartPolicy": "Always", "containers": [{"name": "c", "image": "nginx"}]},
        "status": {"phase": "Pending", "qosClass": "BestEffort", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    });
    merge(&mut pod, &with);
    serde_json::from_value(pod).unwrap()
}

fn annotated(annotations: Value) -> Pod {
    pod(json!({"metadata": {"annotations": annotations}}))
}

/// What `kubectl get pod` would show of it.
fn line(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let c = status.container_statuses.as_ref().and_then(|c| c.first());
    let state = c.and_then(|c| c.state.clone()).unwrap_or_default();
    let shown = match (state.waiting, state.running, state.terminated) {
        (Some(w), _, _) => w.reason.unwrap_or_default(),
        (_, Some(_), _) => "running".into(),
        (_, _, Some(t)) => format!("{} {}", t.reason.unwrap_or_default(), t.exit_code),
        _ => "-".into(),
    };
    let restarts = c.map_or(0, |c| c.restart_count);
    let unready = if ready { "ready" } else { "not ready" };
    format!("{} {shown} {unready} restarts={restarts}", status.phase.unwrap_or_default())
}

/// Plays a pod for `until` ms: every write is applied and observed at once. At `delete` ms it is deleted with this grace period.
fn play(mut pod: Pod, until: i64, delete: Option<(i64, i64)>) -> Vec<String> {
    let key = Key::new("default", "p");
    let mut pods = Pods::new(vec!["hollow-0".to_owned()]);
    pods.observe(&key, Some(&Arc::new(pod.clone())), at(0));
    let (mut out, mut deleted) = (Vec::new(), false);
    let mut now = 0;
    loop {
        while let Some(write) = pods.due(at(now), 1).pop() {
            match write.action {
                Action::Delete => {
                    out.push(format!("{now} delete"));
                    return out;
                }
                Action::Status(wanted) => {
                    status::overlay(&mut pod, &wanted);
                    // As the API gives it back.
                    pod = serde_json::from_value(serde_json::to_value(&pod).unwrap()).unwrap();
                    out.push(format!("{now} {}", line(&pod)));
                }
            }
            pods.written(&key, "u", true, at(now));
            pods.observe(&key, Some(&Arc::new(pod.clone())), at(now));
        }
        if let Some((_, grace)) = delete.filter(|(when, _)| *when <= now && !deleted) {
            deleted = true;
            merge_deletion(&mut pod, at(now), grace);
            pods.observe(&key, Some(&Arc::new(pod.clone())), at(now));
            continue;
        }
        let timer = pods.next().map(|t| i64::try_from(t.duration_since(at(0)).as_millis()).unwrap());
        let deletion = delete.filter(|_| !deleted).map(|(when, _)| when);
        match timer.into_iter().chain(deletion).min() {
            Some(next) if next <= until => now = next.max(now),
            _ => return out,
        }
    }
}

fn merge_deletion(pod: &mut Pod, now: Timestamp, grace: i64) {
    let end = now.saturating_add(SignedDuration::from_secs(grace)).unwrap();
    pod.metadata.deletion_timestamp = Some(isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time(end));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
}

#[test]
fn lives_of_pods() {
    let table: Vec<(&str, Pod, i64, Option<(i64, i64)>, Vec<&str>)> = vec![
        (
            "without orders one write makes it ready, and one shows that it ended before the last removes it",
            pod(json!({})),
            99_000,
            Some((500, 30)),
            vec!["0 Running running ready restarts=0", "500 Succeeded Completed 0 not ready restarts=0", "500 delete"],
        ),
        (
            "start and ready delays",
            annotated(json!({"isopod.dev/hollow-start-delay": "2s", "isopod.dev/hollow-ready-delay": "300ms"})),
            99_000,
            None,
            vec![
                "0 Pending ContainerCreating not ready restarts=0",
                "2000 Running running not ready restarts=0",
                "2300 Running running ready restarts=0",
            ],
        ),
        (
            "stop delay",
            annotated(json!({"isopod.dev/hollow-stop-delay": "3s"})),
            99_000,
            Some((1000, 30)),
            vec![
                "0 Running running ready restarts=0",
                "4000 Succeeded Completed 0 not ready restarts=0",
                "4000 delete",
            ],
        ),
        (
            "stop delay is bounded by the grace period",
            annotated(json!({"isopod.dev/hollow-stop-delay": "30s"})),
            99_000,
            Some((1000, 2)),
            vec![
                "0 Running running ready restarts=0",
                "3000 Succeeded Completed 0 not ready restarts=0",
                "3000 delete",
            ],
        ),
        (
            "deleted before it runs",
            annotated(json!({"isopod.dev/hollow-start-delay": "5s", "isopod.dev/hollow-stop-delay": "9s"})),
            99_000,
            Some((1000, 30)),
            vec!["0 Pending ContainerCreating not ready restarts=0", "1000 delete"],
        ),
        (
            "unready",
            annotated(json!({"isopod.dev/hollow-fail": "unready"})),
            99_000,
            None,
            vec!["0 Running running not ready restarts=0"],
        ),
        (
            "config",
            annotated(json!({"isopod.dev/hollow-fail": "config"})),
            99_000,
            None,
            vec!["0 Pending CreateContainerConfigError not ready restarts=0"],
        ),
        (
            "image",
            annotated(json!({"isopod.dev/hollow-fail": "image"})),
            20_000,
            None,
            vec![
                "0 Pending ErrImagePull not ready restarts=0",
                "1000 Pending ImagePullBackOff not ready restarts=0",
                "11000 Pending ErrImagePull not ready restarts=0",
                "12000 Pending ImagePullBackOff not ready restarts=0",
            ],
        ),
        (
            "no image name",
            pod(json!({"spec": {"containers": [{"name": "c", "image": "Not An Image"}]}})),
            99_000,
            None,
            vec!["0 Pending InvalidImageName not ready restarts=0"],
        ),
        (
            "crash: the first restart comes at once, then 10 s, 20 s",
            annotated(json!({"isopod.dev/hollow-fail": "crash", "isopod.dev/hollow-crash-after": "5s"})),
            46_000,
            None,
            vec![
                "0 Running running ready restarts=0",
                "5000 Running running ready restarts=1",
                "10000 Running CrashLoopBackOff not ready restarts=1",
                "20000 Running running ready restarts=2",
                "25000 Running CrashLoopBackOff not ready restarts=2",
                "45000 Running running ready restarts=3",
            ],
        ),
        (
            "restartPolicy Never, exit 0",
            pod(
                json!({"metadata": {"annotations": {"isopod.dev/hollow-exit": "0", "isopod.dev/hollow-crash-after": "1s"}}, "spec": {"restartPolicy": "Never"}}),
            ),
            99_000,
            Some((3000, 30)),
            vec![
                "0 Running running ready restarts=0",
                "1000 Succeeded Completed 0 not ready restarts=0",
                "3000 delete",
            ],
        ),
        (
            "restartPolicy OnFailure, exit 0, at once",
            pod(
                json!({"metadata": {"annotations": {"isopod.dev/hollow-exit": "0"}}, "spec": {"restartPolicy": "OnFailure"}}),
            ),
            99_000,
            None,
            vec!["0 Succeeded Completed 0 not ready restarts=0"],
        ),
        (
            "restartPolicy Never, exit 3",
            pod(
                json!({"metadata": {"annotations": {"isopod.dev/hollow-exit": "3"}}, "spec": {"restartPolicy": "Never"}}),
            ),
            99_000,
            None,
            vec!["0 Failed Error 3 not ready restarts=0"],
        ),
        (
            "activeDeadlineSeconds",
            pod(json!({"spec": {"activeDeadlineSeconds": 7}})),
            99_000,
            None,
            vec!["0 Running running ready restarts=0", "7000 Failed Error 137 not ready restarts=0"],
        ),
        (
            "ended before this agent: left as it is",
            pod(json!({"status": {"phase": "Failed"}})),
            99_000,
            Some((100, 30)),
            vec!["100 delete"],
        ),
        ("another node's", pod(json!({"spec": {"nodeName": "real"}})), 99_000, Some((100, 30)), vec![]),
    ];
    for (what, pod, until, delete, expected) in table {
        assert_eq!(play(pod, until, delete), expected, "{what}");
    }
}

/// A new agent finds a pod as the old one left it: nothing is written, nothing restarts, delays run on.
#[test]
fn a_restart_of_the_agent_changes_nothing() {
    let key = Key::new("default", "p");
    let mut pod = annotated(json!({"isopod.dev/hollow-start-delay": "4s"}));
    let mut first = Pods::new(vec!["hollow-0".to_owned()]);
    first.observe(&key, Some(&Arc::new(pod.clone())), at(0));
    let writes = first.due(at(0), 10);
    let Action::Status(creating) = &writes[0].action else { panic!("{writes:?}") };
    status::overlay(&mut pod, creating);

    let mut second = Pods::new(vec!["hollow-0".to_owned()]);
    second.observe(&key, Some(&Arc::new(pod.clone())), at(1000));
    assert_eq!((second.due(at(1000), 10), second.next()), (vec![], Some(at(4000))));
    let writes = second.due(at(4000), 10);
    let Action::Status(running) = &writes[0].action else { panic!("{writes:?}") };
    let ip = running.pod_ip.clone();
    status::overlay(&mut pod, running);

    let mut third = Pods::new(vec!["hollow-0".to_owned()]);
    third.observe(&key, Some(&Arc::new(pod.clone())), at(60_000));
    assert_eq!(third.due(at(60_000), 10), vec![]);
    assert_eq!(pod.status.unwrap().pod_ip, ip);
}

/// A new agent looks at a pod without an address before one that has the first of the node's.
#[test]
fn a_restart_of_the_agent_gives_no_address_away() {
    let mut pods = Pods::new(vec!["hollow-0".to_owned()]);
    let fresh = pod(json!({"metadata": {"name": "a", "uid": "a"}}));
    let old = pod(json!({"metadata": {"name": "b", "uid": "b"}, "status": {"podIP": "10.128.0.1"}}));
    for (name, pod) in [("a", fresh), ("b", old)] {
        pods.observe(&Key::new("default", name), Some(&Arc::new(pod)), at(0));
    }
    let addresses = pods.due(at(0), 10).into_iter().map(|write| match write.action {
        Action::Status(status) => (write.uid, status.pod_ip.unwrap()),
        other => panic!("{other:?}"),
    });
    let expected = [("a", "10.128.0.2"), ("b", "10.128.0.1")].map(|(uid, ip)| (uid.to_owned(), ip.to_owned()));
    assert_eq!(addresses.collect::<Vec<_>>(), expected);
}

/// A write that fails is made again; one under way is not made twice; one that was made is not made again before the watch shows it.
#[test]
fn writes_are_made_once() {
    let key = Key::new("default", "p");
    let mut pods = Pods::new(vec!["hollow-0".to_owned()]);
    let pod = Arc::new(pod(json!({})));
    pods.observe(&key, Some(&pod), at(0));
    assert_eq!(pods.due(at(0), 10).len(), 1);
    pods.observe(&key, Some(&pod), at(1));
    assert_eq!(pods.due(at(1), 10).len(), 0, "under way");
    pods.written(&key, "u", false, at(2));
    assert_eq!(pods.due(at(2), 10).len(), 0, "after a pause");
    assert_eq!(pods.due(pods.next().unwrap(), 10).len(), 1, "again");
    pods.written(&key, "u", true, at(600));
    pods.observe(&key, Some(&pod), at(601));
    assert_eq!(pods.due(at(601), 10).len(), 0, "the watch lags");
    // Or somebody has overwritten it, and no event will come to say so again.
    let doubt = pods.next().expect("it is looked at again");
    assert_eq!(pods.due(doubt, 10).len(), 1, "written again");
    pods.written(&key, "u", true, doubt);
    pods.observe(&key, None, at(700));
    assert_eq!((pods.len(), pods.next()), (0, None));
}

#[test]
fn addresses_differ_and_status_is_whole() {
    let mut pods = Pods::new(vec!["hollow-0".to_owned(), "hollow-1".to_owned()]);
    let mut seen = std::collections::HashSet::new();
    for i in 0..50 {
        let name = format!("p{i}");
        let node = format!("hollow-{}", i % 2);
        let pod = pod(json!({"metadata": {"name": name, "uid": name}, "spec": {"nodeName": node,
            "initContainers": [{"name": "i", "image": "a"}, {"name": "s", "image": "b", "restartPolicy": "Always"}]}}));
        pods.observe(&Key::new("default", &name), Some(&Arc::new(pod)), at(0));
    }
    for write in pods.due(at(0), 100) {
        let Action::Status(status) = write.action else { panic!() };
        assert!(seen.insert(status.pod_ip.clone().unwrap()));
        assert_eq!(status.host_ip.as_deref(), Some(if write.node == "hollow-0" { "198.18.0.1" } else { "198.18.0.2" }));
        let conditions: Vec<_> =
            status.conditions.iter().flatten().map(|c| format!("{}={}", c.type_, c.status)).collect();
        assert_eq!(
            conditions,
            ["PodReadyToStartContainers=True", "Initialized=True", "Ready=True", "ContainersReady=True"]
        );
        let init = status.init_container_statuses.unwrap();
        assert!(
            init[0].state.as_ref().unwrap().terminated.is_some() && init[1].state.as_ref().unwrap().running.is_some()
        );
        assert_eq!((status.observed_generation, status.start_time.is_some()), (Some(1), true));
    }
    assert_eq!(seen.len(), 50);
}

/// Readiness gates hold a pod back until others set their conditions (KEP-580).
#[test]
fn readiness_gates_count() {
    let gated = json!({"spec": {"readinessGates": [{"conditionType": "example.com/ok"}]}});
    assert_eq!(play(pod(gated.clone()), 10, None), ["0 Running running not ready restarts=0"]);
    let mut open = gated;
    merge(&mut open, &json!({"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}}));
    assert_eq!(play(pod(open), 10, None), ["0 Running running ready restarts=0"]);
}
