//! `clusterIP`, `clusterIPs` and the families they belong to (`ValidateServiceClusterIPsRelatedFields`).
use super::families::{IPV4, IPV6};
use super::{EXTERNAL_NAME, NONE, is_headless, type_of};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::ServiceSpec;
use crate::kinds::addresses;
use crate::kinds::rules::{self, text};
use std::collections::BTreeSet;

const FAMILIES: [&str; 2] = [IPV4, IPV6];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// The rules of a service that is not an ExternalName. `before`: the stored spec, whose addresses may stay as they are.
pub fn validate(spec: &ServiceSpec, before: Option<&ServiceSpec>) -> Errors {
    let mut out = Errors::new();
    if type_of(spec) == EXTERNAL_NAME {
        return out;
    }
    let path = Path::new("spec");
    let ips_path = path.child("clusterIPs");
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    match (text(&spec.cluster_ip), ips.first()) {
        ("", None) => {}
        ("", Some(_)) => out.push(Error::invalid(&ips_path, ips, "must be empty when `clusterIP` is not specified")),
        (_, None) => out.push(Error::required(&ips_path, "")),
        (ip, Some(first)) if ip != first => {
            out.push(Error::invalid(&ips_path, ips, "first value must match `clusterIP`"));
        }
        _ => {}
    }
    validate_families(spec, &path, &mut out);
    if !validate_addresses(ips, before, &ips_path, &mut out) {
        return out;
    }
    if ips.len() > 1 {
        let families: BTreeSet<bool> = ips.iter().map(|ip| addresses::is_ipv6(ip)).collect();
        if families.len() < 2 {
            out.push(Error::invalid(&ips_path, ips, "may specify no more than one IP for each IP family"));
        }
    }
    if !is_headless(spec) {
        for (i, (ip, family)) in ips.iter().zip(spec.ip_families.iter().flatten()).enumerate() {
            let fits = match family.as_str() {
                IPV4 => !addresses::is_ipv6(ip),
                IPV6 => addresses::is_ipv6(ip),
                _ => true,
            };
            if !fits {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
                out.push(Error::invalid(&ips_path.index(i), ip, detail));
            }
        }
    }
    out
}

fn validate_families(spec: &ServiceSpec, path: &Path, out: &mut Errors) {
    let families_path = path.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        out.extend(rules::one_of(family, &FAMILIES, &families_path.index(i)));
        if !seen.insert(family) {
            out.push(Error::duplicate(&families_path.index(i), family));
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        out.extend(rules::one_of(policy, &POLICIES, &path.child("ipFamilyPolicy")));
    }
}

/// False when an address is so wrong that looking further would only confuse.
fn validate_addresses(ips: &[String], before: Option<&ServiceSpec>, path: &Path, out: &mut Errors) -> bool {
    let stored: Vec<&str> = before.iter().flat_map(|b| b.cluster_ips.iter().flatten()).map(String::as_str).collect();
    let mut readable = true;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == NONE {
            if ips.len() > 1 {
                readable = false;
                out.push(Error::invalid(path, ips, "'None' must be the first and only value"));
            }
            continue;
        }
        let faults = addresses::ip(ip, &stored, &path.index(i));
        readable &= faults.is_empty();
        out.extend(faults);
    }
    if ips.len() > 2 {
        out.push(Error::invalid(path, ips, "may only hold up to 2 values"));
    }
    readable
}

/// The first cluster IP stays; a second one may come and go (`validateUpgradeDowngradeClusterIPs`).
pub fn validate_change(new: &ServiceSpec, old: &ServiceSpec, out: &mut Errors) {
    if type_of(new) == EXTERNAL_NAME || type_of(old) == EXTERNAL_NAME || (is_headless(new) && is_headless(old)) {
        return;
    }
    let path = Path::new("spec").child("clusterIPs");
    let (now, was) = (new.cluster_ips.as_deref().unwrap_or_default(), old.cluster_ips.as_deref().unwrap_or_default());
    let mut refuse = |i: usize, detail: &str| out.push(Error::invalid(&path.index(i), now, detail));
    if was.len() == now.len() {
        for (i, _) in was.iter().zip(now).enumerate().filter(|(_, (a, b))| a != b) {
            refuse(i, "may not change once set");
        }
        return;
    }
    if now.is_empty() {
        refuse(0, "primary clusterIP can not be unset");
    }
    if let (Some(first), Some(before)) = (now.first(), was.first())
        && first != before
    {
        refuse(0, "may not change once set");
    }
    if now.len() < was.len() && now.len() == 1 && text(&new.ip_family_policy) != "SingleStack" {
        let path = Path::new("spec").child("ipFamilyPolicy");
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        out.push(Error::invalid(&path, &new.ip_family_policy, detail));
    }
}
