//! Deletes links beside the work: the kernel takes some 90 ms for one (it waits until no packet can hold it any more), and nobody
//! has to wait for that once the pod's route is gone.
use super::kernel::Rtnetlink;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// As many as a node has pods, several times over. If that is not enough, whoever comes next deletes for itself.
const WAITING: usize = 1024;

/// A thread in the network namespace of its maker, which ends when this is dropped and everything is done.
pub(crate) struct Reaper {
    links: SyncSender<u32>,
}

impl Reaper {
    pub(crate) fn start() -> io::Result<Self> {
        let mut net = Rtnetlink::open()?;
        let (links, todo) = sync_channel(WAITING);
        let reap = move || {
            for link in todo {
                // What is left is swept at the next start.
                if let Err(error) = net.delete_link_number(link) {
                    tracing::warn!(%error, link, "a pod's link stays");
                }
            }
        };
        std::thread::Builder::new().name("link-reaper".into()).spawn(reap)?;
        Ok(Self { links })
    }

    /// Sees to it that the link goes, now or soon.
    pub(crate) fn take(&self, link: u32, net: &mut Rtnetlink) -> io::Result<()> {
        match self.links.try_send(link) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(link) | TrySendError::Disconnected(link)) => net.delete_link_number(link),
        }
    }
}
