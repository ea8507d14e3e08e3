//! Where volumes are on disk: the directories are named as kubelet names them, so that people who know one know the other.
//!
//! ```text
//! DATA/pods/UID/volumes/kubernetes.io~configmap/NAME/..data -> ..2026_11_23_08_40_00.1234
//! DATA/pods/UID/volume-subpaths/VOLUME/CONTAINER/INDEX      a bind mount of what a subPath names
//! DATA/volumes/PVNAME                                       what the built-in provisioner made
//! ```
use std::io;
use std::path::{Path, PathBuf};

/// Which directory a volume's content is in (`pkg/volume/util.EscapeQualifiedName` of the plugin's name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    EmptyDir,
    ConfigMap,
    Secret,
    Projected,
    DownwardApi,
}

impl Plugin {
    fn directory(self) -> &'static str {
        match self {
            Self::EmptyDir => "kubernetes.io~empty-dir",
            Self::ConfigMap => "kubernetes.io~configmap",
            Self::Secret => "kubernetes.io~secret",
            Self::Projected => "kubernetes.io~projected",
            Self::DownwardApi => "kubernetes.io~downward-api",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    data: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct PodDir {
    path: PathBuf,
}

/// A name that must be one component of a path is not: it came over the network and would lead elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a file name")]
pub(crate) struct NotAName(pub String);

impl From<NotAName> for io::Error {
    fn from(error: NotAName) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

fn component(name: &str) -> Result<&str, NotAName> {
    let bad = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
    if bad { Err(NotAName(name.to_owned())) } else { Ok(name) }
}

impl Layout {
    pub fn new(data: PathBuf) -> Self {
        Self { data }
    }

    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    pub fn pod(&self, uid: &str) -> Result<PodDir, NotAName> {
        Ok(PodDir { path: self.pods().join(component(uid)?) })
    }
}

/// Where the built-in provisioner keeps volumes.
pub fn persistent_root(data: &Path) -> PathBuf {
    data.join("volumes")
}

/// Where the built-in provisioner keeps this one.
pub(crate) fn persistent(data: &Path, volume: &str) -> Result<PathBuf, NotAName> {
    Ok(persistent_root(data).join(component(volume)?))
}

impl PodDir {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }
    pub fn subpaths(&self) -> PathBuf {
        self.path.join("volume-subpaths")
    }
    /// Notes of which volumes are set up.
    pub fn notes(&self) -> PathBuf {
        self.path.join("volume-notes")
    }
    pub fn note(&self, name: &str) -> Result<PathBuf, NotAName> {
        Ok(self.notes().join(component(name)?))
    }
    pub fn volume(&self, plugin: Plugin, name: &str) -> Result<PathBuf, NotAName> {
        Ok(self.volumes().join(plugin.directory()).join(component(name)?))
    }
    pub fn subpath(&self, volume: &str, container: &str, index: usize) -> Result<PathBuf, NotAName> {
        Ok(self.subpaths().join(component(volume)?).join(component(container)?).join(index.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_elsewhere() {
        let layout = Layout::new("/data".into());
        for bad in ["", ".", "..", "a/b", "/", "a\0"] {
            assert!(layout.pod(bad).is_err(), "{bad:?}");
            assert!(persistent(Path::new("/data"), bad).is_err(), "{bad:?}");
        }
        let pod = layout.pod("uid").unwrap();
        assert!(pod.volume(Plugin::Secret, "../x").is_err() && pod.subpath("v", "..", 0).is_err());
        assert_eq!(
            pod.volume(Plugin::Secret, "v").unwrap(),
            Path::new("/data/pods/uid/volumes/kubernetes.io~secret/v")
        );
        assert_eq!(pod.subpath("v", "c", 2).unwrap(), Path::new("/data/pods/uid/volume-subpaths/v/c/2"));
    }
}
