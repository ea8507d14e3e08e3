//! `image import`: a root file system becomes an image of one layer.
use super::load::Loaded;
use crate::Result;
use crate::digest::Digest;
use crate::error::{Context, foreign};
use crate::layer::{self, EPOCH, Tree};
use crate::manifest::{ConfigFile, Descriptor, History, Manifest, Platform, RootFs, RunConfig, media};
use crate::reference::Reference;
use crate::store::{ImageStore, Layer, Work};
use jiff::Timestamp;
use std::io::Read;
use std::path::Path;

/// How the image is to be run, and what its history says.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    pub config: RunConfig,
    pub message: String,
}

impl ImageStore {
    /// Makes an image of a tar of a root file system, compressed or not. The same tar gives the same image.
    pub fn import(&self, tar: impl Read + Send, name: Option<&Reference>, options: ImportOptions) -> Result<Loaded> {
        let work = self.work()?;
        let new = self.new_layer(&work)?;
        let what = || "root file system";
        let mut tree = Tree::create(&new.path(), &[]).context(what)?;
        let plain = layer::decompress(tar).map_err(|e| foreign(what(), e))?;
        layer::extract(plain, &mut tree, Path::new(""), None).map_err(|e| foreign(what(), e))?;
        tree.finish().context(what)?;
        let layer = self.finish_layer(new)?;
        let host = Platform::host();
        let created = Some(Timestamp::from_second(EPOCH).unwrap_or_default().to_string());
        let history = History {
            created: created.clone(),
            created_by: "import".into(),
            comment: options.message,
            ..History::default()
        };
        let config = ConfigFile {
            created,
            architecture: host.architecture,
            os: host.os,
            config: options.config,
            rootfs: RootFs { diff_ids: vec![layer.record.diff_id], ..RootFs::default() },
            history: vec![history],
            ..ConfigFile::default()
        };
        let names: Vec<Reference> = name.into_iter().cloned().collect();
        let id = self.publish(&work, &config, &[(layer, None)], &names)?;
        Ok(Loaded { id, names: name.map(Reference::tagged).into_iter().collect() })
    }

    /// Gives an image that was made here its documents and its names. Layers that came with a base image have a descriptor.
    pub(crate) fn publish(
        &self,
        work: &Work,
        config: &ConfigFile,
        layers: &[(Layer, Option<Descriptor>)],
        names: &[Reference],
    ) -> Result<Digest> {
        let own = |layer: &Layer| Descriptor::new(media::OCI_LAYER, layer.record.diff_id, layer.record.tar_bytes);
        let layers =
            layers.iter().map(|(layer, descriptor)| descriptor.clone().unwrap_or_else(|| own(layer))).collect();
        let (id, size) = self.put_document(work, config)?;
        let manifest = Manifest::new(Descriptor::new(media::OCI_CONFIG, id, size), layers);
        let (manifest, _) = self.put_document(work, &manifest)?;
        self.settle()?;
        self.change_names(|all| {
            all.add(id, manifest, Timestamp::now(), names.first());
            for name in names.iter().skip(1) {
                all.add(id, manifest, Timestamp::now(), Some(name));
            }
            Ok(())
        })?;
        Ok(id)
    }
}
