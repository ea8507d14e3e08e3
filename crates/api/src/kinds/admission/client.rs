//! Where a webhook is reached (`k8s.io/apiserver/pkg/util/webhook/validation.go`).
use crate::field::{Error, Errors, Path};
use crate::k8s::api::admissionregistration::v1::{ServiceReference, WebhookClientConfig};
use crate::names;

pub fn validate(config: &WebhookClientConfig, path: &Path, out: &mut Errors) {
    match (&config.url, &config.service) {
        (Some(url), None) => validate_url(url, &path.child("url"), out),
        (None, Some(service)) => validate_service(service, &path.child("service"), out),
        _ => out.push(Error::required(path, "exactly one of url or service is required")),
    }
}

/// `https://host[/path]` and nothing else.
fn validate_url(url: &str, path: &Path, out: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut refuse = |value: &str, detail: String| out.push(Error::invalid(path, value, detail));
    if scheme != "https" {
        refuse(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        refuse(host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        refuse(user, "user information is not permitted in the URL".into());
    }
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL".into());
    }
    if !query.is_empty() {
        refuse(query, "query parameters are not permitted in the URL".into());
    }
}

fn validate_service(service: &ServiceReference, path: &Path, out: &mut Errors) {
    if service.name.is_empty() {
        out.push(Error::required(&path.child("name"), "service name is required"));
    }
    if service.namespace.is_empty() {
        out.push(Error::required(&path.child("namespace"), "service namespace is required"));
    }
    let port = service.port.unwrap_or(443);
    let faults = names::port_number(i64::from(port));
    if !faults.is_empty() {
        out.push(Error::invalid(&path.child("port"), port, format!("port is not valid: {}", faults.join(", "))));
    }
    if let Some(url_path) = service.path.as_deref().filter(|p| !matches!(*p, "" | "/")) {
        validate_path(url_path, &path.child("path"), out);
    }
}

fn validate_path(url_path: &str, path: &Path, out: &mut Errors) {
    let mut refuse = |detail: String| out.push(Error::invalid(path, url_path, detail));
    if url_path == "//" {
        refuse("segment[0] may not be empty".into());
        return;
    }
    if !url_path.starts_with('/') {
        refuse("must start with a '/'".into());
    }
    // Kubernetes takes the first character off, slash or not.
    let rest = url_path.get(1..).unwrap_or_default();
    for (i, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            refuse(format!("segment[{i}] may not be empty"));
            continue;
        }
        for fault in names::dns1123_subdomain(step, false) {
            refuse(format!("segment[{i}]: {fault}"));
        }
    }
}
