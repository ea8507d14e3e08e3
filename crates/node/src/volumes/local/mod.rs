//! The provisioner of the class `isopod-local`: a volume is a directory below the data directory of the node that the claim's first
//! pod was placed on. It does what Kubernetes' external-provisioner and external-resizer do beside a CSI driver on every node
//! (`--node-deployment`): each node makes, grows and deletes its own volumes, so nobody else has to know where they are.
//!
//! The size is bookkeeping: a directory is not bounded.
pub mod plan;
mod run;

pub use run::run;

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The nodes that are served here.
#[derive(Clone, Debug)]
pub struct Local {
    pub nodes: BTreeSet<String>,
    pub ground: Ground,
}

/// What volumes are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Directories below this data directory.
    Disk(PathBuf),
    /// Nothing: for hollow nodes, whose pods only act as if.
    Hollow,
}

impl Ground {
    /// Where a volume is, or would be.
    fn path(&self, volume: &str) -> Result<PathBuf, super::layout::NotAName> {
        match self {
            Self::Disk(data) => super::layout::persistent(data, volume),
            Self::Hollow => super::layout::persistent(std::path::Path::new("/nowhere"), volume),
        }
    }
}
