//! Windows: not run by isopod's nodes, but a manifest that is wrong is told so.
use super::containers;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{PodSpec, WindowsSecurityContextOptions};
use crate::names;

/// `validateWindowsSecurityContextOptions`
pub fn validate_options(options: Option<&WindowsSecurityContextOptions>, path: &Path, out: &mut Errors) {
    let Some(options) = options else { return };
    if let Some(name) = &options.gmsa_credential_spec_name {
        let wrong = names::dns1123_subdomain(name, false);
        out.extend(invalid_each(&path.child("gmsaCredentialSpecName"), name, wrong));
    }
    if let Some(text) = &options.gmsa_credential_spec {
        let path = path.child("gmsaCredentialSpec");
        if text.is_empty() {
            out.push(Error::invalid(&path, text, "gmsaCredentialSpec cannot be an empty string"));
        } else if text.len() > 64 * 1024 {
            out.push(Error::invalid(&path, text, "gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(name) = &options.run_as_user_name {
        out.extend(invalid_each(&path.child("runAsUserName"), name, user_name(name)));
    }
}

/// `DOMAIN\user`
fn user_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        _ if name.is_empty() => return vec!["runAsUserName cannot be an empty string".to_owned()],
        _ if name.contains(|c: char| c.is_ascii_control()) => {
            return vec!["runAsUserName cannot contain control characters".to_owned()];
        }
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut out = Vec::new();
    if domain.is_some_and(|d| d.len() >= 256) {
        out.push("runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_dns(d)) {
        out.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        out.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        out.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        out.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        out.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    out.into_iter().map(str::to_owned).collect()
}

fn is_net_bios(domain: &str) -> bool {
    const FORBIDDEN: [char; 8] = ['/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&domain.chars().count()) && !domain.starts_with('.') && !domain.contains(FORBIDDEN)
}

fn is_dns(domain: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    })
}

/// Host-process containers: all or none, and in the host's network.
pub fn validate_host_process(spec: &PodSpec, path: &Path, out: &mut Errors) {
    let of_pod = spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref()).and_then(|w| w.host_process);
    let (mut all, mut privileged) = (0_usize, 0_usize);
    for (path, container) in containers::visit(spec, path) {
        all = all.saturating_add(1);
        let own =
            container.security_context.as_ref().and_then(|s| s.windows_options.as_ref()).and_then(|w| w.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let at = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            out.push(Error::invalid(&at, own, detail));
        }
        if own.or(of_pod) == Some(true) {
            privileged = privileged.saturating_add(1);
        }
    }
    if privileged == 0 {
        return;
    }
    if privileged != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        out.push(Error::invalid(path, "", detail));
    }
    if spec.host_network != Some(true) {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        out.push(Error::invalid(&path.child("hostNetwork"), false, detail));
    }
}

/// `validateLinux`
pub fn forbid_on_linux(spec: &PodSpec, path: &Path, out: &mut Errors) {
    const DETAIL: &str = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()) {
        out.push(Error::forbidden(&path.child("securityContext").child("windowsOptions"), DETAIL));
    }
    for (path, container) in containers::visit(spec, path) {
        if container.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()) {
            out.push(Error::forbidden(&path.child("securityContext").child("windowsOptions"), DETAIL));
        }
    }
}
