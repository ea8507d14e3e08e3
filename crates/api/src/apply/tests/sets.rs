//! Sets of fields and their JSON.
#![expect(clippy::needless_pass_by_value, reason = "cases read better as literals")]
use crate::apply::{Element, FieldSet, decode_fields, encode_fields};
use serde_json::{Value, json};

fn set(json: Value) -> FieldSet {
    decode_fields(&json).unwrap()
}

#[test]
fn json_goes_in_and_out() {
    let canonical = [
        json!({}),
        json!({"f:spec": {"f:replicas": {}}}),
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:a.b/c": {}}}}),
        json!({"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}}),
        json!({"f:finalizers": {".": {}, "v:\"a\\u003cb\"": {}, "v:1": {}, "v:true": {}}}),
        json!({"f:list": {"i:0": {}, "i:10": {"f:x": {}}}}),
    ];
    for json in canonical {
        assert_eq!(encode_fields(&set(json.clone())), json);
    }
    // What a later version may know is dropped; numbers are the same whatever they look like; keys are sorted.
    assert_eq!(set(json!({"f:a": {}, "q:new": {"f:b": {}}})), set(json!({"f:a": {}})));
    assert_eq!(set(json!({"k:{\"b\":1.0,\"a\": \"x\"}": {}})), set(json!({"k:{\"a\":\"x\",\"b\":1}": {}})));
    assert_eq!(encode_fields(&set(json!({"k:{\"b\":1.0,\"a\": \"x\"}": {}}))), json!({"k:{\"a\":\"x\",\"b\":1}": {}}));
    for bad in [
        json!([]),
        json!({"f": {}}),
        json!({"fx": {}}),
        json!({"v:{": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 1}),
        json!({"k:[]": {}}),
    ] {
        assert!(decode_fields(&bad).is_err(), "{bad}");
    }
}

#[test]
fn elements_are_ordered_and_printed() {
    let key = |n: i64| Element::key(vec![("port".into(), json!(n)), ("name".into(), json!("x"))]);
    let mut all = [
        Element::Index(1),
        Element::Value(json!("s")),
        Element::Value(json!(2)),
        key(443),
        key(80),
        Element::field("z"),
    ];
    all.sort();
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(text, [".z", r#"[name="x",port=80]"#, r#"[name="x",port=443]"#, "[=2]", r#"[="s"]"#, "[1]"]);
}

#[test]
fn parents_and_children_are_apart() {
    let a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {"f:e": {}}}));
    let b = set(json!({"f:a": {"f:b": {}}, "f:c": {"f:x": {}}, "f:d": {}}));
    assert_eq!(
        a.union(&b),
        set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {".": {}, "f:x": {}}, "f:d": {".": {}, "f:e": {}}}))
    );
    assert_eq!(a.intersection(&b), set(json!({"f:a": {"f:b": {}}})));
    assert_eq!(a.difference(&b), set(json!({"f:a": {}, "f:c": {}, "f:d": {"f:e": {}}})));
    assert_eq!(a.recursive_difference(&b), set(json!({"f:a": {}, "f:c": {}})));
    assert_eq!(a.leaves(), set(json!({"f:a": {"f:b": {}}, "f:c": {}, "f:d": {"f:e": {}}})));
    assert_eq!((a.len(), a.leaves().len(), FieldSet::new().len()), (4, 3, 0));
    assert!(a.intersects(&b) && !a.intersects(&set(json!({"f:a": {"f:c": {}}, "f:d": {}}))));
    assert!(a.has(&[Element::field("d"), Element::field("e")]) && !a.has(&[Element::field("d")]) && !a.has(&[]));
    assert_eq!(a.paths(), [".a", ".c", ".a.b", ".d.e"]);
}
