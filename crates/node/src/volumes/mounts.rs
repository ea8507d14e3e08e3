//! From `volumeMounts` to what the runtime is told (`pkg/kubelet/kubelet_pods.go`, `makeMounts`).
use super::Ready;
use super::layout::Layout;
use super::subpath::{self, SubPathError};
use crate::seams::VolumeError;
use isopod_runtime::{EnvVar, Mount, MountSource, Propagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One mount, decided but for what only the disk can say.
struct One {
    volume: String,
    container: String,
    root: PathBuf,
    /// A path in the volume, and where it is to be made visible.
    part: Option<(String, PathBuf)>,
    mount: Mount,
}

/// All mounts of one container.
pub(super) struct Asked(Vec<One>);

impl Asked {
    pub fn new(
        layout: &Layout,
        uid: &str,
        container: &Container,
        env: &[EnvVar],
        ready: &BTreeMap<String, Ready>,
    ) -> Result<Self, VolumeError> {
        let mounts = container.volume_mounts.iter().flatten().enumerate();
        let all = mounts.map(|(index, wanted)| {
            let fail = |message: String| VolumeError { volume: wanted.name.clone(), message };
            let found = ready.get(&wanted.name).ok_or_else(|| {
                fail(format!("cannot find volume {:?} to mount into container {:?}", wanted.name, container.name))
            })?;
            let path = sub_path(wanted, env).map_err(fail)?;
            let part = path.map(|path| {
                let pod = layout.pod(uid)?;
                Ok::<_, super::layout::NotAName>((path, pod.subpath(&wanted.name, &container.name, index)?))
            });
            let part = part.transpose().map_err(|e| fail(e.to_string()))?;
            let shown = part.as_ref().map_or_else(|| found.path.clone(), |(_, at)| at.clone());
            let read_only = wanted.read_only == Some(true) || found.read_only;
            let recursive = matches!(wanted.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
            let mount = Mount {
                source: MountSource::Bind(shown),
                target: Path::new("/").join(&wanted.mount_path),
                read_only,
                recursive_read_only: read_only && recursive,
                propagation: propagation(wanted.mount_propagation.as_deref()),
            };
            let (volume, container) = (wanted.name.clone(), container.name.clone());
            Ok(One { volume, container, root: found.path.clone(), part, mount })
        });
        Ok(Self(all.collect::<Result<_, VolumeError>>()?))
    }

    /// Makes parts of volumes visible.
    pub fn carry_out(self) -> Result<Vec<Mount>, VolumeError> {
        self.0.into_iter().map(One::carry_out).collect()
    }
}

impl One {
    fn carry_out(self) -> Result<Mount, VolumeError> {
        if let Some((path, at)) = &self.part {
            let shown = subpath::find(&self.root, path).and_then(|found| Ok(subpath::show(&found, at)?));
            shown.map_err(|error| VolumeError { volume: self.volume.clone(), message: self.words(&error) })?;
        }
        Ok(self.mount)
    }

    /// Of the machine's files nothing is told but to the log: the path is the pod author's, who may not know them.
    fn words(&self, error: &SubPathError) -> String {
        match error {
            SubPathError::Absolute(_) | SubPathError::Backsteps(_) => error.to_string(),
            SubPathError::Escapes | SubPathError::Io(_) => {
                tracing::warn!(%error, volume = self.volume, container = self.container, "sub path");
                let (volume, container) = (&self.volume, &self.container);
                format!("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")
            }
        }
    }
}

fn propagation(wanted: Option<&str>) -> Propagation {
    match wanted {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    }
}

/// `subPath`, or `subPathExpr` with the container's environment in it.
fn sub_path(mount: &VolumeMount, env: &[EnvVar]) -> Result<Option<String>, String> {
    let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
    if expression.is_empty() {
        return Ok(mount.sub_path.clone().filter(|path| !path.is_empty()));
    }
    // A later entry of the same name wins.
    let values: BTreeMap<&str, &str> = env.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
    let mut missing = BTreeSet::new();
    let path = expand(expression, |name| {
        let value = values.get(name).copied().unwrap_or_default();
        if value.is_empty() {
            missing.insert(name.to_owned());
        }
        value.to_owned()
    });
    if missing.is_empty() {
        return Ok(Some(path).filter(|path| !path.is_empty()));
    }
    Err(format!("missing value for {}", missing.into_iter().collect::<Vec<_>>().join(", ")))
}

/// `$(NAME)` is replaced, `$$` is a dollar, everything else stands for itself
/// (`third_party/forked/golang/expansion`).
fn expand(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            out.push_str(&value(name));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn env() -> Vec<EnvVar> {
        [("A", "1"), ("B", "old"), ("B", "two"), ("EMPTY", "")]
            .map(|(name, value)| EnvVar { name: name.into(), value: value.into() })
            .into()
    }

    #[test]
    fn expands_as_kubernetes_does() {
        let table = [
            ("x/$(A)/$(B)", Ok("x/1/two")),
            ("$$(A)", Ok("$(A)")),
            ("$$$(A)", Ok("$1")),
            ("$A", Ok("$A")),
            ("cost$", Ok("cost$")),
            ("$(A", Ok("$(A")),
            ("$(NONE)/$(EMPTY)/$(A)", Err("missing value for EMPTY, NONE")),
        ];
        for (expression, expected) in table {
            let mount: VolumeMount =
                serde_json::from_value(json!({"name": "v", "mountPath": "/m", "subPathExpr": expression})).unwrap();
            let got = sub_path(&mount, &env()).map(Option::unwrap_or_default);
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{expression}");
        }
    }

    #[test]
    fn says_how_to_mount() {
        let layout = Layout::new("/data".into());
        let ready = |path: &str, read_only| Ready { path: path.into(), read_only, digest: None };
        let known = BTreeMap::from([("v".to_owned(), ready("/v", false)), ("ro".to_owned(), ready("/ro", true))]);
        let asked = |mounts: Value| {
            let container = json!({"name": "c", "volumeMounts": mounts});
            let container: Container = serde_json::from_value(container).unwrap();
            Asked::new(&layout, "uid", &container, &env(), &known)
        };
        let mounts: Vec<String> = asked(json!([
            {"name": "v", "mountPath": "/a"},
            {"name": "v", "mountPath": "b", "readOnly": true, "recursiveReadOnly": "Enabled"},
            {"name": "v", "mountPath": "/c", "readOnly": true, "recursiveReadOnly": "Disabled"},
            {"name": "ro", "mountPath": "/d"},
            {"name": "v", "mountPath": "/e", "mountPropagation": "Bidirectional"},
            {"name": "v", "mountPath": "/f", "mountPropagation": "HostToContainer", "subPath": "x"}
        ]))
        .unwrap()
        .0
        .into_iter()
        .map(|one| {
            let m = one.mount;
            let MountSource::Bind(source) = m.source else { unreachable!("volumes are bind mounts") };
            format!(
                "{} {} {} {} {:?}",
                source.display(),
                m.target.display(),
                m.read_only,
                m.recursive_read_only,
                m.propagation
            )
        })
        .collect();
        assert_eq!(
            mounts,
            [
                "/v /a false false Private",
                "/v /b true true Private",
                "/v /c true false Private",
                "/ro /d true false Private",
                "/v /e false false Bidirectional",
                "/data/pods/uid/volume-subpaths/v/c/5 /f false false HostToContainer",
            ]
        );
        let error = asked(json!([{"name": "none", "mountPath": "/a"}])).err().unwrap();
        assert_eq!(error.message, "cannot find volume \"none\" to mount into container \"c\"");
    }
}
