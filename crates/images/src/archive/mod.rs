//! Images as files: archives that `docker save`, `podman save`, `skopeo copy` and `buildah push` write, and root file systems.
mod import;
mod load;
mod save;
mod tarball;

pub use import::ImportOptions;
pub use load::{Loaded, here, is_index};
