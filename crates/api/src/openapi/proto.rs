//! The second version's document in gnostic's protobuf (`openapiv2/OpenAPIv2.proto`), made from its JSON form.
//!
//! Only what our documents contain is encoded; the numbers are those of the proto file.
use serde_json::{Map, Value};

#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }
    fn texts(&mut self, field: u64, values: &Value) {
        for text in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }
    fn flag(&mut self, field: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }
    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
    /// `Any { yaml = 2 }`: JSON is YAML.
    fn any(&mut self, field: u64, value: &Value) {
        let mut any = Self::default();
        any.bytes(2, value.to_string().as_bytes());
        self.message(field, &any);
    }
    /// A map as gnostic has it: `{name = 1, value = 2}` repeated.
    fn named<'a>(&mut self, field: u64, entries: impl Iterator<Item = (&'a String, Self)>) {
        for (name, value) in entries {
            let mut entry = Self::default();
            entry.bytes(1, name.as_bytes());
            entry.message(2, &value);
            self.message(field, &entry);
        }
    }
    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in members(value).filter(|(name, _)| name.starts_with("x-")) {
            let mut entry = Self::default();
            entry.bytes(1, name.as_bytes());
            entry.any(2, value);
            self.message(field, &entry);
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    paths.named(2, members(&document["paths"]).map(|(path, item)| (path, path_item(item))));
    out.message(8, &paths);
    let mut definitions = Message::default();
    definitions.named(1, members(&document["definitions"]).map(|(name, s)| (name, schema(s))));
    out.message(9, &definitions);
    for requirement in document["security"].as_array().into_iter().flatten() {
        let mut security = Message::default();
        security.named(
            1,
            members(requirement).map(|(name, scopes)| {
                let mut list = Message::default();
                list.texts(1, scopes);
                (name, list)
            }),
        );
        out.message(12, &security);
    }
    let mut security = Message::default();
    security.named(1, members(&document["securityDefinitions"]).map(|(name, s)| (name, api_key(s))));
    out.message(13, &security);
    out.0
}

/// SecurityDefinitionsItem { api_key_security = 2 }
fn api_key(value: &Value) -> Message {
    let mut key = Message::default();
    key.text(1, &value["type"]);
    key.text(2, &value["name"]);
    key.text(3, &value["in"]);
    key.text(4, &value["description"]);
    let mut out = Message::default();
    out.message(2, &key);
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (name, number) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if item[name].is_object() {
            out.message(number, &operation(&item[name]));
        }
    }
    for p in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, &parameter(p));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    for p in value["parameters"].as_array().into_iter().flatten() {
        out.message(8, &parameter(p));
    }
    let mut responses = Message::default();
    responses.named(1, members(&value["responses"]).map(|(code, r)| (code, response(r))));
    out.message(9, &responses);
    out.texts(10, &value["schemes"]);
    out.extensions(13, value);
    out
}

/// ParametersItem { parameter = 1 } of Parameter { body_parameter = 1, non_body_parameter = 2 } of { query = 3, path = 4 }
fn parameter(value: &Value) -> Message {
    let mut inner = Message::default();
    let mut parameter = Message::default();
    if value["in"] == "body" {
        inner.text(2, &value["name"]);
        inner.text(3, &value["in"]);
        inner.flag(4, &value["required"]);
        inner.message(5, &schema(&value["schema"]));
        parameter.message(1, &inner);
    } else {
        inner.flag(1, &value["required"]);
        inner.text(2, &value["in"]);
        inner.text(3, &value["description"]);
        inner.text(4, &value["name"]);
        // Path parameters have no allowEmptyValue: their numbers are one less from here on.
        let (number, kind) = if value["in"] == "path" { (4, 5) } else { (3, 6) };
        inner.text(kind, &value["type"]);
        let mut non_body = Message::default();
        non_body.message(number, &inner);
        parameter.message(2, &non_body);
    }
    let mut out = Message::default();
    out.message(1, &parameter);
    out
}

/// ResponseValue { response = 1 } of Response { description = 1, schema = 2 } of SchemaItem { schema = 1 }
fn response(value: &Value) -> Message {
    let mut inner = Message::default();
    inner.text(1, &value["description"]);
    if value["schema"].is_object() {
        let mut item = Message::default();
        item.message(1, &schema(&value["schema"]));
        inner.message(2, &item);
    }
    let mut out = Message::default();
    out.message(1, &inner);
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    if let Some(default) = value.get("default") {
        out.any(5, default);
    }
    out.texts(19, &value["required"]);
    if value["additionalProperties"].is_object() {
        let mut item = Message::default();
        item.message(1, &schema(&value["additionalProperties"]));
        out.message(21, &item);
    }
    if value["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &value["type"]);
        out.message(22, &kind);
    }
    if value["items"].is_object() {
        let mut items = Message::default();
        items.message(1, &schema(&value["items"]));
        out.message(23, &items);
    }
    if value["properties"].is_object() {
        let mut properties = Message::default();
        properties.named(1, members(&value["properties"]).map(|(name, s)| (name, schema(s))));
        out.message(25, &properties);
    }
    out.extensions(31, value);
    out
}
