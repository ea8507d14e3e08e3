//! The data directory: everything a cluster keeps, and how its processes find each other.
//!
//! ```text
//! cluster.json        the cluster's settings, fixed when it is made (name, ports, address ranges)
//! pki/                CA, serving and client certificates, the key of service account tokens
//! store/              the objects (crate isopod-store)
//! images/             OCI images (crate isopod-images)
//! runtime/ pods/ logs/ volumes/ network/   what the node agent keeps: containers, their volumes and logs, addresses
//! kubelet.yaml        how the node agent behaves, if a person has said so (kubelet_config)
//! node.json           on a further machine, instead of cluster.json, pki and store: what it needs to be a node (membership), secret
//! run/server.json     the running server: pid and start time, so that a recycled pid is not mistaken for it
//! run/lifecycle.lock  held by up, down and delete, one at a time
//! log/server.log      what the background server says
//! ```
use crate::membership::Membership;
use crate::pki::Pki;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// `--data-dir`, shared by every command that works on one cluster.
#[derive(clap::Args, Clone, Debug)]
pub struct Location {
    /// The cluster's data directory [default: /var/lib/isopod, or $XDG_DATA_HOME/isopod when not root].
    #[arg(long, value_name = "DIR", env = "ISOPOD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Location {
    pub fn resolve(&self) -> Result<DataDir> {
        let path = match &self.data_dir {
            Some(path) => std::path::absolute(path).with_context(|| format!("data directory {}", path.display()))?,
            None => default_path()?,
        };
        Ok(DataDir(path))
    }
}

fn default_path() -> Result<PathBuf> {
    if nix::unistd::Uid::effective().is_root() {
        return Ok(PathBuf::from("/var/lib/isopod"));
    }
    if let Some(data) = std::env::var_os("XDG_DATA_HOME").filter(|d| !d.is_empty()) {
        return Ok(Path::new(&data).join("isopod"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_DATA_HOME nor HOME is set: say where with --data-dir")?;
    Ok(Path::new(&home).join(".local/share/isopod"))
}

/// What is decided once, when the cluster is made.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    pub name: String,
    /// On loopback. 0 until the server has first listened and found one free.
    pub api_port: u16,
    /// CIDRs, for example `10.96.0.0/16`.
    pub service_cidr: String,
    pub pod_cidr: String,
    /// Simulated nodes; 0: this machine is the node.
    #[serde(default)]
    pub hollow_nodes: u32,
    /// This machine runs no containers for it.
    #[serde(default)]
    pub no_node: bool,
    /// `--encryption-key-file`; `None`: `store/encryption.key`.
    #[serde(default)]
    pub encryption_key_file: Option<PathBuf>,
    /// At which address of this machine pods reach the API; `None`: nobody but this machine does.
    #[serde(default)]
    pub advertise_address: Option<IpAddr>,
    /// Files this cluster's context was merged into, to be cleaned by `delete`.
    #[serde(default)]
    pub kubeconfigs: Vec<PathBuf>,
}

impl Cluster {
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// The cluster's keys and certificates, for the names and addresses by which its API is reached.
    pub fn pki(&self, dir: &DataDir) -> Result<Pki> {
        let mut names: Vec<String> = ["localhost", "kubernetes"].map(Into::into).to_vec();
        names.extend(["default", "default.svc", "default.svc.cluster.local"].map(|n| format!("kubernetes.{n}")));
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        addresses.extend(self.advertise_address);
        addresses.push(self.service_cidr.parse::<crate::ports::Cidr>()?.address(1).into());
        addresses.push(self.pod_cidr.parse::<crate::ports::Cidr>()?.address(1).into());
        Pki::load_or_create(&dir.pki(), &names, &addresses)
    }
}

/// The server that runs, or ran last.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub pid: i32,
    /// Clock ticks since boot at which the process started (`/proc/PID/stat`, field 22).
    pub started: u64,
    pub version: String,
    pub endpoint: String,
}

/// A cluster's data directory; it need not exist yet.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }
    /// Where the keys are that open this cluster's secrets.
    pub fn encryption_keys(&self, cluster: &Cluster) -> PathBuf {
        cluster.encryption_key_file.clone().unwrap_or_else(|| self.store().join("encryption.key"))
    }
    /// The image store; `isopod build` works on it without a server.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }
    /// Sandboxes and containers; the layers they stand on are linked in it.
    pub fn containers(&self) -> PathBuf {
        self.0.join("runtime")
    }
    pub fn kubelet_config_file(&self) -> PathBuf {
        self.0.join("kubelet.yaml")
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log/server.log")
    }
    pub fn lifecycle_lock(&self) -> PathBuf {
        self.0.join("run/lifecycle.lock")
    }
    fn running_file(&self) -> PathBuf {
        self.0.join("run/server.json")
    }
    fn cluster_file(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// Makes the directory and its folders. A directory that holds other things is refused.
    pub fn create(&self) -> Result<()> {
        if !self.cluster_file().exists() && !self.run_dir().exists() && holds_anything(&self.0)? {
            bail!("{} holds other things: choose an empty or new data directory", self.0.display());
        }
        for dir in [self.0.clone(), self.run_dir(), self.pki(), self.0.join("log")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(())
    }
    pub fn run_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    pub fn cluster(&self) -> Result<Option<Cluster>> {
        read_json(&self.cluster_file())
    }
    pub fn save_cluster(&self, cluster: &Cluster) -> Result<()> {
        write_json(&self.cluster_file(), cluster)
    }
    /// What a further machine of a cluster is.
    pub fn member(&self) -> Result<Option<Membership>> {
        read_json(&self.0.join("node.json"))
    }
    pub fn save_member(&self, member: &Membership) -> Result<()> {
        write_json(&self.0.join("node.json"), member)
    }
    /// The server as it wrote itself down; it may have died since (see [`crate::process::alive`]).
    pub fn running(&self) -> Result<Option<Running>> {
        read_json(&self.running_file())
    }
    pub fn save_running(&self, running: &Running) -> Result<()> {
        write_json(&self.running_file(), running)
    }
    pub fn forget_running(&self) -> Result<()> {
        match fs::remove_file(self.running_file()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("cannot remove run/server.json"),
            _ => Ok(()),
        }
    }
}

fn holds_anything(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", dir.display())),
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is damaged", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Readable by the owner alone.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_atomically(path, &bytes, 0o600)
}

/// Either the old file or the new one is there, whatever happens.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_directories_are_refused_and_own_ones_accepted() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = DataDir(tmp.path().join("d"));
        dir.create().unwrap();
        dir.create().unwrap();
        std::fs::write(tmp.path().join("letter.txt"), "dear").unwrap();
        let foreign = DataDir(tmp.path().to_path_buf());
        assert!(foreign.create().unwrap_err().to_string().contains("holds other things"));
    }

    #[test]
    fn settings_survive_and_damage_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = DataDir(tmp.path().join("d"));
        dir.create().unwrap();
        assert_eq!(dir.cluster().unwrap(), None);
        let cluster = Cluster {
            name: "a".into(),
            api_port: 6443,
            service_cidr: "10.96.0.0/16".into(),
            pod_cidr: "10.32.0.0/16".into(),
            hollow_nodes: 3,
            no_node: false,
            encryption_key_file: Some("/etc/isopod/keys".into()),
            advertise_address: None,
            kubeconfigs: vec![],
        };
        dir.save_cluster(&cluster).unwrap();
        assert_eq!(dir.cluster().unwrap(), Some(cluster));
        std::fs::write(dir.cluster_file(), "{").unwrap();
        assert!(format!("{:#}", dir.cluster().unwrap_err()).contains("cluster.json is damaged"));
    }
}
