// SPDX-License-Identifier: GPL-2.0

//! SRCU whose readers execute no memory barrier.
//!
//! The kernel crate's `Srcu` is of the ordinary flavour, whose readers pay two full barriers for a
//! section. This one is of the fast flavour: readers pay two increments of a per-CPU counter, and
//! grace periods wait for RCU instead. They are requested expedited, since those who wait for them
//! here remove paths by the hundred.
//!
//! C header: [`include/linux/srcu.h`](srctree/include/linux/srcu.h)

use crate::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::{
    NotThreadSafe,
    Opaque, //
};

/// A domain of readers and of those who wait for them.
///
/// # Invariants
///
/// `inner` was initialised by `init_srcu_struct_fast()` and has not been cleaned up.
#[pin_data(PinnedDrop)]
pub(crate) struct SrcuFast {
    #[pin]
    inner: Opaque<bindings::srcu_struct>,
}

impl SrcuFast {
    /// Creates a domain without readers. Allocates, may sleep.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Initialised here, cleaned up in `drop()` only.
            inner <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, and pinned.
                to_result(unsafe { bindings::mpath_helper_init_srcu(slot) })
            }),
        })
    }

    /// Begins a read-side section, which may sleep.
    #[inline(always)]
    pub(crate) fn read_lock(&self) -> Guard<'_> {
        // SAFETY: By the type invariant.
        let counter = unsafe { bindings::mpath_helper_srcu_read_lock(self.inner.get()) };

        // INVARIANT: `counter` is what the lock returned.
        Guard {
            srcu: self,
            counter,
            _not_send: NotThreadSafe,
        }
    }

    /// Is the caller inside a section, as far as lockdep knows? Without it nobody does.
    pub(crate) fn is_known_to_be_read(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_srcu_is_read(self.inner.get()) }
    }

    /// Waits for all sections that have begun. Sleeps; deadlocks inside a section, of which lockdep
    /// warns.
    pub(crate) fn synchronize(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::synchronize_srcu_expedited(self.inner.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for SrcuFast {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant; a `Guard` borrows the domain, so no reader is left, and
        // nothing here queues callbacks.
        unsafe { bindings::cleanup_srcu_struct(self.inner.get()) }
    }
}

// SAFETY: An `srcu_struct` may be used from any thread.
unsafe impl Send for SrcuFast {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for SrcuFast {}

/// A read-side section.
///
/// # Invariants
///
/// `counter` is what `srcu_read_lock_fast()` returned for `srcu`.
#[must_use = "the section ends when the guard is dropped"]
pub(crate) struct Guard<'a> {
    srcu: &'a SrcuFast,
    counter: *mut bindings::srcu_ctr,
    _not_send: NotThreadSafe,
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and in the same task since the guard is not `Send`.
        unsafe { bindings::mpath_helper_srcu_read_unlock(self.srcu.inner.get(), self.counter) }
    }
}
