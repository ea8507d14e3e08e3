//! The files of `/etc` that a sandbox gives to its containers, as texts: `hosts`, `resolv.conf`, `hostname`. Pure.
use crate::{DnsConfig, HostAlias, NetworkNamespace, RuntimeError, SandboxConfig};
use std::{fmt::Write as _, net::IpAddr};

/// Longest host name that the kernel takes (`uname(2)`).
const HOSTNAME_MAX: usize = 64;

/// `/etc/hostname`.
pub fn hostname(config: &SandboxConfig) -> Result<String, RuntimeError> {
    let name = &config.hostname;
    if name.len() > HOSTNAME_MAX {
        return Err(RuntimeError::invalid("hostname", format!("must be no more than {HOSTNAME_MAX} bytes")));
    }
    one_word("hostname", name)?;
    Ok(format!("{name}\n"))
}

/// `/etc/hosts` (`hosts(5)`) for a sandbox with these addresses: the names of the loopback addresses as the kubelet
/// writes them, the sandbox's own name, and the aliases. With the host's network it is the aliases alone, to be put after the
/// machine's own file.
pub fn hosts(config: &SandboxConfig, addresses: &[IpAddr]) -> Result<String, RuntimeError> {
    let mut text = String::new();
    if config.network != NetworkNamespace::Host {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str(
            "fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        one_word("hostname", &config.hostname)?;
        for address in addresses.iter().filter(|_| !config.hostname.is_empty()) {
            line(&mut text, &address.to_string(), std::slice::from_ref(&config.hostname));
        }
    }
    for (index, HostAlias { ip, names }) in config.host_aliases.iter().enumerate() {
        for name in names {
            one_word(&format!("hostAliases[{index}]"), name)?;
        }
        if !names.is_empty() {
            line(&mut text, &ip.to_string(), names);
        }
    }
    Ok(text)
}

fn line(text: &mut String, address: &str, names: &[String]) {
    let _never_fails = writeln!(text, "{address}\t{}", names.join("\t"));
}

/// `/etc/resolv.conf` (`resolv.conf(5)`).
pub fn resolv_conf(dns: &DnsConfig) -> Result<String, RuntimeError> {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        words("dns.searches", &dns.searches)?;
        let _never_fails = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _never_fails = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        words("dns.options", &dns.options)?;
        let _never_fails = writeln!(text, "options {}", dns.options.join(" "));
    }
    Ok(text)
}

fn words(field: &str, words: &[String]) -> Result<(), RuntimeError> {
    words.iter().enumerate().try_for_each(|(index, word)| one_word(&format!("{field}[{index}]"), word))
}

/// A name with a line feed in it would be a line of its author's choice in a file that programs trust.
fn one_word(field: &str, word: &str) -> Result<(), RuntimeError> {
    if word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(RuntimeError::invalid(field, format!("{word:?} must not contain spaces or control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SandboxConfig {
        let alias = HostAlias { ip: "10.0.0.9".parse().unwrap(), names: vec!["db".into(), "db.local".into()] };
        SandboxConfig { hostname: "web-0".into(), host_aliases: vec![alias], ..Default::default() }
    }

    #[test]
    fn hosts_name_loopback_the_pod_and_the_aliases() {
        let addresses = ["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        let text = hosts(&config(), &addresses).unwrap();
        let own: Vec<_> = text.lines().skip(6).collect();
        assert_eq!(own, ["10.1.2.3\tweb-0", "fd00::3\tweb-0", "10.0.0.9\tdb\tdb.local"]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"));
        let on_host = SandboxConfig { network: NetworkNamespace::Host, ..config() };
        assert_eq!(hosts(&on_host, &addresses).unwrap(), "10.0.0.9\tdb\tdb.local\n");
    }

    #[test]
    fn resolv_conf_says_what_it_was_told() {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()],
            searches: own(&["default.svc.cluster.local", "svc.cluster.local"]),
            options: own(&["ndots:5", "edns0"]),
        };
        let expected = "search default.svc.cluster.local svc.cluster.local
nameserver 10.96.0.10
nameserver fd00::a
options ndots:5 edns0
";
        assert_eq!(resolv_conf(&dns).unwrap(), expected);
        assert_eq!(resolv_conf(&DnsConfig::default()).unwrap(), "");
    }

    #[test]
    fn nobody_smuggles_a_line_in() {
        let searches = vec!["ok".into(), "x\nnameserver 6.6.6.6".into()];
        let error = resolv_conf(&DnsConfig { searches, ..Default::default() }).unwrap_err();
        assert!(matches!(error, RuntimeError::Invalid { field, .. } if field == "dns.searches[1]"));
        let mut bad = config();
        bad.host_aliases[0].names.push("a b".into());
        assert!(hosts(&bad, &[]).is_err());
        bad.hostname = "a\nb".into();
        assert!(hostname(&bad).is_err() && hosts(&bad, &[]).is_err());
    }

    #[test]
    fn hostnames_fit_the_kernel() {
        assert_eq!(hostname(&config()).unwrap(), "web-0\n");
        let long = |length| hostname(&SandboxConfig { hostname: "x".repeat(length), ..Default::default() });
        assert!(long(64).is_ok() && long(65).is_err());
    }
}
