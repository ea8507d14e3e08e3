//! Secret: bytes for pods that are kept from sight (`pkg/registry/core/secret/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::ByteString;
use crate::k8s::api::core::v1::Secret;
use crate::kinds::config_map::MAX_BYTES;
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct Secrets;

static DESCRIPTOR: Descriptor = Descriptor::new(
    ("", "v1"),
    "Secret",
    "secrets",
    "secret",
    Scope::Namespaced,
    &[NAME, column("Type", "What sort of secret it is."), column("Data", "How many entries it holds."), AGE],
);

impl Kind for Secrets {
    type Object = Secret;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    /// `stringData` is for writing only: it overrides `data` (`Convert_v1_Secret_To_core_Secret`).
    fn default(object: &mut Secret) {
        for (key, value) in object.string_data.take().into_iter().flatten() {
            object.data.get_or_insert_default().insert(key, ByteString(value.into_bytes()));
        }
        if object.data.as_ref().is_some_and(|d| d.is_empty()) {
            object.data = None;
        }
        if text(&object.type_).is_empty() {
            object.type_ = Some("Opaque".into());
        }
    }
    fn validate(object: &Secret) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        let data = Path::new("data");
        let mut size = 0usize;
        for (key, value) in object.data.iter().flatten() {
            out.extend(invalid_each(&data.key(key), key, names::config_map_key(key)));
            size = size.saturating_add(value.0.len());
        }
        if size > MAX_BYTES {
            out.push(Error::too_long(&data, MAX_BYTES));
        }
        validate_type(object, &data, &mut out);
        out
    }
    fn validate_update(new: &Secret, old: &Secret) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        out.extend(rules::immutable(&new.type_, &old.type_, &Path::new("type")));
        if old.immutable == Some(true) {
            let mut frozen = |same: bool, field: &str| {
                if !same {
                    out.push(Error::forbidden(&Path::new(field), "field is immutable when `immutable` is set"));
                }
            };
            frozen(new.immutable == Some(true), "immutable");
            frozen(new.data == old.data, "data");
        }
        out.extend(Self::validate(new));
        out
    }
    fn warnings(new: &Secret, _old: Option<&Secret>) -> Vec<String> {
        tls_warning(new).into_iter().collect()
    }
    fn fields(object: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", text(&object.type_).to_owned())]
    }
    fn cells(object: &Secret, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            text(&object.type_).into(),
            object.data.as_ref().map_or(0, |d| d.len()).to_string().into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate_type(object: &Secret, data: &Path, out: &mut Errors) {
    let value = |key: &str| object.data.as_ref().and_then(|d| d.get(key));
    let mut require = |keys: &[&str]| {
        for key in keys {
            out.push(Error::required(&data.key(key), ""));
        }
    };
    match text(&object.type_) {
        "kubernetes.io/service-account-token" => {
            let name = object.metadata.annotations.as_ref().and_then(|a| a.get("kubernetes.io/service-account.name"));
            if name.is_none_or(|n| n.is_empty()) {
                let path = rules::metadata().child("annotations").key("kubernetes.io/service-account.name");
                out.push(Error::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => docker_config(value(".dockercfg"), &data.key(".dockercfg"), out),
        "kubernetes.io/dockerconfigjson" => {
            docker_config(value(".dockerconfigjson"), &data.key(".dockerconfigjson"), out);
        }
        "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(|v| v.0.is_empty()) => {
            require(&["ssh-privatekey"]);
        }
        "kubernetes.io/tls" => {
            require(&["tls.crt", "tls.key"].into_iter().filter(|k| value(k).is_none()).collect::<Vec<_>>());
        }
        _ => {}
    }
}

fn docker_config(value: Option<&ByteString>, path: &Path, out: &mut Errors) {
    let Some(value) = value else {
        out.push(Error::required(path, ""));
        return;
    };
    if let Some(fault) = json_object_fault(&value.0) {
        out.push(Error::invalid(path, "<secret contents redacted>", fault));
    }
}

/// Why these bytes are no JSON object, as `encoding/json` says it.
fn json_object_fault(bytes: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(e) if e.is_eof() => return Some("unexpected end of JSON input".into()),
        Err(e) => {
            let at = e.column().saturating_sub(1);
            let line = bytes.split(|b| *b == b'\n').nth(e.line().saturating_sub(1)).unwrap_or_default();
            let found = line.get(at).map_or('?', |b| char::from(*b));
            let place = if bytes.trim_ascii_start().first() == Some(&b'{') { "object key string" } else { "value" };
            return Some(format!("invalid character '{found}' looking for beginning of {place}"));
        }
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

/// `warningsForSecret`: a TLS secret whose parts are no PEM. (Kubernetes parses the pair; here only its shape is looked at.)
fn tls_warning(secret: &Secret) -> Option<String> {
    if text(&secret.type_) != "kubernetes.io/tls" {
        return None;
    }
    let part = |key: &str| secret.data.as_ref().and_then(|d| d.get(key)).map(|v| String::from_utf8_lossy(&v.0));
    let (certificate, key) = (part("tls.crt")?, part("tls.key")?);
    if !certificate.contains("-----BEGIN CERTIFICATE-----") {
        return Some("tls: failed to find any PEM data in certificate input".into());
    }
    (!key.contains("PRIVATE KEY-----")).then(|| "tls: failed to find any PEM data in key input".into())
}
