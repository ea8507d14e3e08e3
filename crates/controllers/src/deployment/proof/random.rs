//! Random order of everything: deliveries, passes, nodes, people. The seed is printed with a failure.
use super::deployment;
use super::world::{Violation, World};
use crate::deployment::automatic;
use k8s_openapi::api::core::v1::Pod;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// What may happen beside the controllers' own work.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub scaling: bool,
    pub failures: bool,
    pub recreate: bool,
    /// It rolls back by itself, and there are versions that fail in every way.
    pub automatic: bool,
}

pub const CALM: Weather = Weather { scaling: false, failures: false, recreate: false, automatic: false };
pub const ROUGH: Weather = Weather { scaling: true, failures: true, ..CALM };
pub const RECREATE: Weather = Weather { recreate: true, ..CALM };
pub const AUTOMATIC: Weather = Weather { automatic: true, ..CALM };
pub const AUTOMATIC_ROUGH: Weather = Weather { automatic: true, ..ROUGH };

fn healthy(_: &Pod) -> bool {
    false
}

/// A rollout, disturbed by `steps` random steps and template changes, to its end.
pub fn run(seed: u64, weather: Weather, steps: usize) -> Result<(), Violation> {
    let mut rng = StdRng::seed_from_u64(seed);
    let surges = [json!(0), json!(1), json!(2), json!("25%"), json!("34%"), json!("100%")];
    let surge = &surges[rng.random_range(0..surges.len())];
    let unavailable = &surges[rng.random_range(0..surges.len())];
    let mut d = deployment(rng.random_range(1..8), surge, unavailable);
    if rng.random_bool(0.3) {
        d.spec.min_ready_seconds = Some(rng.random_range(1..4));
    }
    d.spec.revision_history_limit = Some(rng.random_range(0..4));
    if weather.recreate {
        d.spec.strategy = Some(serde_json::from_value(json!({"type": "Recreate"})).unwrap());
    }
    if weather.automatic {
        d.metadata.annotations.get_or_insert_default().insert(automatic::AUTO_ROLLBACK.into(), "true".into());
    }
    let mut w = World::new(d);
    w.settle(&healthy)?;
    w.rest();
    let mut images = 1;
    for step in 0..steps {
        if step == 0 || rng.random_bool(0.02) {
            // A new template, or back to an old one.
            images += 1;
            let image = if rng.random_bool(0.25) { rng.random_range(1..images) } else { images };
            let kinds = ["v", "v", "noimage", "crash", "noconfig", "unready"];
            let kind = if weather.automatic { kinds[rng.random_range(0..kinds.len())] } else { "v" };
            w.set_image(&format!("{kind}{image}"));
        }
        one_step(&mut w, &mut rng, weather);
        if let Some(v) = &w.violation {
            return Err(format!("step {step}: {v}"));
        }
    }
    w.settle(&healthy)
}

/// Every way a version can fail, under random order, scaling and pod failures: it goes back or stands refused, once.
#[test]
fn it_goes_back_by_itself_once() {
    seeds(300, AUTOMATIC);
    seeds(300, AUTOMATIC_ROUGH);
    seeds(100, Weather { recreate: true, ..AUTOMATIC });
}

fn one_step(w: &mut World, rng: &mut StdRng, weather: Weather) {
    match rng.random_range(0..100) {
        0..15 => {
            w.d.deliver();
        }
        15..35 => {
            w.sets.deliver();
        }
        35..55 => {
            w.pods.deliver();
        }
        55..68 => {
            w.sync_deployment();
        }
        68..83 => {
            let names: Vec<String> = w.sets.mirror.keys().cloned().collect();
            if !names.is_empty() {
                w.sync_set(&names[rng.random_range(0..names.len())].clone());
            }
        }
        83..94 => {
            w.node_step(rng.random_range(0..1000), &healthy);
        }
        94..96 => w.clock += 1,
        96..98 if weather.failures => w.fail_pod(rng.random_range(0..1000)),
        98 if weather.scaling => {
            let replicas = rng.random_range(0..10);
            w.change(|d| d.spec.replicas = Some(replicas));
        }
        99 if weather.scaling => {
            let paused = rng.random_bool(0.3);
            w.change(|d| d.spec.paused = Some(paused));
            if paused {
                // Somebody resumes it some time.
                w.change(|d| d.spec.paused = Some(false));
            }
        }
        _ => {}
    }
}

fn seeds(count: u64, weather: Weather) {
    for seed in 0..count {
        run(seed, weather, 400).unwrap_or_else(|v| panic!("seed {seed}, {weather:?}: {v}"));
    }
}

#[test]
fn bounds_hold_in_any_order_and_it_ends() {
    seeds(400, CALM);
}

#[test]
fn it_ends_through_failures_scaling_and_pauses() {
    seeds(400, ROUGH);
}

#[test]
fn recreate_never_mixes() {
    seeds(150, RECREATE);
}

/// A rollout to a version that never becomes ready keeps the old pods; `undo` heals it.
#[test]
fn a_broken_version_keeps_the_old_pods() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let d = deployment(rng.random_range(2..8), &json!("25%"), &json!("25%"));
        let mut w = World::new(d);
        w.settle(&healthy).unwrap();
        w.rest();
        w.set_image("broken");
        let broken = |p: &Pod| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("broken");
        let stuck = w.settle(&broken).unwrap_err();
        assert!(stuck.contains("at rest"), "seed {seed}: {stuck}");
        assert!(w.violation.is_none());
        w.set_image("v1");
        w.settle(&broken).unwrap_or_else(|v| panic!("seed {seed}: undo does not heal: {v}"));
    }
}
