//! `image load`: archives in Docker's form (`manifest.json`) and in OCI's (`index.json`).
use super::tarball::{Member, Source, Tarball};
use crate::digest::Digest;
use crate::error::{corrupt, foreign};
use crate::manifest::{ConfigFile, Descriptor, Index, Manifest, media};
use crate::reference::Reference;
use crate::store::{ImageStore, Work};
use crate::{ImageError, Result};
use jiff::Timestamp;
use serde::Deserialize;
use std::io::{self, Read};
use std::path::PathBuf;

/// An image that came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub id: Digest,
    /// Names it got, normalized.
    pub names: Vec<String>,
}

/// An entry of `manifest.json` (moby `image/spec/v1.2.md`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Annotations by which archives name images: containerd's and Docker's full name, and OCI's, which may be a tag only.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How deep an index may refer to indexes.
const DEEPEST: usize = 4;

impl ImageStore {
    /// Loads all images of an archive, compressed or not. If one is damaged, none gets a name.
    pub fn load(&self, path: impl Into<PathBuf>) -> Result<Vec<Loaded>> {
        self.load_from(Source::File(path.into()))
    }

    /// Loads an archive from a stream.
    pub fn load_stream(&self, stream: impl Read + Send + 'static) -> Result<Vec<Loaded>> {
        self.load_from(Source::Stream(Box::new(stream)))
    }

    fn load_from(&self, source: Source) -> Result<Vec<Loaded>> {
        let work = self.work()?;
        let temporary = self.temporary()?;
        let tarball = Tarball::open(source, temporary.path())?;
        let images = if let Some(images) = tarball.json::<Vec<DockerImage>>("manifest.json")? {
            images.iter().map(|image| self.load_docker(&work, &tarball, image)).collect::<Result<Vec<_>>>()?
        } else if let Some(index) = tarball.json::<Index>("index.json")? {
            self.load_oci(&work, &tarball, &index)?
        } else {
            let message = "neither manifest.json nor index.json is in it: this is no image archive";
            return Err(corrupt(
                tarball.what(),
                format!("{message} (a root file system is taken in with image import)"),
            ));
        };
        self.settle()?;
        let now = Timestamp::now();
        self.change_names(|names| {
            let mut loaded = Vec::new();
            for image in &images {
                names.add(image.id, image.manifest, now, None);
                for name in &image.names {
                    names.add(image.id, image.manifest, now, Some(name));
                }
                loaded.push(Loaded { id: image.id, names: image.names.iter().map(Reference::tagged).collect() });
            }
            Ok(loaded)
        })
    }

    fn load_docker(&self, work: &Work, tarball: &Tarball, image: &DockerImage) -> Result<Ready> {
        let missing = |name: &str| corrupt(tarball.what(), format!("{name} is missing"));
        let bytes = tarball.read(&image.config)?.ok_or_else(|| missing(&image.config))?;
        let config: ConfigFile =
            serde_json::from_slice(&bytes).map_err(|e| corrupt(tarball.what(), format!("{}: {e}", image.config)))?;
        let id = self.put_bytes(work, &bytes)?;
        let open = |n: usize| {
            let name = image.layers.get(n).map(String::as_str).unwrap_or_default();
            tarball.open_file(name)?.ok_or_else(|| missing(name))
        };
        let layers = self.take_layers(work, tarball, &config, image.layers.len(), open)?;
        let manifest = Manifest::new(Descriptor::new(media::OCI_CONFIG, id, bytes.len() as u64), layers);
        let (manifest, _) = self.put_document(work, &manifest)?;
        let names = image.repo_tags.iter().flatten().map(|name| Reference::parse(name)).collect::<Result<_>>()?;
        Ok(Ready { id, manifest, names })
    }

    fn load_oci(&self, work: &Work, tarball: &Tarball, index: &Index) -> Result<Vec<Ready>> {
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let name = descriptor.annotations.get(FULL_NAME).or_else(|| descriptor.annotations.get(REF_NAME));
            // A bare tag names nothing.
            let name = name.filter(|n| n.contains(['/', ':'])).map(|n| Reference::parse(n)).transpose()?;
            images.push(self.load_manifest(work, tarball, descriptor, name)?);
        }
        Ok(images)
    }

    fn load_manifest(
        &self,
        work: &Work,
        tarball: &Tarball,
        top: &Descriptor,
        name: Option<Reference>,
    ) -> Result<Ready> {
        let mut descriptor = top.clone();
        for _ in 0..DEEPEST {
            let bytes = checked(tarball, &descriptor)?;
            let parsed = |e: serde_json::Error| corrupt(tarball.what(), format!("{}: {e}", descriptor.digest));
            if is_index(&descriptor.media_type, &bytes) {
                let index: Index = serde_json::from_slice(&bytes).map_err(parsed)?;
                descriptor = here(&index)
                    .ok_or_else(|| corrupt(tarball.what(), "no image for this machine's platform in it"))?;
                continue;
            }
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(parsed)?;
            let config_bytes = checked(tarball, &manifest.config)?;
            let config: ConfigFile = serde_json::from_slice(&config_bytes).map_err(parsed)?;
            let open = |n: usize| {
                let layer = manifest.layers.get(n).map(|l| blob_name(&l.digest)).unwrap_or_default();
                tarball.open_file(&layer)?.ok_or_else(|| corrupt(tarball.what(), format!("{layer} is missing")))
            };
            let layers = self.take_layers(work, tarball, &config, manifest.layers.len(), open)?;
            let same = layers.iter().map(|l| l.digest).eq(manifest.layers.iter().map(|l| l.digest));
            if !same {
                return Err(corrupt(tarball.what(), "layers do not have the digests that the manifest says"));
            }
            let id = self.put_bytes(work, &config_bytes)?;
            let manifest = self.put_bytes(work, &bytes)?;
            return Ok(Ready { id, manifest, names: name.into_iter().collect() });
        }
        Err(corrupt(tarball.what(), "indexes of indexes of indexes"))
    }

    /// Keeps and unpacks an image's layers, checked against the configuration.
    fn take_layers(
        &self,
        work: &Work,
        tarball: &Tarball,
        config: &ConfigFile,
        count: usize,
        open: impl Fn(usize) -> Result<Member>,
    ) -> Result<Vec<Descriptor>> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != count {
            return Err(corrupt(
                tarball.what(),
                format!("{count} layers, but the configuration has {}", diff_ids.len()),
            ));
        }
        let (mut below, mut descriptors) = (Vec::new(), Vec::new());
        for n in 0..count {
            let chain = diff_ids.get(..=n).unwrap_or_default();
            let mut blob = self.begin_blob(work)?;
            io::copy(&mut open(n)?, &mut blob).map_err(|e| foreign(tarball.what(), e))?;
            let (digest, size) = self.finish_blob(blob, None)?;
            let layer = match self.layer(chain)? {
                Some(layer) => layer,
                None => self.unpack_layer(work, open(n)?, chain, &below).map_err(|e| within(tarball, e))?,
            };
            below.push(layer);
            descriptors.push(Descriptor::new(media_type(open(n)?)?, digest, size));
        }
        Ok(descriptors)
    }
}

/// An image whose parts are in the store, without a name yet.
struct Ready {
    id: Digest,
    manifest: Digest,
    names: Vec<Reference>,
}

/// Says which archive a damaged layer is in.
fn within(tarball: &Tarball, error: ImageError) -> ImageError {
    match error {
        ImageError::Corrupt { what, message } => corrupt(format!("{}: {what}", tarball.what()), message),
        other => other,
    }
}

fn media_type(mut member: Member) -> Result<&'static str> {
    let mut magic = Vec::new();
    member.by_ref().take(4).read_to_end(&mut magic).map_err(|e| foreign("layer", e))?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => media::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => media::OCI_LAYER_ZSTD,
        _ => media::OCI_LAYER,
    })
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn checked(tarball: &Tarball, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let name = blob_name(&descriptor.digest);
    let bytes = tarball.read(&name)?.ok_or_else(|| corrupt(tarball.what(), format!("{name} is missing")))?;
    if Digest::of(&bytes) != descriptor.digest {
        return Err(corrupt(tarball.what(), format!("{name} does not have the content its name says")));
    }
    Ok(bytes)
}

/// Whether a document is a list of manifests; old lists have no media type inside, old descriptors none outside.
pub fn is_index(media_type: &str, bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        manifests: Option<serde::de::IgnoredAny>,
    }
    match media_type {
        media::OCI_INDEX | media::DOCKER_LIST => true,
        media::OCI_MANIFEST | media::DOCKER_MANIFEST => false,
        _ => serde_json::from_slice::<Probe>(bytes).is_ok_and(|p| p.manifests.is_some()),
    }
}

/// The manifest for this machine. One without a platform will do if it is the only one.
pub fn here(index: &Index) -> Option<Descriptor> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(crate::manifest::Platform::runs_here);
    let found = index.manifests.iter().find(fits);
    let only = || match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    found.or_else(only).cloned()
}
