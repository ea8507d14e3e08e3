//! Work inside another network namespace, in a thread of its own: `setns` changes the calling thread only, and a thread that
//! lives on in the wrong namespace would open its next socket there.
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::path::Path;

/// Enters the namespace behind `path` in a new thread, runs `work` there and waits for it.
pub fn within<T: Send>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace died")))
    })
}
