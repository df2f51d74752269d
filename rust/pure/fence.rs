// SPDX-License-Identifier: GPL-2.0

//! A fence: what a lost path may still carry out is neither sent elsewhere nor failed before that
//! is over.
//!
//! A command that was sent and not answered may be carried out long after the host has given its
//! path up. Sent again through another path it completes, its submitter goes on, and writes
//! something newer to the same place; then the old command lands on top of that. So it is held:
//! its submitter, who has been told nothing, cannot write anything newer there.
//!
//! A fence belongs to one association, not to a port: it opens once and stays open, so that a
//! controller that comes and goes does not hold a bio for ever. Its clock says when:
//!
//! ```text
//!               something is held
//!    Stopped ----------------------> Limited: opens at the limit, if the driver says nothing
//!       |                               |
//!       +------------+------------------+
//!                    |  the driver says that the association is over
//!                    v
//!                 Started ---------> Open
//!             the earliest end counts
//! ```
//!
//! Whoever holds something looks at the clock after it is in the lot, and sets the timer to that;
//! whoever starts the clock or opens the fence looks into the lot afterwards, and sets the timer if
//! something is there. With a full barrier between the two steps of each, one of them sees the
//! other. Who has set the timer looks at the clock once more, so that the last one to set it has
//! seen the last change. So the timer is set while something is held, and nothing is held for ever.

use crate::pure::parking::{
    Chain,
    Parkable,
    ParkingLot, //
};
use crate::pure::sync::{
    full_barrier,
    AtomicU64, //
};

/// When a fence opens. A time is in whatever unit the clock has, and less than 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nothing is held, and the driver has said nothing.
    Stopped,
    /// Something is held. At this time, unless the driver says something before.
    Limited(u64),
    /// The association is over. At this time.
    Started(u64),
    /// It is open.
    Open,
}

impl Clock {
    const STOPPED: u64 = u64::MAX;
    const OPEN: u64 = u64::MAX - 1;
    const STARTED: u64 = 1;

    /// As a word.
    pub const fn to_raw(self) -> u64 {
        match self {
            Self::Stopped => Self::STOPPED,
            Self::Limited(at) => at << 1,
            Self::Started(at) => at << 1 | Self::STARTED,
            Self::Open => Self::OPEN,
        }
    }

    /// What [`Clock::to_raw`] returned.
    pub const fn from_raw(raw: u64) -> Self {
        match raw {
            Self::STOPPED => Self::Stopped,
            Self::OPEN => Self::Open,
            _ if raw & Self::STARTED != 0 => Self::Started(raw >> 1),
            _ => Self::Limited(raw >> 1),
        }
    }

    /// Something is held.
    pub const fn held(self, limit: u64) -> Self {
        match self {
            Self::Stopped => Self::Limited(limit),
            same => same,
        }
    }

    /// The association is over: nothing of it is carried out from `at` on.
    pub const fn started(self, at: u64) -> Self {
        match self {
            Self::Stopped | Self::Limited(_) => Self::Started(at),
            Self::Started(end) if at < end => Self::Started(at),
            same => same,
        }
    }

    /// It is `now`.
    pub const fn is_at(self, now: u64) -> Self {
        match self {
            Self::Limited(at) | Self::Started(at) if at <= now => Self::Open,
            same => same,
        }
    }

    /// When it opens, as far as that is known.
    pub const fn end(self) -> Option<u64> {
        match self {
            Self::Stopped => None,
            Self::Limited(at) | Self::Started(at) => Some(at),
            Self::Open => Some(0),
        }
    }
}

/// The clock of a fence.
#[repr(transparent)]
pub struct AtomicClock(AtomicU64);

impl AtomicClock {
    /// It is stopped.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(Clock::STOPPED))
    }

    /// It is stopped.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU64::new(Clock::STOPPED))
    }

    /// What it says.
    pub fn load(&self) -> Clock {
        Clock::from_raw(self.0.load())
    }

    /// Sets it to what `f` makes of it. Returns what it was and what it is.
    pub fn update(&self, f: impl Fn(Clock) -> Clock) -> (Clock, Clock) {
        let mut old = self.0.load();

        loop {
            let (was, is) = (Clock::from_raw(old), f(Clock::from_raw(old)));

            if was == is {
                return (was, is);
            }
            match self.0.cmpxchg(old, is.to_raw()) {
                Ok(_) => return (was, is),
                Err(current) => old = current,
            }
        }
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for AtomicClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A fence, as the protocol sees it.
pub trait Fenced {
    /// What is held.
    type Item: Parkable;

    /// When it opens.
    fn clock(&self) -> &AtomicClock;

    /// Where things are held.
    fn lot(&self) -> &ParkingLot<Self::Item>;

    /// Has [`ring`] called at `at`, not much later, and at no other time that was asked for before.
    /// It may be called earlier, too.
    fn set_timer(&self, at: u64);
}

/// Sets the timer to what the clock says.
fn set_timer<F: Fenced>(fence: &F) {
    let mut end = fence.clock().load().end();

    while let Some(at) = end {
        fence.set_timer(at);
        // Somebody else may have set the clock, and the timer before this.
        full_barrier();
        end = fence.clock().load().end().filter(|end| *end != at);
    }
}

/// Holds something until the fence opens, at `limit` at the latest if the driver says nothing
/// meanwhile. Any context.
///
/// # Safety
///
/// `item` is valid, and the caller gives up its ownership.
pub unsafe fn hold<F: Fenced>(fence: &F, item: *mut F::Item, limit: u64) {
    // SAFETY: By this function's contract.
    unsafe { fence.lot().push(item) };
    // Whoever does not see the item in the lot has set before what is looked at now.
    full_barrier();
    fence.clock().update(|clock| clock.held(limit));
    set_timer(fence);
}

/// The association is over, and nothing of it is carried out from `at` on. Any context.
pub fn start<F: Fenced>(fence: &F, at: u64) {
    set(fence, |clock| clock.started(at));
}

/// Nothing of the association is carried out any more. Any context.
pub fn open<F: Fenced>(fence: &F) {
    set(fence, |_| Clock::Open);
}

fn set<F: Fenced>(fence: &F, f: impl Fn(Clock) -> Clock) {
    fence.clock().update(f);
    // Whoever does not see the clock has something in the lot by now.
    full_barrier();
    if !fence.lot().is_empty() {
        set_timer(fence);
    }
}

/// What the timer has found.
pub enum Rung<T: Parkable> {
    /// It is not time yet, and the timer is set again.
    Early,
    /// The fence is open, and this is what it has held.
    Open {
        /// Has it opened since the driver has said nothing until the limit?
        by_limit: bool,
        /// Oldest first.
        held: Chain<T>,
    },
}

/// The timer has gone off, at `now`.
pub fn ring<F: Fenced>(fence: &F, now: u64) -> Rung<F::Item> {
    let (was, is) = fence.clock().update(|clock| clock.is_at(now));

    if is != Clock::Open {
        set_timer(fence);
        return Rung::Early;
    }
    Rung::Open {
        by_limit: matches!(was, Clock::Limited(_)),
        held: fence.lot().take(),
    }
}
