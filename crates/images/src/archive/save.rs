//! `image save`: one archive that is both an OCI layout and what `docker load` reads (as Docker writes it since 25).
use crate::digest::Digest;
use crate::error::{Context, corrupt};
use crate::manifest::{Descriptor, Index, media};
use crate::reference::Reference;
use crate::store::{Details, ImageStore};
use crate::{ImageError, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use tar::{Builder, EntryType, Header};

impl ImageStore {
    /// Writes the images, under the names they are asked for by (by id: under all of theirs), to `out`.
    pub fn save(&self, images: &[String], out: impl Write) -> Result<()> {
        let _work = self.work()?;
        let chosen = self.choose(images)?;
        let mut archive = Archive { tar: Builder::new(out), written: BTreeSet::new() };
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let (mut index, mut docker) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (details, names) in &chosen {
            self.save_blobs(&mut archive, details)?;
            let size = self.small_blob(&details.entry.manifest)?.map_or(0, |b| b.len() as u64);
            index.extend(descriptors(details, size, names));
            let layers: Vec<String> = details.manifest.layers.iter().map(|l| path(&l.digest)).collect();
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            docker.push(json!({"Config": path(&details.id), "RepoTags": tags, "Layers": layers}));
            for name in names {
                let top = details.config.rootfs.diff_ids.last().map(Digest::hex).unwrap_or_default();
                repositories.entry(name.familiar_name()).or_default().insert(name.tag.clone().unwrap_or_default(), top);
            }
        }
        let index = Index { schema_version: 2, media_type: media::OCI_INDEX.into(), manifests: index };
        archive.json("index.json", &index)?;
        archive.json("manifest.json", &Value::Array(docker))?;
        archive.json("repositories", &repositories)?;
        archive.tar.into_inner().and_then(|mut out| out.flush()).context(|| "cannot write the archive")
    }

    /// The images asked for, each once, with the names it goes out under.
    fn choose(&self, images: &[String]) -> Result<Vec<(Details, Vec<Reference>)>> {
        let names = self.names()?;
        let mut chosen: Vec<(Details, Vec<Reference>)> = Vec::new();
        for text in images {
            let (id, entry) = names.find_loosely(text)?;
            let asked = Reference::parse(text).ok().map(Reference::or_latest);
            let asked = asked.filter(|r| r.digest.is_none() && entry.tags.contains(&r.tagged()));
            let under = match asked {
                Some(name) => vec![name],
                None => entry.tags.iter().map(|t| Reference::parse(t)).collect::<Result<_>>()?,
            };
            if let Some((_, names)) = chosen.iter_mut().find(|(d, _)| d.id == *id) {
                let new = under.into_iter().filter(|n| !names.contains(n)).collect::<Vec<_>>();
                names.extend(new);
                continue;
            }
            let gone = || ImageError::Refused { message: format!("image {text} is not whole on this machine") };
            chosen.push((self.details(id)?.ok_or_else(gone)?, under));
        }
        Ok(chosen)
    }

    fn save_blobs<W: Write>(&self, archive: &mut Archive<W>, details: &Details) -> Result<()> {
        for digest in [details.entry.manifest, details.id] {
            let bytes = self.small_blob(&digest)?.ok_or_else(|| corrupt(digest, "is gone"))?;
            archive.blob(&digest, bytes.len() as u64, bytes.as_slice())?;
        }
        for (n, layer) in details.manifest.layers.iter().enumerate() {
            if archive.written.contains(&layer.digest) {
                continue;
            }
            let file = self.layer_tar(layer, details.config.rootfs.diff_ids.get(..=n).unwrap_or_default())?;
            archive.blob(&layer.digest, layer.size, file)?;
        }
        Ok(())
    }

    /// The blob of a layer: as it came, or packed again from its directory.
    pub(crate) fn layer_tar(&self, layer: &Descriptor, chain: &[Digest]) -> Result<std::fs::File> {
        if let Some(file) = self.blob(&layer.digest)? {
            return Ok(file);
        }
        let unpacked = self.layer(chain)?.filter(|l| l.record.packable && l.record.diff_id == layer.digest);
        let unpacked = unpacked.ok_or_else(|| corrupt(format!("layer {}", layer.digest), "is not on this machine"))?;
        let mut file = tempfile::tempfile_in(self.root().join("tmp")).context(|| "temporary file")?;
        self.pack_layer(&unpacked, &mut file)?;
        io::Seek::rewind(&mut file).context(|| "temporary file")?;
        Ok(file)
    }
}

/// One descriptor for each name; one without a name if there is none.
fn descriptors(details: &Details, size: u64, names: &[Reference]) -> Vec<Descriptor> {
    let media_type = match details.manifest.media_type.as_str() {
        "" => media::OCI_MANIFEST,
        known => known,
    };
    let plain = Descriptor::new(media_type, details.entry.manifest, size);
    if names.is_empty() {
        return vec![plain];
    }
    let named = names.iter().map(|name| {
        let mut descriptor = plain.clone();
        descriptor.annotations.insert("io.containerd.image.name".into(), name.tagged());
        descriptor.annotations.insert("org.opencontainers.image.ref.name".into(), name.tag.clone().unwrap_or_default());
        descriptor
    });
    named.collect()
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

struct Archive<W: Write> {
    tar: Builder<W>,
    written: BTreeSet<Digest>,
}

impl<W: Write> Archive<W> {
    fn append(&mut self, name: &str, size: u64, content: impl Read) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(size);
        self.tar.append_data(&mut header, name, content.take(size)).context(|| format!("cannot write {name}"))
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.append(name, bytes.len() as u64, bytes)
    }

    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(value).map_err(|e| corrupt(name, e))?;
        self.file(name, &bytes)
    }

    fn blob(&mut self, digest: &Digest, size: u64, content: impl Read) -> Result<()> {
        if self.written.insert(*digest) { self.append(&path(digest), size, content) } else { Ok(()) }
    }
}
