// SPDX-License-Identifier: GPL-2.0

//! A port: what several paths share, a controller.

use crate::bindings;
use crate::ffi;
use crate::pure::state::PortState;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::types::Opaque;

/// What all paths through one controller share: whether it takes I/O, and how many bios are in
/// flight through it.
///
/// An `Arc` of it is kept by every path that goes through it.
///
/// # Invariants
///
/// `raw` has been initialised by `mpath_port_init()`.
///
/// # Examples
///
/// ```
/// use crate::example::bring_up;
/// use libmultipath::prelude::*;
///
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
/// let port = path.port();
///
/// // The controller is being reset. What would go to it waits, and goes on afterwards.
/// port.set_state(PortState::Recovering);
/// assert_eq!(path.head().on_path(|_| ()), Err(EAGAIN));
/// port.set_state(PortState::Live);
/// path.head().kick();
///
/// assert_eq!(port.state(), PortState::Live);
/// assert_eq!(port.in_flight(), 0); // counted for the queue-depth policy only
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct MpathPort {
    #[pin]
    raw: Opaque<bindings::mpath_port>,
}

impl MpathPort {
    /// A port in a state to begin with, for [`Arc::pin_init`](kernel::sync::Arc::pin_init).
    ///
    /// Any context.
    #[inline]
    pub fn new(state: PortState) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            raw <- Opaque::ffi_init(move |raw| {
                // SAFETY: `raw` is valid for writes, and nobody uses it.
                unsafe {
                    ffi::mpath_port_init(raw);
                    ffi::mpath_port_set_state(raw, state as u32);
                }
            }),
        })
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_port {
        self.raw.get()
    }

    /// Says what the port can do from now on: bios that are submitted after this returned see it.
    ///
    /// Bios that wait for a path are not moved by it: when a port becomes live, or is given up,
    /// call [`AnyContextHead::kick`](super::AnyContextHead::kick) on the heads concerned
    /// afterwards.
    ///
    /// Any context, hard interrupt included.
    #[inline]
    pub fn set_state(&self, state: PortState) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_port_set_state(self.as_raw(), state as u32) }
    }

    /// What was said last of the port. Any context.
    #[inline]
    pub fn state(&self) -> PortState {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        let state = unsafe { Atomic::<u32>::from_ptr(&raw mut (*self.as_raw()).state) };

        PortState::from_raw(state.load(Relaxed))
    }

    /// The number of bios in flight through the port that came while the policy was queue-depth.
    /// Any context.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.active().load(Relaxed).max(0) as u32
    }

    /// The counter that the queue-depth policy reads.
    #[inline]
    pub(super) fn active(&self) -> &Atomic<i32> {
        // SAFETY: An `atomic_t` that is valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).nr_active.counter) }
    }
}

// SAFETY: Everything in it is atomic.
unsafe impl Send for MpathPort {}
// SAFETY: As above.
unsafe impl Sync for MpathPort {}
