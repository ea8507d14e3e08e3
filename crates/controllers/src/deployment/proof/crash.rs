//! The process dies right after the n-th write, for every n; what is left must do.
use super::deployment;
use super::world::{Violation, World};
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

pub fn every_write() -> Result<u64, Violation> {
    for recreate in [false, true] {
        let writes = story(None, recreate)?;
        for n in 1..=writes {
            story(Some(n), recreate).map_err(|v| format!("crash after write {n} (recreate: {recreate}): {v}"))?;
        }
    }
    story(None, false)
}

#[test]
fn a_crash_after_any_write_does_no_harm() {
    let writes = every_write().unwrap_or_else(|v| panic!("{v}"));
    println!("the story takes {writes} writes; crashed after each of them");
    assert!(writes > 60, "the story is long enough to mean something");
}
