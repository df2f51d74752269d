// SPDX-License-Identifier: GPL-2.0

//! Mistakes of drivers, as far as the library can tell: it warns, and no harm comes of them.
//!
//! No code here is on the way of a bio: every bio would pay for a check there. The header leaves
//! mistakes that only such a check could find to the driver.

use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::task::Task;

/// Warns of a driver's mistake, and says where it is. Any context.
#[cold]
#[inline(never)]
pub(crate) fn misuse(what: &str) {
    pr_err!("{what}\n");
    kernel::warn_on!(true);
}

/// The mark of memory at `at` that the library has initialised: a value that chance does not leave
/// there. `flags` are the lowest bits, which are for the owner's use.
pub(crate) fn mark<T>(at: *const T, flags: usize) -> usize {
    const MARK: u64 = 0x6d70_a746_c1e9_b35a;

    (at.addr() ^ MARK as usize) & !flags
}

/// The tasks in a callback that must not wait, as far as there is room: in a read-side section, or
/// under the mutex that orders adding and deleting the disk.
///
/// A task that waits there waits for itself (L-43). Lockdep knows, too, but is rarely on.
pub(crate) struct CallbackTasks([Atomic<usize>; 4]);

impl CallbackTasks {
    /// A record of no task.
    pub(crate) const fn new() -> Self {
        Self([const { Atomic::new(0) }; 4])
    }

    /// Notes that the current task is in such a callback, until the caller drops the
    /// [`InCallback`].
    pub(crate) fn enter(&self) -> InCallback<'_> {
        let task = Task::current_raw().addr();

        InCallback(
            self.0
                .iter()
                .find(|slot| slot.load(Relaxed) == 0 && slot.cmpxchg(0, task, Relaxed).is_ok()),
        )
    }

    /// Is the current task in such a callback? A task sees its own stores.
    pub(super) fn has_current(&self) -> bool {
        let task = Task::current_raw().addr();

        self.0.iter().any(|slot| slot.load(Relaxed) == task)
    }
}

/// The note that the current task is in a callback.
pub(crate) struct InCallback<'a>(Option<&'a Atomic<usize>>);

impl Drop for InCallback<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.store(0, Relaxed);
        }
    }
}
