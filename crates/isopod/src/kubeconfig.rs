//! Kubeconfig files: our cluster, user and context are put in or taken out; everything else in the file stays as it is.
use crate::datadir::write_atomically;
use crate::pki::{Identity, Pki};
use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a context needs to know of a cluster.
pub struct Entry<'a> {
    pub name: &'a str,
    pub server: &'a str,
    /// The CA's certificate, PEM.
    pub ca: &'a str,
    pub user: &'a Identity,
}

impl<'a> Entry<'a> {
    /// The administrator's.
    pub fn admin(name: &'a str, server: &'a str, pki: &'a Pki) -> Self {
        Self { name, server, ca: &pki.ca.certificate, user: &pki.admin }
    }
}

impl Entry<'_> {
    fn cluster(&self) -> Value {
        json!({"server": self.server, "certificate-authority-data": STANDARD.encode(self.ca)})
    }
    fn user(&self) -> Value {
        json!({
            "client-certificate-data": STANDARD.encode(&self.user.certificate),
            "client-key-data": STANDARD.encode(&self.user.key),
        })
    }
}

/// A whole kubeconfig with this entry alone.
pub fn of(entry: &Entry<'_>) -> Value {
    let name = entry.name;
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": entry.cluster()}],
        "users": [{"name": name, "user": entry.user()}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
}

/// The file kubectl would write to: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub fn default_path() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(first) = std::env::split_paths(&listed).find(|p| !p.as_os_str().is_empty()) {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").context("neither KUBECONFIG nor HOME is set: say where with --kubeconfig")?;
    Ok(Path::new(&home).join(".kube/config"))
}

/// Puts the entry in and makes it the current context.
pub fn merge(path: &Path, entry: &Entry<'_>) -> Result<()> {
    let mut config = read(path)?.unwrap_or_default();
    config.entry("apiVersion").or_insert_with(|| json!("v1"));
    config.entry("kind").or_insert_with(|| json!("Config"));
    config.entry("preferences").or_insert_with(|| json!({}));
    put(&mut config, "clusters", entry.name, "cluster", entry.cluster())?;
    put(&mut config, "users", entry.name, "user", entry.user())?;
    // The namespace a person chose for this context stays.
    let mut context = find(&config, "contexts", entry.name, "context").unwrap_or_else(|| json!({}));
    if let Some(context) = context.as_object_mut() {
        context.insert("cluster".into(), json!(entry.name));
        context.insert("user".into(), json!(entry.name));
    }
    put(&mut config, "contexts", entry.name, "context", context)?;
    config.insert("current-context".into(), json!(entry.name));
    write(path, config)
}

/// How long a server on this machine may take to accept a connection.
const PATIENCE: Duration = Duration::from_millis(300);

/// The server on this machine that the cluster `name` in the file points to, if somebody listens there.
pub fn runs_elsewhere(path: &Path, name: &str) -> Result<Option<String>> {
    let Some(config) = read(path)? else { return Ok(None) };
    let cluster = find(&config, "clusters", name, "cluster");
    let server = cluster.as_ref().and_then(|c| c.get("server")?.as_str());
    let address = server.and_then(|s| s.strip_prefix("https://")?.parse::<SocketAddr>().ok());
    let runs = |a: &SocketAddr| a.ip().is_loopback() && TcpStream::connect_timeout(a, PATIENCE).is_ok();
    Ok(server.filter(|_| address.as_ref().is_some_and(runs)).map(str::to_owned))
}

/// Takes the entry out again, if it still points to `server`. A file that is gone is no error.
pub fn remove(path: &Path, name: &str, server: &str) -> Result<()> {
    let Some(mut config) = read(path)? else { return Ok(()) };
    let ours = find(&config, "clusters", name, "cluster").is_some_and(|c| c.get("server") == Some(&json!(server)));
    if !ours {
        return Ok(());
    }
    for list in ["clusters", "users", "contexts"] {
        if let Some(Value::Array(entries)) = config.get_mut(list) {
            entries.retain(|e| e.get("name") != Some(&json!(name)));
        }
    }
    if config.get("current-context") == Some(&json!(name)) {
        config.insert("current-context".into(), json!(""));
    }
    write(path, config)
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    if text.trim().is_empty() {
        return Ok(Some(Map::new()));
    }
    match serde_saphyr::from_str(&text) {
        Ok(Value::Object(map)) => Ok(Some(map)),
        Ok(_) => bail!("{} is not a kubeconfig: left as it is", path.display()),
        Err(e) => bail!("{} is not YAML ({e}): left as it is; choose another file with --kubeconfig", path.display()),
    }
}

fn write(path: &Path, config: Map<String, Value>) -> Result<()> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let text = serde_saphyr::to_string(&Value::Object(config)).context("cannot write the kubeconfig as YAML")?;
    // The file may be a link into somebody's dotfiles: write through it.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    write_atomically(&target, text.as_bytes(), 0o600)
}

fn find(config: &Map<String, Value>, list: &str, name: &str, key: &str) -> Option<Value> {
    let entries = config.get(list)?.as_array()?;
    entries.iter().find(|e| e.get("name") == Some(&json!(name)))?.get(key).cloned()
}

fn put(config: &mut Map<String, Value>, list: &str, name: &str, key: &str, value: Value) -> Result<()> {
    let slot = config.entry(list).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!([]);
    }
    let Value::Array(entries) = slot else { bail!("{list} of the kubeconfig is not a list: left as it is") };
    entries.retain(|e| e.get("name") != Some(&json!(name)));
    entries.push(json!({"name": name, key: value}));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pki() -> Pki {
        let dir = tempfile::tempdir().unwrap();
        Pki::load_or_create(dir.path(), &["localhost".into()], &[]).unwrap()
    }

    #[test]
    fn other_contexts_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: {server: https://example.org}\nusers: null\ncontexts:\n- name: work\n  context: {cluster: work, user: me, namespace: x}\nextensions: [1]\n";
        std::fs::write(&path, theirs).unwrap();
        let pki = pki();
        let entry = Entry::admin("isopod", "https://127.0.0.1:6443", &pki);
        merge(&path, &entry).unwrap();
        merge(&path, &entry).unwrap();
        let config = read(&path).unwrap().unwrap();
        assert_eq!(config["current-context"], "isopod");
        assert_eq!(config["contexts"].as_array().unwrap().len(), 2);
        assert_eq!(config["extensions"], json!([1]));
        assert_eq!(find(&config, "contexts", "work", "context").unwrap()["namespace"], "x");
        remove(&path, "isopod", "https://127.0.0.1:1").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), config, "another cluster of the same name is left alone");
        remove(&path, "isopod", "https://127.0.0.1:6443").unwrap();
        let config = read(&path).unwrap().unwrap();
        assert_eq!((config["clusters"].as_array().unwrap().len(), &config["current-context"]), (1, &json!("")));
    }

    #[test]
    fn a_context_whose_cluster_runs_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        assert_eq!(runs_elsewhere(&path, "isopod").unwrap(), None, "no file");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        merge(&path, &Entry::admin("isopod", &server, &pki())).unwrap();
        assert_eq!(runs_elsewhere(&path, "isopod").unwrap(), Some(server));
        assert_eq!(runs_elsewhere(&path, "other").unwrap(), None, "another name");
        drop(listener);
        assert_eq!(runs_elsewhere(&path, "isopod").unwrap(), None, "nobody listens any more");
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        for text in ["[a, b]", "a: [", "clusters: 3"] {
            std::fs::write(&path, text).unwrap();
            let pki = pki();
            assert!(merge(&path, &Entry::admin("i", "s", &pki)).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
