//! Facts of Kubernetes' own tests (`rolling_test.go`, `sync_test.go`, `util/deployment_util_test.go`), as rows.
use super::{annotate, deployment, set};
use crate::deployment::plan::{Action, Pass, Plan, View, plan};
use crate::deployment::sets::Sets;
use crate::deployment::{annotations, rolling, scaling, status, strategy};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: i64 = 1_700_000_000;

/// One fact that did not hold.
pub type Check = Result<(), String>;

#[expect(clippy::needless_pass_by_value, reason = "rows read better with plain values")]
pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Check {
    if got == want { Ok(()) } else { Err(format!("{what}: got {got:?}, want {want:?}")) }
}

fn with_pass<R>(d: &Deployment, sets: &[Arc<ReplicaSet>], f: impl FnOnce(&mut Pass<'_>) -> R) -> R {
    let running = BTreeMap::new();
    let mut pass = Pass {
        asked: d,
        deployment: d,
        refused: None,
        failing: None,
        now: Timestamp::from_second(NOW).unwrap(),
        running: &running,
        sets: Sets::of(d, sets),
        status: d.status.clone().unwrap_or_default(),
        revision: None,
        actions: Vec::new(),
        waiting_on: Vec::new(),
        events: Vec::new(),
    };
    f(&mut pass)
}

fn sizes(pass: &Pass<'_>) -> BTreeMap<String, i64> {
    pass.sets.all.iter().map(|s| (s.name().to_owned(), s.size())).collect()
}

fn plan_of(d: &Deployment, sets: &[Arc<ReplicaSet>], at: i64) -> Plan {
    let now = Timestamp::from_second(at).unwrap();
    plan(&View { deployment: d, replica_sets: sets, running: &BTreeMap::new(), failing: &BTreeMap::new(), now })
}

/// `TestResolveFenceposts` and neighbours; rounding must not turn.
pub fn fenceposts() -> Check {
    for (replicas, surge, unavailable, want) in [
        (10, json!("39%"), json!("39%"), (4, 3)),
        (10, json!(0), json!(0), (0, 1)),
        (7, json!("25%"), json!("25%"), (2, 1)),
        (1, json!("25%"), json!("25%"), (1, 0)),
        (2, json!(5), json!(5), (5, 2)),
    ] {
        let d = deployment(replicas, &surge, &unavailable);
        expect(
            &format!("fenceposts {replicas} {surge}"),
            (strategy::max_surge(&d), strategy::max_unavailable(&d)),
            want,
        )?;
    }
    Ok(())
}

/// `TestDeploymentController_reconcileNewReplicaSet`
pub fn grow_new() -> Check {
    // (replicas, surge, old, new) → new
    for (replicas, surge, old, new, want) in [
        (10, json!(0), 10, 0, None),
        (10, json!(2), 10, 0, Some(2)),
        (10, json!(2), 5, 0, Some(7)),
        (10, json!(2), 10, 2, None),
        (10, json!(2), 2, 11, Some(10)),
    ] {
        let d = deployment(replicas, &surge, &json!(0));
        let sets = [Arc::new(set("old", "v0", 9, old, 0)), Arc::new(set("new", "v1", 1, new, 0))];
        let got = with_pass(&d, &sets, |p| rolling::grow_new(p).then(|| sizes(p)["new"]));
        expect(&format!("reconcileNewReplicaSet {surge} {old} {new}"), got, want)?;
    }
    Ok(())
}

/// `TestDeploymentController_reconcileOldReplicaSets`
pub fn shrink_old() -> Check {
    // (replicas, unavailable, old, new, ready old, ready new) → old after
    for (replicas, unavailable, old, new, ready_old, ready_new, want) in [
        // Nothing may surge and nothing be unavailable: one may, or it stood still.
        (10, 0, 10, 0, 10, 0, Some(9)),
        (10, 2, 10, 0, 10, 0, Some(8)),
        // Unhealthy old pods go first, and do not count as slack twice.
        (10, 2, 10, 0, 8, 0, Some(8)),
        // Two may go, and both that are not available do.
        (10, 2, 10, 0, 9, 0, Some(8)),
        // New pods that are not available hold the old ones.
        (10, 2, 8, 2, 8, 0, None),
        (10, 2, 8, 2, 8, 2, Some(6)),
        (10, 2, 10, 3, 10, 0, Some(8)),
        (10, 2, 8, 5, 8, 0, None),
        // Not even unhealthy ones may go while the new ones are not there to make up for them.
        (10, 2, 8, 2, 5, 0, None),
    ] {
        let d = deployment(replicas, &json!(0), &json!(unavailable));
        let sets = [Arc::new(set("old", "v0", 9, old, ready_old)), Arc::new(set("new", "v1", 1, new, ready_new))];
        let got = with_pass(&d, &sets, |p| rolling::shrink_old(p).then(|| sizes(p)["old"]));
        expect(&format!("reconcileOldReplicaSets {unavailable} {old} {new} {ready_old} {ready_new}"), got, want)?;
    }
    // Oldest first, over several (`TestDeploymentController_cleanupUnhealthyReplicas`, `…scaleDownOldReplicaSetsForRollingUpdate`).
    let d = deployment(10, &json!(4), &json!(2));
    let sets =
        [Arc::new(set("a", "v-2", 9, 3, 1)), Arc::new(set("b", "v-1", 8, 7, 7)), Arc::new(set("new", "v1", 1, 4, 4))];
    let got = with_pass(&d, &sets, |p| {
        rolling::shrink_old(p);
        sizes(p)
    });
    expect("two unhealthy of a, then one of a and three of b", (got["a"], got["b"]), (0, 4))
}

fn sized(name: &str, image: &str, age: i64, replicas: i64, desired: i64, max: i64) -> Arc<ReplicaSet> {
    annotate(
        set(name, image, age, replicas, replicas),
        &[(annotations::DESIRED, desired.to_string()), (annotations::MAX, max.to_string())],
    )
}

/// Rows of `TestScale` in `sync_test.go`: sizes of (new, old 1, old 2) before and after, Deployment from → to, surge.
pub fn proportions() -> Check {
    type Row = (i32, i64, i64, (i64, i64, i64), (i64, i64, i64));
    let rows: [Row; 13] = [
        (12, 10, 0, (10, 0, 0), (12, 0, 0)),
        (5, 10, 0, (10, 0, 0), (5, 0, 0)),
        (12, 10, 0, (5, 5, 0), (6, 6, 0)),
        (5, 10, 0, (5, 5, 0), (3, 2, 0)),
        (4, 6, 0, (3, 2, 1), (2, 1, 1)),
        (20, 10, 0, (5, 3, 2), (10, 6, 4)),
        (15, 10, 0, (5, 3, 2), (8, 5, 2)),
        (0, 10, 0, (5, 3, 2), (0, 0, 0)),
        (50, 30, 0, (10, 20, 0), (17, 33, 0)),
        (10, 6, 0, (2, 2, 2), (4, 3, 3)),
        // Surge counts towards the whole.
        (20, 10, 2, (6, 6, 0), (11, 11, 0)),
        (5, 10, 2, (6, 6, 0), (4, 3, 0)),
        (9, 10, 0, (4, 3, 3), (3, 3, 3)),
    ];
    for (to, from, surge, (new, one, two), want) in rows {
        let mut d = deployment(to, &json!(surge), &json!(1));
        d.status =
            Some(DeploymentStatus { replicas: i32::try_from(new + one + two).ok(), ..DeploymentStatus::default() });
        let mut sets =
            vec![sized("new", "v1", 1, new, from, from + surge), sized("one", "v0", 5, one, from, from + surge)];
        if two > 0 {
            sets.push(sized("two", "v-1", 9, two, from, from + surge));
        }
        let got = with_pass(&d, &sets, |p| {
            if scaling::is_due(p) {
                scaling::scale(p);
            }
            let s = sizes(p);
            (s["new"], s["one"], s.get("two").copied().unwrap_or(0))
        });
        expect(&format!("scale {from}→{to} surge {surge} {:?}", (new, one, two)), got, want)?;
    }
    Ok(())
}

/// A saturated new set takes over: old ones, adopted or left behind, go to nothing.
pub fn saturation() -> Check {
    let d = deployment(10, &json!(1), &json!(1));
    let sets = [sized("new", "v1", 1, 10, 10, 11), sized("old", "v0", 5, 5, 5, 6)];
    let got = with_pass(&d, &sets, |p| {
        scaling::scale(p);
        sizes(p)
    });
    expect("saturated", (got["new"], got["old"]), (10, 0))
}

fn progressing(d: &mut Deployment, reason: &str, at: i64) {
    let time = Timestamp::from_second(at).unwrap().to_string();
    let v: Value = json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3,
        "conditions": [{"type": "Progressing", "status": "True", "reason": reason, "message": "",
            "lastUpdateTime": time, "lastTransitionTime": time}]});
    d.status = Some(serde_json::from_value(v).unwrap());
}

/// The deadline counts from the last progress, is seen once, and never contradicts a finished rollout.
pub fn deadline() -> Check {
    let stuck = [Arc::new(set("old", "v0", 9, 3, 3)), Arc::new(set("new", "v1", 1, 1, 0))];
    let told =
        |p: &Plan| status::condition(&p.status, status::PROGRESSING).and_then(|c| c.reason.clone()).unwrap_or_default();
    let mut d = deployment(4, &json!(0), &json!(1));
    // (last progress, now) → reason, whether a timer runs
    for (last, now, reason, timer) in [
        (NOW, NOW + 1, "ReplicaSetUpdated", true),
        (NOW, NOW + 600, "ReplicaSetUpdated", true),
        (NOW, NOW + 601, status::TIMED_OUT, false),
        (NOW - 5000, NOW, status::TIMED_OUT, false),
    ] {
        progressing(&mut d, "ReplicaSetUpdated", last);
        let p = plan_of(&d, &stuck, now);
        expect(&format!("deadline {last} {now}"), (told(&p).as_str(), p.look_again.is_some()), (reason, timer))?;
    }
    // More available pods are progress, and renew the time.
    progressing(&mut d, "ReplicaSetUpdated", NOW);
    let better = [Arc::new(set("old", "v0", 9, 3, 3)), Arc::new(set("new", "v1", 1, 1, 1))];
    let p = plan_of(&d, &better, NOW + 700);
    expect("progress in spite of the deadline", told(&p).as_str(), "ReplicaSetUpdated")?;
    let at = status::condition(&p.status, status::PROGRESSING)
        .and_then(|c| c.last_update_time.clone())
        .map(|t| t.0.as_second());
    expect("renewed", at, Some(NOW + 700))
}

/// Conditions keep their times while nothing changes.
pub fn stable_conditions() -> Check {
    let mut d = deployment(4, &json!(0), &json!(1));
    progressing(&mut d, status::NEW_SET_AVAILABLE, NOW);
    let hash = "new";
    let rolled_out = (isopod_api::change::ROLLED_OUT, "1".into());
    let rs = annotate(set(hash, "v1", 1, 4, 4), &[(annotations::REVISION, "1".into()), rolled_out]);
    d.metadata.annotations = Some([(annotations::REVISION.to_owned(), "1".to_owned())].into());
    let first = plan_of(&d, &[Arc::clone(&rs)], NOW + 5);
    d.status = Some(first.status.clone());
    let second = plan_of(&d, &[rs], NOW + 500);
    expect("no needless writes", (second.actions.len(), second.status), (0, first.status))
}

/// A paused Deployment says so and does not time out; resumed, it starts anew.
pub fn pause() -> Check {
    let sets = [Arc::new(set("old", "v0", 9, 3, 3)), Arc::new(set("new", "v1", 1, 1, 0))];
    let mut d = deployment(4, &json!(0), &json!(1));
    progressing(&mut d, "ReplicaSetUpdated", NOW);
    d.spec.paused = Some(true);
    let p = plan_of(&d, &sets, NOW + 10_000);
    let c = status::condition(&p.status, status::PROGRESSING).cloned().unwrap_or_default();
    expect("paused", (c.status.as_deref(), c.reason.as_deref()), (Some("Unknown"), Some("DeploymentPaused")))?;
    d.status = Some(p.status);
    d.spec.paused = Some(false);
    let p = plan_of(&d, &sets, NOW + 20_000);
    let c = status::condition(&p.status, status::PROGRESSING).cloned().unwrap_or_default();
    expect("resumed", c.reason.as_deref(), Some("DeploymentResumed"))
}

/// `TestDeploymentController_cleanupDeployment`: exactly the oldest revisions beyond the limit, none that still has pods.
pub fn history() -> Check {
    let mut d = deployment(1, &json!(0), &json!(1));
    progressing(&mut d, status::NEW_SET_AVAILABLE, NOW);
    let done = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    d.status = Some(serde_json::from_value(done).unwrap());
    for (limit, want) in
        [(0, vec!["one", "two"]), (1, vec!["one", "two"]), (2, vec!["one"]), (3, vec![]), (i32::MAX, vec![])]
    {
        d.spec.revision_history_limit = Some(limit);
        let old = |name: &str, revision: u8, pods: i64| {
            annotate(set(name, name, 9, 0, 0), &[(annotations::REVISION, revision.to_string())]).pipe(|rs| {
                let mut rs = (*rs).clone();
                rs.status.as_mut().unwrap().replicas = i32::try_from(pods).unwrap();
                Arc::new(rs)
            })
        };
        let sets = [
            old("busy", 3, 1),
            old("two", 2, 0),
            old("one", 1, 0),
            annotate(set("new", "v1", 1, 1, 1), &[(annotations::REVISION, "4".into())]),
        ];
        let p = plan_of(&d, &sets, NOW);
        let mut gone: Vec<String> = p
            .actions
            .iter()
            .filter_map(|a| match a {
                Action::Delete(rs) => rs.metadata.name.clone(),
                _ => None,
            })
            .collect();
        gone.sort();
        expect(&format!("history {limit}"), gone, want.into_iter().map(str::to_owned).collect())?;
    }
    Ok(())
}

trait Pipe: Sized {
    fn pipe<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }
}
impl<T> Pipe for T {}

/// All tables.
pub fn all() -> Check {
    for table in
        [fenceposts, grow_new, shrink_old, proportions, saturation, deadline, stable_conditions, pause, history]
    {
        table()?;
    }
    Ok(())
}

#[test]
fn kubernetes_tables_hold() {
    for (name, table) in [
        ("fenceposts", fenceposts as fn() -> Check),
        ("grow_new", grow_new),
        ("shrink_old", shrink_old),
        ("proportions", proportions),
        ("saturation", saturation),
        ("deadline", deadline),
        ("stable_conditions", stable_conditions),
        ("pause", pause),
        ("history", history),
    ] {
        table().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// The first pass makes the set with its size, its revision and Kubernetes' words.
#[test]
fn the_first_pass_reads_like_kubernetes() {
    let d = deployment(4, &json!("25%"), &json!("25%"));
    let p = plan_of(&d, &[], NOW);
    let [Action::Create(rs, Some(event))] = p.actions.as_slice() else { panic!("{:?}", p.actions) };
    let name = rs.metadata.name.clone().unwrap();
    let hash = rs.metadata.labels.as_ref().unwrap()["pod-template-hash"].clone();
    assert_eq!(name, format!("web-{hash}"));
    assert_eq!(event.message, format!("Scaled up replica set {name} from 0 to 4"));
    assert_eq!(rs.spec.selector.match_labels.as_ref().unwrap()["pod-template-hash"], hash);
    let a = rs.metadata.annotations.clone().unwrap();
    assert_eq!(
        (a[annotations::REVISION].as_str(), a[annotations::DESIRED].as_str(), a[annotations::MAX].as_str()),
        ("1", "4", "5")
    );
    assert_eq!(p.revision.as_deref(), Some("1"));
    let words: Vec<String> = p
        .status
        .conditions
        .iter()
        .flatten()
        .map(|c| {
            format!(
                "{}={} {}: {}",
                c.type_.as_deref().unwrap(),
                c.status.as_deref().unwrap(),
                c.reason.as_deref().unwrap(),
                c.message.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        words,
        [
            format!("Progressing=True NewReplicaSetCreated: Created new replica set \"{name}\""),
            "Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.".to_owned(),
        ]
    );
}
