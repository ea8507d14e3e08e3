//! A file on a simulated disk: it remembers what was synced, and at a power loss keeps that plus any part of the rest.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

use isopod_store::embedded::RawFile;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::io;
use std::sync::{Arc, Condvar, Mutex};

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(data);
            }
            Self::SetLen(len) => to.resize(*len, 0),
        }
    }

    /// What of it reaches the disk when the power goes: all, nothing, or a write up to a torn byte.
    fn torn(&self, random: &mut StdRng) -> Option<Self> {
        match (random.random_range(0..3), self) {
            (0, _) => None,
            (1, Self::Write(offset, data)) => {
                let torn = random.random_range(0..=data.len());
                Some(Self::Write(*offset, data[..torn].to_vec()))
            }
            _ => Some(self.clone()),
        }
    }
}

/// What goes wrong with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Writes fail for want of space.
    Full,
    /// Syncs of data fail, and what was not synced is never written by the kernel again, though the page cache shows it.
    LosesWrites,
    /// Nothing works any more.
    Dead,
}

#[derive(Debug, Default)]
struct Disk {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    cache: Vec<u8>,
    operations: usize,
    syncs: usize,
    dies_at: Option<usize>,
    fault: Fault,
}

/// A file that counts its changing operations and can lose power at any of them.
#[derive(Clone, Debug, Default)]
pub struct SimFile(Arc<Mutex<Disk>>, Arc<Gate>);

/// Holds syncs up while it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl SimFile {
    /// A file with this content, dying at its `dies_at`th write, sync or change of length.
    pub fn new(content: Vec<u8>, dies_at: Option<usize>) -> Self {
        let disk = Disk { synced: content.clone(), cache: content, dies_at, ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)), Arc::default())
    }

    pub fn raw(&self) -> Arc<dyn RawFile> {
        Arc::new(self.clone())
    }

    pub fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    pub fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    /// While shut, syncs do not return.
    pub fn shut_gate(&self, shut: bool) {
        *self.1.shut.lock().unwrap() = shut;
        self.1.opened.notify_all();
    }

    pub fn set_fault(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    pub fn set_dies_at(&self, dies_at: Option<usize>) {
        self.0.lock().unwrap().dies_at = dies_at;
    }

    /// What is found when the power is back.
    pub fn after_power_loss(&self, seed: u64) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut image = disk.synced.clone();
        // Seed 0: nothing unsynced is kept; seed 1: everything.
        for change in &disk.unsynced {
            let kept = match seed {
                0 => None,
                1 => Some(change.clone()),
                _ => change.torn(&mut random),
            };
            if let Some(kept) = kept {
                kept.apply(&mut image);
            }
        }
        image
    }

    fn change(&self, change: Option<Change>) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operations += 1;
        if disk.dies_at.is_some_and(|at| disk.operations >= at) && disk.fault != Fault::Dead {
            disk.fault = Fault::Dead;
            // The operation at which it dies is under way: it may be kept, in part too.
            disk.unsynced.extend(change.clone());
        }
        match (disk.fault, change) {
            (Fault::Dead, _) => Err(io::Error::from_raw_os_error(5)),
            (Fault::Full, Some(Change::Write(..))) => Err(io::Error::from_raw_os_error(28)),
            (Fault::LosesWrites, None) if disk.unsynced.iter().any(|change| matches!(change, Change::Write(..))) => {
                disk.unsynced.clear();
                Err(io::Error::from_raw_os_error(5))
            }
            (_, Some(change)) => {
                change.apply(&mut disk.cache);
                disk.unsynced.push(change);
                Ok(())
            }
            (_, None) => {
                for change in std::mem::take(&mut disk.unsynced) {
                    change.apply(&mut disk.synced);
                }
                Ok(())
            }
        }
    }
}

impl RawFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        if disk.fault == Fault::Dead {
            return Err(io::Error::from_raw_os_error(5));
        }
        let from = offset as usize;
        let found = disk.cache.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Some(Change::Write(offset as usize, data.to_vec())))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Some(Change::SetLen(len as usize)))
    }

    fn sync(&self) -> io::Result<()> {
        let shut = self.1.shut.lock().unwrap();
        drop(self.1.opened.wait_while(shut, |shut| *shut).unwrap());
        self.0.lock().unwrap().syncs += 1;
        self.change(None)
    }
}
