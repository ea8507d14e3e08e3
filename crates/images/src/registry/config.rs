//! How registries are reached, and with which credentials.
use crate::contract::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Docker's configuration; read at each use, because people log in while we run.
    pub docker: Option<PathBuf>,
    /// `registries.json`.
    pub own: Option<PathBuf>,
}

/// `registries.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// Where to ask first, by registry.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries without TLS.
    pub insecure: Vec<String>,
}

/// `~/.docker/config.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

impl RegistryConfig {
    /// What this machine's configuration says; `store` is the store's directory.
    pub fn of_machine(store: &Path) -> Self {
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let dir = dir.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        Self { docker: dir.map(|d| d.join("config.json")), own: Some(store.join("registries.json")) }
    }

    /// `registries.json`; a file that cannot be read is said and left out.
    pub fn own(&self) -> Own {
        let Some(path) = &self.own else { return Own::default() };
        let Ok(bytes) = std::fs::read(path) else { return Own::default() };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read the registries' configuration");
            Own::default()
        })
    }

    /// Docker's credentials, in the order of the file.
    pub fn docker_credentials(&self) -> Vec<Credentials> {
        let Some(path) = &self.docker else { return Vec::new() };
        let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
        let config: DockerConfig = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read docker's configuration");
            DockerConfig::default()
        });
        config.auths.into_iter().filter_map(|(registry, auth)| auth.read(registry)).collect()
    }
}

impl Auth {
    fn read(self, registry: String) -> Option<Credentials> {
        if !self.auth.is_empty() {
            let text = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
            let (username, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0').to_owned();
            return Some(Credentials { registry, username: username.to_owned(), password });
        }
        let given = !self.username.is_empty();
        given.then_some(Credentials { registry, username: self.username, password: self.password })
    }
}

/// Whether credentials are for a repository: the host is the same (`*` stands for a part of a name), and a path is a beginning of it
/// (Kubernetes `pkg/credentialprovider/keyring.go`).
pub fn fits(credentials: &Credentials, registry: &str, repository: &str) -> bool {
    let given = credentials.registry.as_str();
    let given = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given);
    let (host, path) = given.split_once('/').unwrap_or((given, ""));
    let docker = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    // Docker writes its own registry's address with the path of an old protocol.
    let path = path.trim_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let same = host == registry || docker(host) && docker(registry) || wild(host, registry);
    same && (path.is_empty()
        || repository == path
        || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
}

fn wild(pattern: &str, host: &str) -> bool {
    let (pattern_parts, parts): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.contains('*')
        && pattern_parts.len() == parts.len()
        && pattern_parts.iter().zip(&parts).all(|(p, part)| match p.split_once('*') {
            Some((before, after)) => {
                part.len() >= before.len() + after.len() && part.starts_with(before) && part.ends_with(after)
            }
            None => p == part,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_fit_hosts_and_paths() {
        let with =
            |registry: &str| Credentials { registry: registry.into(), username: "u".into(), password: "p".into() };
        for (given, registry, repository, expected) in [
            ("https://index.docker.io/v1/", "docker.io", "library/x", true),
            ("docker.io", "docker.io", "me/x", true),
            ("r.example:5000", "r.example:5000", "x", true),
            ("r.example:5000", "r.example", "x", false),
            ("r.example/team", "r.example", "team/x", true),
            ("r.example/team", "r.example", "teams/x", false),
            ("*.example", "a.example", "x", true),
            ("*.example", "a.b.example", "x", false),
            ("https://r.example/v2/", "r.example", "x", true),
        ] {
            assert_eq!(fits(&with(given), registry, repository), expected, "{given} {registry}/{repository}");
        }
    }

    #[test]
    fn dockers_file_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("config.json");
        std::fs::write(&path, r#"{"auths":{"a:5000":{"auth":"dXNlcjpwYTpzcw=="},"b":{"username":"x","password":"y"},"c":{}},"credsStore":"z"}"#).unwrap();
        let config = RegistryConfig { docker: Some(path.clone()), own: None };
        let found: Vec<_> =
            config.docker_credentials().into_iter().map(|c| (c.registry, c.username, c.password)).collect();
        assert_eq!(
            found,
            [("a:5000".into(), "user".into(), "pa:ss".into()), ("b".to_owned(), "x".to_owned(), "y".to_owned())]
        );
        std::fs::write(&path, "{").unwrap();
        assert!(config.docker_credentials().is_empty());
    }
}
