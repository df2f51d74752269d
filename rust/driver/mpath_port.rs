// SPDX-License-Identifier: GPL-2.0

//! A port: the controller that several paths share.

use crate::bindings;
use crate::ffi;
use crate::pure::state::PortState;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::types::Opaque;
use pin_init::pin_init_from_closure;

/// The state that all paths through one controller share: whether it takes I/O, and how many bios
/// are in flight through it.
///
/// Each path that goes through it keeps an `Arc` of it.
///
/// # Invariants
///
/// `mpath_port_init()` has initialised `raw`, and only the drop of this calls `mpath_port_exit()`.
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
pub struct MpathPort {
    raw: Opaque<bindings::mpath_port>,
}

impl MpathPort {
    /// A port that begins in `state`, for [`Arc::pin_init`](kernel::sync::Arc::pin_init).
    ///
    /// Fails with `ENOMEM`. Allocates, may sleep.
    #[inline]
    pub fn new(state: PortState) -> impl PinInit<Self, Error> {
        let init = move |this: *mut Self| {
            // SAFETY: The slot is valid for writes, and nobody uses it.
            unsafe {
                let raw = Opaque::cast_into(&raw const (*this).raw);

                to_result(ffi::mpath_port_init(raw))?;
                ffi::mpath_port_set_state(raw, state as u32);
            }
            Ok(())
        };

        // SAFETY: Where it succeeds, the only member is initialised; where it fails, nothing has to
        // be dropped. It stays where it is.
        // INVARIANT: Initialised here.
        unsafe { pin_init_from_closure(init) }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_port {
        self.raw.get()
    }

    /// Says what the port can do from now on: bios that are submitted after this returned see it.
    ///
    /// This does not move bios that wait for a path. When a port becomes live, or the driver gives
    /// it up, call [`AnyContextHead::kick`](super::AnyContextHead::kick) on the heads concerned
    /// afterwards.
    ///
    /// Any context, hard interrupt included.
    #[inline]
    pub fn set_state(&self, state: PortState) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_port_set_state(self.as_raw(), state as u32) }
    }

    /// The state that the driver set last. Any context.
    #[inline]
    pub fn state(&self) -> PortState {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        let state = unsafe { Atomic::<u32>::from_ptr(&raw mut (*self.as_raw()).state) };

        PortState::from_raw(state.load(Relaxed))
    }

    /// The number of bios in flight through the port that came while the policy was queue-depth.
    /// Exact while none comes or ends. Any context.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_port_in_flight(self.as_raw()) }
    }
}

impl Drop for MpathPort {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Each path that goes through the port keeps it.
        unsafe { ffi::mpath_port_exit(self.as_raw()) }
    }
}

// SAFETY: All that changes in it is atomic, or is freed when nobody else has it.
unsafe impl Send for MpathPort {}
// SAFETY: As above.
unsafe impl Sync for MpathPort {}
