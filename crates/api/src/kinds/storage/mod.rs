//! What storage drivers tell the cluster and are told (`pkg/registry/storage`, `pkg/apis/storage/validation`).
pub mod csi_driver;
pub mod csi_node;
pub mod csi_storage_capacity;
pub mod volume_attachment;
pub mod volume_attributes_class;

/// `storage.k8s.io`
pub const GROUP: &str = "storage.k8s.io";
