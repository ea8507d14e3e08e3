//! IP addresses and CIDR ranges as `k8s.io/utils/net` reads them ("sloppy": leading zeros in IPv4 octets are decimal, as in Go
//! before 1.17, so that objects written long ago stay valid).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that `value` names, leading zeros forgiven.
pub fn parse_ip_sloppy(value: &str) -> Option<IpAddr> {
    if value.contains(':') {
        return parse_v6_sloppy(value).map(IpAddr::V6);
    }
    parse_v4_sloppy(value).map(IpAddr::V4)
}

fn parse_v4_sloppy(value: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        *octet = octet_of(parts.next()?)?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn octet_of(part: &str) -> Option<u8> {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let trimmed = part.trim_start_matches('0');
    if digits { if trimmed.is_empty() { Some(0) } else { trimmed.parse().ok() } } else { None }
}

fn parse_v6_sloppy(value: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    // `::ffff:010.0.0.1`: only the dotted tail can be sloppy.
    let (head, tail) = value.rsplit_once(':')?;
    format!("{head}:{}", parse_v4_sloppy(tail)?).parse().ok()
}

/// Address and prefix length; the length of an IPv4-mapped range counts 128 bits.
pub fn parse_cidr_sloppy(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let address = parse_ip_sloppy(address)?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    (length <= bits).then_some((address, length))
}

pub fn ip(value: &str) -> Vec<String> {
    says(parse_ip_sloppy(value).is_some(), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}

pub fn ipv4(value: &str) -> Vec<String> {
    let fits = parse_ip_sloppy(value).is_some_and(|a| a.to_canonical().is_ipv4());
    says(fits, "must be a valid IPv4 address")
}

pub fn ipv6(value: &str) -> Vec<String> {
    let fits = parse_ip_sloppy(value).is_some_and(|a| a.to_canonical().is_ipv6());
    says(fits, "must be a valid IPv6 address")
}

pub fn cidr(value: &str) -> Vec<String> {
    says(parse_cidr_sloppy(value).is_some(), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
}

fn says(right: bool, message: &str) -> Vec<String> {
    if right { Vec::new() } else { vec![message.to_owned()] }
}

/// The warning for an address that is read but not in its usual form; `None` when it is fine or not an address.
pub fn ip_warning(path: &crate::field::Path, value: &str) -> Option<String> {
    let address = parse_ip_sloppy(value)?;
    let canonical = address.to_canonical();
    let strict = value.parse::<IpAddr>().is_ok();
    if !strict || canonical != address {
        return Some(format!(
            "{path}: non-standard IP address \"{value}\" will be considered invalid in a future Kubernetes release: use \"{canonical}\""
        ));
    }
    (address.is_ipv6() && address.to_string() != value)
        .then(|| format!("{path}: IPv6 address \"{value}\" should be in RFC 5952 canonical format (\"{address}\")"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn reads_like_go() {
        for good in ["10.0.0.1", "010.000.0.01", "::1", "2001:db8::ffff", "::ffff:1.2.3.4", "::ffff:01.2.3.4"] {
            assert!(ip(good).is_empty(), "{good}");
        }
        for bad in ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "1.2.3.4/8", ":::", "fe80::1%eth0", "1.2.3.x", "+1.2.3.4"]
        {
            assert!(!ip(bad).is_empty(), "{bad}");
        }
        for good in ["10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/64"] {
            assert!(cidr(good).is_empty(), "{good}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "10.0.0.0/8/8"] {
            assert!(!cidr(bad).is_empty(), "{bad}");
        }
        assert!(ipv4("::ffff:1.2.3.4").is_empty() && !ipv6("1.2.3.4").is_empty());
    }

    #[test]
    fn warns_of_odd_forms() {
        let p = Path::from("spec.clusterIP");
        assert_eq!(ip_warning(&p, "10.0.0.1"), None);
        assert!(ip_warning(&p, "010.0.0.1").is_some_and(|w| w.ends_with("use \"10.0.0.1\"")));
        assert!(ip_warning(&p, "2001:DB8::1").is_some_and(|w| w.contains("RFC 5952")));
    }
}
