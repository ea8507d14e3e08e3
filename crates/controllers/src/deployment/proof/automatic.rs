//! Stories of rollbacks that nobody asked for, each a scenario and what came of it.
use super::deployment;
use super::tables::{Check, expect};
use super::world::{Violation, World};
use crate::deployment::{annotations, automatic, status};
use isopod_api::change::{AUTOMATIC_CAUSE, CHANGE_CAUSE, ROLLED_BACK};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

fn healthy(_: &Pod) -> bool {
    false
}

/// Four pods of v1, rolled out.
fn world(on: bool) -> Result<World, Violation> {
    let mut d = deployment(4, &json!("25%"), &json!("25%"));
    if on {
        let all = d.metadata.annotations.get_or_insert_default();
        all.insert(automatic::AUTO_ROLLBACK.to_owned(), "true".to_owned());
    }
    let mut w = World::new(d);
    w.settle(&healthy)?;
    w.rest();
    Ok(w)
}

fn annotate(w: &mut World, key: &str, value: Option<&str>) {
    w.change(|d| {
        let all = d.metadata.annotations.get_or_insert_default();
        match value {
            Some(value) => all.insert(key.to_owned(), value.to_owned()),
            None => all.remove(key),
        };
    });
}

fn image(w: &World) -> String {
    w.spec().spec.template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

fn told(w: &World, kind: &str) -> String {
    let status = w.spec().status.clone().unwrap_or_default();
    let condition = status::condition(&status, kind).cloned().unwrap_or_default();
    let text = |t: Option<String>| t.unwrap_or_default();
    format!("{} {}: {}", text(condition.status), text(condition.reason), text(condition.message))
}

/// Revisions with their causes, lowest first.
fn history(w: &World) -> Vec<String> {
    let mut all: Vec<_> = w
        .sets
        .live
        .values()
        .map(|rs| {
            let cause = rs.metadata.annotations.as_ref().and_then(|a| a.get(CHANGE_CAUSE)).cloned();
            (annotations::revision(rs), cause.unwrap_or_default())
        })
        .collect();
    all.sort();
    all.into_iter().map(|(revision, cause)| format!("{revision} {cause}")).collect()
}

/// What each kind of failure comes to, from the change to rest: seconds, reason.
pub fn each_failure_goes_back() -> Check {
    for (bad, seconds, reason) in [
        ("noimage", 0, "ErrImagePull"),
        ("crash", 0, "CrashLoopBackOff"),
        ("noconfig", 11, "CreateContainerConfigError"),
        ("unready", 601, "ProgressDeadlineExceeded"),
    ] {
        let mut w = world(true)?;
        let begun = w.clock;
        w.set_image(bad);
        w.settle(&healthy)?;
        expect(bad, (image(&w), w.rollbacks), ("v1".to_owned(), 1))?;
        expect(&format!("{bad}: after"), w.clock - begun, seconds)?;
        let condition = told(&w, automatic::CONDITION);
        expect(&format!("{bad}: {condition}"), condition.starts_with(&format!("True {reason}: ")), true)?;
        let done = told(&w, status::PROGRESSING);
        expect(&format!("{bad}: {done}"), done.starts_with("True NewReplicaSetAvailable"), true)?;
        expect(&format!("{bad}: history"), history(&w).len(), 2)?;
    }
    Ok(())
}

/// The failed template again: nothing rolls, and it says so; another value of `retry` lets it be tried, once.
pub fn the_same_again_is_refused() -> Check {
    let mut w = world(true)?;
    for round in 0..3 {
        w.set_image("noimage");
        w.settle(&healthy)?;
        let refused = if round == 0 { "v1" } else { "noimage" };
        expect("the spec", (image(&w), w.rollbacks), (refused.to_owned(), 1))?;
    }
    let said = told(&w, status::PROGRESSING);
    expect(&said, said.contains("this template failed as revision 2") && said.contains("revision 3 runs"), true)?;
    // Scaling still works, and so do its bounds.
    w.change(|d| d.spec.replicas = Some(6));
    w.settle(&healthy)?;
    for (value, rollbacks) in [("1", 2), ("1", 2), ("2", 3)] {
        w.allowed = rollbacks;
        annotate(&mut w, automatic::RETRY, Some(value));
        w.settle(&healthy)?;
        expect(&format!("retry {value}"), w.rollbacks, rollbacks)?;
        w.set_image("noimage");
        w.settle(&healthy)?;
        expect("refused again", (image(&w), w.rollbacks), ("noimage".to_owned(), rollbacks))?;
    }
    // Another template is another matter; and so is the old one, once it is what people ask for.
    w.set_image("v2");
    w.settle(&healthy)?;
    expect("v2", told(&w, status::PROGRESSING).starts_with("True NewReplicaSetAvailable"), true)?;
    w.set_image("noimage");
    w.settle(&healthy)?;
    w.set_image("v2");
    w.settle(&healthy)?;
    let done = told(&w, status::PROGRESSING);
    expect(&done, (done.starts_with("True NewReplicaSetAvailable"), told(&w, automatic::CONDITION).len()), (true, 3))
}

/// Without the annotation it stays where it is and names the reason; with it, it goes back at once.
pub fn only_who_asks_for_it() -> Check {
    let mut w = world(false)?;
    w.set_image("noimage");
    let stuck = w.settle(&healthy);
    expect("stuck", (stuck.is_err(), image(&w), w.violation.clone()), (true, "noimage".to_owned(), None))?;
    let said = told(&w, status::PROGRESSING);
    expect(
        &said,
        said.starts_with("False ProgressDeadlineExceeded: ReplicaSet \"web-") && said.contains("ErrImagePull"),
        true,
    )?;
    annotate(&mut w, automatic::AUTO_ROLLBACK, Some("true"));
    w.settle(&healthy)?;
    expect("on", image(&w).as_str(), "v1")?;
    w.set_image("noimage");
    w.settle(&healthy)?;
    annotate(&mut w, automatic::AUTO_ROLLBACK, None);
    expect("off: it is tried again", (w.settle(&healthy).is_err(), image(&w).as_str()), (true, "noimage"))
}

/// A first rollout has nothing to go back to; a paused one waits for its person.
pub fn not_always() -> Check {
    let mut d = deployment(2, &json!(1), &json!(0));
    d.metadata.annotations = Some([(automatic::AUTO_ROLLBACK.to_owned(), "true".to_owned())].into());
    d.spec.template.spec.as_mut().unwrap().containers[0].image = Some("noimage".into());
    let mut w = World::new(d);
    expect("first", (w.settle(&healthy).is_err(), w.rollbacks, w.violation.clone()), (true, 0, None))?;
    expect("first says why", told(&w, status::PROGRESSING).contains("ErrImagePull"), true)?;

    let mut w = world(true)?;
    w.change(|d| d.spec.paused = Some(true));
    w.set_image("noimage");
    w.settle(&healthy)?;
    expect("paused", (image(&w).as_str(), w.rollbacks), ("noimage", 0))?;
    w.change(|d| d.spec.paused = Some(false));
    w.settle(&healthy)?;
    expect("resumed", (image(&w).as_str(), w.rollbacks), ("v1", 1))
}

/// It goes to the last revision that was whole: not to the one before, not to a rollout that was overtaken; and not on from there.
pub fn where_to() -> Check {
    let mut w = world(true)?;
    w.set_image("v2");
    w.settle(&healthy)?;
    w.set_image("unready1");
    for _ in 0..40 {
        w.d.deliver_all();
        w.sets.deliver_all();
        w.pods.deliver_all();
        w.sync_deployment();
        let names: Vec<String> = w.sets.live.keys().cloned().collect();
        for name in names {
            w.sync_set(&name);
        }
        w.node_step(0, &healthy);
    }
    expect("under way", image(&w).as_str(), "unready1")?;
    w.set_image("noimage2");
    w.settle(&healthy)?;
    expect("overtaken", (image(&w).as_str(), w.rollbacks), ("v2", 1))?;
    // Failed, switched on and gone back by hand at once: the old failure is not that of what runs now.
    annotate(&mut w, automatic::AUTO_ROLLBACK, None);
    w.set_image("noimage3");
    expect("fails", w.settle(&healthy).is_err(), true)?;
    annotate(&mut w, automatic::AUTO_ROLLBACK, Some("true"));
    w.set_image("v1");
    w.allowed = w.rollbacks;
    w.settle(&healthy)?;
    expect("by hand", image(&w).as_str(), "v1")?;
    // What worked once does not any more: there is no third place to go.
    w.spoilt = Some("v1".to_owned());
    w.set_image("noimage4");
    let _stuck = w.settle(&healthy);
    expect("spoilt", (image(&w).as_str(), w.violation.clone()), ("v1", None))
}

/// The history tells what was automatic, and what a person said before.
pub fn history_tells() -> Check {
    let mut w = world(true)?;
    w.change(|d| {
        let all = d.metadata.annotations.get_or_insert_default();
        all.insert(CHANGE_CAUSE.to_owned(), "a fine day".to_owned());
        d.spec.template.spec.as_mut().unwrap().containers[0].image = Some("noimage".to_owned());
    });
    w.allowed = 1;
    w.settle(&healthy)?;
    let want = vec![
        "2 a fine day".to_owned(),
        "3 automatic rollback of revision 2 to 1: image \"noimage\" cannot be had (ErrImagePull): not found".to_owned(),
    ];
    expect("causes", history(&w), want)?;
    let d = w.spec();
    let all = d.metadata.annotations.clone().unwrap_or_default();
    expect("the Deployment's", (all.get(CHANGE_CAUSE), all.contains_key(ROLLED_BACK)), (None, true))?;
    let marked = w
        .sets
        .live
        .values()
        .filter(|rs| rs.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(AUTOMATIC_CAUSE)));
    expect("marked as automatic", marked.count(), 1)
}

type Story = (&'static str, fn() -> Check);

const STORIES: [Story; 6] = [
    ("each failure goes back", each_failure_goes_back),
    ("the same again is refused", the_same_again_is_refused),
    ("only who asks for it", only_who_asks_for_it),
    ("not always", not_always),
    ("where to", where_to),
    ("history tells", history_tells),
];

/// All stories.
pub fn all() -> Check {
    STORIES.iter().try_for_each(|(name, story)| story().map_err(|e| format!("{name}: {e}")))
}

#[test]
fn stories_end_well() {
    for (name, story) in STORIES {
        story().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
