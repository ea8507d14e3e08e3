//! Images from Dockerfiles.
pub mod cache;
