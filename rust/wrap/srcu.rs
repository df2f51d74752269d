// SPDX-License-Identifier: GPL-2.0

//! SRCU whose readers execute no memory barrier.
//!
//! The kernel crate's `Srcu` is of the ordinary flavour, whose readers pay two full barriers for a
//! section. This one is of the fast flavour: readers pay two increments of a per-CPU counter, and
//! grace periods wait for RCU instead. The library requests them expedited, since their callers
//! remove paths by the hundred.
//!
//! C header: [`include/linux/srcu.h`](srctree/include/linux/srcu.h)

use crate::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::{
    NotThreadSafe,
    Opaque, //
};

/// A moment in the life of a domain, measured in grace periods.
pub(crate) type Cookie = kernel::ffi::c_ulong;

/// A domain of readers and of tasks that wait for them.
///
/// # Invariants
///
/// `init_srcu_struct_fast()` has initialised `inner`, and nobody has cleaned it up.
#[pin_data(PinnedDrop)]
pub(crate) struct SrcuFast {
    #[pin]
    inner: Opaque<bindings::srcu_struct>,
}

impl SrcuFast {
    /// Creates a domain without readers. Allocates; may sleep.
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
    /// [`SrcuFast::read_lock`] has returned `counter` for this domain, and the caller has not given
    /// it back yet.
    #[inline(always)]
    pub(crate) unsafe fn read_unlock(&self, counter: &Counter) {
        // SAFETY: By this function's contract, and in the same task since it is not `Send`.
        unsafe { bindings::mpath_helper_srcu_read_unlock(self.inner.get(), counter.0) }
    }

    /// Is the caller inside a section, as far as lockdep knows? False without lockdep.
    pub(crate) fn is_known_to_be_read(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_srcu_is_read(self.inner.get()) }
    }

    /// The present moment. Sections that begin after [`SrcuFast::has_passed`] see all accesses
    /// before it.
    pub(crate) fn cookie(&self) -> Cookie {
        // SAFETY: By the type invariant.
        unsafe { bindings::get_state_synchronize_srcu(self.inner.get()) }
    }

    /// Has a grace period begun and ended since? Asking begins none.
    pub(crate) fn has_passed(&self, cookie: Cookie) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::poll_state_synchronize_srcu(self.inner.get(), cookie) }
    }

    /// Waits for all sections that have begun. Sleeps. Deadlocks inside a section; lockdep warns of
    /// that.
    pub(crate) fn synchronize(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::synchronize_srcu_expedited(self.inner.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for SrcuFast {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant; a section borrows the domain's owner, so no reader is
        // left. Nothing here queues callbacks.
        unsafe { bindings::cleanup_srcu_struct(self.inner.get()) }
    }
}

// SAFETY: Any thread may use an `srcu_struct`.
unsafe impl Send for SrcuFast {}
// SAFETY: As above, also several at the same time.
unsafe impl Sync for SrcuFast {}

/// The counter that a read-side section has used, and will use when it ends. One word, so that a
/// section and its head fit into registers.
#[must_use = "the section has to end"]
pub(crate) struct Counter(*mut bindings::srcu_ctr, NotThreadSafe);
