// SPDX-License-Identifier: GPL-2.0

//! Notes on paths, ports and heads for people who ask: the time of the last change of each state,
//! and counts of events that are slow anyway.
//!
//! `notes.rs` writes them. No code decides by them, so no order matters: a reader beside a change
//! may see the time of the change before.

use crate::bindings;
use crate::pure::state::Reasons;
use crate::wrap::work::now;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A number of ticks in milliseconds.
pub(crate) fn msecs(ticks: u64) -> u64 {
    // SAFETY: Any context may call it.
    unsafe { bindings::jiffies64_to_msecs(ticks) }
}

/// The milliseconds since a tick.
pub(crate) fn msecs_since(tick: u64) -> u64 {
    msecs(now().saturating_sub(tick))
}

/// The parts of a path's state that have a time of their own, but for the reasons not to use it,
/// which come first.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    /// The access state.
    Access = Reasons::EACH.len() as isize,
    /// The head's trust.
    Trust,
}

const TIMES: usize = Timed::Trust as usize + 1;
const _: () = assert!(TIMES == bindings::MPATH_TIMES as usize);

/// The notes on a path: `struct mpath_record`.
#[repr(C)]
pub(crate) struct Record {
    pub(super) since: [Atomic<u64>; TIMES],
    pub(super) failed_at: Atomic<u64>,
    pub(super) failures: Atomic<u64>,
    pub(super) failovers: Atomic<u64>,
    pub(super) rests: Atomic<u64>,
    pub(super) said_at: Atomic<u64>,
    /// 1 from the line in the log that the path fails to the line that it works again.
    pub(super) is_said: Atomic<u32>,
}

const _: () = assert!(size_of::<Record>() == size_of::<bindings::mpath_record>());

/// The notes on a new path.
pub(super) fn of_new_path() -> bindings::mpath_record {
    bindings::mpath_record {
        since: [now(); TIMES],
        ..Default::default()
    }
}

impl Record {
    /// The milliseconds since the path got, or lost, the reason of this index in [`Reasons::EACH`].
    pub(super) fn msecs_of_reason(&self, index: usize) -> u64 {
        msecs_since(self.since[index].load(Relaxed))
    }

    /// The milliseconds since the last change of a part of the state.
    pub(super) fn msecs_of(&self, what: Timed) -> u64 {
        msecs_since(self.since[what as usize].load(Relaxed))
    }

    /// The milliseconds since the path failed I/O last, if it has.
    pub(super) fn msecs_since_failure(&self) -> Option<u64> {
        let has_failed = self.failures.load(Relaxed) > 0;

        has_failed.then(|| msecs_since(self.failed_at.load(Relaxed)))
    }
}

/// The notes on a head, in two parts that fit into free room of its cache lines.
pub(crate) struct HeadRecord {
    /// The number of bios that its paths have given back.
    pub(super) failovers: Atomic<u64>,
    /// The number of bios that fences hold, and the lower half of the tick since which they have
    /// held some.
    pub(super) fenced: Atomic<u32>,
    pub(super) fenced_since: Atomic<u32>,
    /// A copy of the removal delay, which the `control` mutex guards: for readers that must not
    /// wait for it.
    pub(super) delay_secs: Atomic<u32>,
}

/// The times of a head.
pub(crate) struct HeadTimes {
    /// The tick of the last change of the state.
    pub(super) since: Atomic<u64>,
    /// The tick at which the removal timer expires, or [`HeadTimes::NEVER`] or
    /// [`HeadTimes::EXPIRED`]: a copy, as of the delay.
    pub(super) removal: Atomic<u64>,
}

impl HeadRecord {
    /// The notes on a new head.
    pub(super) const fn new() -> Self {
        Self {
            failovers: Atomic::new(0),
            fenced: Atomic::new(0),
            fenced_since: Atomic::new(0),
            delay_secs: Atomic::new(0),
        }
    }

    /// The number of bios that the head's paths have given back.
    pub(super) fn failovers(&self) -> u64 {
        self.failovers.load(Relaxed)
    }

    /// The number of bios that fences hold, and the milliseconds for which they have held some.
    pub(super) fn fenced(&self) -> (u32, u64) {
        let since = self.fenced_since.load(Relaxed);
        let ticks = (now() as u32).wrapping_sub(since);

        (self.fenced.load(Relaxed), msecs(ticks.into()))
    }

    /// The removal delay in seconds.
    pub(super) fn delay_secs(&self) -> u32 {
        self.delay_secs.load(Relaxed)
    }
}

impl HeadTimes {
    pub(super) const NEVER: u64 = u64::MAX;
    pub(super) const EXPIRED: u64 = Self::NEVER - 1;

    /// The times of a new head.
    pub(super) fn new() -> Self {
        Self {
            since: Atomic::new(now()),
            removal: Atomic::new(Self::NEVER),
        }
    }

    /// The milliseconds since the last change of the head's state.
    pub(super) fn msecs(&self) -> u64 {
        msecs_since(self.since.load(Relaxed))
    }

    /// The milliseconds until the removal timer expires, if it is armed.
    pub(super) fn msecs_to_removal(&self) -> Option<u64> {
        let removal = self.removal.load(Relaxed);

        (removal < Self::EXPIRED).then(|| msecs(removal.saturating_sub(now())))
    }

    /// Has the removal timer expired, and is the library asking the driver to remove the head?
    pub(super) fn is_asked_for(&self) -> bool {
        self.removal.load(Relaxed) == Self::EXPIRED
    }
}
