//! Pushing: layers the registry has not, then the configuration, then the manifest under its name.
use super::PullProgress;
use super::http;
use super::session::{Session, SessionError, sessions};
use crate::contract::Credentials;
use crate::digest::Digest;
use crate::error::corrupt;
use crate::manifest::{Descriptor, media};
use crate::reference::Reference;
use crate::store::{Details, ImageStore, blocking};
use crate::{ImageError, Result};
use ::http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::sync::Arc;
use tokio_util::io::ReaderStream;

impl ImageStore {
    /// Sends an image to the registry its name says. Returns the digest of its manifest there.
    ///
    /// Layers go as they are kept: what was built here uncompressed, what was pulled or loaded as it came.
    pub async fn push_image(
        &self,
        name: &str,
        credentials: &[Credentials],
        progress: Option<Arc<dyn PullProgress>>,
    ) -> Result<Digest> {
        let reference = Reference::parse(name)?.or_latest();
        let (store, text) = (self.clone(), name.to_owned());
        let details = blocking(move || {
            let names = store.names()?;
            let (id, _) = names.find_loosely(&text)?;
            store
                .details(id)?
                .ok_or_else(|| ImageError::Refused { message: format!("image {text} is not whole on this machine") })
        });
        let details = details.await?;
        let mut found = sessions(self.registries(), &reference, credentials, "pull,push").await;
        let session = found.pop().ok_or_else(|| unavailable(&reference, "no registry"))?;
        let failed = |e: SessionError| unavailable(&reference, e);
        for (n, layer) in details.manifest.layers.iter().enumerate() {
            let tell = |what: &str| {
                if let Some(progress) = &progress {
                    progress.layer(&layer.digest, what);
                }
            };
            if has(&session, &layer.digest).await.map_err(failed)? {
                tell("Layer already exists");
                continue;
            }
            tell("Pushing");
            let file = self.layer_file(&details, n, layer).await?;
            upload(&session, &layer.digest, layer.size, file).await.map_err(failed)?;
            tell("Pushed");
        }
        let config = self.bytes_of(&details.id)?;
        if !has(&session, &details.id).await.map_err(failed)? {
            let body = http::full(config.clone());
            put_blob(&session, &details.id, config.len() as u64, body).await.map_err(failed)?;
        }
        self.put_manifest(&session, &reference, &details).await
    }

    async fn put_manifest(&self, session: &Session, reference: &Reference, details: &Details) -> Result<Digest> {
        let failed = |e: SessionError| unavailable(reference, e);
        let manifest = self.bytes_of(&details.entry.manifest)?;
        let kind = match details.manifest.media_type.as_str() {
            "" => media::OCI_MANIFEST,
            kind => kind,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).map_err(|e| corrupt(reference, e))?);
        let name = reference.tag.clone().unwrap_or_else(|| details.entry.manifest.to_string());
        let uri = session.uri(&format!("manifests/{name}")).map_err(failed)?;
        session.put(Method::PUT, &uri, &headers, http::full(manifest)).await.map_err(failed)?;
        let digest = details.entry.manifest;
        self.change_names(|names| {
            if let Some(entry) = names.images.get_mut(&details.id) {
                entry.digests.insert(reference.with_digest(&digest));
            }
            Ok(())
        })?;
        Ok(digest)
    }

    async fn layer_file(&self, details: &Details, n: usize, layer: &Descriptor) -> Result<std::fs::File> {
        let (store, layer) = (self.clone(), layer.clone());
        let chain = details.config.rootfs.diff_ids.get(..=n).unwrap_or_default().to_vec();
        blocking(move || store.layer_tar(&layer, &chain)).await
    }

    fn bytes_of(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.small_blob(digest)?.ok_or_else(|| corrupt(format!("blob {digest}"), "is gone"))
    }
}

fn unavailable(reference: &Reference, message: impl std::fmt::Display) -> ImageError {
    ImageError::Refused { message: format!("failed to push {reference}: {message}") }
}

async fn has(session: &Session, digest: &Digest) -> std::result::Result<bool, SessionError> {
    match session.get(Method::HEAD, &session.uri(&format!("blobs/{digest}"))?, &HeaderMap::new()).await {
        Ok(_) => Ok(true),
        Err(SessionError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn upload(
    session: &Session,
    digest: &Digest,
    size: u64,
    file: std::fs::File,
) -> std::result::Result<(), SessionError> {
    use futures::TryStreamExt;
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 128 << 10);
    let body = BodyExt::boxed(StreamBody::new(stream.map_ok(Frame::data)));
    put_blob(session, digest, size, body).await
}

/// One POST for a place to put it, one PUT with everything (distribution-spec "POST then PUT").
async fn put_blob(
    session: &Session,
    digest: &Digest,
    size: u64,
    body: http::Body,
) -> std::result::Result<(), SessionError> {
    let begin = session.uri("blobs/uploads/")?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    // By the way that can show who we are: the upload itself cannot be sent twice.
    let response = session.get(Method::POST, &begin, &headers).await?;
    let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
    let location = location.ok_or_else(|| SessionError::Content("the registry gives no place for an upload".into()))?;
    let join = if location.contains('?') { '&' } else { '?' };
    let uri = http::absolute(&begin, &format!("{location}{join}digest={digest}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    session.put(Method::PUT, &uri, &headers, body).await.map(drop)
}
