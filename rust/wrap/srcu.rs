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

/// A moment in the life of a domain, as far as grace periods tell.
pub(crate) type Cookie = kernel::ffi::c_ulong;

/// A moment after which a grace period has passed in every domain, and in one that is gone.
pub(crate) const PASSED: Cookie = bindings::SRCU_GET_STATE_COMPLETED as Cookie;

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
    pub(crate) fn read_lock(&self) -> Counter {
        // SAFETY: By the type invariant.
        Counter(
            unsafe { bindings::mpath_helper_srcu_read_lock(self.inner.get()) },
            NotThreadSafe,
        )
    }

    /// Ends a read-side section.
    ///
    /// # Safety
    ///
    /// `counter` is what [`SrcuFast::read_lock`] has returned for this domain, and not been given
    /// back yet.
    #[inline(always)]
    pub(crate) unsafe fn read_unlock(&self, counter: &Counter) {
        // SAFETY: By this function's contract, and in the same task since it is not `Send`.
        unsafe { bindings::mpath_helper_srcu_read_unlock(self.inner.get(), counter.0) }
    }

    /// Is the caller inside a section, as far as lockdep knows? Without it nobody does.
    pub(crate) fn is_known_to_be_read(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_srcu_is_read(self.inner.get()) }
    }

    /// Now. What was done before is seen by sections that begin after [`SrcuFast::has_passed`].
    pub(crate) fn cookie(&self) -> Cookie {
        // SAFETY: By the type invariant.
        unsafe { bindings::get_state_synchronize_srcu(self.inner.get()) }
    }

    /// Has a grace period begun and ended since? Nobody begins one for the sake of the answer.
    pub(crate) fn has_passed(&self, cookie: Cookie) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::poll_state_synchronize_srcu(self.inner.get(), cookie) }
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
        // SAFETY: By the type invariant; a section borrows what has the domain, so no reader is
        // left, and nothing here queues callbacks.
        unsafe { bindings::cleanup_srcu_struct(self.inner.get()) }
    }
}

// SAFETY: An `srcu_struct` may be used from any thread.
unsafe impl Send for SrcuFast {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for SrcuFast {}

/// What a read-side section has counted, and will count when it ends. One word, so that a section
/// fits into registers with what it is of.
#[must_use = "the section has to end"]
pub(crate) struct Counter(*mut bindings::srcu_ctr, NotThreadSafe);
