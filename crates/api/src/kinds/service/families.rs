//! Single and dual stack (KEP-563): what `ipFamilies` and `ipFamilyPolicy` become in this cluster, before addresses are
//! allocated (`initIPFamilyFields` of `pkg/registry/core/service/storage/alloc.go`).
use super::{EXTERNAL_NAME, NONE, cluster_ips, is_headless, type_of};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{Service, ServiceSpec};
use crate::kinds::addresses;
use crate::kinds::rules::text;

pub const IPV4: &str = "IPv4";
pub const IPV6: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Fills in policy and families. `configured`: the families this cluster has service addresses for, its own first (never
/// empty). Errors are those of the request; nothing may be allocated then.
pub fn init(new: &mut Service, old: Option<&Service>, configured: &[&str]) -> Errors {
    let nothing = ServiceSpec::default();
    let before = old.map(|o| o.spec.as_ref().unwrap_or(&nothing));
    let spec = new.spec.get_or_insert_default();
    if type_of(spec) == EXTERNAL_NAME || before.is_some_and(|b| keeps_preference(spec, b)) {
        return Errors::new();
    }
    let free = text(&spec.cluster_ip) == NONE && spec.selector.as_ref().is_none_or(|s| s.is_empty());
    if spec.ip_family_policy.is_none() {
        let inherited = before.and_then(|b| b.ip_family_policy.clone());
        let fallback = if free { REQUIRE } else { SINGLE };
        spec.ip_family_policy = Some(inherited.unwrap_or_else(|| fallback.to_owned()));
    }
    let faults = cluster_ips::validate(spec, before);
    if !faults.is_empty() {
        return faults;
    }
    let mut out = Errors::new();
    if let Some(before) = before {
        release(spec, before, &mut out);
    }
    let policy_path = Path::new("spec").child("ipFamilyPolicy");
    if text(&spec.ip_family_policy) == SINGLE {
        let many = [(len(&spec.cluster_ips), "cluster IPs"), (len(&spec.ip_families), "IP families")];
        for (_, words) in many.iter().filter(|(n, _)| *n == 2) {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {words} are specified");
            out.push(Error::invalid(&policy_path, &spec.ip_family_policy, detail));
        }
    }
    infer(spec, configured, &mut out);
    if !out.is_empty() {
        return out;
    }
    if free {
        complete(spec, configured.first().copied().unwrap_or(IPV4), true);
        return out;
    }
    if text(&spec.ip_family_policy) == REQUIRE && configured.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        out.push(Error::invalid(&policy_path, &spec.ip_family_policy, detail));
    }
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        if !configured.contains(&family.as_str()) {
            let path = Path::new("spec").child("ipFamilies").index(i);
            out.push(Error::invalid(&path, family, "not configured on this cluster"));
        }
    }
    if out.is_empty() {
        complete(spec, configured.first().copied().unwrap_or(IPV4), configured.len() == 2);
    }
    out
}

fn len(list: &Option<Vec<String>>) -> usize {
    list.as_ref().map_or(0, Vec::len)
}

/// A service that prefers dual stack is not changed merely because the cluster did (`isMatchingPreferDualStackClusterIPFields`).
fn keeps_preference(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    let prefers = |policy: &Option<String>| policy.as_deref() == Some(PREFER);
    prefers(&new.ip_family_policy)
        && (old.ip_family_policy.is_none() || prefers(&old.ip_family_policy))
        && new.type_ == old.type_
        && new.cluster_ip == old.cluster_ip
        && new.cluster_ips == old.cluster_ips
        && new.ip_families == old.ip_families
}

/// A policy of single stack, all else as before, gives up the second address; giving it up takes that policy.
fn release(spec: &mut ServiceSpec, before: &ServiceSpec, out: &mut Errors) {
    if text(&spec.ip_family_policy) == SINGLE {
        if spec.cluster_ip == before.cluster_ip
            && spec.cluster_ips == before.cluster_ips
            && let Some(ips) = &mut spec.cluster_ips
        {
            ips.truncate(1);
        }
        if spec.ip_families == before.ip_families
            && let Some(families) = &mut spec.ip_families
        {
            families.truncate(1);
        }
        return;
    }
    let fewer = |now: &Option<Vec<String>>, was: &Option<Vec<String>>| match (now, was) {
        (Some(now), Some(was)) => !now.is_empty() && now.len() < was.len() && now.first() == was.first(),
        _ => false,
    };
    let reduced = [
        (fewer(&spec.cluster_ips, &before.cluster_ips), "cluster IP"),
        (fewer(&spec.ip_families, &before.ip_families), "IP family"),
    ];
    for (_, words) in reduced.iter().filter(|(r, _)| *r) {
        let detail = format!("must be 'SingleStack' to release the secondary {words}");
        out.push(Error::invalid(&Path::new("spec").child("ipFamilyPolicy"), &spec.ip_family_policy, detail));
    }
}

/// The families of given addresses that no family was named for.
fn infer(spec: &mut ServiceSpec, configured: &[&str], out: &mut Errors) {
    let ips = spec.cluster_ips.clone().unwrap_or_default();
    for (i, ip) in ips.iter().enumerate().take_while(|(_, ip)| *ip != NONE) {
        if i < len(&spec.ip_families) {
            continue;
        }
        let family = if addresses::is_ipv6(ip) { IPV6 } else { IPV4 };
        if configured.contains(&family) {
            spec.ip_families.get_or_insert_default().push(family.to_owned());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(i);
            out.push(Error::invalid(&path, &ips, format!("{family} is not configured on this cluster")));
        }
    }
}

/// The cluster's own family unless one was named, and the other one where the policy asks for both and they are to be had.
fn complete(spec: &mut ServiceSpec, own: &str, both: bool) {
    let dual = both && text(&spec.ip_family_policy) != SINGLE;
    let families = spec.ip_families.get_or_insert_default();
    if families.is_empty() {
        families.push(own.to_owned());
    }
    if let [one] = families.as_slice()
        && dual
    {
        let other = if one == IPV4 { IPV6 } else { IPV4 };
        families.push(other.to_owned());
    }
}

/// The first family stays; a second one may come and go (`validateUpgradeDowngradeIPFamilies`).
pub fn validate_change(new: &ServiceSpec, old: &ServiceSpec, out: &mut Errors) {
    let external = type_of(new) == EXTERNAL_NAME || type_of(old) == EXTERNAL_NAME;
    if external || is_headless(new) || is_headless(old) {
        return;
    }
    let path = Path::new("spec").child("ipFamilies").index(0);
    let (now, was) = (new.ip_families.as_deref().unwrap_or_default(), old.ip_families.as_deref().unwrap_or_default());
    if now.len() == was.len() {
        for _ in was.iter().zip(now).filter(|(a, b)| a != b) {
            out.push(Error::invalid(&path, now, "may not change once set"));
        }
        return;
    }
    if now.len() < was.len() && len(&new.cluster_ips) == 0 {
        out.push(Error::invalid(&path, now, "primary ipFamily can not be unset"));
    }
    if let (Some(first), Some(before)) = (now.first(), was.first())
        && first != before
    {
        // Kubernetes shows the addresses here.
        out.push(Error::invalid(&path, &new.cluster_ips, "may not change once set"));
    }
    if now.len() < was.len() && now.len() == 1 && text(&new.ip_family_policy) != SINGLE {
        let path = Path::new("spec").child("ipFamilyPolicy");
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        out.push(Error::invalid(&path, &new.ip_family_policy, detail));
    }
}
