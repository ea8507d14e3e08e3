//! Work inside another network namespace, in a thread of its own: `setns` changes the calling thread only, and a thread that
//! lives on in the wrong namespace would open its next socket there. And a namespace for a whole process: [`fresh`].
use nix::sched::{CloneFlags, setns, unshare};
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

/// Moves the calling thread into a new network namespace that has nothing but loopback. Threads and processes that it starts from then on
/// are in it too; the namespace ends with the last of them. Call it before there are other threads.
pub fn fresh() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    crate::pod::loopback_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_namespace_has_loopback_and_nothing_else() {
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let inside = std::thread::spawn(|| {
            fresh().expect("root");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).expect("loopback is up");
            assert_eq!(std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().lines().skip(2).count(), 1);
            std::fs::read_link("/proc/thread-self/ns/net").unwrap()
        });
        assert_ne!(inside.join().unwrap(), before);
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
    }
}
