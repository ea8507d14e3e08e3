//! Laws that hold whatever the objects are.
use super::{Server, without_nulls};
use crate::apply::to_set::with_named_fields;
use crate::apply::{FieldSet, Force, decode_fields, encode_fields, to_field_set, update};
use crate::schema;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Fields of a Pod with maps, lists by key, sets, and atomic values. No empty maps: giving up the last member leaves null, not an empty map.
fn any_config() -> impl Strategy<Value = Value> {
    let map = |keys: &'static str| prop::collection::btree_map(keys, "[xyz]", 1..3);
    let env = prop::collection::btree_map("[AB]", "[xy]", 0..3)
        .prop_map(|env| env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>());
    let ports = prop::collection::btree_map(80_i32..82, prop::option::of("[pq]"), 0..3).prop_map(|ports| {
        let port = |(port, name): (i32, Option<String>)| match name {
            Some(name) => json!({"containerPort": port, "name": name}),
            None => json!({"containerPort": port, "protocol": "UDP"}),
        };
        ports.into_iter().map(port).collect::<Vec<_>>()
    });
    let container = (prop::option::of("[ij]"), prop::option::of(env), prop::option::of(ports), prop::option::of(map("[r]")))
        .prop_map(|(image, env, ports, limits)| json!({"image": image, "env": env, "ports": ports, "resources": limits.map(|limits| json!({"limits": limits}))}));
    let containers = prop::collection::btree_map("[abc]", container, 0..3).prop_map(|all| {
        let named = |(name, mut container): (String, Value)| {
            container["name"] = json!(name);
            container
        };
        all.into_iter().map(named).rev().collect::<Vec<_>>()
    });
    (
        prop::option::of(map("[kl]")),
        prop::option::of(prop::collection::btree_set("[fgh]", 1..3)),
        prop::option::of(containers),
        prop::option::of(map("[st]")),
        prop::option::of(0_i32..3),
    )
        .prop_map(|(labels, finalizers, containers, selector, seconds)| {
            let mut out = json!({
                "metadata": {"labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers, "nodeSelector": selector, "activeDeadlineSeconds": seconds},
            });
            without_nulls(&mut out);
            out
        })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "containers",
        "name",
        "env",
        "finalizers",
        "ports",
        "containerPort",
        "labels",
        "managedFields",
        "fieldsV1",
        "f:a",
        "k:{\"name\":\"a\"}",
        "v:1",
        ".",
        "manager",
        "operation",
        "apiVersion",
        "kind",
        "annotations",
        "status",
        "conditions",
        "uid",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_set() -> impl Strategy<Value = FieldSet> {
    any_config().prop_map(|config| to_field_set(&config, schema::builtin().kind("", "v1", "Pod").unwrap()))
}

/// The leaves of a Pod. Structs that every Pod has are nobody's, and there whether JSON says so or not.
fn leaves(object: &Value) -> FieldSet {
    let always = [&["metadata"][..], &["spec"][..]];
    to_field_set(object, schema::builtin().kind("", "v1", "Pod").unwrap())
        .leaves()
        .difference(&FieldSet::from_fields(&always))
}

fn pod() -> Server {
    Server::new("v1", "Pod")
}

proptest! {
    #[test]
    fn json_round_trips(set in any_set()) {
        prop_assert_eq!(decode_fields(&encode_fields(&set)).unwrap(), set);
    }

    #[test]
    fn sets_obey_the_laws(a in any_set(), b in any_set(), c in any_set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.intersects(&b), !a.intersection(&b).is_empty());
        prop_assert_eq!(a.difference(&a), FieldSet::new());
        prop_assert_eq!(a.paths().len(), a.len());
    }

    #[test]
    fn apply_is_idempotent(first in any_config(), then in any_config()) {
        let mut s = pod();
        s.force("one", first);
        s.force("two", then.clone());
        let before = s.live.clone();
        let again = s.try_apply("two", then, Force::No).unwrap();
        prop_assert!(!again.changed);
        prop_assert_eq!(&s.live, &before);
    }

    #[test]
    fn what_is_applied_is_there_and_owned(first in any_config(), then in any_config()) {
        let mut s = pod();
        s.force("one", first);
        s.force("two", then.clone());
        let ty = schema::builtin().kind("", "v1", "Pod").unwrap();
        let missing = leaves(&then).difference(&with_named_fields(&to_field_set(&s.fields(), ty), ty.into()));
        prop_assert!(missing.is_empty(), "{:?}", missing.paths());
    }

    #[test]
    fn an_empty_apply_gives_all_back(first in any_config(), then in any_config()) {
        let mut s = pod();
        s.force("one", first);
        // Else all there is belongs to before-first-apply from now on.
        prop_assume!(!s.managers().is_empty());
        let before = s.fields();
        let managers = s.managers();
        if s.try_apply("two", then, Force::No).is_ok() {
            s.apply("two", json!({}));
            prop_assert_eq!(s.managers(), managers);
            prop_assert_eq!(leaves(&s.fields()), leaves(&before));
        }
    }

    #[test]
    fn appliers_that_agree_commute(a in any_config(), b in any_config()) {
        let (mut ab, mut ba) = (pod(), pod());
        ab.force("one", a.clone());
        if ab.try_apply("two", b.clone(), Force::No).is_ok() {
            ba.force("two", b);
            prop_assert!(ba.try_apply("one", a, Force::No).is_ok());
            prop_assert_eq!(leaves(&ab.fields()), leaves(&ba.fields()));
        }
    }

    #[test]
    fn an_update_owns_all_it_made(a in any_config(), b in any_config()) {
        let mut s = pod();
        s.update("one", a);
        // An object that nobody owns anything of is not tracked.
        prop_assume!(!s.managers().is_empty());
        s.update("two", b.clone());
        let mut owned = FieldSet::new();
        for entry in s.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().into_iter().flatten() {
            owned = owned.union(&decode_fields(&entry["fieldsV1"]).unwrap());
        }
        let unowned = leaves(&b).difference(&owned);
        prop_assert!(unowned.is_empty(), "{:?}", unowned.paths());
    }

    #[test]
    fn repeated_updates_own_as_one(configs in prop::collection::vec((prop::sample::select(vec!["one", "two"]), any_config()), 1..6)) {
        let mut s = pod();
        let mut owners: std::collections::BTreeMap<&str, FieldSet> = std::collections::BTreeMap::new();
        let mut before = json!({});
        for (manager, config) in configs {
            let untracked = s.live.is_some() && s.managers().is_empty();
            s.update(manager, config.clone());
            if untracked {
                return Ok(());
            }
            // The law itself: what changed is the writer's, what went is nobody's.
            let ty = schema::builtin().kind("", "v1", "Pod").unwrap();
            let change = crate::apply::compare(&before, &config, ty).unwrap();
            let changed = crate::apply::strip(&change.modified.union(&change.added));
            for set in owners.values_mut() {
                *set = set.difference(&changed).difference(&change.removed);
            }
            let own = owners.entry(manager).or_default();
            *own = own.union(&changed);
            owners.retain(|_, set| !set.is_empty());
            before = config;
            let mut found = std::collections::BTreeMap::new();
            for entry in s.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().into_iter().flatten() {
                let name = if entry["manager"] == "one" { "one" } else { "two" };
                found.insert(name, decode_fields(&entry["fieldsV1"]).unwrap());
            }
            prop_assert_eq!(&found, &owners);
        }
    }

    #[test]
    fn nothing_panics(live in any_json(), new in any_json(), config in any_json()) {
        let mut s = pod();
        for live in [None, Some(live)] {
            s.live = live.clone();
            let mut object = new.clone();
            let reset = FieldSet::new();
            update(&s.request("m", "", &reset), live.as_ref(), &mut object);
            let mut config = config.clone();
            if let Some(map) = config.as_object_mut() {
                map.insert("apiVersion".into(), json!("v1"));
                map.insert("kind".into(), json!("Pod"));
            }
            for force in [Force::No, Force::Yes] {
                let _ = crate::apply::apply(&s.request("kubectl", "", &reset), live.as_ref(), &config, force);
            }
        }
    }
}
