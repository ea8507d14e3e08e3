//! How a pod names itself and finds others: DNS settings, host names, host aliases.
use super::containers::one_of;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};
use crate::kinds::addresses;
use crate::names;

/// What the C library's resolver takes.
const NAMESERVERS_MAX: usize = 3;
const SEARCH_PATHS_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;

/// `validateDNSPolicy`
pub fn validate_dns_policy(spec: &PodSpec, path: &Path, out: &mut Errors) {
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    one_of(policy, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], &path.child("dnsPolicy"), out);
}

/// `validatePodDNSConfig`
pub fn validate_dns_config(spec: &PodSpec, path: &Path, out: &mut Errors) {
    let by_hand = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if by_hand {
            out.push(Error::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        return;
    };
    if by_hand && config.nameservers.as_ref().is_none_or(Vec::is_empty) {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return out.push(Error::required(&path.child("nameservers"), detail));
    }
    validate_resolver(config, path, out);
}

fn validate_resolver(config: &PodDNSConfig, path: &Path, out: &mut Errors) {
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let servers_path = path.child("nameservers");
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        out.push(Error::invalid(&servers_path, servers, detail));
    }
    for (i, server) in servers.iter().enumerate() {
        out.extend(addresses::ip(server, &[], &servers_path.index(i)));
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let searches_path = path.child("searches");
    if searches.len() > SEARCH_PATHS_MAX {
        let detail = format!("must not have more than {SEARCH_PATHS_MAX} search paths");
        out.push(Error::invalid(&searches_path, searches, detail));
    }
    if searches.join(" ").len() > SEARCH_CHARACTERS_MAX {
        let detail =
            format!("must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list");
        out.push(Error::invalid(&searches_path, searches, detail));
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let wrong = names::dns1123_subdomain_with_underscore(search);
        out.extend(invalid_each(&searches_path.index(i), search, wrong));
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            out.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

/// `hostname` and `subdomain`: labels, each.
pub fn validate_host_names(spec: &PodSpec, path: &Path, out: &mut Errors) {
    for (name, field) in [(&spec.hostname, "hostname"), (&spec.subdomain, "subdomain")] {
        if let Some(name) = name.as_deref().filter(|n| !n.is_empty()) {
            out.extend(invalid_each(&path.child(field), name, names::dns1123_label(name, false)));
        }
    }
}

/// Overrides everything else (KEP-4762), so nothing that depends on the other names may be set.
pub fn validate_hostname_override(spec: &PodSpec, path: &Path, out: &mut Errors) {
    let Some(name) = spec.hostname_override.as_deref() else { return };
    let path = path.child("hostnameOverride");
    if spec.host_network == Some(true) {
        out.push(Error::forbidden(&path, "may not be specified when `hostNetwork` is true"));
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        out.push(Error::forbidden(&path, "may not be specified when `setHostnameAsFQDN` is true"));
    }
    out.extend(invalid_each(&path, name, names::dns1123_subdomain(name, false)));
    if name.len() > 64 {
        out.push(Error::too_long(&path, 64));
    }
}

/// `ValidateHostAliases`
pub fn validate_host_aliases(aliases: &[HostAlias], path: &Path, out: &mut Errors) {
    for (i, alias) in aliases.iter().enumerate() {
        let path = path.index(i);
        out.extend(addresses::ip(&alias.ip, &[], &path.child("ip")));
        for (j, name) in alias.hostnames.iter().flatten().enumerate() {
            let wrong = names::dns1123_subdomain(name, false);
            out.extend(invalid_each(&path.child("hostnames").index(j), name, wrong));
        }
    }
}
