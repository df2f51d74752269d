// SPDX-License-Identifier: GPL-2.0

//! A fence: holds the bios that a lost path may still carry out. The head neither sends them
//! elsewhere nor fails them before that is over.
//!
//! The storage may carry out a command without an answer long after the host has given its path up.
//! Suppose the head sent its bio again through another path. The submitter would go on, and write
//! newer data to the same place; then the old command lands on top of that. So a fence holds the
//! bio: its submitter knows of no end, and cannot write newer data there.
//!
//! A fence belongs to one association, not to a port. It opens once and stays open, so a controller
//! that comes and goes does not hold a bio for ever. Its clock says when:
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
//! A holder puts an item into the list, then looks at the clock and sets the timer to it. A driver
//! that starts the clock or opens the fence looks into the list then, and sets the timer if an
//! item is there. With a full barrier between the two steps of each, one of them sees the other.
//! Each looks at the clock once more after it has set the timer, so the last one to set it has seen
//! the last change. So the timer is set while the fence holds an item, and no item stays for ever.

use crate::pure::parking::{
    Chain,
    LocklessList, //
    Parkable,
};
use crate::pure::sync::{
    full_barrier,
    AtomicU64, //
};

/// The time when a fence opens, in the unit of its clock, and less than 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The fence holds nothing, and the driver has said nothing.
    Stopped,
    /// The fence holds an item. It opens at this time, unless the driver says something before.
    Limited(u64),
    /// The association is over. The fence opens at this time.
    Started(u64),
    /// The fence is open.
    Open,
}

impl Clock {
    const STOPPED: u64 = u64::MAX;
    const OPEN: u64 = u64::MAX - 1;
    const STARTED: u64 = 1;

    /// The clock as a word.
    pub const fn to_raw(self) -> u64 {
        match self {
            Self::Stopped => Self::STOPPED,
            Self::Limited(at) => at << 1,
            Self::Started(at) => at << 1 | Self::STARTED,
            Self::Open => Self::OPEN,
        }
    }

    /// The clock of a word that [`Clock::to_raw`] returned.
    pub const fn from_raw(raw: u64) -> Self {
        match raw {
            Self::STOPPED => Self::Stopped,
            Self::OPEN => Self::Open,
            _ if raw & Self::STARTED != 0 => Self::Started(raw >> 1),
            _ => Self::Limited(raw >> 1),
        }
    }

    /// The clock from when the fence holds an item.
    pub const fn held(self, limit: u64) -> Self {
        match self {
            Self::Stopped => Self::Limited(limit),
            same => same,
        }
    }

    /// The clock from when the association is over: the storage carries out nothing of it from `at`
    /// on.
    pub const fn started(self, at: u64) -> Self {
        match self {
            Self::Stopped | Self::Limited(_) => Self::Started(at),
            Self::Started(end) if at < end => Self::Started(at),
            same => same,
        }
    }

    /// The clock at time `now`.
    pub const fn is_at(self, now: u64) -> Self {
        match self {
            Self::Limited(at) | Self::Started(at) if at <= now => Self::Open,
            same => same,
        }
    }

    /// The time when the fence opens, as far as that is known.
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

    /// The clock's value.
    pub fn load(&self) -> Clock {
        Clock::from_raw(self.0.load())
    }

    /// Sets it to the value that `f` makes of it. Returns the old value and the new one.
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
    /// The type of a held item.
    type Item: Parkable;

    /// The clock that says when it opens.
    fn clock(&self) -> &AtomicClock;

    /// The list that holds the items.
    fn list(&self) -> &LocklessList<Self::Item>;

    /// Has [`ring`] called at `at`, not much later, and forgets a time that was set before. A call
    /// may come earlier, too.
    fn set_timer(&self, at: u64);
}

/// Sets the timer to the time that the clock says.
fn set_timer<F: Fenced>(fence: &F) {
    let mut end = fence.clock().load().end();

    while let Some(at) = end {
        fence.set_timer(at);
        // Another caller may have set the clock, and the timer before this.
        full_barrier();
        end = fence.clock().load().end().filter(|end| *end != at);
    }
}

/// Holds an item until the fence opens, at `limit` at the latest if the driver says nothing
/// meanwhile. Any context.
///
/// # Safety
///
/// `item` is valid, and the caller gives up its ownership.
pub unsafe fn hold<F: Fenced>(fence: &F, item: *mut F::Item, limit: u64) {
    // SAFETY: By this function's contract.
    unsafe { fence.list().push(item) };
    // A caller that does not see the item in the list has set the clock before this looks at it.
    full_barrier();
    fence.clock().update(|clock| clock.held(limit));
    set_timer(fence);
}

/// Says that the association is over, and that the storage carries out nothing of it from `at` on.
/// Any context.
pub fn start<F: Fenced>(fence: &F, at: u64) {
    set(fence, |clock| clock.started(at));
}

/// Says that the storage carries out nothing of the association any more. Any context.
pub fn open<F: Fenced>(fence: &F) {
    set(fence, |_| Clock::Open);
}

fn set<F: Fenced>(fence: &F, f: impl Fn(Clock) -> Clock) {
    fence.clock().update(f);
    // A holder that does not see the new clock has put its item into the list by now.
    full_barrier();
    if !fence.list().is_empty() {
        set_timer(fence);
    }
}

/// The state in which the timer found a fence.
pub enum Rung<T: Parkable> {
    /// It is not time yet, and the timer is set again.
    Early,
    /// The fence is open, and gives back the items that it held.
    Open {
        /// Has it opened because the driver said nothing until the limit?
        by_limit: bool,
        /// The items, oldest first.
        held: Chain<T>,
    },
}

/// Handles the timer, which has gone off at `now`.
pub fn ring<F: Fenced>(fence: &F, now: u64) -> Rung<F::Item> {
    let (was, is) = fence.clock().update(|clock| clock.is_at(now));

    if is != Clock::Open {
        set_timer(fence);
        return Rung::Early;
    }
    Rung::Open {
        by_limit: matches!(was, Clock::Limited(_)),
        held: fence.list().take(),
    }
}
