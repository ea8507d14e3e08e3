//! What a pod may learn of itself through files: its metadata, and the resources of its containers
//! (`pkg/fieldpath`, `pkg/api/v1/resource/helpers.go`).
use isopod_api::gofmt;
use isopod_api::quantity::{self, Quantity};
use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// What the node has to give to pods.
pub(crate) type Allocatable = BTreeMap<String, Text>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("container {0} not found")]
    NoContainer(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
    #[error("{0:?} is not a quantity")]
    NotAQuantity(String),
}

/// The content of one file.
pub(crate) fn file(item: &DownwardAPIVolumeFile, pod: &Pod, allocatable: &Allocatable) -> Result<String, Error> {
    if let Some(field) = &item.field_ref {
        return metadata(pod, &field.field_path);
    }
    match &item.resource_field_ref {
        Some(wanted) => resource(pod, wanted, allocatable),
        None => Ok(String::new()),
    }
}

/// `ExtractFieldPathAsString`, of what volumes may show.
pub(crate) fn metadata(pod: &Pod, path: &str) -> Result<String, Error> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| Ok(value.clone().unwrap_or_default());
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match map {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(Error::FieldPath(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => Ok(lines(meta.labels.as_ref())),
        "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
        _ => Err(Error::FieldPath(path.to_owned())),
    }
}

/// `FormatMap`: `key="value"` a line, in order of the keys, no newline at the end.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", gofmt::quote(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// `ExtractContainerResourceValue`: in units of the divisor, rounded up. A limit that is not set is all that the node has to give.
pub(crate) fn resource(pod: &Pod, wanted: &ResourceFieldSelector, allocatable: &Allocatable) -> Result<String, Error> {
    let name = wanted.container_name.clone().unwrap_or_default();
    let container = container(pod, &name).ok_or(Error::NoContainer(name))?;
    let unsupported = || Error::Resource(wanted.resource.clone());
    let (side, resource) = wanted.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let resources = container.resources.clone().unwrap_or_default();
    let amount = match side {
        "limits" => {
            let limit = resources.limits.as_ref().and_then(|l| l.get(resource)).cloned();
            limit.or_else(|| allocatable.get(resource).cloned())
        }
        "requests" => resources.requests.as_ref().and_then(|r| r.get(resource)).cloned(),
        _ => return Err(unsupported()),
    };
    let number = |text: &Text| quantity::parse(text).map_err(|_| Error::NotAQuantity(text.0.clone()));
    let amount = amount.as_ref().map(number).transpose()?;
    let divisor = wanted.divisor.as_ref().map(number).transpose()?;
    let of = |q: &Quantity| if resource == "cpu" { q.milli_value() } else { q.value() };
    let one = if resource == "cpu" { 1000 } else { 1 };
    let divisor = divisor.as_ref().map(of).filter(|d| *d > 0).unwrap_or(one);
    let amount = amount.as_ref().map_or(0, of);
    let up = i64::from(amount.checked_rem(divisor).is_some_and(|rest| rest > 0));
    Ok(amount.checked_div(divisor).unwrap_or_default().saturating_add(up).to_string())
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "1"},
                "annotations": {"x/y": "say \"hi\"\nbye"}},
            "spec": {"containers": [{"name": "c", "resources": {
                "requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "100M"}}}]}}))
        .unwrap()
    }

    #[test]
    fn shows_what_kubelet_shows() {
        let allocatable: Allocatable = [("cpu".to_owned(), Text("2".into()))].into();
        let field = |path: &str| json!({"path": "f", "fieldRef": {"fieldPath": path}});
        let resource = |name: &str, divisor: &str| json!({"path": "f", "resourceFieldRef": {"containerName": "c", "resource": name, "divisor": divisor}});
        let cases: [(Value, &str); 14] = [
            (field("metadata.name"), "p"),
            (field("metadata.namespace"), "ns"),
            (field("metadata.uid"), "u"),
            (field("metadata.labels"), "a=\"1\"\nb=\"2\""),
            (field("metadata.annotations"), "x/y=\"say \\\"hi\\\"\\nbye\""),
            (field("metadata.annotations['x/y']"), "say \"hi\"\nbye"),
            (field("metadata.labels['none']"), ""),
            (resource("requests.cpu", "0"), "1"),
            (resource("requests.cpu", "1m"), "250"),
            (resource("limits.cpu", "1"), "2"),
            (resource("limits.memory", "1Mi"), "96"),
            (resource("requests.memory", "0"), "67108864"),
            (resource("requests.ephemeral-storage", "1"), "0"),
            (resource("limits.ephemeral-storage", "1"), "0"),
        ];
        for (item, expected) in cases {
            let item: DownwardAPIVolumeFile = serde_json::from_value(item).unwrap();
            assert_eq!(file(&item, &pod(), &allocatable).as_deref(), Ok(expected), "{item:?}");
        }
        let bad = [
            (field("spec.x"), "unsupported fieldPath: spec.x"),
            (resource("limits.gpu", "1"), "unsupported container resource : limits.gpu"),
        ];
        for (item, expected) in bad {
            let item: DownwardAPIVolumeFile = serde_json::from_value(item).unwrap();
            assert_eq!(file(&item, &pod(), &allocatable).unwrap_err().to_string(), expected);
        }
    }
}
