//! Pulling: documents first, then layers side by side, unpacked in order as they arrive.
use super::PullProgress;
use super::session::{Session, SessionError, sessions};
use crate::archive::{here, is_index};
use crate::contract::Credentials;
use crate::digest::Digest;
use crate::error::corrupt;
use crate::manifest::{ConfigFile, Descriptor, Index, Manifest};
use crate::reference::Reference;
use crate::store::{ImageStore, Layer, Work, blocking};
use crate::{Image, ImageError, Result};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{self, StreamExt};
use http_body_util::BodyExt;
use jiff::Timestamp;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Layers fetched side by side (as docker and containerd do).
const AT_ONCE: usize = 3;
/// Tries for one layer.
const TRIES: u32 = 3;

type Outcome = std::result::Result<Image, Arc<ImageError>>;

/// Pulls that are under way, so that several of one image are one.
#[derive(Default)]
pub struct Pulls {
    running: Mutex<HashMap<String, Shared<BoxFuture<'static, Outcome>>>>,
}

/// What there is to be had.
struct Found {
    session: Session,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    manifest_digest: Digest,
    /// Of what the name stands for: an index or the manifest.
    top: Digest,
}

impl ImageStore {
    /// Fetches an image. Several calls for one name at once are one pull.
    pub async fn pull_image(
        &self,
        reference: &str,
        credentials: &[Credentials],
        progress: Option<Arc<dyn PullProgress>>,
    ) -> Result<Image> {
        let parsed = Reference::parse(reference)?.or_latest();
        let key = parsed.to_string();
        let running = || self.pulls().running.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = {
            let mut running = running();
            let found = running.get(&key).filter(|f| f.peek().is_none()).cloned();
            found.unwrap_or_else(|| {
                let (store, credentials) = (self.clone(), credentials.to_vec());
                let pull = async move { store.fetch(&parsed, &credentials, progress).await.map_err(Arc::new) };
                let shared = pull.boxed().shared();
                running.insert(key.clone(), shared.clone());
                shared
            })
        };
        let outcome = shared.await;
        // The first one back forgets it; a later pull begins anew.
        let mut running = running();
        if running.get(&key).is_some_and(|f| f.peek().is_some()) {
            running.remove(&key);
        }
        outcome.map_err(|error| again(&error))
    }

    async fn fetch(
        &self,
        reference: &Reference,
        credentials: &[Credentials],
        progress: Option<Arc<dyn PullProgress>>,
    ) -> Result<Image> {
        let found = self.resolve(reference, credentials).await?;
        let config_bytes = self.config_bytes(reference, &found).await?;
        let wrong = |e: serde_json::Error| corrupt(reference, format!("configuration: {e}"));
        let config: ConfigFile = serde_json::from_slice(&config_bytes).map_err(wrong)?;
        if config.rootfs.diff_ids.len() != found.manifest.layers.len() {
            return Err(corrupt(reference, "manifest and configuration have different numbers of layers"));
        }
        let work = Arc::new(self.work_async().await?);
        self.layers(reference, &work, &found, &config, progress.as_deref()).await?;
        let (store, reference) = (self.clone(), reference.clone());
        let image = blocking(move || store.keep_pulled(&work, &reference, &found, &config_bytes)).await?;
        // Nobody waits for the disk: until then a power failure only means that the layers are unpacked again.
        let store = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.settle() {
                tracing::warn!(%error, "cannot synchronize the image store");
            }
        });
        Ok(image)
    }

    /// Asks mirrors and the registry what the name stands for.
    async fn resolve(&self, reference: &Reference, credentials: &[Credentials]) -> Result<Found> {
        let mut last = None;
        for session in sessions(self.registries(), reference, credentials, "pull").await {
            match self.resolve_at(reference, session).await {
                Ok(found) => return Ok(found),
                // A mirror that has it not, or does not answer, is no reason to give up.
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ImageError::Unavailable {
            reference: reference.to_string(),
            message: "no registry".into(),
        }))
    }

    async fn resolve_at(&self, reference: &Reference, session: Session) -> Result<Found> {
        let failed = |e: SessionError| resolving(reference, e);
        let name = reference.digest.map_or_else(|| reference.tag.clone().unwrap_or_default(), |d| d.to_string());
        let (mut bytes, mut kind) = session.manifest(&name).await.map_err(failed)?;
        let top = Digest::of(&bytes);
        if let Some(expected) = reference.digest.filter(|d| *d != top) {
            return Err(corrupt(reference, format!("the registry sent a manifest with digest {top}, not {expected}")));
        }
        let mut digest = top;
        if is_index(&kind, &bytes) {
            let index: Index = serde_json::from_slice(&bytes).map_err(|e| corrupt(reference, e))?;
            let missing = || ImageError::NotFound {
                reference: reference.to_string(),
                message: "no match for this machine's platform in the image index: not found".into(),
            };
            let descriptor: Descriptor = here(&index).ok_or_else(missing)?;
            (bytes, kind) = session.manifest(&descriptor.digest.to_string()).await.map_err(failed)?;
            digest = Digest::of(&bytes);
            if digest != descriptor.digest || is_index(&kind, &bytes) {
                return Err(corrupt(
                    reference,
                    format!("the registry sent another manifest than {}", descriptor.digest),
                ));
            }
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| corrupt(reference, e))?;
        Ok(Found { session, manifest, manifest_bytes: bytes, manifest_digest: digest, top })
    }

    async fn config_bytes(&self, reference: &Reference, found: &Found) -> Result<Vec<u8>> {
        let digest = found.manifest.config.digest;
        if let Some(bytes) = self.small_blob(&digest)? {
            return Ok(bytes);
        }
        found.session.document(&digest).await.map_err(|e| fetching(reference, e))
    }

    /// Fetches what is missing and unpacks in order.
    async fn layers(
        &self,
        reference: &Reference,
        work: &Arc<Work>,
        found: &Found,
        config: &ConfigFile,
        progress: Option<&dyn PullProgress>,
    ) -> Result<()> {
        let diff_ids = &config.rootfs.diff_ids;
        let mut fetches = Vec::new();
        for (n, layer) in found.manifest.layers.iter().enumerate() {
            let chain = diff_ids.get(..=n).unwrap_or_default();
            fetches.push(self.fetch_if_missing(reference, work, found, layer, chain, progress));
        }
        let mut fetched = std::pin::pin!(stream::iter(fetches).buffered(AT_ONCE).enumerate());
        let mut below: Vec<Layer> = Vec::new();
        while let Some((n, new)) = fetched.next().await {
            let new = new?;
            let Some(blob) = found.manifest.layers.get(n).map(|l| l.digest) else { continue };
            let chain = diff_ids.get(..=n).unwrap_or_default().to_vec();
            let (store, work, lower) = (self.clone(), work.clone(), below.clone());
            let layer = blocking(move || match store.layer(&chain)? {
                Some(layer) => Ok(layer),
                None => {
                    let file = store.blob(&blob)?.ok_or_else(|| corrupt(format!("layer {blob}"), "is gone"))?;
                    store.unpack_layer(&work, file, &chain, &lower)
                }
            });
            below.push(layer.await?);
            tell(progress, &blob, if new { "Pull complete" } else { "Already exists" });
        }
        Ok(())
    }

    /// Returns whether it had to be fetched.
    async fn fetch_if_missing(
        &self,
        reference: &Reference,
        work: &Work,
        found: &Found,
        layer: &Descriptor,
        chain: &[Digest],
        progress: Option<&dyn PullProgress>,
    ) -> Result<bool> {
        if self.has_blob(&layer.digest) || self.layer(chain)?.is_some() && self.layer_is_whole(layer) {
            return Ok(false);
        }
        tell(progress, &layer.digest, "Pulling fs layer");
        self.fetch_layer(reference, work, found, layer, progress).await?;
        tell(progress, &layer.digest, "Download complete");
        Ok(true)
    }

    /// A layer that was built here needs no blob.
    fn layer_is_whole(&self, layer: &Descriptor) -> bool {
        matches!(self.layer(&[layer.digest]), Ok(Some(l)) if l.record.packable)
    }

    async fn fetch_layer(
        &self,
        reference: &Reference,
        work: &Work,
        found: &Found,
        layer: &Descriptor,
        progress: Option<&dyn PullProgress>,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_layer(reference, work, found, layer, progress).await {
                Err(ImageError::Unavailable { message, .. }) if tries < TRIES => {
                    tracing::info!(layer = %layer.digest, %message, "trying again");
                    tokio::time::sleep(Duration::from_millis(200) * tries).await;
                }
                done => return done,
            }
        }
    }

    async fn try_layer(
        &self,
        reference: &Reference,
        work: &Work,
        found: &Found,
        layer: &Descriptor,
        progress: Option<&dyn PullProgress>,
    ) -> Result<()> {
        let response = found.session.blob(&layer.digest).await.map_err(|e| fetching(reference, e))?;
        let mut body = response.into_body();
        let mut blob = self.begin_blob(work)?;
        let mut size = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|e| ImageError::Unavailable { reference: reference.to_string(), message: e.to_string() })?;
            let Ok(data) = frame.into_data() else { continue };
            size = size.saturating_add(data.len() as u64);
            if layer.size > 0 && size > layer.size {
                return Err(corrupt(format!("layer {}", layer.digest), "it is longer than its manifest says"));
            }
            let written = blob.write_all(&data);
            written.map_err(|source| ImageError::Io { context: format!("layer {}", layer.digest), source })?;
            if let Some(progress) = progress {
                progress.bytes(&layer.digest, size, layer.size);
            }
        }
        if size < layer.size {
            let message = format!("layer {}: {size} of {} bytes came", layer.digest, layer.size);
            return Err(ImageError::Unavailable { reference: reference.to_string(), message });
        }
        let (store, digest) = (self.clone(), layer.digest);
        blocking(move || store.finish_blob(blob, Some(digest))).await.map(drop)
    }

    fn keep_pulled(&self, work: &Work, reference: &Reference, found: &Found, config: &[u8]) -> Result<Image> {
        let id = self.put_bytes(work, config)?;
        self.put_bytes(work, &found.manifest_bytes)?;
        self.change_names(|names| {
            names.add(
                id,
                found.manifest_digest,
                Timestamp::now(),
                reference.tag.is_some().then(|| untied(reference)).as_ref(),
            );
            if let Some(entry) = names.images.get_mut(&id) {
                entry.digests.insert(reference.with_digest(&found.top));
                entry.digests.insert(reference.with_digest(&found.manifest_digest));
            }
            Ok(())
        })?;
        self.lookup(&id.to_string())?.ok_or_else(|| corrupt(reference, "it is not whole after it was pulled"))
    }

    async fn work_async(&self) -> Result<Work> {
        let store = self.clone();
        blocking(move || store.work()).await
    }
}

fn tell(progress: Option<&dyn PullProgress>, digest: &Digest, what: &str) {
    if let Some(progress) = progress {
        progress.layer(digest, what);
    }
}

/// The name with its tag alone: a pull by tag and digest names the tag too.
fn untied(reference: &Reference) -> Reference {
    Reference { digest: None, ..reference.clone() }
}

/// As containerd words it; Kubernetes' users know these messages.
fn resolving(reference: &Reference, error: SessionError) -> ImageError {
    let full = reference.to_string();
    match error {
        SessionError::NotFound { .. } => {
            let message = format!("failed to resolve reference {full:?}: {full}: not found");
            ImageError::NotFound { reference: full, message }
        }
        SessionError::Denied { .. } => {
            let message = format!("failed to resolve reference {full:?}: {error}");
            ImageError::NotFound { reference: full, message }
        }
        SessionError::Content(message) => corrupt(full, message),
        other => {
            let message = format!("failed to resolve reference {full:?}: {other}");
            ImageError::Unavailable { reference: full, message }
        }
    }
}

fn fetching(reference: &Reference, error: SessionError) -> ImageError {
    match error {
        SessionError::NotFound { what } => {
            ImageError::NotFound { reference: reference.to_string(), message: format!("{what}: not found") }
        }
        SessionError::Content(message) => corrupt(reference, message),
        other => ImageError::Unavailable { reference: reference.to_string(), message: other.to_string() },
    }
}

/// The same error for one more of those who waited.
fn again(error: &ImageError) -> ImageError {
    match error {
        ImageError::InvalidName { reference, message } => {
            ImageError::InvalidName { reference: reference.clone(), message: message.clone() }
        }
        ImageError::NotFound { reference, message } => {
            ImageError::NotFound { reference: reference.clone(), message: message.clone() }
        }
        ImageError::Unavailable { reference, message } => {
            ImageError::Unavailable { reference: reference.clone(), message: message.clone() }
        }
        ImageError::Corrupt { what, message } => corrupt(what, message),
        ImageError::Refused { message } => ImageError::Refused { message: message.clone() },
        ImageError::Busy => ImageError::Busy,
        ImageError::Io { context, source } => {
            ImageError::Io { context: context.clone(), source: std::io::Error::new(source.kind(), source.to_string()) }
        }
    }
}
