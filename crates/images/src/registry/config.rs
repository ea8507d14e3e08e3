//! How registries are reached, and with which credentials.
use super::helper;
use crate::contract::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name that stands for a refresh token in place of a password (docker/cli `config/types`).
pub const IDENTITY: &str = "<token>";

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
    /// The helper that keeps all credentials.
    creds_store: String,
    /// Those for single registries.
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
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

    /// Docker's credentials: what a helper has for this registry, then those in the file, in its order.
    pub async fn docker_credentials(&self, registry: &str) -> Vec<Credentials> {
        let Some(path) = &self.docker else { return Vec::new() };
        let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
        let config: DockerConfig = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read docker's configuration");
            DockerConfig::default()
        });
        let asked = match config.helper(registry) {
            Some(helper) => helper::ask(helper, registry).await,
            None => None,
        };
        let in_file = config.auths.into_iter().filter_map(|(registry, auth)| auth.read(registry));
        asked.into_iter().chain(in_file).collect()
    }
}

impl DockerConfig {
    /// Who keeps the credentials for a registry. An empty name in `credHelpers` is nobody.
    fn helper(&self, registry: &str) -> Option<&str> {
        let names = [registry, helper::server(registry)];
        let own = names.iter().find_map(|name| self.cred_helpers.get(*name));
        Some(own.unwrap_or(&self.creds_store).as_str()).filter(|name| !name.is_empty())
    }
}

impl Auth {
    fn read(self, registry: String) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials { registry, username: IDENTITY.to_owned(), password: self.identitytoken });
        }
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

    fn shown(credentials: Vec<Credentials>) -> Vec<String> {
        credentials.into_iter().map(|c| format!("{} {} {}", c.registry, c.username, c.password)).collect()
    }

    #[tokio::test]
    async fn dockers_file_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("config.json");
        std::fs::write(&path, r#"{"auths":{"a:5000":{"auth":"dXNlcjpwYTpzcw=="},"b":{"username":"x","password":"y"},"c":{},"d":{"identitytoken":"t"}}}"#).unwrap();
        let config = RegistryConfig { docker: Some(path.clone()), own: None };
        assert_eq!(shown(config.docker_credentials("b").await), ["a:5000 user pa:ss", "b x y", "d <token> t"]);
        std::fs::write(&path, "{").unwrap();
        assert!(config.docker_credentials("b").await.is_empty());
    }

    #[test]
    fn the_helper_of_a_registry_goes_before_that_for_all() {
        let config = r#"{"credsStore":"all","credHelpers":{"r.example":"one","https://index.docker.io/v1/":"hub","none.example":""}}"#;
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        for (registry, expected) in [
            ("r.example", Some("one")),
            ("docker.io", Some("hub")),
            ("none.example", None),
            ("other:5000", Some("all")),
        ] {
            assert_eq!(config.helper(registry), expected, "{registry}");
        }
        assert_eq!(DockerConfig::default().helper("r.example"), None);
    }
}
