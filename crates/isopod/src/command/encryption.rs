//! `isopod encryption`: the keys that encrypt Secrets on disk. `rotate` works while the cluster runs and while it is stopped.
use crate::datadir::{Cluster, DataDir, Location};
use crate::process;
use crate::serve::{self, rotation};
use anyhow::{Context, Result, bail};
use isopod_store::embedded::Embedded;
use isopod_store::seal::KeyRing;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Encrypt all Secrets with a new key and drop the old one.
    Rotate {
        #[command(flatten)]
        location: Location,
    },
    /// Write a file with a new key, for `isopod up --encryption-key-file`.
    NewKey {
        /// The file; it must not exist.
        file: PathBuf,
    },
}

pub fn run(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Rotate { location } => rotate(&location.resolve()?)?,
        Verb::NewKey { file } => new_key(file)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn new_key(file: &std::path::Path) -> Result<()> {
    if file.try_exists().with_context(|| format!("cannot look for {}", file.display()))? {
        bail!("{} exists already: a key that is lost cannot be made again, so nothing is overwritten", file.display());
    }
    KeyRing::generate()?.save(file)?;
    println!("{} holds a new key: keep a copy, Secrets cannot be read without it", file.display());
    Ok(())
}

fn rotate(dir: &DataDir) -> Result<()> {
    let Some(cluster) = dir.cluster()? else {
        bail!("no cluster at {}: start one with isopod up", dir.path().display());
    };
    let _lock = process::lifecycle_lock(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if process::find_well(dir)?.is_some() {
        runtime.block_on(ask_server(dir, &cluster))?;
    } else {
        let store = Embedded::open(&dir.store(), &serve::store_options(&cluster))?;
        runtime.block_on(store.rotate())?;
    }
    let keys = dir.encryption_keys(&cluster);
    let ring = KeyRing::load(&keys)?;
    let id = ring.ids().next().unwrap_or_default();
    println!("all Secrets are encrypted with the new key {id} in {}", keys.display());
    Ok(())
}

async fn ask_server(dir: &DataDir, cluster: &Cluster) -> Result<()> {
    let client = serve::admin_client(&cluster.endpoint(), &cluster.pki(dir)?)?;
    let request = http::Request::post(rotation::PATH).body(Vec::new())?;
    client.request_text(request).await.context("the server did not rotate its keys")?;
    Ok(())
}
