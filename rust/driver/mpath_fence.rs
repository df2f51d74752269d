// SPDX-License-Identifier: GPL-2.0

//! A fence: it holds the bios that the controller of a lost association may still carry out.

use crate::bindings;
use crate::ffi;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Holds the bios of one association of a controller and its host, once that is lost, until the
/// controller cannot carry them out any more.
///
/// Long after its path was given up, a controller may still carry out a bio that it has not
/// answered, on top of newer data that came through another path. [`MpathBio::failover_fenced`] has
/// the fence hold such a bio: nobody sends it elsewhere or fails it before the fence opens, also
/// not when the path or the head goes. Each association gets a fence of its own, which opens once
/// and stays open. A fence that holds a bio and is not [started](MpathFence::start) opens by itself
/// after [`MpathFence::LIMIT_SECS`].
///
/// A clone is one more user of the same fence. When the last user drops it, the fence goes on
/// holding the bios that it has.
///
/// # Invariants
///
/// `0` points to a fence of which this is a user.
///
/// # Examples
///
/// ```
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
///
/// /// What is kept for a path.
/// struct Connection {
///     fence: MpathFence,
///     sent: MpathBioQueue<Remote>,
/// }
///
/// struct Remote;
///
/// #[vtable]
/// impl MpathDriver for Remote {
///     type HeadData = ();
///     type PathData = Connection;
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         path.data().sent.push(bio);
///         // Later, the storage has answered:
///         path.data().sent.take().for_each(MpathBio::end);
///     }
///
///     fn stop(path: &MpathDevice<Self>) {
///         let Connection { fence, sent } = path.data();
///
///         // It has not, and cannot be asked any more.
///         sent.take().for_each(|bio| bio.failover_fenced(fence));
///         fence.start(2000);
///     }
/// }
///
/// let fence = MpathFence::new()?;
/// let connection = Connection {
///     fence: fence.clone(),
///     sent: MpathBioQueue::new(),
/// };
/// let head = crate::shared::head::<Remote, _>(Ok::<_, Error>(()))?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let path = head.add_path(&port, fmt!("mpdocc0"), None, connection)?;
///
/// drop(path.set_live(AccessState::Optimized)?);
/// assert!(!fence.is_open());
/// assert!(fence.msecs_left().is_some_and(|msecs| msecs <= 2020));
/// // The storage was reset, which is as good.
/// fence.open();
/// assert!(fence.is_open());
/// assert_eq!(fence.held(), 0);
/// # Ok::<(), Error>(())
/// ```
///
/// [`MpathBio::failover_fenced`]: super::MpathBio::failover_fenced
pub struct MpathFence(NonNull<bindings::mpath_fence>);

impl MpathFence {
    /// The seconds after which a fence opens that holds a bio and was not started.
    pub const LIMIT_SECS: u32 = bindings::MPATH_FENCE_LIMIT_SECS;

    /// A fence for a new association. Sleeps. Fails with `ENOMEM`.
    #[inline]
    pub fn new() -> Result<Self> {
        // SAFETY: May sleep.
        // INVARIANT: We are the user that it is made with.
        NonNull::new(unsafe { ffi::mpath_fence_alloc() })
            .map(Self)
            .ok_or(ENOMEM)
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_fence {
        self.0.as_ptr()
    }

    /// Says that the association is over: in `msecs` milliseconds the controller carries out
    /// nothing of it any more. Of several times the earliest counts. Any context.
    #[inline]
    pub fn start(&self, msecs: u32) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_fence_start(self.as_raw(), msecs) }
    }

    /// Opens the fence: the controller carries out nothing of the association any more. Any
    /// context.
    #[inline]
    pub fn open(&self) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_fence_open(self.as_raw()) }
    }

    /// How many bios it holds at this moment. Any context.
    #[inline]
    pub fn held(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_fence_held(self.as_raw()) }
    }

    /// The milliseconds until it opens, 0 when it is open; `None` when it holds nothing and was not
    /// started. Any context.
    #[inline]
    pub fn msecs_left(&self) -> Option<u32> {
        // SAFETY: By the type invariant.
        let msecs = unsafe { ffi::mpath_fence_msecs_left(self.as_raw()) };

        (msecs != u32::MAX).then_some(msecs)
    }

    /// Is it open? Any context.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.msecs_left() == Some(0)
    }
}

impl Clone for MpathFence {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant.
        // INVARIANT: One more user, which is the clone.
        unsafe { ffi::mpath_fence_get(self.as_raw()) };
        Self(self.0)
    }
}

impl Drop for MpathFence {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used afterwards.
        unsafe { ffi::mpath_fence_put(self.as_raw()) }
    }
}

// SAFETY: A fence may be used in any context.
unsafe impl Send for MpathFence {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for MpathFence {}
