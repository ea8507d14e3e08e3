//! Who is tried when: the queue, and how watched changes move pods through it. Time is a number of seconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test may stop at what it did not expect"
)]
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_reflect::{Change, Key};
use isopod_scheduler::filter::Plugin;
use isopod_scheduler::known::Known;
use isopod_scheduler::pod::PodInfo;
use isopod_scheduler::queue::{Event, Moment, Queue, State};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn at(seconds: u64) -> Moment {
    Moment::from_secs(seconds)
}

fn object(name: &str, priority: i32, spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"schedulerName": "default-scheduler", "priority": priority, "containers": []}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn pod(name: &str, priority: i32) -> PodInfo {
    PodInfo::new(&object(name, priority, json!({})))
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn next(queue: &mut Queue, now: u64) -> Option<String> {
    queue.pop(at(now)).map(|k| k.name.to_string())
}

fn only<T: Ord>(one: T) -> BTreeSet<T> {
    BTreeSet::from([one])
}

#[test]
fn the_most_important_first_then_first_come() {
    let mut q = Queue::default();
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        q.set(&pod(name, priority), true, at(0));
    }
    let order: Vec<_> = (0..5).map_while(|_| next(&mut q, 0)).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
    assert_eq!(q.state(&key("a")), Some(State::InFlight));
    q.remove(&key("a"));
    assert_eq!((q.state(&key("a")), q.len()), (None, 3));
}

#[test]
fn a_refused_pod_sleeps_until_something_helps() {
    let mut q = Queue::default();
    q.set(&pod("a", 0), true, at(0));
    next(&mut q, 0);
    q.park(&key("a"), only(Plugin::NodeResourcesFit), at(0));
    // Of no concern to who refused it.
    q.happened(&only(Event::NodeLabels), at(5));
    q.set(&pod("a", 0), false, at(5));
    assert_eq!((next(&mut q, 5), q.state(&key("a"))), (None, Some(State::Unschedulable)));
    // Room was made; its back-off of a second is long over.
    q.happened(&only(Event::PodLeft), at(6));
    assert_eq!(next(&mut q, 6), Some("a".into()));
    // Woken within the back-off (now 2 s) it waits in it, but is tried early since there is nothing else.
    q.park(&key("a"), only(Plugin::NodeResourcesFit), at(6));
    q.happened(&only(Event::NodeAdded), at(7));
    assert_eq!(q.state(&key("a")), Some(State::Backoff));
    assert_eq!(q.next(), Some(at(8)));
    q.set(&pod("b", 0), true, at(7));
    assert_eq!(next(&mut q, 7), Some("b".into()), "others first");
    assert_eq!(next(&mut q, 7), Some("a".into()));
    // Its own change wakes it as well.
    q.park(&key("a"), only(Plugin::NodeAffinity), at(7));
    q.set(&pod("a", 0), true, at(90));
    assert_eq!(next(&mut q, 90), Some("a".into()));
    // Nobody thought of what would help: after five minutes it is tried all the same.
    q.park(&key("a"), only(Plugin::NodeAffinity), at(90));
    assert_eq!(q.next(), Some(at(390)));
    assert_eq!((next(&mut q, 389), next(&mut q, 390)), (None, Some("a".into())));
}

#[test]
fn failures_back_off_doubling_up_to_ten_seconds() {
    let mut q = Queue::default();
    q.set(&pod("a", 0), true, at(0));
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(next(&mut q, now), Some("a".into()));
        q.retry(&key("a"), at(now));
        assert_eq!(next(&mut q, now), None, "not early: it failed");
        let ready = q.next().unwrap().as_secs();
        waits.push(ready - now);
        now = ready;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn a_gated_pod_waits_for_its_gates() {
    let mut q = Queue::default();
    let gated = PodInfo::new(&object("a", 0, json!({"schedulingGates": [{"name": "g"}]})));
    q.set(&gated, true, at(0));
    q.happened(&only(Event::NodeAdded), at(1));
    assert_eq!((next(&mut q, 999), q.state(&key("a"))), (None, Some(State::Gated)));
    q.set(&pod("a", 0), true, at(1000));
    assert_eq!(next(&mut q, 1000), Some("a".into()));
}

fn change<K: Clone>(name: &str, namespace: &str, old: Option<&K>, new: Option<&K>) -> Change<K> {
    let arc = |o: Option<&K>| o.map(|o| Arc::new(o.clone()));
    let latest = arc(new).or_else(|| arc(old)).unwrap();
    Change { key: Key::new(namespace, name), old: arc(old), new: arc(new), latest }
}

#[test]
fn what_is_watched_moves_pods() {
    let mut k = Known::default();
    let seen = |k: &mut Known| std::mem::take(&mut k.events).into_iter().collect::<Vec<_>>();
    let node = |cpu: &str, unschedulable: bool| -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable},
            "status": {"allocatable": {"cpu": cpu, "pods": "10"}}}))
        .unwrap()
    };
    let of_node = |old: Option<&Node>, new: Option<&Node>| change("n", "", old, new);
    k.observe_node(&of_node(None, Some(&node("1", false))));
    assert_eq!(seen(&mut k), [Event::NodeAdded]);
    k.observe_node(&of_node(None, Some(&node("1", false))));
    assert_eq!(seen(&mut k), [], "a heartbeat");
    k.observe_node(&of_node(None, Some(&node("2", true))));
    assert_eq!(seen(&mut k), [Event::NodeRoom, Event::NodeTaints]);

    let waiting = object("a", 0, json!({}));
    let bound = object("a", 0, json!({"nodeName": "n"}));
    k.observe_pod(&change("a", "default", None, Some(&waiting)), at(0));
    assert_eq!(k.queue.pop(at(0)), Some(key("a")));
    let info = Arc::clone(&k.pending[&key("a")]);
    k.assume(&info, "n");
    assert_eq!((k.cluster.pod_count(), seen(&mut k)), (1, vec![Event::PodPlaced]));
    // An update from before the binding does not bring it back.
    k.observe_pod(&change("a", "default", Some(&waiting), Some(&waiting)), at(0));
    assert_eq!((k.cluster.pod_count(), k.queue.pop(at(0))), (1, None));
    // The binding is seen.
    k.observe_pod(&change("a", "default", Some(&waiting), Some(&bound)), at(0));
    assert!(k.assumed.is_empty() && k.pending.is_empty() && k.queue.is_empty());
    assert!(!k.unassume("uid-a"), "nothing to undo any more");
    assert_eq!((k.cluster.pod_count(), seen(&mut k)), (1, vec![]));
    // It ends, and is gone.
    let mut ended = bound.clone();
    ended.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
    k.observe_pod(&change("a", "default", Some(&bound), Some(&ended)), at(0));
    assert_eq!((k.cluster.pod_count(), seen(&mut k)), (0, vec![Event::PodLeft]));
    k.observe_pod(&change("a", "default", Some(&ended), None), at(0));
    assert_eq!(seen(&mut k), []);
}

#[test]
fn a_failed_binding_is_undone_and_a_replaced_pod_is_another() {
    let mut k = Known::default();
    let first = object("a", 0, json!({}));
    k.observe_pod(&change("a", "default", None, Some(&first)), at(0));
    let info = Arc::clone(&k.pending[&key("a")]);
    k.queue.pop(at(0));
    k.assume(&info, "n");
    assert!(k.unassume("uid-a"));
    assert_eq!(k.cluster.pod_count(), 0);
    k.assume(&info, "n");
    let mut second = first.clone();
    second.metadata.uid = Some("other".into());
    k.observe_pod(&change("a", "default", Some(&first), Some(&second)), at(0));
    assert_eq!((k.cluster.pod_count(), k.assumed.len()), (0, 0));
    assert_eq!(k.queue.pop(at(0)), Some(key("a")));
    // Neither deleted pods nor those of another scheduler are ours.
    second.metadata.deletion_timestamp =
        Some(isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time("2026-01-01T00:00:00Z".parse().unwrap()));
    k.observe_pod(&change("a", "default", Some(&second), Some(&second)), at(0));
    k.observe_pod(&change("b", "default", None, Some(&object("b", 0, json!({"schedulerName": "mine"})))), at(0));
    assert!(k.queue.is_empty() && k.pending.is_empty());
}
