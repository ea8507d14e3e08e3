//! IP addresses and CIDRs in the fields of older kinds: strictly read since KEP-4858 (beta in v1.36), except where an update
//! repeats what was stored before (`IsValidIPForLegacyField`, `IsValidCIDRForLegacyField` of `pkg/apis/core/validation`).
use crate::field::{Error, Errors, Path};
use crate::names;
use crate::names::address::{parse_cidr_sloppy, parse_ip_sloppy};
use std::net::IpAddr;

/// `stored`: what the field's object holds already, and may go on holding.
pub fn ip(value: &str, stored: &[&str], path: &Path) -> Errors {
    if stored.contains(&value) {
        return Errors::new();
    }
    let Some(address) = parse_ip_sloppy(value) else {
        return crate::field::invalid_each(path, value, names::ip(value));
    };
    match strict_fault(address, value) {
        Some(Fault::LeadingZeros) => vec![Error::invalid(path, value, "must not have leading 0s")],
        Some(Fault::Mapped) => vec![Error::invalid(path, value, "must not be an IPv4-mapped IPv6 address")],
        None => Errors::new(),
    }
}

pub fn cidr(value: &str, stored: &[&str], path: &Path) -> Errors {
    if stored.contains(&value) {
        return Errors::new();
    }
    let Some((address, length)) = parse_cidr_sloppy(value) else {
        return crate::field::invalid_each(path, value, names::cidr(value));
    };
    let (ip_text, length_text) = value.split_once('/').unwrap_or((value, ""));
    let padded = length_text.len() > 1 && length_text.starts_with('0');
    let detail = match strict_fault(address, ip_text) {
        Some(Fault::LeadingZeros) => "must not have leading 0s in IP or prefix length",
        None if padded => "must not have leading 0s in IP or prefix length",
        Some(Fault::Mapped) => "must not have an IPv4-mapped IPv6 address",
        None if network(address, length) != address => "must not have bits set beyond the prefix length",
        None => return Errors::new(),
    };
    vec![Error::invalid(path, value, detail)]
}

/// `IsValidIP`: newer fields take the canonical form only.
pub fn canonical_ip(value: &str) -> Vec<String> {
    let faults = ip(value, &[], &Path::root());
    if !faults.is_empty() {
        return faults.into_iter().map(|f| f.detail).collect();
    }
    match parse_ip_sloppy(value).map(|a| a.to_string()) {
        Some(canonical) if canonical != value => vec![format!("must be in canonical form (\"{canonical}\")")],
        _ => Vec::new(),
    }
}

/// `IsValidCIDR`
pub fn canonical_cidr(value: &str, path: &Path) -> Errors {
    let faults = cidr(value, &[], path);
    if !faults.is_empty() {
        return faults;
    }
    match parse_cidr_sloppy(value).map(|(address, length)| format!("{address}/{length}")) {
        Some(canonical) if canonical != value => {
            vec![Error::invalid(path, value, format!("must be in canonical form (\"{canonical}\")"))]
        }
        _ => Errors::new(),
    }
}

enum Fault {
    LeadingZeros,
    Mapped,
}

fn strict_fault(address: IpAddr, text: &str) -> Option<Fault> {
    if text.parse::<IpAddr>().is_err() {
        return Some(Fault::LeadingZeros);
    }
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()).then_some(Fault::Mapped)
}

/// The address with the bits beyond `length` cleared.
pub fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(length))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(u32::from(length))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

pub fn is_ipv6(value: &str) -> bool {
    parse_ip_sloppy(value).is_some_and(|a| a.to_canonical().is_ipv6())
}

/// `ValidateNonSpecialIP`: endpoints and external addresses.
pub fn non_special_ip(value: &str, path: &Path) -> Errors {
    let Some(address) = parse_ip_sloppy(value).map(|a| a.to_canonical()) else {
        return vec![Error::invalid(path, value, "must be a valid IP address")];
    };
    let mut out = Errors::new();
    let mut refuse = |detail: String| out.push(Error::invalid(path, value, detail));
    if address.is_unspecified() {
        refuse(format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".into());
    }
    let (unicast, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments().first().is_some_and(|s| s & 0xff0f == 0xff02)),
    };
    if unicast {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".into());
    }
    if multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into());
    }
    out
}

/// `GetWarningsForCIDR`
pub fn cidr_warnings(path: &Path, value: &str) -> Vec<String> {
    let Some((address, length)) = parse_cidr_sloppy(value) else { return Vec::new() };
    let network = network(address, length);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let mut out = Vec::new();
    if network != address {
        out.push(format!(
            "{path}: CIDR value \"{value}\" is ambiguous in this context (should be \"{network}/{length}\" or \
             \"{address}/{bits}\"?)"
        ));
    }
    let (ip_text, length_text) = value.split_once('/').unwrap_or((value, ""));
    if strict_fault(address, ip_text).is_some() || (length_text.len() > 1 && length_text.starts_with('0')) {
        out.push(format!(
            "{path}: non-standard CIDR value \"{value}\" will be considered invalid in a future Kubernetes release: use \
             \"{network}/{length}\""
        ));
    }
    let canonical = format!("{address}/{length}");
    if out.is_empty() && address.is_ipv6() && canonical != value {
        out.push(format!(
            "{path}: IPv6 CIDR value \"{value}\" should be in RFC 5952 canonical format (\"{canonical}\")"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[Error]) -> String {
        errors.first().map(|e| e.detail.clone()).unwrap_or_default()
    }

    #[test]
    fn reads_strictly() {
        let p = Path::new("p");
        let ips = [
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("x", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ];
        for (value, detail) in ips {
            assert_eq!(said(&ip(value, &[], &p)), detail, "{value}");
        }
        let cidrs = [
            ("10.0.0.0/8", ""),
            ("0.0.0.0/0", ""),
            ("::/0", ""),
            ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/99", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ];
        for (value, detail) in cidrs {
            assert_eq!(said(&cidr(value, &[], &p)), detail, "{value}");
        }
        assert!(ip("010.0.0.1", &["010.0.0.1"], &p).is_empty() && cidr("10.0.0.1/8", &["10.0.0.1/8"], &p).is_empty());
    }

    #[test]
    fn refuses_special_addresses() {
        let p = Path::new("p");
        for special in ["0.0.0.0", "::", "127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1"] {
            assert_eq!(non_special_ip(special, &p).len(), 1, "{special}");
        }
        assert!(non_special_ip("192.0.2.1", &p).is_empty() && non_special_ip("2001:db8::1", &p).is_empty());
        assert_eq!(cidr_warnings(&p, "10.0.0.1/8").len(), 1);
    }
}
