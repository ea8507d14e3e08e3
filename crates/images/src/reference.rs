//! Names of images: `host:port/path/name:tag@digest` (`distribution/reference`), as people write them, normalized and shortened.
use crate::digest::Digest;
use crate::{ImageError, Result};
use std::fmt;

/// What `docker.io` stands for when a name has no host.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Docker Hub's own images.
const OFFICIAL: &str = "library/";
/// Longest `registry/repository` (`distribution/reference`, `NameTotalLengthMax`).
const LONGEST_NAME: usize = 255;

/// The name of an image in a registry, normalized.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `registry.example:5000`.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// What a person may name an image by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Id(Digest),
    Name(Reference),
}

impl Wanted {
    /// An image id (`sha256:…`) or a name; a name without tag and digest means `latest`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        Reference::parse(text).map(Reference::or_latest).map(Self::Name)
    }
}

impl Reference {
    /// Reads a name; tag and digest stay absent if they are.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid =
            |message: &str| ImageError::InvalidName { reference: text.to_owned(), message: message.to_owned() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| invalid("invalid reference format: bad digest"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(invalid(&format!("invalid reference format: bad tag {tag:?}")));
        }
        if digest.is_none() && tag.is_none() && Digest::from_hex(name).is_some() {
            return Err(invalid("invalid repository name, cannot specify 64-byte hexadecimal strings"));
        }
        let (registry, repository) = split_registry(name);
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("invalid reference format: repository name must be lowercase"));
        }
        if !is_registry(registry) || !repository.split('/').all(is_path_component) {
            return Err(invalid("invalid reference format"));
        }
        let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if official { format!("{OFFICIAL}{repository}") } else { repository.to_owned() };
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(invalid("repository name must not be more than 255 characters"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// A name without tag and digest is the one with tag `latest`.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Whether the name says no registry of its own, so that Docker Hub is meant.
    pub fn is_of_default_registry(&self) -> bool {
        self.registry == DEFAULT_REGISTRY
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository:tag`, with `latest` for want of one.
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.name(), self.tag.as_deref().unwrap_or("latest"))
    }

    /// `registry/repository@digest`.
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// The shortest name that means the same repository: `nginx` for `docker.io/library/nginx`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// As `docker image ls` prints it: `nginx:1.27`.
    pub fn familiar(&self) -> String {
        self.format(self.familiar_name())
    }

    fn format(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format(self.name()))
    }
}

/// The first part is a host if it looks like one: has a dot or a port, is `localhost`, or has capitals.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if host == "index.docker.io" { DEFAULT_REGISTRY } else { host }, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` parts, joined by one dot, one or two underscores, or any number of dashes.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let outer = |b: Option<&u8>| b.copied().is_some_and(alphanumeric);
    if !outer(bytes.first()) || !outer(bytes.last()) {
        return false;
    }
    text.split(|c: char| c.is_ascii() && alphanumeric(c as u8))
        .filter(|s| !s.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_and_shortened() {
        let d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (written, normalized, short) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("web:v1", "docker.io/library/web:v1", "web:v1"),
            ("me/web", "docker.io/me/web:latest", "me/web:latest"),
            ("library/web", "docker.io/library/web:latest", "web:latest"),
            ("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("localhost/web", "localhost/web:latest", "localhost/web:latest"),
            ("localhost:5000/a/b/c:V_1.x-y", "localhost:5000/a/b/c:V_1.x-y", "localhost:5000/a/b/c:V_1.x-y"),
            ("127.0.0.1:5000/a__b--c.d", "127.0.0.1:5000/a__b--c.d:latest", "127.0.0.1:5000/a__b--c.d:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            (&format!("web@{d}"), &format!("docker.io/library/web@{d}"), &format!("web@{d}")),
            (&format!("web:v1@{d}"), &format!("docker.io/library/web:v1@{d}"), &format!("web:v1@{d}")),
        ] {
            let reference = Reference::parse(written).unwrap().or_latest();
            assert_eq!((reference.to_string(), reference.familiar()), (normalized.to_owned(), short.to_owned()));
            assert_eq!(Reference::parse(normalized).unwrap().or_latest(), reference, "normalizing is idempotent");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let long = "a".repeat(256);
        for bad in [
            "",
            ":",
            "web:",
            "web:a/b:c d",
            "Web",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a:-x",
            "a@sha256:12",
            "a b",
            "a\n",
            "..",
            "../x",
            "-host.x/a",
            "host:99999/a",
            "é",
            "[::1/a",
            hex,
            &long,
        ] {
            assert!(matches!(Reference::parse(bad), Err(ImageError::InvalidName { .. })), "{bad:?}");
        }
        assert_eq!(
            Reference::parse("Web:v1").unwrap_err().to_string(),
            "couldn't parse image name \"Web:v1\": invalid reference format: repository name must be lowercase"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }
    }
}
