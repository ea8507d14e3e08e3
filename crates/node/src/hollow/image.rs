//! The form of image names (github.com/distribution/reference, whose grammar container runtimes share).

fn is_component(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    edge(part.chars().next())
        && edge(part.chars().last())
        && part.chars().all(allowed)
        && !part.contains("..")
        && !part.contains("___")
        && !part.contains("._")
        && !part.contains("_.")
}

/// The first component names a registry if it looks like a host.
fn is_host(part: &str) -> bool {
    let (name, port) = part.split_once(':').map_or((part, None), |(name, port)| (name, Some(port)));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    port.is_none_or(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit())) && name.split('.').all(label)
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// Whether this names an image: `[host[:port]/]path[:tag][@digest]`.
pub(super) fn is_valid(image: &str) -> bool {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    if digest.is_some_and(|d| !is_digest(d)) {
        return false;
    }
    let slash = rest.rfind('/').unwrap_or(0);
    let (name, tag) = match rest.rfind(':').filter(|colon| *colon > slash) {
        Some(colon) => (rest.get(..colon).unwrap_or(""), rest.get(colon.saturating_add(1)..)),
        None => (rest, None),
    };
    if tag.is_some_and(|t| !is_tag(t)) || name.len() > 255 {
        return false;
    }
    match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            is_host(first) && path.split('/').all(is_component)
        }
        _ => name.split('/').all(is_component),
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn names_of_images() {
        for good in
            ["nginx", "nginx:1.27", "library/nginx", "localhost/x", "host:5000/a/b:t", "r.io/a_b/c-d__e:V1", "a/b.c"]
        {
            assert!(is_valid(good), "{good}");
        }
        let digest = format!("nginx:1@sha256:{}", "a".repeat(64));
        assert!(is_valid(&digest));
        for bad in [
            "",
            "Nginx",
            "nginx:",
            "nginx:a b",
            "-a",
            "a//b",
            "a/",
            ":v1",
            "nginx@sha256:12",
            "a b",
            "host:port/x",
            "a:b:c",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
