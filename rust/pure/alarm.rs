// SPDX-License-Identifier: GPL-2.0

//! One timer for many callers that want another look, each at a time of its own.
//!
//! An alarm knows the earliest tick for which a caller has asked. When the timer goes off, its
//! handler has the alarm forget that tick first ([`Alarm::rings`]). Then it looks at everything
//! there is, and asks again for each thing that is not due yet.
//!
//! Before a caller asks, it writes down the thing to look at. Either the caller sees that the alarm
//! has rung, and sets the timer, or the look sees the note. Full barriers on both sides see to
//! that.

use crate::pure::sync::{
    full_barrier,
    AtomicU64, //
};

/// The earliest tick for which a caller has asked.
#[repr(transparent)]
pub struct Alarm(AtomicU64);

impl Alarm {
    const NEVER: u64 = u64::MAX;

    /// An alarm for which no caller has asked.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// An alarm for which no caller has asked.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// Asks for a look no later than tick `at`. `set` sets the timer to a tick, whether it was set
    /// already or not. Any context.
    pub fn ask(&self, at: u64, set: impl Fn(u64)) {
        // A ring that does not see this request sees the caller's note.
        full_barrier();
        let mut known = self.0.load();

        while at < known {
            match self.0.cmpxchg(known, at) {
                Ok(_) => return self.set(at, set),
                Err(current) => known = current,
            }
        }
    }

    fn set(&self, mut at: u64, set: impl Fn(u64)) {
        loop {
            set(at);

            // Another caller may have set it to an earlier tick just before.
            let earliest = self.0.load();
            if earliest >= at {
                return;
            }
            at = earliest;
        }
    }

    /// The tick for which a caller has asked since the last ring.
    pub fn next(&self) -> Option<u64> {
        Some(self.0.load()).filter(|at| *at != Self::NEVER)
    }

    /// Notes that the timer has gone off. Called before the look.
    pub fn rings(&self) {
        self.0.store(Self::NEVER);
        full_barrier();
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}
