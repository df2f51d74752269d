// SPDX-License-Identifier: GPL-2.0

//! One timer for many who want to be looked at again, each at a time of its own.
//!
//! An alarm knows the earliest tick for which somebody has asked. When the timer goes off, the
//! alarm forgets it first ([`Alarm::rings`]), and whoever runs then looks at everything there is,
//! and asks again for what is not due yet.
//!
//! Before a caller asks, it writes down what is to be looked at. Either the caller sees that the
//! alarm has been rung, and sets the timer; or the look sees what was written down. Full barriers
//! on both sides see to that.

use crate::pure::sync::{
    full_barrier,
    AtomicU64, //
};

/// The earliest tick for which somebody has asked.
#[repr(transparent)]
pub struct Alarm(AtomicU64);

impl Alarm {
    const NEVER: u64 = u64::MAX;

    /// Nobody has asked.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// Nobody has asked.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// Asks for a look no later than tick `at`. `set` has the timer go off at a tick, whether
    /// it was set already or not. Any context.
    pub fn ask(&self, at: u64, set: impl Fn(u64)) {
        // A ring that does not see this request sees what the caller has written down.
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

            // Somebody else may have set it to an earlier tick just before.
            let earliest = self.0.load();
            if earliest >= at {
                return;
            }
            at = earliest;
        }
    }

    /// The tick for which somebody has asked since it was rung.
    pub fn next(&self) -> Option<u64> {
        Some(self.0.load()).filter(|at| *at != Self::NEVER)
    }

    /// The timer has gone off. Called before the look.
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
