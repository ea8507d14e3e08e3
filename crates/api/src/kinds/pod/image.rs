//! Image references, as far as the default of `imagePullPolicy` needs them (`pkg/util/parsers`, the distribution grammar).

/// `Always` for the tag `latest` (also when no tag and no digest is given), `IfNotPresent` for all else: other tags, digests,
/// and what is no image reference at all.
pub fn default_pull_policy(image: &str) -> &'static str {
    if tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of a well-formed reference; `latest` when it has neither tag nor digest.
fn tag(image: &str) -> Option<&str> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let path_start = rest.rfind('/').map_or(0, |slash| slash.saturating_add(1));
    let (name, tag) = match rest.rfind(':') {
        Some(colon) if colon >= path_start => (rest.get(..colon)?, rest.get(colon.saturating_add(1)..)),
        _ => (rest, None),
    };
    let tag_is_right = tag.is_none_or(|t| {
        (1..=128).contains(&t.len())
            && t.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    });
    if !tag_is_right || !digest.is_none_or(is_digest) || !is_name(name) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_name(name: &str) -> bool {
    let is_hex_id = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if name.is_empty() || is_hex_id {
        return false;
    }
    let path = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) => path,
        _ => name,
    };
    name.len() <= 255 && path.split('/').all(is_component)
}

fn is_domain(first: &str) -> bool {
    let looks_like_one =
        first.contains(['.', ':']) || first == "localhost" || first.contains(|c: char| c.is_uppercase());
    let (host, port) = first.rsplit_once(':').unwrap_or((first, "0"));
    looks_like_one
        && !host.is_empty()
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':'))
}

/// Lower-case letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component
            .split(alphanumeric)
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_pulled_always() {
        let digest = format!("x@sha256:{}", "a".repeat(64));
        let cases = [
            ("x", "Always"),
            ("x:latest", "Always"),
            ("localhost:5000/x", "Always"),
            ("r.example/a/b__c:latest", "Always"),
            ("x:v1", "IfNotPresent"),
            ("localhost:5000/x:v1", "IfNotPresent"),
            (digest.as_str(), "IfNotPresent"),
            (" x ", "IfNotPresent"),
            ("X", "IfNotPresent"),
            ("", "IfNotPresent"),
            ("x:", "IfNotPresent"),
        ];
        for (image, policy) in cases {
            assert_eq!(default_pull_policy(image), policy, "{image:?}");
        }
    }
}
