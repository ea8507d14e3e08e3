//! The commands that make, stop and describe a cluster, one file each.
pub mod build;
pub mod delete;
pub mod demo;
pub mod down;
pub mod encryption;
pub mod image;
pub mod node;
pub mod server;
pub mod status;
pub mod up;
pub mod verb;
