//! Whatever a body says, a kind answers: no panic in defaulting, preparing, validating, warning or printing, and defaulting
//! twice is defaulting once (it runs on every decode).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::type_complexity,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and is handed literals"
)]
use isopod_api::catalogue::{KindOps, Object, PrintContext};
use isopod_api::kinds;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Bodies that a real API server was sent and made, to start from.
fn bodies() -> Vec<(&'static dyn KindOps, Value)> {
    let defaults = include_str!("fixtures/defaults.jsonl").lines();
    let errors = include_str!("fixtures/errors.jsonl").lines();
    let mut out = Vec::new();
    for line in defaults.chain(errors) {
        let line: Value = serde_json::from_str(line).expect("a fixture line is JSON");
        for body in [&line["sent"], &line["created"], &line["body"]] {
            let kind = kinds::all().into_iter().find(|k| {
                let d = k.descriptor();
                body["kind"] == d.kind && body["apiVersion"] == d.api_version()
            });
            out.extend(kind.map(|k| (k, body.clone())));
        }
    }
    // Every kind at least once, with nothing said.
    for kind in kinds::all() {
        let d = kind.descriptor();
        out.push((kind, json!({ "apiVersion": d.api_version(), "kind": d.kind, "metadata": { "name": "x" } })));
    }
    out
}

/// The places of a value, deepest first.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                places(value, &format!("{at}/{i}"), out);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        out.push(at.to_owned());
    }
}

/// Small values that are wrong in many ways, and of the right type often enough to be decoded.
fn odd() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(String::new()),
        "[ -~]{0,12}",
        "\\PC{0,8}",
        Just("-1".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("1e400".to_owned()),
        Just("10.0.0.0/08".to_owned()),
        Just("::ffff:1.2.3.4".to_owned()),
        Just("2026-01-01T00:00:00Z".to_owned()),
        Just("x".repeat(300)),
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-1), Just(0), any::<i32>().prop_map(i64::from)]
            .prop_map(Value::from),
        text.prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{}])),
    ]
}

fn exercise(kind: &dyn KindOps, body: Value, second: Value) {
    let Ok(mut object) = kind.decode(body) else { return };
    kind.default(object.as_mut());
    let once = object.to_value();
    kind.default(object.as_mut());
    assert_eq!(once, object.to_value(), "defaulting twice differs");
    kind.prepare_create(object.as_mut());
    if ask(kind, object.as_ref(), None) {
        let stored = object.to_value();
        let mut again = kind.decode(stored.clone()).expect("what is stored can be read");
        kind.default(again.as_mut());
        assert_eq!(again.to_value(), stored, "defaulting what was stored changes it");
    }
    let Ok(mut new) = kind.decode(second) else { return };
    kind.default(new.as_mut());
    let mut status = new.boxed_clone();
    kind.prepare_update(new.as_mut(), object.as_ref());
    ask(kind, new.as_ref(), Some(object.as_ref()));
    kind.prepare_status_update(status.as_mut(), object.as_ref());
    kind.validate_status_update(status.as_ref(), object.as_ref());
}

/// True when nothing is wrong with the object.
fn ask(kind: &dyn KindOps, object: &dyn Object, old: Option<&dyn Object>) -> bool {
    let faults = match old {
        None => kind.validate(object),
        Some(old) => kind.validate_update(object, old),
    };
    kind.warnings(object, old);
    kind.fields(object);
    kind.deletion(object, Some(-1));
    let cells = kind.cells(object, &PrintContext { now: jiff::Timestamp::UNIX_EPOCH });
    assert_eq!(cells.len(), kind.descriptor().columns.len());
    let stored = kind.to_storage(object.to_value());
    kind.from_storage(stored);
    faults.is_empty()
}

static BODIES: std::sync::OnceLock<Vec<(&'static dyn KindOps, Value)>> = std::sync::OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn is_answered(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd()), 0..4),
        later in prop::collection::vec((any::<prop::sample::Index>(), odd()), 0..3),
    ) {
        let all: &[(&'static dyn KindOps, Value)] = BODIES.get_or_init(bodies);
        let (kind, body) = &all[pick.index(all.len())];
        let change = |body: &Value, changes: Vec<(prop::sample::Index, Value)>| {
            let mut body = body.clone();
            for (at, value) in changes {
                let mut at_all = Vec::new();
                places(&body, "", &mut at_all);
                if at_all.is_empty() {
                    continue;
                }
                if let Some(place) = body.pointer_mut(&at_all[at.index(at_all.len())]) {
                    *place = value;
                }
            }
            body
        };
        let first = change(body, changes);
        let second = change(&first, later);
        exercise(*kind, first, second);
    }
}
