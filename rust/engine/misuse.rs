// SPDX-License-Identifier: GPL-2.0

//! What drivers do wrong, as far as it can be told: it is said, and does no harm.
//!
//! Nothing here is on the way of a bio. What is looked at when a bio is submitted would be paid for
//! by every bio, so what could only be seen there is the driver's duty, by the header.

use super::head::MpathHead;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::task::Task;

/// Says what a driver has done wrong, and where. Any context.
#[cold]
#[inline(never)]
pub(crate) fn misuse(what: &str) {
    pr_err!("{what}\n");
    kernel::warn_on!(true);
}

/// The mark of memory at `at` that the library has initialised: what chance does not leave there.
/// `flags` are the lowest bits, which are for the owner's use.
pub(crate) fn mark<T>(at: *const T, flags: usize) -> usize {
    const MARK: u64 = 0x6d70_a746_c1e9_b35a;

    (at.addr() ^ MARK as usize) & !flags
}

/// The tasks that are in a callback in which nothing may be waited for, as far as there is room: by
/// a read-side section, or under the mutex that orders adding and deleting the disk.
///
/// Whoever waits there waits for itself (L-43). Lockdep knows, too, but is rarely on.
pub(crate) struct Callers([Atomic<usize>; 4]);

impl Callers {
    /// Nobody.
    pub(crate) const fn new() -> Self {
        Self([const { Atomic::new(0) }; 4])
    }

    /// Notes that the current task is in such a callback, until what is returned is dropped.
    pub(crate) fn enter(&self) -> Caller<'_> {
        let task = Task::current_raw().addr();

        Caller(
            self.0
                .iter()
                .find(|slot| slot.load(Relaxed) == 0 && slot.cmpxchg(0, task, Relaxed).is_ok()),
        )
    }

    /// Is the current task in such a callback? What it has stored itself it sees.
    fn has_current(&self) -> bool {
        let task = Task::current_raw().addr();

        self.0.iter().any(|slot| slot.load(Relaxed) == task)
    }
}

/// The current task's being in a callback.
pub(crate) struct Caller<'a>(Option<&'a Atomic<usize>>);

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.store(0, Relaxed);
        }
    }
}

impl MpathHead {
    /// May the current task wait for readers, or for the disk to be added? Says so when not.
    pub(crate) fn may_wait(&self) -> bool {
        let may_wait = !self.callers.has_current() && !self.srcu.is_known_to_be_read();

        if !may_wait {
            misuse("a callback waits for itself: it calls what must not be called from inside one");
        }
        may_wait
    }
}
