//! Pictures of rollouts in many situations, at fixed sizes.
use super::observed::{Change, Observed};
use super::render::{Palette, height, render};
use super::view::{View, view};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NOW: &str = "2026-11-30T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(seconds: i64) -> String {
    (now() - jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A rollout from revision 2 to 3 of four pods, to be filled with pods.
struct World {
    deployment: Value,
    sets: Vec<Value>,
    pods: Vec<Value>,
    told: Vec<Value>,
    silent: Option<(i64, &'static str)>,
    footer: &'static str,
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn set(revision: i64, hash: &str, image: &str) -> Value {
    json!({"metadata": {"name": format!("web-{hash}"), "uid": hash, "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
        "spec": {"selector": {}, "template": template(image)}})
}

impl World {
    fn new(replicas: i64) -> Self {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 3, "annotations": {"deployment.kubernetes.io/revision": "3"}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600, "template": template("hello:v2"),
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
            "status": {"observedGeneration": 3, "replicas": replicas + 1, "updatedReplicas": 1, "availableReplicas": replicas,
                "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": ago(15)}]},
        });
        let sets =
            vec![set(2, "5c4d3b2a1f", "hello:v1"), set(3, "7d9f8b6c5f", "hello:v2"), set(1, "8888888888", "hello:v0")];
        Self { deployment, sets, pods: Vec::new(), told: Vec::new(), silent: None, footer: "" }
    }

    /// `what`: ready, creating, pending, unready, image, crash, leaving or `draining N`.
    fn pods(mut self, set: &str, count: usize, what: &str, age: i64) -> Self {
        for _ in 0..count {
            let name = format!("web-{set}-{:05}", self.pods.len());
            let waiting = |reason: &str, message: &str| {
                json!({"phase": "Pending", "containerStatuses": [{"name": "web", "ready": false,
                "restartCount": 0, "image": "", "imageID": "", "state": {"waiting": {"reason": reason, "message": message}}}]})
            };
            let running = |ready: &str| {
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": ago(1)}],
                "containerStatuses": [{"name": "web", "ready": ready == "True", "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}}}]})
            };
            let status = match what {
                "creating" => waiting("ContainerCreating", ""),
                "image" => waiting("ImagePullBackOff", "Back-off pulling image \"hello:v2\": not found"),
                "crash" => waiting("CrashLoopBackOff", "back-off 10s restarting failed container=web"),
                "pending" => json!({"phase": "Pending"}),
                "unready" => running("False"),
                _ => running("True"),
            };
            let mut pod = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": ago(age),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "", "uid": set, "controller": true}]},
                "spec": {"nodeName": "node-1", "containers": [{"name": "web"}]}, "status": status});
            if what == "leaving" || what.starts_with("draining") {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-30T12:00:25Z");
            }
            if let Some(count) = what.strip_prefix("draining ") {
                self.told.push(json!({"metadata": {}, "involvedObject": {"uid": name}, "reason": "Draining",
                    "message": format!("draining: {count} connections")}));
            }
            self.pods.push(pod);
        }
        self
    }

    fn view(self) -> View {
        fn typed<K: DeserializeOwned>(objects: Vec<Value>) -> impl Iterator<Item = Event<K>> {
            let list = objects.into_iter().map(|o| Event::InitApply(serde_json::from_value(o).unwrap()));
            std::iter::once(Event::Init).chain(list).chain(std::iter::once(Event::InitDone))
        }
        let mut observed = Observed::default();
        let mut apply = |change| observed.apply(change, now());
        typed(vec![self.deployment]).map(Change::Deployment).for_each(&mut apply);
        typed(self.sets).map(Change::Set).for_each(&mut apply);
        typed(self.pods).map(Change::Pod).for_each(&mut apply);
        typed(self.told).map(Change::Told).for_each(&mut apply);
        assert!(observed.is_complete());
        if let Some((seconds, why)) = self.silent {
            observed.apply(Change::Silent(why.into()), now() - jiff::SignedDuration::from_secs(seconds));
        }
        view(&observed, "isopod", self.footer, now()).unwrap()
    }
}

const NEW: &str = "7d9f8b6c5f";
const OLD: &str = "5c4d3b2a1f";

fn midway() -> World {
    World::new(4).pods(NEW, 2, "ready", 12).pods(NEW, 1, "creating", 2).pods(OLD, 2, "ready", 300).pods(
        OLD,
        1,
        "draining 3",
        310,
    )
}

fn drawn(view: &View, width: u16, rows: u16, palette: Palette) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height(view, width).min(rows)));
    render(view, buffer.area, &mut buffer, palette);
    buffer
}

fn text(view: &View, width: u16, rows: u16) -> String {
    let buffer = drawn(view, width, rows, Palette::Plain);
    let lines = (0..buffer.area.height).map(|y| {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn midway_at_80_by_24() {
    insta::assert_snapshot!(text(&midway().view(), 80, 24), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2

        ready     █████████████████▒▒▒▒▒▒▒▒▒┃▒▒▒▒▒▒▒▒········· 4 of 4, at least 3
        updated   ██████████████████████████········┃········· 3 of 4
        total     ██████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃ 5, at most 5 (+1 leaving)

        █ new revision 3  1 ContainerCreating · 2 ready                   web-7d9f8b6c5f
          ◔ web-7d9f8b6c5f-00002  ContainerCreating                                   2s
          ● web-7d9f8b6c5f-00000  ready                                              12s
          ● web-7d9f8b6c5f-00001  ready                                              12s
        ▒ old revision 2  1 draining 3 connections · 2 ready              web-5c4d3b2a1f
          ◑ web-5c4d3b2a1f-00005  draining: 3 connections  at most 25s more        5m10s
          ● web-5c4d3b2a1f-00003  ready                                               5m
          ● web-5c4d3b2a1f-00004  ready                                               5m

        waits for 1 new pod to become ready: ContainerCreating
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
}

#[test]
fn midway_at_200_by_50() {
    insta::assert_snapshot!(text(&midway().view(), 200, 50), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2

        ready     █████████████████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒··················· 4 of 4, at least 3
        updated   ████████████████████████████████████████████████████████··················┃··················· 3 of 4
        total     ████████████████████████████████████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃ 5, at most 5 (+1 leaving)

        █ new revision 3  1 ContainerCreating · 2 ready                                                                     web-7d9f8b6c5f
          ◔ web-7d9f8b6c5f-00002  ContainerCreating                                                                             2s  node-1
          ● web-7d9f8b6c5f-00000  ready                                                                                        12s  node-1
          ● web-7d9f8b6c5f-00001  ready                                                                                        12s  node-1
        ▒ old revision 2  1 draining 3 connections · 2 ready                                                                web-5c4d3b2a1f
          ◑ web-5c4d3b2a1f-00005  draining: 3 connections  at most 25s more                                                  5m10s  node-1
          ● web-5c4d3b2a1f-00003  ready                                                                                         5m  node-1
          ● web-5c4d3b2a1f-00004  ready                                                                                         5m  node-1

        waits for 1 new pod to become ready: ContainerCreating
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
}

#[test]
fn midway_at_60_by_12() {
    insta::assert_snapshot!(text(&midway().view(), 60, 12), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2
        ready     █████████▒▒▒▒▒┃▒▒▒▒····· 4 of 4, at least 3
        updated   ██████████████····┃····· 3 of 4
        total     ██████████████▒▒▒▒▒▒▒▒▒┃ 5, at most 5 (+1 leaving)
        █ new revision 3  1 ContainerCreating · 2 ready
          ◔ web-7d9f8b6c5f-00002  ContainerCreating               2s
        ▒ old revision 2  1 draining 3 connections · 2 ready
          ◑ web-5c4d3b2a1f-00005  draining: 3 connections  …   5m10s
        waits for 1 new pod to become ready: ContainerCreating
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
}

#[test]
fn an_image_that_is_not_there() {
    let mut world = World::new(4).pods(NEW, 2, "image", 40).pods(OLD, 3, "ready", 300);
    world.footer = "1,204 requests, 0 failed, slowest 31 ms";
    insta::assert_snapshot!(text(&world.view(), 80, 24), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2

        ready     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃···················· 3 of 4, at least 3
        updated   ████████████████████····················┃·········· 2 of 4
        total     ████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃ 5, at most 5

        █ new revision 3  2 ImagePullBackOff                              web-7d9f8b6c5f
          ✗ web-7d9f8b6c5f-00000  ImagePullBackOff  Back-off pulling image "hel…     40s
          ✗ web-7d9f8b6c5f-00001  ImagePullBackOff  Back-off pulling image "hel…     40s
        ▒ old revision 2  3 ready                                         web-5c4d3b2a1f
          ● web-5c4d3b2a1f-00002  ready                                               5m
          ● web-5c4d3b2a1f-00003  ready                                               5m
          ● web-5c4d3b2a1f-00004  ready                                               5m

        waits for 2 new pods to become ready: ImagePullBackOff: Back-off pulling image
                  "hello:v2": not found
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        1,204 requests, 0 failed, slowest 31 ms
        "#);
}

#[test]
fn failed_paused_unseen_and_done() {
    let mut failed = World::new(4).pods(NEW, 2, "crash", 700).pods(OLD, 3, "ready", 900);
    failed.deployment["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"web-7d9f8b6c5f\" has timed out progressing."}]);
    insta::assert_snapshot!(text(&failed.view(), 80, 24), @r#"
        deployment/web  revision 2 → 3  failed
          web: hello:v1 → hello:v2

        ready     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃···················· 3 of 4, at least 3
        updated   ████████████████████····················┃·········· 2 of 4
        total     ████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃ 5, at most 5

        █ new revision 3  2 CrashLoopBackOff                              web-7d9f8b6c5f
          ✗ web-7d9f8b6c5f-00000  CrashLoopBackOff  back-off 10s restarting fai…     11m
          ✗ web-7d9f8b6c5f-00001  CrashLoopBackOff  back-off 10s restarting fai…     11m
        ▒ old revision 2  3 ready                                         web-5c4d3b2a1f
          ● web-5c4d3b2a1f-00002  ready                                              15m
          ● web-5c4d3b2a1f-00003  ready                                              15m
          ● web-5c4d3b2a1f-00004  ready                                              15m

        failed    ReplicaSet "web-7d9f8b6c5f" has timed out progressing.
        waits for 2 new pods to become ready: CrashLoopBackOff: back-off 10s restarting
                  failed container=web
        undo      isopod rollout undo deployment/web
        "#);
    let mut paused = midway();
    paused.deployment["spec"]["paused"] = json!(true);
    insta::assert_snapshot!(text(&paused.view(), 80, 8), @r#"
        deployment/web  revision 2 → 3  paused
        ready     █████████████████▒▒▒▒▒▒▒▒▒┃▒▒▒▒▒▒▒▒········· 4 of 4, at least 3
        updated   ██████████████████████████········┃········· 3 of 4
        total     ██████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃ 5, at most 5 (+1 leaving)
        █ new revision 3  1 ContainerCreating · 2 ready                   web-7d9f8b6c5f
        ▒ old revision 2  1 draining 3 connections · 2 ready              web-5c4d3b2a1f
        waits for isopod rollout resume deployment/web (it is paused)
        undo      isopod rollout undo deployment/web
        "#);
    let mut unseen = World::new(4).pods(OLD, 4, "ready", 300);
    unseen.deployment["metadata"]["generation"] = json!(4);
    unseen.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("2");
    insta::assert_snapshot!(text(&unseen.view(), 80, 24), @r#"
        deployment/web  revision 2 → ?  waiting to be seen
          web: hello:v1 → hello:v2

        ready     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┃▒▒▒▒▒▒▒▒▒▒·········· 4 of 4, at least 3
        updated   ········································┃·········· 0 of 4
        total     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒··········┃ 4, at most 5

        ▒ old revision 2  4 ready                                         web-5c4d3b2a1f
          ● web-5c4d3b2a1f-00000  ready                                               5m
          ● web-5c4d3b2a1f-00001  ready                                               5m
          ● web-5c4d3b2a1f-00002  ready                                               5m
          ● web-5c4d3b2a1f-00003  ready                                               5m

        waits for the Deployment controller to see the change
        "#);
    let mut done = World::new(4).pods(NEW, 4, "ready", 30).pods(OLD, 1, "leaving", 300);
    done.deployment["status"] =
        json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4, "availableReplicas": 4});
    insta::assert_snapshot!(text(&done.view(), 80, 24), @r#"
        deployment/web  revision 2 → 3  rolled out
          web: hello:v1 → hello:v2

        ready     ██████████████████████████┃████████········· 4 of 4, at least 3
        updated   ██████████████████████████████████┃········· 4 of 4
        total     ██████████████████████████████████·········┃ 4, at most 5 (+1 leaving)

        █ new revision 3  4 ready                                         web-7d9f8b6c5f
          ● web-7d9f8b6c5f-00000  ready                                              30s
          ● web-7d9f8b6c5f-00001  ready                                              30s
          ● web-7d9f8b6c5f-00002  ready                                              30s
          ● web-7d9f8b6c5f-00003  ready                                              30s
        ▒ old revision 2  1 stopping                                      web-5c4d3b2a1f
          ○ web-5c4d3b2a1f-00004  stopping  at most 25s more                          5m

        undo      isopod rollout undo deployment/web
        "#);
}

#[test]
fn refused_pods_and_a_silent_api() {
    let mut world = World::new(4).pods(OLD, 4, "ready", 300);
    let refused = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "pods \"web-x\" is forbidden: exceeded quota: q"});
    world.deployment["status"]["conditions"].as_array_mut().unwrap().push(refused);
    world.deployment["spec"]["minReadySeconds"] = json!(10);
    world.silent = Some((7, "connection refused"));
    insta::assert_snapshot!(text(&world.view(), 80, 24), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2

        ready     ······························┃···················· 0 of 4, at least 3
        updated   ········································┃·········· 0 of 4
        total     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒··········┃ 4, at most 5

        █ new revision 3  no pods yet                                     web-7d9f8b6c5f
        ▒ old revision 2  4 ready                                         web-5c4d3b2a1f
          ◕ web-5c4d3b2a1f-00000  ready  counts as available in 10s (minReadySe…      5m
          ◕ web-5c4d3b2a1f-00001  ready  counts as available in 10s (minReadySe…      5m
          ◕ web-5c4d3b2a1f-00002  ready  counts as available in 10s (minReadySe…      5m
          ◕ web-5c4d3b2a1f-00003  ready  counts as available in 10s (minReadySe…      5m

        trouble   no answer from the API server for 7s: connection refused
        waits for pods that may be made: pods "web-x" is forbidden: exceeded quota: q
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
}

#[test]
fn causes_and_rollbacks_are_told() {
    let mut world = midway();
    world.sets[1]["metadata"]["annotations"]["kubernetes.io/change-cause"] = json!("ann, kubectl set image: v1 → v2");
    let back = json!({"type": "RolledBack", "status": "True", "reason": "ErrImagePull", "message": "revision 4 went back\nto 3"});
    world.deployment["status"]["conditions"].as_array_mut().unwrap().push(back);
    let expected =
        ["web: hello:v1 → hello:v2", "why: ann, kubectl set image: v1 → v2", "rolled back: revision 4 went back to 3"];
    assert_eq!(world.view().changes, expected);
}

fn a_thousand() -> World {
    World::new(800)
        .pods(NEW, 311, "ready", 40)
        .pods(NEW, 47, "creating", 3)
        .pods(NEW, 2, "image", 20)
        .pods(OLD, 600, "ready", 4000)
        .pods(OLD, 25, "draining 2", 4000)
        .pods(OLD, 15, "leaving", 4000)
}

#[test]
fn a_thousand_pods_are_summed_up() {
    let view = a_thousand().view();
    assert_eq!(view.sides.iter().map(|s| s.pods.len()).sum::<usize>(), 1000);
    insta::assert_snapshot!(text(&view, 80, 24), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2

        ready     ████████████▒▒▒▒▒▒▒▒▒▒┃▒▒▒▒▒▒▒▒▒▒▒▒··· 911 of 800, at least 600
        updated   █████████████·················┃······· 360 of 800
        total     █████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒·┃ 960, at most 1000 (+40 leaving)

        █ new revision 3  2 ImagePullBackOff · 47 ContainerCreating · 311 ready
          ✗ web-7d9f8b6c5f-00358  ImagePullBackOff  Back-off pulling image "hel…     20s
          ✗ web-7d9f8b6c5f-00359  ImagePullBackOff  Back-off pulling image "hel…     20s
          ◔ web-7d9f8b6c5f-00311  ContainerCreating                                   3s
          ◔ web-7d9f8b6c5f-00312  ContainerCreating                                   3s
          … 356 more: 45 ContainerCreating · 311 ready
        ▒ old revision 2  25 draining 50 connections · 15 stopping · 600 ready
          ◑ web-5c4d3b2a1f-00960  draining: 2 connections  at most 25s more          66m
          ◑ web-5c4d3b2a1f-00961  draining: 2 connections  at most 25s more          66m
          ◑ web-5c4d3b2a1f-00962  draining: 2 connections  at most 25s more          66m
          … 637 more: 22 draining 44 connections · 15 stopping · 600 ready

        waits for 2 new pods to become ready: ImagePullBackOff: Back-off pulling image
                  "hello:v2": not found
                  47 new pods to become ready: ContainerCreating
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
    insta::assert_snapshot!(text(&view, 60, 12), @r#"
        deployment/web  revision 2 → 3  rolling out
          web: hello:v1 → hello:v2
        ready     █████▒▒▒▒▒┃▒▒▒▒▒·· 911 of 800, at least 600
        updated   ██████········┃··· 360 of 800
        total     ██████▒▒▒▒▒▒▒▒▒▒·┃ 960, at most 1000 (+40 leaving)
        █ new revision 3  2 ImagePullBackOff · 47 ContainerCreating
        ▒ old revision 2  25 draining 50 connections · 15 stopping ·
        waits for 2 new pods to become ready: ImagePullBackOff:
                  Back-off pulling image "hello:v2": not found
                  47 new pods to become ready: ContainerCreating
        deadline  9m45s left, starts anew with each step forward
        undo      isopod rollout undo deployment/web
        "#);
}

/// Whatever the size: no panic, what is said stays inside, and the title is always there.
#[test]
fn any_size_will_do() {
    let views =
        [midway().view(), a_thousand().view(), World::new(0).view(), World::new(1).pods(NEW, 1, "pending", 0).view()];
    for view in &views {
        for width in [0, 1, 2, 5, 9, 10, 11, 20, 39, 40, 61, 79, 120, 300] {
            for rows in [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 16, 100] {
                let shown = text(view, width, rows);
                assert!(shown.lines().all(|l| l.chars().count() <= width.into()), "{width}x{rows}\n{shown}");
                assert!(
                    shown.lines().all(|l| l.matches('┃').count() <= 1),
                    "a bar has one bound: {width}x{rows}\n{shown}"
                );
                let title: String = "deployment/web".chars().take(width.into()).collect();
                assert!(rows == 0 || shown.starts_with(&title), "{width}x{rows}\n{shown}");
            }
        }
    }
}

#[test]
fn no_colour_when_none_is_wanted() {
    let view = midway().view();
    let colours = |palette| {
        let buffer = drawn(&view, 80, 24, palette);
        buffer.content.iter().filter(|c| c.fg != Color::Reset || c.bg != Color::Reset).count()
    };
    assert_eq!(colours(Palette::Plain), 0);
    assert!(colours(Palette::Colours) > 100);
}
