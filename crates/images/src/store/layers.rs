//! Unpacked layers.
//!
//! A layer is kept once, by the digest of its uncompressed tar (diff id), whichever images share it. The exception is a layer that leans
//! on those below it, because its tar leaves out directories on the way to its files (whose owner and mode are then those below) or
//! links to files below: what it unpacks to depends on its chain, and it is kept by the chain's digest (OCI image-spec `config.md`,
//! "Layer ChainID").
//!
//! Synchronizing thousands of small files takes longer than writing them. So a layer's record tells in which boot it was unpacked, and
//! until it is [settled](ImageStore::settle) it counts in that boot only: a killed process loses nothing, and after a power failure it
//! is unpacked again from its blob. A layer that was built here has no blob; it is settled before its image gets a name.
use super::{ImageStore, Work, files};
use crate::Result;
use crate::digest::{Digest, Hashing};
use crate::error::{Context, corrupt, foreign};
use crate::layer;
use crate::manifest::{ConfigFile, Manifest};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is known of an unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    pub diff_id: Digest,
    /// Of file contents.
    pub bytes: u64,
    /// The boot in which it was unpacked.
    boot: String,
    /// Everything of it is on disk.
    #[serde(default)]
    settled: bool,
    /// Packing the directory gives the tar again, so no blob is needed.
    #[serde(default)]
    pub packable: bool,
    /// Bytes of the uncompressed tar.
    #[serde(default)]
    pub tar_bytes: u64,
}

/// An unpacked layer, ready to be stacked.
#[derive(Debug, Clone)]
pub struct Layer {
    pub path: PathBuf,
    pub bytes: u64,
    pub record: LayerRecord,
}

/// A layer being written here, not unpacked: by a build or an import.
pub struct NewLayer {
    dir: tempfile::TempDir,
}

impl NewLayer {
    /// Where its content goes.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    /// Room beside it, for the work directory that overlayfs needs on the same file system.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The names by which layer number `n` of a chain may be kept: alone, and by its chain.
fn keys(diff_ids: &[Digest]) -> Option<(Digest, Digest)> {
    let (first, rest) = diff_ids.split_first()?;
    let mut chain = *first;
    for next in rest {
        chain = Digest::of(format!("{chain} {next}").as_bytes());
    }
    Some((*diff_ids.last()?, chain))
}

impl ImageStore {
    pub(super) fn layer_path(&self, key: &Digest) -> PathBuf {
        self.root().join("layers").join(key.hex())
    }

    fn record_path(&self, key: &Digest) -> PathBuf {
        self.root().join("layers").join(format!("{}.json", key.hex()))
    }

    fn layer_by_key(&self, key: &Digest) -> Result<Option<Layer>> {
        let path = self.record_path(key);
        let record: LayerRecord = match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                // Lost with the power.
                Err(_) => return Ok(None),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).context(|| path.display()),
        };
        let dir = self.layer_path(key);
        let whole = (record.settled || record.boot == self.shared.boot) && dir.is_dir();
        Ok(whole.then_some(Layer { path: dir, bytes: record.bytes, record }))
    }

    /// The unpacked last layer of a chain, if it is here.
    pub fn layer(&self, diff_ids: &[Digest]) -> Result<Option<Layer>> {
        let Some((alone, chain)) = keys(diff_ids) else { return Ok(None) };
        match self.layer_by_key(&alone)? {
            Some(layer) => Ok(Some(layer)),
            None if chain != alone => self.layer_by_key(&chain),
            None => Ok(None),
        }
    }

    /// All unpacked layers of a chain. None if one is missing.
    pub fn chain(&self, diff_ids: &[Digest]) -> Result<Option<Vec<Layer>>> {
        let mut layers = Vec::with_capacity(diff_ids.len());
        for n in 1..=diff_ids.len() {
            match self.layer(diff_ids.get(..n).unwrap_or_default())? {
                Some(layer) => layers.push(layer),
                None => return Ok(None),
            }
        }
        Ok(Some(layers))
    }

    /// The layers of an image, unpacked now if they are not yet (or no longer) and their blobs are here.
    pub(super) fn unpacked_layers(&self, manifest: &Manifest, config: &ConfigFile) -> Result<Option<Vec<Layer>>> {
        let diff_ids = &config.rootfs.diff_ids;
        if let Some(layers) = self.chain(diff_ids)? {
            return Ok(Some(layers));
        }
        if diff_ids.len() != manifest.layers.len() {
            return Ok(None);
        }
        let work = self.work()?;
        let mut layers: Vec<Layer> = Vec::new();
        for (n, blob) in manifest.layers.iter().enumerate() {
            let chain = diff_ids.get(..=n).unwrap_or_default();
            let layer = match self.layer(chain)? {
                Some(layer) => layer,
                None => match self.blob(&blob.digest)? {
                    Some(file) => self.unpack_layer(&work, file, chain, &layers)?,
                    None => return Ok(None),
                },
            };
            layers.push(layer);
        }
        Ok(Some(layers))
    }

    /// Unpacks a layer (compressed or not) that must have the last diff id of `chain`.
    pub fn unpack_layer(&self, _: &Work, blob: impl Read + Send, chain: &[Digest], below: &[Layer]) -> Result<Layer> {
        let Some((diff_id, chain_id)) = keys(chain) else { return Err(corrupt("layer", "no digest")) };
        let what = || format!("layer {diff_id}");
        let lower: Vec<PathBuf> = below.iter().map(|l| l.path.clone()).collect();
        let temporary = self.temporary()?;
        let dir = temporary.path().join("layer");
        let mut tar = Hashing::new(layer::decompress(blob).map_err(|e| foreign(what(), e))?);
        let summary = layer::unpack(&mut tar, &dir, &lower).map_err(|e| foreign(what(), e))?;
        // What follows the archive's end mark belongs to the digest too.
        io::copy(&mut tar, &mut io::sink()).map_err(|e| foreign(what(), e))?;
        let (found, tar_bytes, _) = tar.finish();
        if found != diff_id {
            return Err(corrupt(what(), format!("its content has digest {found}")));
        }
        let key = if summary.leaned { chain_id } else { diff_id };
        self.keep_layer(&dir, key, self.record(diff_id, summary.bytes, tar_bytes, false))
    }

    fn record(&self, diff_id: Digest, bytes: u64, tar_bytes: u64, packable: bool) -> LayerRecord {
        LayerRecord { diff_id, bytes, boot: self.shared.boot.clone(), settled: false, packable, tar_bytes }
    }

    /// Moves a whole layer to where it belongs. Somebody else may have been faster with the same one.
    fn keep_layer(&self, dir: &Path, key: Digest, record: LayerRecord) -> Result<Layer> {
        let _lock = super::lock::Lock::exclusive(&self.root().join("layers.lock"))?;
        if let Some(mut layer) = self.layer_by_key(&key)? {
            if record.packable && !layer.record.packable {
                // It came as a blob, and packs to the same bytes.
                layer.record.packable = true;
                self.write_record(&key, &layer.record)?;
            }
            return Ok(layer);
        }
        let to = self.layer_path(&key);
        if to.exists() {
            // Without a valid record: left by a crash.
            files::remove_dir(&to)?;
        }
        fs::rename(dir, &to).context(|| format!("cannot keep layer {key}"))?;
        self.write_record(&key, &record)?;
        Ok(Layer { path: to, bytes: record.bytes, record })
    }

    fn write_record(&self, key: &Digest, record: &LayerRecord) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|e| corrupt("layer record", e))?;
        files::write_lazily(self.root(), &self.record_path(key), &bytes)
    }

    /// Begins a layer that is made here.
    pub fn new_layer(&self, _: &Work) -> Result<NewLayer> {
        Ok(NewLayer { dir: self.temporary()? })
    }

    /// Ends a layer that was made here: its digest is that of its packed form.
    pub fn finish_layer(&self, new: NewLayer) -> Result<Layer> {
        let path = new.path();
        let mut sink = Hashing::new(io::sink());
        layer::pack(&path, io::BufWriter::with_capacity(256 << 10, &mut sink)).context(|| "cannot pack a layer")?;
        let (diff_id, tar_bytes, _) = sink.finish();
        let bytes = content_bytes(&path).context(|| "cannot measure a layer")?;
        self.keep_layer(&path, diff_id, self.record(diff_id, bytes, tar_bytes, true))
    }

    /// The uncompressed tar of a layer that was built here, written to `out` and checked.
    pub fn pack_layer(&self, layer: &Layer, out: impl io::Write) -> Result<u64> {
        let diff_id = layer.record.diff_id;
        let mut out = Hashing::new(out);
        layer::pack(&layer.path, io::BufWriter::with_capacity(256 << 10, &mut out))
            .context(|| format!("layer {diff_id}"))?;
        let (digest, size, _) = out.finish();
        if digest != diff_id {
            return Err(corrupt(format!("layer {diff_id}"), "somebody changed its files on disk"));
        }
        Ok(size)
    }

    /// Makes all layers unpacked so far last through a power failure. Does nothing if they are on disk already.
    pub fn settle(&self) -> Result<()> {
        let keys = self.layer_keys()?;
        let mut loose = Vec::new();
        for key in keys {
            loose.extend(self.layer_by_key(&key)?.filter(|l| !l.record.settled).map(|l| (key, l.record)));
        }
        if loose.is_empty() {
            return Ok(());
        }
        let dir = File::open(self.root().join("layers")).context(|| "layers")?;
        rustix::fs::syncfs(&dir).context(|| "cannot synchronize the image store")?;
        for (key, record) in loose {
            self.write_record(&key, &LayerRecord { settled: true, ..record })?;
        }
        dir.sync_all().context(|| "cannot synchronize the image store")
    }

    /// All layers with a record.
    pub(super) fn layer_keys(&self) -> Result<Vec<Digest>> {
        let dir = self.root().join("layers");
        let mut keys = Vec::new();
        for entry in fs::read_dir(&dir).context(|| dir.display())? {
            let name = entry.context(|| dir.display())?.file_name();
            keys.extend(name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(Digest::from_hex));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Keys under which the layers of a chain may lie.
    pub(super) fn chain_keys(diff_ids: &[Digest]) -> Vec<Digest> {
        let each = (1..=diff_ids.len()).filter_map(|n| keys(diff_ids.get(..n)?));
        each.flat_map(|(alone, chain)| [alone, chain]).collect()
    }

    /// Removes a layer; its record first, so that nobody takes half of it for whole.
    pub(super) fn remove_layer(&self, key: &Digest) -> Result<u64> {
        let bytes = self.layer_by_key(key)?.map_or(0, |l| l.bytes);
        files::remove(&self.record_path(key))?;
        files::remove_dir(&self.layer_path(key))?;
        Ok(bytes)
    }
}

fn content_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0_u64;
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                todo.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino()))) {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    Ok(bytes)
}
