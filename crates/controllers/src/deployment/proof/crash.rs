//! The process dies right after the n-th write, for every n; what is left must do.
use super::deployment;
use super::world::{Violation, World};
use crate::deployment::automatic;
use serde_json::json;

/// Create, roll, roll over in mid-roll, scale, roll back. How many writes it took.
pub fn story(crash_at: Option<u64>, recreate: bool) -> Result<u64, Violation> {
    let healthy = |_: &_| false;
    let mut d = deployment(4, &json!("25%"), &json!("25%"));
    if recreate {
        d.spec.strategy = Some(serde_json::from_value(json!({"type": "Recreate"})).unwrap());
    }
    let mut w = World::new(d);
    w.crash_at = crash_at;
    w.settle(&healthy)?;
    w.rest();
    w.set_image("v2");
    for _ in 0..6 {
        w.d.deliver_all();
        w.sets.deliver_all();
        w.sync_deployment();
        w.sets.deliver_all();
        let names: Vec<String> = w.sets.mirror.keys().cloned().collect();
        for name in names {
            w.sync_set(&name);
            w.pods.deliver_all();
        }
        w.node_step(0, &healthy);
    }
    w.set_image("v3");
    w.settle(&healthy)?;
    w.change(|d| d.spec.replicas = Some(7));
    w.settle(&healthy)?;
    w.set_image("v1");
    w.settle(&healthy)?;
    Ok(w.writes)
}

/// A version that fails, is refused, is asked for again in mid-way, and overtaken. How many writes it took.
pub fn automatic_story(crash_at: Option<u64>) -> Result<u64, Violation> {
    let healthy = |_: &_| false;
    let mut d = deployment(3, &json!(1), &json!(0));
    d.metadata.annotations = Some([(automatic::AUTO_ROLLBACK.to_owned(), "true".to_owned())].into());
    let mut w = World::new(d);
    w.crash_at = crash_at;
    w.settle(&healthy)?;
    w.rest();
    for image in ["noimage", "noimage", "crash", "v2", "crash", "unready"] {
        w.set_image(image);
        w.settle(&healthy)?;
    }
    let image = w.spec().spec.template.spec.as_ref().and_then(|s| s.containers[0].image.clone());
    if image.as_deref() != Some("v2") {
        return Err(format!("it ends with {image:?}"));
    }
    Ok(w.writes)
}

pub fn every_write() -> Result<u64, Violation> {
    for recreate in [false, true] {
        let writes = story(None, recreate)?;
        for n in 1..=writes {
            story(Some(n), recreate).map_err(|v| format!("crash after write {n} (recreate: {recreate}): {v}"))?;
        }
    }
    let writes = automatic_story(None)?;
    for n in 1..=writes {
        automatic_story(Some(n)).map_err(|v| format!("crash after write {n} of the automatic story: {v}"))?;
    }
    Ok(story(None, false)? + story(None, true)? + writes)
}

#[test]
fn a_crash_after_any_write_does_no_harm() {
    let writes = every_write().unwrap_or_else(|v| panic!("{v}"));
    println!("the stories take {writes} writes; crashed after each of them");
    assert!(writes > 200, "the story is long enough to mean something");
}
