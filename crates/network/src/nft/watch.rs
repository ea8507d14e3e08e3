//! Watches a table: nf_tables tells everybody what anybody changed (`NFNLGRP_NFTABLES`), with the port of the socket that did it.
//! Whatever another one did to our table (`nft flush ruleset`, a firewall being reloaded) is put right at once.
use super::table::Live;
use crate::netlink::{Attributes, Header, Socket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Weak;
use std::time::Duration;

/// Two programs that both insist on the same table must not keep the machine busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The watching thread ends when this is dropped.
pub(crate) struct Watch {
    _end: UnixStream,
}

impl Watch {
    pub(crate) fn start(own_port: u32, table: String, live: Weak<Mutex<Live>>) -> io::Result<Self> {
        let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.subscribe(libc::NFNLGRP_NFTABLES as u32)?;
        let (ours, theirs) = UnixStream::pair()?;
        let watch = move || {
            while wait(&socket, &theirs) {
                match drain(&mut socket, &table, own_port) {
                    Ok(false) => {}
                    Ok(true) => {
                        restore(&live, &table);
                        std::thread::sleep(PAUSE);
                    }
                    Err(error) => {
                        tracing::error!(%error, table, "the table is not watched any more");
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("nft-watch".into()).spawn(watch)?;
        Ok(Self { _end: ours })
    }
}

/// Reads everything there is; whether any of it says that another socket changed the table.
fn drain(socket: &mut Socket, table: &str, own_port: u32) -> io::Result<bool> {
    let mut touched = false;
    loop {
        match socket.receive() {
            Ok(bytes) => touched |= is_touched(&bytes, table, own_port),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(touched),
            // Too much happened to be told all of it.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => touched = true,
            Err(error) => return Err(error),
        }
    }
}

fn restore(live: &Weak<Mutex<Live>>, table: &str) {
    let Some(live) = live.upgrade() else { return };
    match live.lock().restore() {
        Ok(()) => tracing::warn!(table, "somebody changed the rules: put back"),
        Err(error) => tracing::error!(%error, table, "somebody changed the rules, and they cannot be put back"),
    }
}

/// Waits for something to read; false at the end.
fn wait(socket: &Socket, end: &UnixStream) -> bool {
    let mut both = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut both, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => break,
        }
    }
    let [_, end] = both;
    end.revents().is_none_or(|events| events.is_empty())
}

/// Whether these messages say that another socket changed the table.
fn is_touched(bytes: &[u8], table: &str, own_port: u32) -> bool {
    let mut rest = bytes;
    let mut touched = false;
    while let Some((header, payload, after)) = Header::take(rest) {
        rest = after;
        let subsystem = i32::from(header.kind >> 8);
        let generation = i32::from(header.kind & 0xff) == libc::NFT_MSG_NEWGEN;
        if subsystem == libc::NFNL_SUBSYS_NFTABLES && !generation && header.port != own_port {
            // the table is attribute 1 of every object, behind `struct nfgenmsg`
            touched |= Attributes(payload.get(4..).unwrap_or_default()).text(1) == Some(table);
        }
    }
    touched
}
