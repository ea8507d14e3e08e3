//! A table in the kernel that is kept as it should be: changed in transactions, put back when somebody else touches it.
use super::model::{Part, Skeleton};
use super::ruleset::Ruleset;
use super::watch::Watch;
use crate::netlink::Socket;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// One table of nf_tables, in the network namespace of the thread that opened it.
pub(crate) struct Table {
    live: Arc<Mutex<Live>>,
    _watch: Watch,
}

pub(crate) struct Live {
    rules: Ruleset,
    socket: Socket,
    /// Whether the kernel holds what `rules` says: not before the first change, nor after a refusal.
    programmed: bool,
}

impl Table {
    /// Nothing is changed yet: what an earlier process left goes on working until the first [`Table::change`] replaces it.
    pub(crate) fn open(name: String, skeleton: Skeleton) -> io::Result<Self> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        let (port, table) = (socket.port(), name.clone());
        let live = Arc::new(Mutex::new(Live { rules: Ruleset::new(name, skeleton), socket, programmed: false }));
        let watch = Watch::start(port, table, Arc::downgrade(&live))?;
        Ok(Self { live, _watch: watch })
    }

    /// Replaces the parts of some owners (none: the owner is gone). When this returns, every new connection follows the new
    /// rules.
    pub(crate) fn change(&self, changes: Vec<(String, Option<Part>)>) -> io::Result<()> {
        self.live.lock().change(changes)
    }

    /// Deletes a table of this name.
    pub(crate) fn remove(name: &str) -> io::Result<()> {
        let mut batch = super::encode::Batch::new(name);
        batch.add_table();
        batch.delete_table();
        let (messages, closing) = batch.finish();
        Socket::open(libc::NETLINK_NETFILTER)?.transaction(messages, closing)
    }
}

impl Live {
    fn change(&mut self, changes: Vec<(String, Option<Part>)>) -> io::Result<()> {
        let delta = self.rules.change(changes);
        if self.programmed {
            let batch = self.rules.update(&delta);
            if batch.is_empty() {
                return Ok(());
            }
            let (messages, closing) = batch.finish();
            match self.socket.transaction(messages, closing) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, table = self.rules.name(), change = delta.text(), "change refused: replacing the table");
                }
            }
        }
        self.replace()
    }

    /// Puts the whole table back, if it was there.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        if self.programmed { self.replace() } else { Ok(()) }
    }

    fn replace(&mut self) -> io::Result<()> {
        self.programmed = false;
        let (messages, closing) = self.rules.replace().finish();
        self.socket.transaction(messages, closing)?;
        self.programmed = true;
        Ok(())
    }
}
