//! Environment variables of containers and the downward API (`ValidateEnv`, `ValidateEnvFrom`).
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
};
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use crate::names;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// `ValidateEnv`
pub fn validate(vars: &[EnvVar], path: &Path, out: &mut Errors) {
    for (i, var) in vars.iter().enumerate() {
        let path = path.index(i);
        if var.name.is_empty() {
            out.push(Error::required(&path.child("name"), ""));
        } else {
            out.extend(invalid_each(&path.child("name"), &var.name, names::env_var_name(&var.name)));
        }
        if let Some(source) = &var.value_from {
            let has_value = var.value.as_ref().is_some_and(|v| !v.is_empty());
            validate_source(source, has_value, &path.child("valueFrom"), out);
        }
    }
}

fn validate_source(source: &EnvVarSource, has_value: bool, path: &Path, out: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        validate_field(field, &ENV_FIELDS, &path.child("fieldRef"), out);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        validate_resource_field(resource, false, &path.child("resourceFieldRef"), out);
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        validate_key(&key.name, &key.key, &path.child("configMapKeyRef"), out);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        validate_key(&key.name, &key.key, &path.child("secretKeyRef"), out);
    }
    if let Some(file) = &source.file_key_ref {
        sources += 1;
        validate_file_key(file, &path.child("fileKeyRef"), out);
    }
    let wrong = match sources {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    out.push(Error::invalid(path, "", wrong));
}

fn validate_key(name: &str, key: &str, path: &Path, out: &mut Errors) {
    out.extend(invalid_each(&path.child("name"), name, names::dns1123_subdomain(name, false)));
    if key.is_empty() {
        out.push(Error::required(&path.child("key"), ""));
    } else {
        out.extend(invalid_each(&path.child("key"), key, names::config_map_key(key)));
    }
}

fn validate_file_key(file: &FileKeySelector, path: &Path, out: &mut Errors) {
    if file.key.is_empty() {
        out.push(Error::required(&path.child("key"), ""));
    } else {
        out.extend(invalid_each(&path.child("key"), &file.key, names::env_var_name(&file.key)));
    }
    if file.volume_name.is_empty() {
        out.push(Error::required(&path.child("volumeName"), ""));
    }
    if file.path.is_empty() {
        out.push(Error::required(&path.child("path"), ""));
    } else {
        super::volumes::validate_local_path(&file.path, &path.child("path"), out);
    }
}

/// A field of the pod by its path; `supported` is sorted. Labels and annotations may have a subscript.
pub fn validate_field(field: &ObjectFieldSelector, supported: &[&str], path: &Path, out: &mut Errors) {
    let version = field.api_version.as_deref().unwrap_or_default();
    let label = field.field_path.as_str();
    if version.is_empty() {
        return out.push(Error::required(&path.child("apiVersion"), ""));
    }
    if label.is_empty() {
        return out.push(Error::required(&path.child("fieldPath"), ""));
    }
    if let Err(wrong) = convert_label(version, label) {
        let detail = format!("error converting fieldPath: {wrong}");
        return out.push(Error::invalid(&path.child("fieldPath"), label, detail));
    }
    match subscript(label) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            out.extend(invalid_each(path, &key, names::qualified_name(&key)));
        }
        Some(("metadata.labels", key)) => out.extend(invalid_each(path, key, names::qualified_name(key))),
        Some((other, _)) => out.push(Error::invalid(path, other, "does not support subscript")),
        None => {
            // The one label that is renamed on the way in: `spec.host`.
            let label = if label == "spec.host" { "spec.nodeName" } else { label };
            if !supported.contains(&label) {
                out.push(Error::not_supported(&path.child("fieldPath"), label, supported));
            }
        }
    }
}

/// `ConvertDownwardAPIFieldLabel`
fn convert_label(version: &str, label: &str) -> Result<(), String> {
    if version != "v1" {
        return Err(format!("unsupported pod version: {version}"));
    }
    if let Some((path, _)) = subscript(label) {
        return match path {
            "metadata.annotations" | "metadata.labels" => Ok(()),
            _ => Err(format!("field label does not support subscript: {label}")),
        };
    }
    let known = matches!(
        label,
        "metadata.annotations"
            | "metadata.labels"
            | "spec.restartPolicy"
            | "spec.schedulerName"
            | "status.phase"
            | "spec.host"
    );
    if known || ENV_FIELDS.contains(&label) { Ok(()) } else { Err(format!("field label not supported: {label}")) }
}

/// `metadata.labels['a']` → (`metadata.labels`, `a`)
fn subscript(label: &str) -> Option<(&str, &str)> {
    label.strip_suffix("']")?.split_once("['")
}

/// A resource of a container; a volume must say of which.
pub fn validate_resource_field(field: &ResourceFieldSelector, in_volume: bool, path: &Path, out: &mut Errors) {
    let resource = field.resource.as_str();
    let huge_pages = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && field.container_name.as_deref().unwrap_or_default().is_empty() {
        out.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        out.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge_pages {
        out.push(Error::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    if let Some(divisor) = &field.divisor {
        validate_divisor(resource, divisor, path, out);
    }
}

fn validate_divisor(resource: &str, divisor: &Text, path: &Path, out: &mut Errors) {
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let amount = super::resources::amount(divisor);
    if amount.is_zero() {
        return;
    }
    let (supported, list, name): (&[&str], &str, &str) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "1m and 1", "cpu"),
        "limits.memory" | "requests.memory" => (&SIZES, "", "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (&SIZES, "", "local ephemeral storage"),
        r if r.starts_with("requests.hugepages-") || r.starts_with("limits.hugepages-") => (&SIZES, "", "hugepages"),
        _ => return,
    };
    if !supported.contains(&amount.to_string().as_str()) {
        let list = if list.is_empty() { SIZES.join(", ") } else { list.to_owned() };
        let detail = format!("only divisor's values {list} are supported with the {name} resource");
        out.push(Error::invalid(&path.child("divisor"), resource, detail));
    }
}

/// `ValidateEnvFrom`
pub fn validate_from(sources: &[EnvFromSource], path: &Path, out: &mut Errors) {
    for (i, source) in sources.iter().enumerate() {
        let item = path.index(i);
        if let Some(prefix) = source.prefix.as_deref().filter(|p| !p.is_empty()) {
            out.extend(invalid_each(&item.child("prefix"), prefix, names::env_var_name(prefix)));
        }
        let mut count = 0;
        let named = [
            (source.config_map_ref.as_ref().map(|r| r.name.as_str()), "configMapRef"),
            (source.secret_ref.as_ref().map(|r| r.name.as_str()), "secretRef"),
        ];
        for (name, child) in named {
            let Some(name) = name else { continue };
            count += 1;
            let at = item.child(child).child("name");
            if name.is_empty() {
                out.push(Error::required(&at, ""));
            } else {
                // Upstream checks it as if it were a generateName: a trailing dash passes.
                out.extend(invalid_each(&at, name, names::dns1123_subdomain(name, true)));
            }
        }
        // The path is that of the list, as upstream.
        match count {
            0 => out.push(Error::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => out.push(Error::invalid(path, "", "may not have more than one field specified at a time")),
        }
    }
}
