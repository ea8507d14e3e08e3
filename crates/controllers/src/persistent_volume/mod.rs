//! Binds claims and volumes (`pkg/controller/volume/persistentvolume`).
//!
//! [`matching`] finds the volume for a claim, [`plan`] decides what is next for one claim or one volume, [`binding`] is what the
//! objects look like afterwards, [`run`] writes it. Both sides point at each other; the volume is written first, the claim's
//! `bind-completed` last, so that whoever is killed in between finds out what was meant.
//!
//! Volumes are made and deleted by provisioners (that of `isopod-local` is part of the node agent: the directory is on its machine);
//! this controller asks for them by an annotation and waits, as Kubernetes does for CSI.
pub mod binding;
pub mod matching;
pub mod plan;
mod run;
#[cfg(test)]
mod tests;

pub use run::persistent_volumes;

/// Both sides of the binding are written.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binding was not asked for by a person.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is to make a volume for a claim, and its name of older days.
pub const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// The node on which the claim's first pod is to run.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
