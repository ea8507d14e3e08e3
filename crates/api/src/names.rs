//! Names, labels, keys and ports: the formats of `k8s.io/apimachinery/pkg/util/validation` (and `api/validate/content`), with
//! its messages. Each function returns what is wrong, in Kubernetes' words; an empty list means that the value is right.
//!
//! [`meta`] checks whole label maps, selectors and `metadata` with them.
pub mod address;
pub mod meta;

pub use address::{cidr, ip, ipv4, ipv6};
pub use meta::{
    validate_annotations, validate_finalizers, validate_label_name, validate_label_selector, validate_labels,
    validate_object_meta, validate_object_meta_update, validate_owner_references,
};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

fn max_characters(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// The label functions live in a newer package upstream, which counts honestly.
fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn must_match(words: &str, expression: &str, examples: &[&str]) -> String {
    let mut out = words.to_owned();
    if examples.is_empty() {
        out.push_str(" (");
    } else {
        out.push_str(" (e.g. ");
        for (i, example) in examples.iter().enumerate() {
            if i > 0 {
                out.push_str(" or ");
            }
            out.push('\'');
            out.push_str(example);
            out.push_str("', ");
        }
    }
    out.push_str("regex used for validation is '");
    out.push_str(expression);
    out.push_str("')");
    out
}

/// `edge` at both ends, `edge` or `inner` between: the shape that nearly all names have.
fn bounded(value: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match value.as_bytes() {
        [] => false,
        [one] => edge(*one),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|b| edge(*b) || inner(*b)),
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_dns1123_label(value: &str) -> bool {
    bounded(value, lower, |b| b == b'-')
}

fn is_dns1123_subdomain(value: &str) -> bool {
    value.split('.').all(is_dns1123_label)
}

/// `generateName` may end in a dash: the dash and the character before it are replaced by one that is always right
/// (`maskTrailingDash`), the generated name itself is checked after.
fn mask_trailing_dash(name: &str) -> String {
    match name.len().checked_sub(2).and_then(|end| name.get(..end)) {
        Some(rest) if name.ends_with('-') => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

fn with_prefix_rule(name: &str, prefix: bool, check: fn(&str) -> Vec<String>) -> Vec<String> {
    if prefix { check(&mask_trailing_dash(name)) } else { check(name) }
}

/// A DNS subdomain (RFC 1123): most objects' names. With `prefix` a trailing dash is allowed (`generateName`).
pub fn dns1123_subdomain(name: &str, prefix: bool) -> Vec<String> {
    with_prefix_rule(name, prefix, |value| {
        let mut out = Vec::new();
        if value.len() > 253 {
            out.push(max_characters(253));
        }
        if !is_dns1123_subdomain(value) {
            out.push(must_match(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
                SUBDOMAIN,
                &["example.com"],
            ));
        }
        out
    })
}

/// A DNS subdomain whose labels may hold underscores (`dnsConfig.searches`).
pub fn dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(max_characters(253));
    }
    let label = |l: &str| bounded(l.strip_prefix('_').unwrap_or(l), lower, |b| b == b'-' || b == b'_');
    if !value.split('.').all(label) {
        out.push(must_match(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_UNDERSCORE,
            &["example.com"],
        ));
    }
    out
}

/// A DNS label (RFC 1123): namespaces, containers, volumes, Services.
pub fn dns1123_label(name: &str, prefix: bool) -> Vec<String> {
    with_prefix_rule(name, prefix, |value| {
        let mut out = Vec::new();
        if value.len() > 63 {
            out.push(max_characters(63));
        }
        if !is_dns1123_label(value) {
            out.push(if is_dns1123_subdomain(value) {
                "must not contain dots".to_owned()
            } else {
                must_match(
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                    LABEL,
                    &["my-name", "123-abc"],
                )
            });
        }
        out
    })
}

/// A DNS label that starts with a letter (RFC 1035): Services, before v1.36 relaxed them.
pub fn dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    with_prefix_rule(name, prefix, |value| {
        let mut out = Vec::new();
        if value.len() > 63 {
            out.push(max_characters(63));
        }
        if !is_dns1123_label(value) || value.starts_with(|c: char| c.is_ascii_digit()) {
            out.push(must_match(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
                "[a-z]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "abc-123"],
            ));
        }
        out
    })
}

/// `*.` followed by a DNS subdomain (RFC 1034, 4.3.3): Ingress hosts.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(max_characters(253));
    }
    if !value.strip_prefix("*.").is_some_and(is_dns1123_subdomain) {
        out.push(must_match(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    out
}

/// A name that can stand in a URL path (`ValidatePathSegmentName`): roles, and the least that every object must satisfy.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix {
        if name == "." {
            return vec!["may not be '.'".to_owned()];
        }
        if name == ".." {
            return vec!["may not be '..'".to_owned()];
        }
    }
    let contains = |c: char| name.contains(c).then(|| format!("may not contain '{c}'"));
    ['/', '%'].into_iter().filter_map(contains).collect()
}

/// A label or annotation key, a qualified resource name: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(""), Some(name), None) => {
            out.push("prefix part must be non-empty".to_owned());
            name
        }
        (Some(prefix), Some(name), None) => {
            out.extend(subdomain_of_key(prefix).into_iter().map(|m| format!("prefix part {m}")));
            name
        }
        _ => {
            let matched = must_match(LABEL_KEY_WORDS, LABEL_KEY, &examples);
            return vec![format!(
                "a valid label key {matched} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push(format!("name part {}", max_bytes(63)));
    }
    if !is_label_key_name(name) {
        out.push(format!("name part {}", must_match(LABEL_KEY_WORDS, LABEL_KEY, &examples)));
    }
    out
}

fn subdomain_of_key(prefix: &str) -> Vec<String> {
    let mut out = dns1123_subdomain(prefix, false);
    if prefix.len() > 253
        && let Some(first) = out.first_mut()
    {
        *first = max_bytes(253);
    }
    out
}

fn is_label_key_name(name: &str) -> bool {
    bounded(name, |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

pub fn label_value(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 63 {
        out.push(max_bytes(63));
    }
    if !value.is_empty() && !is_label_key_name(value) {
        out.push(must_match(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    out
}

/// An identifier as in C (`a_b1`): names of environment-like keys in a few old fields.
pub fn c_identifier(value: &str) -> Vec<String> {
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Vec::new();
    }
    vec![must_match(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A key of a ConfigMap or Secret: safe as a file name.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(max_characters(253));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        out.push(must_match(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." | ".." => out.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// Printable ASCII except `=` (relaxed by KEP-4369, which v1.37 has for good).
pub fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        let words = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        return vec![words.to_owned()];
    }
    Vec::new()
}

/// The name of a port (RFC 6335, lower case only).
pub fn port_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 15 {
        out.push(max_characters(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower(b) || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

pub fn port_number(value: i64) -> Vec<String> {
    in_range(value, 1, 65535)
}

/// `runAsUser`, `runAsGroup`, `fsGroup`: what container runtimes take.
pub fn user_id(value: i64) -> Vec<String> {
    in_range(value, 0, i64::from(i32::MAX))
}

pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![must_match(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![must_match(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        type Check = fn(&str) -> Vec<String>;
        let table: &[(&str, Check, &[&str], &[&str])] = &[
            (
                "subdomain",
                |s| dns1123_subdomain(s, false),
                &["a", "a.b", "1-2.x"],
                &["", "A", "a..b", "-a", "a-", "a_b", ".a"],
            ),
            ("prefix", |s| dns1123_subdomain(s, true), &["a-", "a", "a.b-", "A-"], &["", "A", "-", "Aa-"]),
            ("label", |s| dns1123_label(s, false), &["a", "1a", "a-b"], &["", "a.b", "a-"]),
            ("1035", |s| dns1035_label(s, false), &["a", "a1"], &["1a", "", "a."]),
            ("wildcard", wildcard_dns1123_subdomain, &["*.a.b"], &["*", "a", "*.*.a", "*a"]),
            (
                "qualified",
                qualified_name,
                &["a", "A_b.c", "x.io/A"],
                &["", "/", "/a", "a/", "a/b/c", "X.io/a", "a b", "_a"],
            ),
            ("value", label_value, &["", "a", "a_b.c-d"], &["a b", "-a", "a-", "é"]),
            ("key", config_map_key, &["a", ".a", "A-_."], &["", "a b", ".", "..", "..a"]),
            ("env", env_var_name, &["A", "1 b", "a-b.c", "~"], &["", "a=b", "\t", "é"]),
            ("port", port_name, &["http", "a-1"], &["", "1", "A", "a--b", "-a", "a-", "a123456789012345"]),
            ("percent", percent, &["1%", "100%"], &["%", "1", "-1%", "1.5%"]),
            ("header", http_header_name, &["X-A"], &["", "a b", "a_b"]),
            ("c", c_identifier, &["a", "_1"], &["", "1", "a-"]),
            ("path", |s| path_segment(s, false), &["a:b", "..."], &[".", "..", "a/b", "a%b"]),
            ("underscore", dns1123_subdomain_with_underscore, &["_a.b", "a_b"], &["", "a_", "_"]),
        ];
        for (what, check, good, bad) in table {
            for value in *good {
                assert_eq!(check(value), Vec::<String>::new(), "{what} {value:?}");
            }
            for value in *bad {
                assert!(!check(value).is_empty(), "{what} {value:?} should be refused");
            }
        }
    }

    #[test]
    fn dots_in_a_label_are_named() {
        assert_eq!(dns1123_label("a.b", false), ["must not contain dots"]);
        assert_eq!(label_value(&"x".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(dns1123_label(&"x".repeat(64), false), ["must be no more than 63 characters"]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(s in "\\PC*", n: i64) {
            dns1123_subdomain(&s, true);
            dns1123_label(&s, true);
            qualified_name(&s);
            config_map_key(&s);
            port_name(&s);
            percent(&s);
            ip(&s);
            cidr(&s);
            port_number(n);
        }
    }
}
