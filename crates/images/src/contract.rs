//! What the node agent asks of the image store: [`Images`].
use crate::reference::Reference;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, ImageError>;

/// Where a machine's images are.
///
/// References are as people write them (`nginx`, `web:v1`, `host:5000/a/b@sha256:…`) or an image id (`sha256:…`); they are
/// normalized inside (`docker.io/library/nginx:latest`).
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// The image, if it is on this machine and whole. Never asks a registry.
    async fn find(&self, reference: &str) -> Result<Option<Image>>;
    /// Fetches it from its registry, even if an image of that name is here already (only what is missing is transferred).
    /// `credentials` are tried in order, then without any. Several pulls of one reference at once are one pull.
    async fn pull(&self, reference: &str, credentials: &[Credentials]) -> Result<Image>;
    /// All of them, in order of id.
    async fn list(&self) -> Result<Vec<Image>>;
    /// Takes away the image with all of its names, and layers nobody else needs. The caller knows that no container uses it.
    /// Returns the bytes freed: less than its size where others share its layers. [`ImageError::Busy`] while something is being
    /// built, pulled or loaded, which may rely on its layers: then nothing was done.
    async fn remove(&self, id: &str) -> Result<u64>;
}

/// An image that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Digest of its configuration: `sha256:…`. What Kubernetes shows as `imageID`.
    pub id: String,
    /// Names with tags, normalized: `docker.io/library/web:v1`.
    pub tags: Vec<String>,
    /// Names with manifest digests: `docker.io/library/web@sha256:…`.
    pub digests: Vec<String>,
    pub config: ImageConfig,
    /// Unpacked layers, lowest first, as the runtime stacks them.
    pub layers: Vec<PathBuf>,
    /// Bytes of the unpacked layers together.
    pub size: u64,
}

/// Where the name of an image that is here comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Pulled from the registry the name says.
    Registry,
    /// Built, loaded, imported or tagged here, under a name that says no registry (`web:latest`): this is the one meant.
    Here,
    /// Made here too, but its name says a registry (`127.0.0.1:5000/web`), which may have a newer one.
    HereForRegistry,
}

impl Image {
    /// Where what `reference` names comes from. A pull notes the digest it got under the name; what was made here has none.
    pub fn origin(&self, reference: &str) -> Origin {
        let Ok(name) = Reference::parse(reference) else { return Origin::Registry };
        let pulled = format!("{}@", name.name());
        match self.digests.iter().any(|digest| digest.starts_with(&pulled)) {
            true => Origin::Registry,
            false if name.is_of_default_registry() => Origin::Here,
            false => Origin::HereForRegistry,
        }
    }
}

/// What an image says about how to run it (OCI image-spec `config.md`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Empty is `/`.
    pub working_dir: String,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty is root.
    pub user: String,
    /// `SIGTERM`, `15`; empty is SIGTERM.
    pub stop_signal: String,
    /// Mount points that `VOLUME` declared: the runtime gives each a directory of its own.
    pub volumes: Vec<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `docker.io`, `registry.example:5000`, perhaps with a path; matched as `.dockerconfigjson` is.
    pub registry: String,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// Why an image is not to be had. The texts are shown to people (events, container statuses).
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `InvalidImageName` in Kubernetes.
    #[error("couldn't parse image name {reference:?}: {message}")]
    InvalidName { reference: String, message: String },
    /// The registry answers, and has no such image, or does not let us have it.
    #[error("failed to pull and unpack image {reference:?}: {message}")]
    NotFound { reference: String, message: String },
    /// The registry cannot be reached or fails; later may help. `RegistryUnavailable` in Kubernetes.
    #[error("failed to pull and unpack image {reference:?}: {message}")]
    Unavailable { reference: String, message: String },
    /// What came is not what it should be: digest, archive, manifest, a path that leads out of its layer.
    #[error("{what}: {message}")]
    Corrupt { what: String, message: String },
    /// Asked for something that cannot be done to the images as they are.
    #[error("{message}")]
    Refused { message: String },
    #[error("images are being built, pulled or loaded just now")]
    Busy,
    #[error("{context}: {source}")]
    Io {
        context: String,
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_was_pulled_or_made_here() {
        let image = |digests: &[&str]| Image {
            id: "sha256:1".to_owned(),
            tags: vec![],
            digests: digests.iter().map(|d| (*d).to_owned()).collect(),
            config: ImageConfig::default(),
            layers: vec![],
            size: 0,
        };
        let cases = [
            ("web", &[][..], Origin::Here),
            ("docker.io/library/web:latest", &[], Origin::Here),
            ("127.0.0.1:5000/web", &[], Origin::HereForRegistry),
            ("web", &["docker.io/library/web@sha256:2"], Origin::Registry),
            ("127.0.0.1:5000/web:v1", &["127.0.0.1:5000/web@sha256:2"], Origin::Registry),
            // Pulled under one name, tagged here under another.
            ("mine", &["docker.io/library/web@sha256:2"], Origin::Here),
            ("web2", &["docker.io/library/web@sha256:2"], Origin::Here),
        ];
        for (reference, digests, expected) in cases {
            assert_eq!(image(digests).origin(reference), expected, "{reference} {digests:?}");
        }
    }
}
