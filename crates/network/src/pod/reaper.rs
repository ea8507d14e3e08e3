//! Does beside the work what nobody has to wait for once a pod's route is gone: forgetting the connections it began and those that still
//! came (each a walk through the table of all connections, some 15 ms), and deleting its link (the kernel waits until no packet can
//! hold it any more).
use super::kernel::Rtnetlink;
use crate::conntrack::{self, End};
use crate::quiesce::quiesce_now;
use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// As many as a node has pods, several times over. If that is not enough, whoever comes next does it for itself.
const WAITING: usize = 1024;

/// What is left of a pod.
pub(crate) struct Remains {
    pub(crate) address: Ipv4Addr,
    pub(crate) link: u32,
}

/// A thread in the network namespace of its maker, which ends when this is dropped and everything is done.
pub(crate) struct Reaper {
    remains: SyncSender<Remains>,
}

impl Reaper {
    pub(crate) fn start() -> io::Result<Self> {
        let mut net = Rtnetlink::open()?;
        let (remains, todo) = sync_channel(WAITING);
        let reap = move || todo.into_iter().for_each(|one| reap(&one, &mut net));
        std::thread::Builder::new().name("reaper".into()).spawn(reap)?;
        Ok(Self { remains })
    }

    /// Sees to it that they go, now or soon.
    pub(crate) fn take(&self, remains: Remains, net: &mut Rtnetlink) {
        if let Err(TrySendError::Full(left) | TrySendError::Disconnected(left)) = self.remains.try_send(remains) {
            reap(&left, net);
        }
    }
}

/// A link that stays is swept at the next start.
fn reap(remains: &Remains, net: &mut Rtnetlink) {
    let Remains { address, link } = remains;
    // Without a route nothing more is tracked to the address, but for what was on its way: its client would repeat its SYN to nobody.
    quiesce_now();
    for end in [End::Server, End::Client] {
        if let Err(error) = conntrack::forget(*address, end) {
            tracing::warn!(%error, %address, "tracked connections of a pod that is gone stay until they time out");
        }
    }
    if let Err(error) = net.delete_link_number(*link) {
        tracing::warn!(%error, link, "a pod's link stays");
    }
}
