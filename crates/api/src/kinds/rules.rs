//! Rules that the validations of many kinds share (`k8s.io/apimachinery/pkg/api/validation/generic.go` and the small
//! functions of `pkg/apis/core/validation/validation.go`), each with its message.
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use crate::k8s::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::names;
use crate::quantity::{self, Quantity};
use serde::Serialize;
use std::fmt::Display;

/// `metadata`
pub fn metadata() -> Path {
    Path::new("metadata")
}

/// An absent string and an empty one are the same to Go.
pub fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

/// An empty string that Go would not write out (`omitempty`).
pub fn drop_empty(value: &mut Option<String>) {
    if value.as_deref() == Some("") {
        *value = None;
    }
}

/// An empty list or map that Go would not write out (`omitempty`).
pub fn drop_empty_list<T>(value: &mut Option<Vec<T>>) {
    if value.as_ref().is_some_and(Vec::is_empty) {
        *value = None;
    }
}

/// An update of `metadata`, then the whole of the new object: the order of most kinds.
pub fn meta_update(new: &ObjectMeta, old: &ObjectMeta) -> Errors {
    names::validate_object_meta_update(new, old, &metadata())
}

pub fn immutable<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path) -> Errors {
    let mut out = Errors::new();
    names::meta::immutable(new, old, path, &mut out);
    out
}

pub fn non_negative(value: impl Into<i64>, path: &Path) -> Errors {
    let value = value.into();
    if value < 0 { vec![Error::invalid(path, value, "must be greater than or equal to 0")] } else { Errors::new() }
}

/// `supported` sorted, as `sets.List` prints it.
pub fn one_of<S: Display + AsRef<str>>(value: &str, supported: &[S], path: &Path) -> Errors {
    if supported.iter().any(|s| s.as_ref() == value) {
        return Errors::new();
    }
    vec![Error::not_supported(path, value, supported)]
}

pub fn required(value: &str, path: &Path) -> Errors {
    if value.is_empty() { vec![Error::required(path, "")] } else { Errors::new() }
}

pub fn dns_label(value: &str, path: &Path) -> Errors {
    invalid_each(path, value, names::dns1123_label(value, false))
}

pub fn dns_subdomain(value: &str, path: &Path) -> Errors {
    invalid_each(path, value, names::dns1123_subdomain(value, false))
}

pub fn qualified_name(value: &str, path: &Path) -> Errors {
    invalid_each(path, value, names::qualified_name(value))
}

pub fn port_number(value: i32, path: &Path) -> Errors {
    invalid_each(path, value, names::port_number(i64::from(value)))
}

/// `ValidatePortNumOrName`
pub fn port_number_or_name(value: &IntOrString, path: &Path) -> Errors {
    match value {
        IntOrString::Int(number) => port_number(*number, path),
        IntOrString::String(name) => invalid_each(path, name, names::port_name(name)),
    }
}

/// `ValidatePositiveIntOrPercent`: zero is welcome.
pub fn int_or_percent(value: &IntOrString, path: &Path) -> Errors {
    match value {
        IntOrString::Int(number) => non_negative(*number, path),
        IntOrString::String(percent) => invalid_each(path, percent, names::percent(percent)),
    }
}

/// `IsNotMoreThan100Percent`
pub fn at_most_100_percent(value: &IntOrString, path: &Path) -> Errors {
    let percent = match value {
        IntOrString::String(text) => text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()),
        IntOrString::Int(_) => None,
    };
    if percent.is_some_and(|p| p > 100) {
        return vec![Error::invalid(path, value, "must not be greater than 100%")];
    }
    Errors::new()
}

/// The number that a quantity's text says. What cannot be read was refused at decoding.
pub fn number(value: &Text) -> Quantity {
    quantity::parse(value).unwrap_or(Quantity::ZERO)
}

pub fn non_negative_quantity(value: &Text, path: &Path) -> Errors {
    if number(value).sign() < 0 {
        return vec![Error::invalid(path, &value.0, "must be greater than or equal to 0")];
    }
    Errors::new()
}

pub fn positive_quantity(value: &Text, path: &Path) -> Errors {
    if number(value).sign() <= 0 {
        return vec![Error::invalid(path, &value.0, "must be greater than zero")];
    }
    Errors::new()
}

/// `validateBasicResource`
pub fn basic_resource(value: &Text, path: &Path) -> Errors {
    let value = number(value).value();
    if value < 0 { vec![Error::invalid(path, value, "must be a valid resource quantity")] } else { Errors::new() }
}

/// `ValidateConditions`: the conditions of newer kinds.
pub fn conditions(conditions: &[Condition], path: &Path) -> Errors {
    let mut out = Errors::new();
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        if seen.iter().any(|(t, _)| *t == condition.type_) {
            out.push(Error::duplicate(&path.index(i).child("type"), &condition.type_));
        } else {
            seen.push((&condition.type_, i));
        }
        condition_rules(condition, &path.index(i), &mut out);
    }
    out
}

fn condition_rules(condition: &Condition, path: &Path, out: &mut Errors) {
    out.extend(qualified_name(&condition.type_, &path.child("type")));
    if !["True", "False", "Unknown"].contains(&condition.status.as_str()) {
        out.push(Error::not_supported(&path.child("status"), &condition.status, &["False", "True", "Unknown"]));
    }
    if let Some(generation) = condition.observed_generation {
        out.extend(non_negative(generation, &path.child("observedGeneration")));
    }
    if condition.last_transition_time.0 == jiff::Timestamp::UNIX_EPOCH {
        out.push(Error::required(&path.child("lastTransitionTime"), "must be set"));
    }
    let reason = &condition.reason;
    if reason.is_empty() {
        out.push(Error::required(&path.child("reason"), "must be set"));
    } else {
        out.extend(invalid_each(&path.child("reason"), reason, condition_reason(reason)));
        if reason.len() > 1024 {
            out.push(Error::too_long(&path.child("reason"), 1024));
        }
    }
    if condition.message.len() > 32 << 10 {
        out.push(Error::too_long(&path.child("message"), 32 << 10));
    }
}

fn condition_reason(reason: &str) -> Vec<String> {
    let letter = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphabetic);
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = reason.as_bytes();
    let inner = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'));
    if letter(bytes.first()) && inner && edge(bytes.last()) {
        return Vec::new();
    }
    vec![
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
         'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
         '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
            .to_owned(),
    ]
}
