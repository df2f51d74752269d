// SPDX-License-Identifier: GPL-2.0

//! A driver that treats writes as a test says, and counts the calls of `stop()` and `unlink()`.
//! Reads, which the scan of partitions makes when it likes, end at once and do not count.

use crate::{
    BioOp,
    Failure,
    IdKind,
    MpathBio,
    MpathBioQueue,
    MpathDevice,
    MpathDriver,
    MpathFence,
    MpathHead, //
};
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

pub(super) struct Kept;

/// The ways to treat a write.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Mode {
    /// It ends at once.
    End,
    /// It waits until the test, or the path's end, ends it.
    Keep,
    /// It fails for a reason of the path.
    FailOver,
    /// It is dropped.
    Drop,
    /// It fails for a reason of the storage.
    Medium,
}

/// The driver's data of a path.
pub(super) struct Path {
    mode: Atomic<u32>,
    arrived: Atomic<u32>,
    kept: MpathBioQueue<Kept>,
}

impl Path {
    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u32, Relaxed);
    }

    /// The number of writes that have come.
    pub(super) fn arrived(&self) -> u32 {
        self.arrived.load(Relaxed)
    }

    /// Does a condition hold, now or within a while?
    pub(super) fn eventually(&self, condition: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..20_000 {
            if condition(self) {
                return true;
            }
            fsleep(Delta::from_millis(1));
        }
        false
    }

    pub(super) fn end_kept(&self) {
        self.kept.take().for_each(MpathBio::end);
    }

    /// Fails kept bios over that the controller may still carry out.
    pub(super) fn fail_kept_over(&self, fence: &MpathFence) {
        self.kept.take().for_each(|bio| bio.failover_fenced(fence));
    }
}

/// The numbers of calls of `stop()` and of `unlink()`.
pub(super) struct Counts {
    stopped: Atomic<u32>,
    unlinked: Atomic<u32>,
}

impl Counts {
    pub(super) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                stopped: Atomic::new(0),
                unlinked: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    pub(super) fn stopped(&self) -> u32 {
        self.stopped.load(Relaxed)
    }

    pub(super) fn unlinked(&self) -> u32 {
        self.unlinked.load(Relaxed)
    }
}

impl Kept {
    pub(super) fn path() -> Path {
        Path {
            mode: Atomic::new(Mode::End as u32),
            arrived: Atomic::new(0),
            kept: MpathBioQueue::new(),
        }
    }
}

#[vtable]
impl MpathDriver for Kept {
    type HeadData = Arc<Counts>;
    type PathData = Path;
    /// More failovers than are counted: a bio that waits, waits.
    const MAX_FAILOVERS: u32 = 100_000;

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        const END: u32 = Mode::End as u32;
        const KEEP: u32 = Mode::Keep as u32;
        const FAIL_OVER: u32 = Mode::FailOver as u32;
        const MEDIUM: u32 = Mode::Medium as u32;
        let path = path.data();

        if !matches!(bio.op(), BioOp::Write(_)) {
            return bio.end();
        }
        path.arrived.add(1, Relaxed);
        match path.mode.load(Relaxed) {
            END => bio.end(),
            KEEP => path.kept.push(bio),
            FAIL_OVER => bio.failover(),
            MEDIUM => bio.fail(Failure::Medium),
            _ => drop(bio),
        }
    }

    fn stop(path: &MpathDevice<Self>) {
        path.head().data().stopped.add(1, Relaxed);
        path.data().set(Mode::End);
        path.data().end_kept();
    }

    fn unlink(head: &MpathHead<Self>) {
        head.data().unlinked.add(1, Relaxed);
    }

    fn unique_id(_path: &MpathDevice<Self>, kind: IdKind, id: &mut [u8; 16]) -> Result<usize> {
        if kind != IdKind::Eui64 {
            return Err(EINVAL);
        }
        id[..8].copy_from_slice(b"multipat");
        Ok(8)
    }
}
