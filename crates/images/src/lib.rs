//! OCI images on one machine: a content-addressed store, registries, and a builder for Dockerfiles. No Kubernetes object here.
//!
//! [`Images`] is what the node agent needs of it: find, pull, list, remove. An image found is ready to run: its layers are
//! unpacked directories that overlayfs stacks. [`ImageStore`] is the implementation, one directory shared by several processes.
//!
//! - [`reference`], [`digest`], [`manifest`] — names, content addresses and the documents of images.
//! - [`layer`] — tars to directories and back, in overlayfs' form; nothing in a layer can lead out of it.
//! - [`store`] — blobs, unpacked layers, names, and taking away what nobody needs.
//! - [`archive`] — `load`, `save`, `import`.
//! - [`registry`] — `pull`, `push`.
//! - [`build`] — Dockerfiles.
//! - [`cli`] — `isopod build` and `isopod image`.
pub mod archive;
pub mod build;
pub mod cli;
mod contract;
pub mod digest;
mod error;
pub mod layer;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod store;

pub use contract::{Credentials, Image, ImageConfig, ImageError, Images, Origin, Result};
pub use store::ImageStore;
