//! Blobs: bytes under their digest.
use super::{ImageStore, Work, files};
use crate::digest::{Digest, Hasher};
use crate::error::{Context, corrupt};
use crate::manifest::LARGEST_DOCUMENT;
use crate::{ImageError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// A blob on its way in.
pub struct BlobWriter {
    file: tempfile::NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        self.size = self.size.saturating_add(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ImageStore {
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Opens a blob. None if it is not here.
    pub fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        match File::open(self.blob_path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(|| format!("blob {digest}")),
        }
    }

    /// A small blob as bytes, checked against its digest.
    pub fn small_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes).context(|| format!("blob {digest}"))?;
        if Digest::of(&bytes) != *digest {
            return Err(corrupt(format!("blob {digest}"), "its content does not have this digest"));
        }
        Ok(Some(bytes))
    }

    /// A small blob as a document.
    pub fn document<T: DeserializeOwned>(&self, digest: &Digest) -> Result<Option<T>> {
        let Some(bytes) = self.small_blob(digest)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| corrupt(format!("blob {digest}"), e))
    }

    pub fn begin_blob(&self, _: &Work) -> Result<BlobWriter> {
        let file = tempfile::Builder::new().prefix("b").tempfile_in(self.root().join("tmp"));
        Ok(BlobWriter { file: file.context(|| "new blob")?, hasher: Hasher::default(), size: 0 })
    }

    /// Puts a blob where it belongs. `expected` is what it was announced as.
    pub fn finish_blob(&self, writer: BlobWriter, expected: Option<Digest>) -> Result<(Digest, u64)> {
        let (digest, size) = (writer.hasher.finish(), writer.size);
        if let Some(expected) = expected.filter(|e| *e != digest) {
            return Err(corrupt(format!("blob {expected}"), format!("its content has digest {digest}")));
        }
        let path = self.blob_path(&digest);
        if !path.exists() {
            let persist = || -> io::Result<()> {
                writer.file.as_file().sync_all()?;
                writer.file.persist(&path).map_err(|e| e.error)?;
                files::sync_parent(&path)
            };
            persist().context(|| format!("cannot keep blob {digest}"))?;
        }
        Ok((digest, size))
    }

    pub fn put_bytes(&self, work: &Work, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.has_blob(&digest) {
            return Ok(digest);
        }
        let mut writer = self.begin_blob(work)?;
        writer.write_all(bytes).context(|| format!("blob {digest}"))?;
        self.finish_blob(writer, Some(digest)).map(|(digest, _)| digest)
    }

    /// Keeps a document; the same value gives the same bytes.
    pub fn put_document(&self, work: &Work, value: &impl Serialize) -> Result<(Digest, u64)> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| ImageError::Corrupt { what: "document".into(), message: e.to_string() })?;
        Ok((self.put_bytes(work, &bytes)?, bytes.len() as u64))
    }
}
