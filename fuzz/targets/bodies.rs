//! Bodies of requests: JSON, YAML and protobuf, into typed objects of every kind, through defaulting and validation.
#![no_main]
use isopod_api::decode::{Expected, Format, decode};
use isopod_api::schema::builtin;
use isopod_api::{kinds, protobuf, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let all = kinds::all();
    let kind = all[usize::from(*choice >> 1) % all.len()];
    let d = kind.descriptor();
    let Some(ty) = builtin().kind(d.group, d.version, d.kind) else { return };
    let known = |group: &str, version: &str, kind: &str| builtin().kind(group, version, kind).is_some();
    let expected =
        Expected { group: d.group, version: d.version, kind: d.kind, ty, custom: false, registered: &known };
    let format = if choice & 1 == 0 { Format::Json } else { Format::Yaml };
    if let Ok(value) = protobuf::decode(body) {
        assert!(value.is_object());
    }
    if let Ok(documents) = yaml::parse_all(body) {
        drop(documents);
    }
    let Ok(decoded) = decode(body, format, expected) else { return };
    let Ok(mut object) = kind.decode(decoded.value) else { return };
    kind.default(object.as_mut());
    kind.prepare_create(object.as_mut());
    // What is valid can be read again and is the same.
    if kind.validate(object.as_ref()).is_empty() {
        let text = object.to_json();
        let mut again = kind.decode_json(&text).expect("what was written can be read");
        kind.default(again.as_mut());
        assert_eq!(text, again.to_json(), "defaulting is idempotent");
    }
});
