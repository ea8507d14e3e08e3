//! LimitRange: bounds and defaults of what one pod, container or claim may ask for (`pkg/registry/core/limitrange`).
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{LimitRange, LimitRangeItem};
use crate::kinds::resource_names::{self, ResourceList};
use crate::kinds::rules::{self, number};
use crate::names;
use crate::print::{NAME, column};
use crate::quantity::{Quantity, canonicalize_list};
use serde_json::Value;
use std::collections::BTreeSet;

pub struct LimitRanges;

/// The creation as a date that the client renders: the column of kinds whose printer prints nothing else.
pub const CREATED_AT: Column =
    Column { kind: "date", ..column("Created At", "When the object was created, by the clock of the server.") };

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["limits"],
    create_on_update: true,
    ..Descriptor::new(("", "v1"), "LimitRange", "limitranges", "limitrange", Scope::Namespaced, &[NAME, CREATED_AT])
};

impl Kind for LimitRanges {
    type Object = LimitRange;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut LimitRange) {
        for item in &mut object.spec.get_or_insert_default().limits {
            default_item(item);
        }
    }
    fn validate(object: &LimitRange) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        let path = Path::new("spec").child("limits");
        let mut types = BTreeSet::new();
        for (i, item) in object.spec.iter().flat_map(|s| &s.limits).enumerate() {
            let path = path.index(i);
            out.extend(limit_type(&item.type_, &path.child("type")));
            if !types.insert(item.type_.as_str()) {
                out.push(Error::duplicate(&path.child("type"), &item.type_));
            }
            validate_item(item, &path, &mut out);
        }
        out
    }
    fn validate_update(new: &LimitRange, _old: &LimitRange) -> Errors {
        Self::validate(new)
    }
    fn cells(object: &LimitRange, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

/// The cells for [`NAME`] and [`CREATED_AT`].
pub fn created_at_cells(meta: &crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Vec<Value> {
    let created = serde_json::to_value(&meta.creation_timestamp).unwrap_or(Value::Null);
    vec![meta.name.clone().into(), created]
}

fn default_item(item: &mut LimitRangeItem) {
    let lists =
        [&mut item.max, &mut item.min, &mut item.default, &mut item.default_request, &mut item.max_limit_request_ratio];
    for list in lists.into_iter().flatten() {
        canonicalize_list(list);
    }
    if item.type_ != "Container" {
        return;
    }
    let fill = |target: &mut Option<ResourceList>, source: &Option<ResourceList>| {
        for (name, value) in source.iter().flatten() {
            target.get_or_insert_default().entry(name.clone()).or_insert_with(|| value.clone());
        }
    };
    fill(&mut item.default, &item.max);
    let default = item.default.clone();
    fill(&mut item.default_request, &default);
    fill(&mut item.default_request, &item.min);
}

fn limit_type(value: &str, path: &Path) -> Errors {
    let out = rules::qualified_name(value, path);
    if out.is_empty() && !value.contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&value) {
        return vec![Error::invalid(path, value, "must be a standard limit type or fully qualified")];
    }
    out
}

fn validate_item(item: &LimitRangeItem, path: &Path, out: &mut Errors) {
    let mut keys = BTreeSet::new();
    let mut names_of = |list: &Option<ResourceList>, field: &str, out: &mut Errors| {
        for name in list.iter().flat_map(|l| l.keys()) {
            let path = path.child(field).key(name);
            out.extend(match item.type_.as_str() {
                "Pod" | "Container" => resource_names::validate_container_name(name, &path),
                _ => resource_names::validate_name(name, &path),
            });
            keys.insert(name.clone());
        }
    };
    names_of(&item.max, "max", out);
    names_of(&item.min, "min", out);
    if item.type_ == "Pod" {
        for (list, field) in [(&item.default, "default"), (&item.default_request, "defaultRequest")] {
            if list.as_ref().is_some_and(|l| !l.is_empty()) {
                out.push(Error::forbidden(&path.child(field), "may not be specified when `type` is 'Pod'"));
            }
        }
    } else {
        names_of(&item.default, "default", out);
        names_of(&item.default_request, "defaultRequest", out);
    }
    let storage = |list: &Option<ResourceList>| list.as_ref().is_some_and(|l| l.contains_key("storage"));
    if item.type_ == "PersistentVolumeClaim" && !storage(&item.min) && !storage(&item.max) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        out.push(Error::required(&path.child("limits"), detail));
    }
    names_of(&item.max_limit_request_ratio, "maxLimitRequestRatio", out);
    for key in &keys {
        validate_bounds(item, key, path, out);
    }
}

/// How the bounds of one resource stand to each other.
fn validate_bounds(item: &LimitRangeItem, key: &str, path: &Path, out: &mut Errors) {
    let of = |list: &Option<ResourceList>| list.as_ref().and_then(|l| l.get(key)).map(number);
    let (min, max, ratio) = (of(&item.min), of(&item.max), of(&item.max_limit_request_ratio));
    let (default, request) = match item.type_.as_str() {
        "Pod" => (None, None),
        _ => (of(&item.default), of(&item.default_request)),
    };
    // (smaller, larger, field, the value shown, words): an error when smaller > larger.
    type Bound<'a> = (&'a Option<Quantity>, &'a str, &'a Option<Quantity>, &'a str, &'a str, &'a Option<Quantity>);
    let bounds: [Bound<'_>; 6] = [
        (&min, "min value", &max, "max value", "min", &min),
        (&min, "min value", &request, "default request value", "defaultRequest", &request),
        (&request, "default request value", &max, "max value", "defaultRequest", &request),
        (&request, "default request value", &default, "default limit value", "defaultRequest", &request),
        (&min, "min value", &default, "default value", "default", &min),
        (&default, "default value", &max, "max value", "default", &max),
    ];
    for (low, low_words, high, high_words, field, shown) in bounds {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let detail = format!("{low_words} {low} is greater than {high_words} {high}");
            out.push(Error::invalid(&path.child(field).key(key), shown.to_string(), detail));
        }
    }
    if let Some(ratio) = &ratio {
        validate_ratio(ratio, min.as_ref().zip(max.as_ref()), &path.child("maxLimitRequestRatio").key(key), out);
    }
    if let (Some(default), Some(request)) = (default, request)
        && !resource_names::is_overcommit_allowed(key)
        && default != request
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        out.push(Error::invalid(&path.child("defaultRequest").key(key), request.to_string(), detail));
    }
}

fn validate_ratio(ratio: &Quantity, bounds: Option<(&Quantity, &Quantity)>, path: &Path, out: &mut Errors) {
    if ratio.milli_value() < 1000 {
        out.push(Error::invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    if let Some((min, max)) = bounds {
        let limit = max.as_f64() / min.as_f64();
        if ratio.as_f64() > limit {
            let detail = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            out.push(Error::invalid(path, ratio.to_string(), detail));
        }
    }
}
