//! Waiting for a log file to change, without looking again and again: inotify on its directory, so that new files are seen too.
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Without inotify (a machine has only so many) the file is looked at this often, as the kubelet does anyway.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// tokio wants the number of the descriptor.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

pub struct LogWatch {
    inotify: Option<AsyncFd<Descriptor>>,
    /// `0.log`: the names of its rotated neighbours begin with it.
    name: OsString,
}

impl LogWatch {
    /// What changes from now on is seen.
    pub fn new(path: &Path) -> Self {
        let inotify = begin(path).inspect_err(|error| tracing::debug!(%error, "no inotify for a log")).ok();
        Self { inotify, name: path.file_name().unwrap_or_default().to_owned() }
    }

    /// Resolves when the file, or a rotated one, may have changed since this was last called.
    pub async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else { return tokio::time::sleep(LOOK_EVERY).await };
        loop {
            let Ok(mut ready) = inotify.readable().await else { return tokio::time::sleep(LOOK_EVERY).await };
            match inotify.get_ref().0.read_events() {
                Ok(events) => {
                    let ours = |name: &OsString| name.as_encoded_bytes().starts_with(self.name.as_encoded_bytes());
                    // No name: the queue has overflown, or the directory is gone.
                    if events.iter().any(|event| event.name.as_ref().is_none_or(ours)) {
                        return;
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(_) => return tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

#[expect(deprecated, reason = "its successor is unsafe, for values whose descriptor may change; this one's cannot")]
fn begin(path: &Path) -> std::io::Result<AsyncFd<Descriptor>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let what = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(directory, what)?;
    AsyncFd::new(Descriptor(inotify))
}
