//! Where pods go and what is said when they go nowhere: tables of nodes, pods there, a pod to place, and the outcome.
//!
//! Messages are kube-scheduler v1.37's, word for word.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
use isopod_api::k8s::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use isopod_api::k8s::api::storage::v1::StorageClass;
use isopod_scheduler::cluster::{Cluster, NodeFacts};
use isopod_scheduler::plan::{Nominations, Planner, Request};
use isopod_scheduler::pod::PodInfo;
use isopod_scheduler::preempt::{Budget, Preemption, preempt};
use isopod_scheduler::requirement::Selector;
use isopod_scheduler::score;
use isopod_scheduler::volumes::{VolumeAction, VolumeNeeds, VolumeView};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Adds `with` to `to`, objects in objects.
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

fn node(name: &str, with: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    });
    merge(&mut node, &with);
    serde_json::from_value(node).unwrap()
}

fn pod(name: &str, with: Value) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "app"}], "schedulerName": "default-scheduler"},
    });
    merge(&mut pod, &with);
    PodInfo::new(&serde_json::from_value::<Pod>(pod).unwrap())
}

fn on(node: &str, name: &str, mut with: Value) -> PodInfo {
    merge(&mut with, &json!({"spec": {"nodeName": node}}));
    pod(name, with)
}

fn cpu(amount: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "app", "resources": {"requests": {"cpu": amount}}}]}})
}

fn with(mut a: Value, b: Value) -> Value {
    merge(&mut a, &b);
    a
}

fn cluster(nodes: &[Node], pods: Vec<PodInfo>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(node.metadata.name.as_deref().unwrap(), NodeFacts::new(node));
    }
    for pod in pods {
        cluster.set_pod(&Arc::new(pod));
    }
    cluster
}

/// The node, or the message.
fn place(nodes: &[Node], pods: Vec<PodInfo>, pod: &PodInfo) -> String {
    place_with(&mut cluster(nodes, pods), pod, &VolumeNeeds::default())
}

fn place_with(cluster: &mut Cluster, pod: &PodInfo, volumes: &VolumeNeeds) -> String {
    let request = Request { pod, volumes, siblings: None };
    let nominated = Nominations::default();
    let mut planner = Planner::new(7);
    let before = format!("{cluster:?}").len();
    let outcome = match planner.place(cluster, &request, &nominated) {
        Ok(placement) => placement.node.to_string(),
        Err(mut refusal) => {
            match preempt(&mut planner, cluster, &request, &nominated, &refusal, &[]) {
                Preemption::Nothing { message, .. } if refusal.diagnosis.nodes > 0 => {
                    refusal.diagnosis.preemption = Some(message);
                }
                Preemption::Nothing { .. } | Preemption::Victims { .. } => {}
            }
            refusal.diagnosis.message()
        }
    };
    assert_eq!(format!("{cluster:?}").len(), before, "the cluster is as it was");
    outcome
}

fn three() -> Vec<Node> {
    vec![node("n1", json!({})), node("n2", json!({})), node("n3", json!({}))]
}

const NOT_HELPFUL: &str =
    " no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str = " no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";

#[test]
fn messages_of_pods_that_fit_nowhere() {
    let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let full: Vec<PodInfo> = ["n1", "n2", "n3"].iter().map(|n| on(n, &format!("on-{n}"), cpu("3"))).collect();
    let port = json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let ports: Vec<PodInfo> = ["n1", "n2", "n3"].iter().map(|n| on(n, &format!("on-{n}"), port.clone())).collect();
    let table: Vec<(&str, Vec<Node>, Vec<PodInfo>, PodInfo, String)> = vec![
        ("no nodes", vec![], vec![], pod("p", json!({})), "no nodes available to schedule pods".into()),
        (
            "more than any node has",
            three(),
            vec![],
            pod("p", cpu("64")),
            format!("0/3 nodes are available: 3 Insufficient cpu.{NOT_HELPFUL}"),
        ),
        (
            "more than is free",
            three(),
            full.clone(),
            pod("p", cpu("2")),
            format!("0/3 nodes are available: 3 Insufficient cpu.{NO_VICTIMS}"),
        ),
        (
            "two resources on one node count under each",
            vec![node("n1", json!({}))],
            vec![],
            pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "9", "memory": "9Gi", "example.com/gpu": "1"}}}]}})),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory. \
             no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
                .into(),
        ),
        (
            "too many pods",
            vec![node("n1", json!({"status": {"allocatable": {"pods": "1"}}}))],
            vec![on("n1", "a", json!({}))],
            pod("p", json!({})),
            "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.".into(),
        ),
        (
            "taints and room, sorted with their numbers",
            vec![node("n1", json!({})), node("n2", tainted.clone()), node("n3", tainted.clone())],
            full.clone(),
            pod("p", cpu("2")),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/3 nodes are \
             available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
                .into(),
        ),
        (
            "cordoned, which comes before its taint",
            three().into_iter().map(|n| node(n.metadata.name.as_deref().unwrap(), with(tainted.clone(), json!({"spec": {"unschedulable": true}})))).collect(),
            vec![],
            pod("p", json!({})),
            format!("0/3 nodes are available: 3 node(s) were unschedulable.{NOT_HELPFUL}"),
        ),
        (
            "node selector",
            three(),
            vec![],
            pod("p", json!({"spec": {"nodeSelector": {"no-such": "node"}}})),
            format!("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.{NOT_HELPFUL}"),
        ),
        (
            "a daemon's pod whose node is full",
            three(),
            full.clone(),
            pod("p", with(cpu("2"), json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}}}}))),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are \
             available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
                .into(),
        ),
        (
            "host ports",
            three(),
            ports,
            pod("p", port.clone()),
            format!("0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports.{NO_VICTIMS}"),
        ),
        (
            "anti-affinity to itself",
            three(),
            ["n1", "n2", "n3"].iter().map(|n| on(n, &format!("on-{n}"), json!({"metadata": {"labels": {"app": "p"}}}))).collect(),
            pod("p", json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "p"}}, "topologyKey": "kubernetes.io/hostname"}]}}}})),
            format!("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.{NO_VICTIMS}"),
        ),
        (
            "anti-affinity of those there",
            vec![node("n1", json!({}))],
            vec![on("n1", "a", json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "p"}}, "topologyKey": "kubernetes.io/hostname"}]}}}}))],
            pod("p", json!({})),
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. \
             no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
                .into(),
        ),
        (
            "affinity to nobody there",
            three(),
            vec![],
            pod("p", json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]}}}})),
            format!("0/3 nodes are available: 3 node(s) didn't match pod affinity rules.{NOT_HELPFUL}"),
        ),
        (
            "spread over a label that no node has",
            three(),
            vec![],
            pod("p", json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "p"}}}]}})),
            format!("0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label).{NOT_HELPFUL}"),
        ),
        (
            "preemptionPolicy Never",
            three(),
            full,
            pod("p", with(cpu("2"), json!({"spec": {"priority": 10, "preemptionPolicy": "Never"}}))),
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.".into(),
        ),
    ];
    for (what, nodes, pods, pod, message) in table {
        assert_eq!(place(&nodes, pods, &pod), message, "{what}");
    }
}

#[test]
fn filters_leave_the_one_node_that_fits() {
    let zoned = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let zones = || vec![zoned("n1", "a"), zoned("n2", "a"), zoned("n3", "b")];
    let labelled = |node: &str, name: &str| on(node, name, json!({"metadata": {"labels": {"app": "p"}}}));
    let near = |app: &str, key: &str| {
        json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]}}}})
    };
    let far = |app: &str, key: &str| {
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}]}}}})
    };
    let spread = |max: i32, with: Value| {
        let mut c = json!({"maxSkew": max, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "p"}}});
        merge(&mut c, &with);
        json!({"spec": {"topologySpreadConstraints": [c]}})
    };
    let table: Vec<(&str, Vec<Node>, Vec<PodInfo>, PodInfo, &str)> = vec![
        ("by node selector", zones(), vec![], pod("p", json!({"spec": {"nodeSelector": {"zone": "b"}}})), "n3"),
        (
            "a tolerated taint is none",
            vec![node("n1", json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}))],
            vec![],
            pod("p", json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}})),
            "n1",
        ),
        (
            "a cordoned node takes who tolerates it",
            vec![node("n1", json!({"spec": {"unschedulable": true}}))],
            vec![],
            pod(
                "p",
                json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}}),
            ),
            "n1",
        ),
        (
            "the same port on another address is free",
            vec![node("n1", json!({}))],
            vec![on(
                "n1",
                "a",
                json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}]}]}}),
            )],
            pod(
                "p",
                json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2"}]}]}}),
            ),
            "n1",
        ),
        ("near another, by zone", zones(), vec![on("n3", "db", json!({}))], pod("p", near("db", "zone")), "n3"),
        ("the first of a group that likes itself", vec![zoned("n1", "a")], vec![], pod("p", near("p", "zone")), "n1"),
        ("far from another, by zone", zones(), vec![on("n1", "db", json!({}))], pod("p", far("db", "zone")), "n3"),
        (
            "those who are through take no room",
            vec![node("n1", json!({}))],
            vec![on("n1", "a", with(cpu("4"), json!({"status": {"phase": "Succeeded"}})))],
            pod("p", cpu("4")),
            "n1",
        ),
        ("spread: one in a, none in b", zones(), vec![labelled("n1", "x")], pod("p", spread(1, json!({}))), "n3"),
        (
            "spread: terminating pods do not count",
            zones(),
            vec![
                labelled("n1", "x"),
                labelled("n1", "y"),
                on(
                    "n3",
                    "z",
                    json!({"metadata": {"labels": {"app": "p"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                ),
            ],
            pod("p", spread(2, json!({}))),
            "n3",
        ),
        (
            "spread: too few domains count as an empty one",
            zones(),
            vec![labelled("n1", "x"), labelled("n2", "x2"), labelled("n3", "y")],
            pod("p", spread(2, json!({"minDomains": 3}))),
            "n3",
        ),
        (
            "spread: matchLabelKeys count only the same revision",
            zones(),
            vec![
                on("n3", "old", json!({"metadata": {"labels": {"app": "p", "rev": "1"}}})),
                on("n1", "new", json!({"metadata": {"labels": {"app": "p", "rev": "2"}}})),
            ],
            pod(
                "p",
                with(json!({"metadata": {"labels": {"rev": "2"}}}), spread(1, json!({"matchLabelKeys": ["rev"]}))),
            ),
            "n3",
        ),
    ];
    for (what, nodes, pods, pod, expected) in table {
        assert_eq!(place(&nodes, pods, &pod), expected, "{what}");
    }
}

/// Scores of the nodes in order.
fn scores(nodes: &[Node], pods: Vec<PodInfo>, pod: &PodInfo, siblings: Option<&Selector>) -> Vec<i64> {
    let cluster = cluster(nodes, pods);
    let feasible: Vec<_> = cluster.nodes().collect();
    score::score(&cluster, pod, siblings, &feasible)
}

#[test]
fn scores_of_the_default_profile() {
    let two = || vec![node("n1", json!({})), node("n2", json!({}))];
    // Nothing to tell them apart: least allocated counts the pod's 100m and 200Mi, (97 + 97) / 2.
    assert_eq!(scores(&two(), vec![], &pod("p", json!({})), None), [97, 97]);
    // 1 of 4 CPUs taken: (100 * 2900 / 4000 + 97) / 2 = (72 + 97) / 2.
    assert_eq!(scores(&two(), vec![on("n1", "a", cpu("1"))], &pod("p", json!({})), None)[1], 97);
    // A pod that asks for 2 CPUs: least allocated (50 + 97) / 2 = 73; balance from 100 to (1 - 0.25) * 100: 50 + (50 + 75 - 100) / 2 = 62.
    assert_eq!(scores(&two(), vec![], &pod("p", cpu("2")), None), [135, 135]);
    // A PreferNoSchedule taint costs 3 * 100.
    let disliked = node("n2", json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}));
    assert_eq!(scores(&[node("n1", json!({})), disliked], vec![], &pod("p", json!({})), None), [397, 97]);
    // Preferred node affinity gains 2 * 100.
    let liked = pod(
        "p",
        json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 3, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}}]}}}}),
    );
    assert_eq!(scores(&two(), vec![], &liked, None), [97, 297]);
    // Preferred anti-affinity repels: the other node gains 2 * 100.
    let shy = pod(
        "p",
        json!({"spec": {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 5, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}}]}}}}),
    );
    let beside = |p: &PodInfo| scores(&two(), vec![on("n1", "a", json!({}))], p, None);
    assert_eq!(beside(&shy)[1] - beside(&pod("p", json!({})))[1], 200);
    // Required affinity of a pod there draws with weight 1: 2 * 100.
    let wants = on(
        "n1",
        "a",
        json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "p"}}, "topologyKey": "kubernetes.io/hostname"}]}}}}),
    );
    let drawn = scores(&two(), vec![wants], &pod("p", json!({})), None);
    assert_eq!((drawn[0], drawn[1]), (beside(&pod("p", json!({})))[0] + 200, 97));
    // An image of 523 MB that one of two nodes has: (523 / 2 - 23) of 977.
    let holds = node("n2", json!({"status": {"images": [{"names": ["app:latest"], "sizeBytes": 548405248}]}}));
    assert_eq!(scores(&[node("n1", json!({})), holds], vec![], &pod("p", json!({})), None), [97, 97 + 24]);
}

#[test]
fn siblings_are_spread_over_hosts_by_default() {
    let three = three();
    let siblings = Selector::new(Some(&serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap()));
    let web = |node: &str, name: &str| on(node, name, json!({"metadata": {"labels": {"app": "web"}}}));
    let there = || vec![web("n1", "a"), web("n1", "b"), web("n2", "c")];
    let plain = scores(&three, there(), &pod("p", json!({})), None);
    let spread = scores(&three, there(), &pod("p", json!({})), Some(&siblings));
    // Counts 2, 1, 0 of hosts, times ln(3 + 2), plus maxSkew - 1 = 2: 5, 4, 2; inverted: 100 * (5 + 2 - s) / 5; times 2.
    let gained: Vec<i64> = spread.iter().zip(plain).map(|(s, p)| s - p).collect();
    assert_eq!(gained, [80, 120, 200]);
}

/// Victims by name, or the message.
fn victims(nodes: &[Node], pods: Vec<PodInfo>, pod: &PodInfo, budgets: &[Budget]) -> String {
    let mut cluster = cluster(nodes, pods);
    let volumes = VolumeNeeds::default();
    let request = Request { pod, volumes: &volumes, siblings: None };
    let nominated = Nominations::default();
    let mut planner = Planner::new(3);
    let refusal = planner.place(&mut cluster, &request, &nominated).unwrap_err();
    match preempt(&mut planner, &mut cluster, &request, &nominated, &refusal, budgets) {
        Preemption::Victims { node, victims } => {
            let names: Vec<&str> = victims.iter().map(|v| &*v.key.name).collect();
            format!("{node}: {}", names.join(" "))
        }
        Preemption::Nothing { message, .. } => message,
    }
}

#[test]
fn whom_preemption_removes() {
    let ranked = |node: &str, name: &str, cpus: &str, priority: i32| {
        on(node, name, with(cpu(cpus), json!({"spec": {"priority": priority}})))
    };
    let started = |p: PodInfo, at: &str| PodInfo { started: Some(at.parse().unwrap()), ..p };
    let important = |cpus: &str| pod("p", with(cpu(cpus), json!({"spec": {"priority": 100}})));
    let two = || vec![node("n1", json!({})), node("n2", json!({}))];
    let one = || vec![node("n1", json!({}))];
    let budget = |app: &str, allowed| Budget {
        namespace: "default".into(),
        selector: Selector::new(Some(&serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap())),
        allowed,
        disrupted: HashSet::new(),
    };
    let table: Vec<(&str, Vec<Node>, Vec<PodInfo>, PodInfo, Vec<Budget>, &str)> = vec![
        (
            "only as many as needed, the least important",
            one(),
            vec![ranked("n1", "a", "2", 1), ranked("n1", "b", "2", 2)],
            important("2"),
            vec![],
            "n1: a",
        ),
        (
            "never an equal",
            one(),
            vec![ranked("n1", "a", "4", 100)],
            important("2"),
            vec![],
            "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            "it must fit without all of them",
            one(),
            vec![ranked("n1", "a", "2", 1), ranked("n1", "b", "2", 200)],
            important("3"),
            vec![],
            "0/1 nodes are available: 1 Insufficient cpu.",
        ),
        (
            "where the highest victim is least important",
            two(),
            vec![ranked("n1", "a", "4", 5), ranked("n2", "b", "4", 3)],
            important("2"),
            vec![],
            "n2: b",
        ),
        (
            "then where fewer go",
            two(),
            vec![ranked("n1", "a", "2", 5), ranked("n1", "b", "2", 5), ranked("n2", "c", "4", 5)],
            important("4"),
            vec![],
            "n2: c",
        ),
        (
            "then those that started last",
            two(),
            vec![
                started(ranked("n1", "old", "4", 5), "2026-01-01T00:00:00Z"),
                started(ranked("n2", "young", "4", 5), "2026-02-01T00:00:00Z"),
            ],
            important("4"),
            vec![],
            "n2: young",
        ),
        (
            "on a node the younger of equals",
            one(),
            vec![
                started(ranked("n1", "young", "2", 5), "2026-02-01T00:00:00Z"),
                started(ranked("n1", "old", "2", 5), "2026-01-01T00:00:00Z"),
            ],
            important("2"),
            vec![],
            "n1: young",
        ),
        (
            "where no budget is violated, though more important",
            two(),
            vec![ranked("n1", "a", "4", 1), ranked("n2", "b", "4", 9)],
            important("2"),
            vec![budget("a", 0)],
            "n2: b",
        ),
        (
            "a budget spares the less important",
            one(),
            vec![ranked("n1", "a", "2", 1), ranked("n1", "b", "2", 2)],
            important("2"),
            vec![budget("a", 0)],
            "n1: b",
        ),
        (
            "a budget that allows it does not",
            one(),
            vec![ranked("n1", "a", "2", 1), ranked("n1", "b", "2", 2)],
            important("2"),
            vec![budget("a", 1)],
            "n1: a",
        ),
        (
            "several, the most important first",
            one(),
            vec![ranked("n1", "a", "2", 1), ranked("n1", "b", "2", 2)],
            important("4"),
            vec![],
            "n1: b a",
        ),
    ];
    for (what, nodes, pods, pod, budgets, expected) in table {
        assert_eq!(victims(&nodes, pods, &pod, &budgets), expected, "{what}");
    }
}

#[test]
fn a_nominated_node_is_kept_for_the_nominated() {
    let nodes = [node("n1", json!({}))];
    let mut cluster = cluster(&nodes, vec![]);
    let first = Arc::new(pod("first", with(cpu("3"), json!({"spec": {"priority": 10}}))));
    let mut nominated = Nominations::default();
    nominated.set(&first, Some("n1"));
    let mut planner = Planner::new(1);
    let volumes = VolumeNeeds::default();
    let mut tried = |cluster: &mut Cluster, p: &PodInfo| {
        let request = Request { pod: p, volumes: &volumes, siblings: None };
        planner.place(cluster, &request, &nominated).map(|p| p.node.to_string()).map_err(|r| r.diagnosis.message())
    };
    let late = pod("late", with(cpu("2"), json!({"spec": {"priority": 5}})));
    assert_eq!(tried(&mut cluster, &late), Err("0/1 nodes are available: 1 Insufficient cpu.".into()));
    let vip = pod("vip", with(cpu("2"), json!({"spec": {"priority": 11}})));
    assert_eq!(tried(&mut cluster, &vip), Ok("n1".into()));
    assert_eq!(tried(&mut cluster, &first), Ok("n1".into()));
}

#[derive(Default)]
struct Storage {
    claims: HashMap<String, Value>,
    volumes: Vec<Value>,
    classes: HashMap<String, Value>,
    users: usize,
}

impl VolumeView for Storage {
    fn claim(&self, _namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(name).map(|v| Arc::new(serde_json::from_value(v.clone()).unwrap()))
    }
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        let found = self.volumes.iter().find(|v| v["metadata"]["name"] == name)?;
        Some(Arc::new(serde_json::from_value(found.clone()).unwrap()))
    }
    fn volumes_of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        let of_class = self.volumes.iter().filter(|v| v["spec"]["storageClassName"] == class);
        of_class.map(|v| Arc::new(serde_json::from_value(v.clone()).unwrap())).collect()
    }
    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get(name).map(|v| Arc::new(serde_json::from_value(v.clone()).unwrap()))
    }
    fn claim_users(&self, _namespace: &str, _claim: &str, _except: &str) -> usize {
        self.users
    }
}

#[test]
fn volumes_bind_pods_to_nodes() {
    let claim = |with: Value| {
        let mut c = json!({"metadata": {"name": "data", "uid": "u"}, "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        merge(&mut c, &with);
        HashMap::from([("data".to_owned(), c)])
    };
    let class = |provisioner: &str, mode: &str| {
        HashMap::from([(
            "local".to_owned(),
            json!({"metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": mode}),
        )])
    };
    let volume = |name: &str, size: &str, node: &str| {
        json!({"metadata": {"name": name}, "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}, "status": {"phase": "Available"}})
    };
    let bound =
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v2"}});
    let wait = "WaitForFirstConsumer";
    let none = "kubernetes.io/no-provisioner";
    let table: Vec<(&str, Storage, String)> = vec![
        (
            "missing",
            Storage::default(),
            format!("0/3 nodes are available: persistentvolumeclaim \"data\" not found.{NOT_HELPFUL}"),
        ),
        (
            "unbound, of a class that binds at once",
            Storage { claims: claim(json!({})), classes: class("x", "Immediate"), ..Storage::default() },
            format!("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.{NOT_HELPFUL}"),
        ),
        (
            "being deleted",
            Storage {
                claims: claim(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
                ..Storage::default()
            },
            format!("0/3 nodes are available: persistentvolumeclaim \"data\" is being deleted.{NOT_HELPFUL}"),
        ),
        (
            "bound to a volume of one node",
            Storage { claims: claim(bound.clone()), volumes: vec![volume("v2", "1Gi", "n2")], ..Storage::default() },
            "n2".into(),
        ),
        (
            "bound to a volume of a node that is not there",
            Storage { claims: claim(bound.clone()), volumes: vec![volume("v2", "1Gi", "n9")], ..Storage::default() },
            format!("0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.{NOT_HELPFUL}"),
        ),
        (
            "bound to a volume that is gone",
            Storage { claims: claim(bound), ..Storage::default() },
            format!(
                "0/3 nodes are available: 3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).{NOT_HELPFUL}"
            ),
        ),
        (
            "waits, and one node has a volume that is large enough",
            Storage {
                claims: claim(json!({})),
                classes: class(none, wait),
                volumes: vec![volume("small", "1Mi", "n1"), volume("v3", "5Gi", "n3")],
                users: 0,
            },
            "n3".into(),
        ),
        (
            "waits, and there is nothing",
            Storage { claims: claim(json!({})), classes: class(none, wait), ..Storage::default() },
            format!(
                "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.{NOT_HELPFUL}"
            ),
        ),
        (
            "already promised to a node",
            Storage {
                claims: claim(json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n2"}}})),
                classes: class("x", wait),
                ..Storage::default()
            },
            "n2".into(),
        ),
    ];
    let user =
        pod("p", json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}));
    for (what, storage, expected) in table {
        let needs = VolumeNeeds::new(&user, &storage);
        assert_eq!(place_with(&mut cluster(&three(), vec![]), &user, &needs), expected, "{what}");
    }
    let storage = Storage { claims: claim(json!({})), classes: class("x", wait), ..Storage::default() };
    let needs = VolumeNeeds::new(&user, &storage);
    let cluster = cluster(&three(), vec![]);
    let (_, n1) = cluster.node_named("n1").unwrap();
    assert_eq!(needs.choose(n1), Some(vec![VolumeAction::Provision { claim: "data".into() }]));
}

#[test]
fn sums_are_kept_right() {
    let mut cluster = cluster(&three(), vec![]);
    let a = Arc::new(on("n1", "a", cpu("1")));
    cluster.set_pod(&a);
    cluster.set_pod(&Arc::new(on("n2", "a", cpu("2"))));
    assert_eq!(cluster.node_named("n1").unwrap().1.requested.milli_cpu, 0);
    assert_eq!(cluster.node_named("n2").unwrap().1.requested.milli_cpu, 2000);
    // Known before its node is, and after it is gone.
    cluster.set_pod(&Arc::new(on("later", "b", cpu("3"))));
    assert!(cluster.node_named("later").is_none());
    cluster.set_node("later", NodeFacts::new(&node("later", json!({}))));
    assert_eq!(cluster.node_named("later").unwrap().1.requested.milli_cpu, 3000);
    cluster.remove_node("later");
    assert_eq!((cluster.node_count(), cluster.pod_count()), (3, 2));
    cluster.remove_pod("b");
    cluster.remove_pod("a");
    assert_eq!(cluster.pod_count(), 0);
    assert_eq!(cluster.classes.iter().count(), 0);
}
