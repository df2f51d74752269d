// SPDX-License-Identifier: GPL-2.0

//! Mutual exclusion for statics. A mutex needs its initialisation before use, and where the library
//! is built in, drivers may come before that.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// A lock that lets one caller in at a time. For sections that are rare and short.
pub(crate) struct Alone(Atomic<bool>);

impl Alone {
    /// A lock that nobody holds.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(false))
    }

    /// Runs `f` while no other caller runs one. Sleeps.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.0.cmpxchg(false, true, Acquire).is_err() {
            fsleep(Delta::from_micros(100));
        }
        let result = f();

        self.0.store(false, Release);
        result
    }
}
