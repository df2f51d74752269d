// SPDX-License-Identifier: GPL-2.0

//! One at a time, for what is static: a mutex would have to be initialised before it is used, and
//! where the library is built in, drivers may come before its initialisation.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// What lets one in at a time. For what is rare and short.
pub(crate) struct Alone(Atomic<bool>);

impl Alone {
    /// Nobody is in.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(false))
    }

    /// Does something while nobody else does. Sleeps.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.0.cmpxchg(false, true, Acquire).is_err() {
            fsleep(Delta::from_micros(100));
        }
        let result = f();

        self.0.store(false, Release);
        result
    }
}
