//! Bodies of requests: JSON, YAML and protobuf, into typed objects of every kind, through defaulting and validation. The input is a
//! kind's name (any other line: the first byte chooses), a line break, the body; a body that does not begin with a brace is YAML.
#![no_main]
use isopod_api::decode::{Expected, Format, decode};
use isopod_api::schema::builtin;
use isopod_api::{kinds, protobuf, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (name, body) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    let all = kinds::all();
    let named = all.iter().find(|k| k.descriptor().kind.as_bytes() == name);
    let chosen = usize::from(name.first().copied().unwrap_or_default()) % all.len();
    let kind = *named.unwrap_or(&all[chosen]);
    let d = kind.descriptor();
    let Some(ty) = builtin().kind(d.group, d.version, d.kind) else { return };
    let known = |group: &str, version: &str, kind: &str| builtin().kind(group, version, kind).is_some();
    let expected =
        Expected { group: d.group, version: d.version, kind: d.kind, ty, custom: false, registered: &known };
    let format = if body.first() == Some(&b'{') { Format::Json } else { Format::Yaml };
    if let Ok(value) = protobuf::decode(body) {
        assert!(value.is_object());
    }
    if let Ok(documents) = yaml::parse_all(body) {
        drop(documents);
    }
    let Ok(decoded) = decode(body, format, expected) else { return };
    let Ok(mut object) = kind.decode(decoded.value) else { return };
    kind.default(object.as_mut());
    // A status that cannot be is refused, not believed.
    drop(kind.validate_status_update(object.as_ref(), object.as_ref()));
    drop(kind.validate_update(object.as_ref(), object.as_ref()));
    kind.prepare_create(object.as_mut());
    drop(kind.warnings(object.as_ref(), None));
    // What is valid can be read again and is the same.
    if kind.validate(object.as_ref()).is_empty() {
        let text = object.to_json();
        let mut again = kind.decode_json(&text).expect("what was written can be read");
        kind.default(again.as_mut());
        assert_eq!(text, again.to_json(), "defaulting is idempotent");
        let cells = kind.cells(object.as_ref(), &isopod_api::catalogue::PrintContext { now: Default::default() });
        assert_eq!(cells.len(), d.columns.len(), "a cell a column");
    }
});
