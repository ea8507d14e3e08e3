//! OCI images on one machine: a content-addressed store, registries, and a builder for Dockerfiles. No Kubernetes object here.
//!
//! [`Images`] is what the node agent needs of it: find, pull, list, remove. An image found is ready to run: its layers are
//! unpacked directories that overlayfs stacks.
mod contract;

pub use contract::{Credentials, Image, ImageConfig, ImageError, Images, Result};
