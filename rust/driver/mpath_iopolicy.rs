// SPDX-License-Identifier: GPL-2.0

//! A policy that several heads follow.

use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::types::Opaque;

/// The policy by which the heads of a group choose among their usable paths.
///
/// Each head that follows it keeps an `Arc` of it. A mutex inside serialises changes.
///
/// # Invariants
///
/// `raw` has been initialised by `mpath_iopolicy_init()`.
///
/// # Examples
///
/// ```
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
///
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?;
/// assert_eq!(policy.set(IoPolicy::QueueDepth), Ok(IoPolicy::Numa));
/// assert_eq!(policy.get(), IoPolicy::QueueDepth);
///
/// // For a driver whose storage knows no nodes.
/// let supported = [IoPolicy::RoundRobin, IoPolicy::QueueDepth];
/// let policy = MpathIoPolicy::with_supported(IoPolicy::RoundRobin, &supported);
/// let policy = Arc::pin_init(policy, GFP_KERNEL)?;
/// assert_eq!(policy.set(IoPolicy::Numa), Err(EINVAL));
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct MpathIoPolicy {
    #[pin]
    raw: Opaque<bindings::mpath_iopolicy>,
}

impl MpathIoPolicy {
    /// A group without heads that begins with `policy`, for
    /// [`Arc::pin_init`](kernel::sync::Arc::pin_init). It supports every policy that the library
    /// has.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn new(policy: IoPolicy) -> impl PinInit<Self, Error> {
        Self::with_supported(policy, &IoPolicy::ALL)
    }

    /// As [`MpathIoPolicy::new`], for a driver that supports only some policies.
    ///
    /// The initialiser fails with `EINVAL` when `policy` is not among `supported`.
    #[inline]
    pub fn with_supported(policy: IoPolicy, supported: &[IoPolicy]) -> impl PinInit<Self, Error> {
        let supported = supported.iter().fold(0, |bits, policy| bits | policy.bit());

        try_pin_init!(Self {
            // INVARIANT: Initialised here, also on an error, which has set a policy that works.
            raw <- Opaque::try_ffi_init(move |raw| {
                // SAFETY: `raw` is valid for writes, pinned, and nobody uses it.
                to_result(unsafe { ffi::mpath_iopolicy_init(raw, policy as u32, supported) })
            }),
        })
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_iopolicy {
        self.raw.get()
    }

    /// The policy in force. Any context.
    #[inline]
    pub fn get(&self) -> IoPolicy {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        let policy = unsafe { Atomic::<u32>::from_ptr(&raw mut (*self.as_raw()).policy) };

        IoPolicy::from_raw(policy.load(Relaxed)).unwrap_or(IoPolicy::Numa)
    }

    /// Changes the policy, has all heads of the group choose anew, and submits waiting bios again.
    /// Does nothing when the policy is in force already. Returns the policy before.
    ///
    /// Fails with `EINVAL` when the policy is not supported here.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn set(&self, policy: IoPolicy) -> Result<IoPolicy> {
        // SAFETY: By the type invariant.
        let old = unsafe { ffi::mpath_iopolicy_set(self.as_raw(), policy as u32) };

        to_result(old)?;
        IoPolicy::from_raw(old as u32).ok_or(EINVAL)
    }
}

// SAFETY: The policy is atomic, the rest is under a mutex.
unsafe impl Send for MpathIoPolicy {}
// SAFETY: As above.
unsafe impl Sync for MpathIoPolicy {}
