// SPDX-License-Identifier: GPL-2.0

//! A path, as all may see it who have come by it.

use super::disk::PathDisk;
use super::head::{
    AnyContextHead,
    MpathHead, //
};
use super::port::MpathPort;
use super::registration::Registration;
use super::tags::MpathTagSet;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::state::AccessState;
use kernel::alloc::NumaNode;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// Why a driver does not want a path to be used.
///
/// # Examples
///
/// ```
/// use crate::example::bring_up;
/// use libmultipath::prelude::*;
///
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
///
/// path.disable(DisableReason::StatePending);
/// assert_eq!(path.head().on_path(|_| ()), Err(EAGAIN));
/// path.enable(DisableReason::StatePending);
/// assert_eq!(path.head().on_path(|_| ()), Ok(()));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DisableReason {
    /// It is not set up; [`Registration::set_live`] ends it for the first time.
    ///
    /// [`Registration::set_live`]: super::Registration::set_live
    NotReady = bindings::mpath_disable_reason_MPATH_DISABLE_NOT_READY,
    /// Its access state is out of date and being read.
    StatePending = bindings::mpath_disable_reason_MPATH_DISABLE_STATE_PENDING,
}

/// The node that a path is near to, in C's words; all, where none is named.
#[inline]
pub(super) fn numa_node(node: Option<i32>) -> Result<i32> {
    node.map_or(Ok(bindings::NUMA_NO_NODE), |node| {
        NumaNode::new(node).map(|_| node)
    })
}

/// A path: one way to the storage of a head.
///
/// Made by [`MpathHead::add_path`]. Whoever has a reference to it got it from the path's
/// [`Registration`](super::Registration), from a [bio](super::MpathBio), a
/// [request](super::MpathRequest), or inside a read-side section, all of which a path that goes
/// waits for. So whatever is done through this type may be
/// done in any context, and cannot be done to a path that is gone.
///
/// # Invariants
///
/// `raw` is a path of `head`, or was; its disk is `disk`, its port is `port`.
///
/// # Examples
///
/// ```
/// use crate::example::bring_up;
/// use libmultipath::prelude::*;
///
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
///
/// // Said by who reads what the storage says of its paths:
/// path.set_access_state(AccessState::NonOptimized);
/// // The controller has been reset: nothing is known of the path until the state has been read.
/// path.disable(DisableReason::StatePending);
/// assert!(path.head().on_path(|_| ()).is_err());
/// path.set_access_state(AccessState::Optimized);
/// path.enable(DisableReason::StatePending);
/// path.try_again();
/// path.set_numa_node(Some(0))?;
/// assert_eq!(path.set_numa_node(Some(-2)), Err(EINVAL));
///
/// assert_eq!(path.port().state(), PortState::Live);
/// assert_eq!(path.data(), &());
/// assert!(path.head().on_path(|used| core::ptr::eq(used, &*path))?);
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct MpathDevice<T: MpathDriver> {
    #[pin]
    pub(super) raw: Opaque<bindings::mpath_device>,
    #[pin]
    data: T::PathData,
    pub(super) disk: PathDisk,
    // If the path takes requests: the disk's, which goes before it.
    _tags: Option<Arc<MpathTagSet<T>>>,
    port: Arc<MpathPort>,
    // The last to go: the head's end is the end of its driver's data.
    head: ARef<MpathHead<T>>,
}

impl<T: MpathDriver> MpathDevice<T> {
    /// A path that is on no head yet.
    #[inline]
    pub(super) fn new<'a, E: 'a>(
        head: &'a MpathHead<T>,
        port: &'a Arc<MpathPort>,
        disk: PathDisk,
        tags: Option<Arc<MpathTagSet<T>>>,
        data: impl PinInit<T::PathData, E> + 'a,
    ) -> impl PinInit<Self, Error> + 'a
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            raw <- Opaque::zeroed(),
            data <- data,
            disk,
            _tags: tags,
            port: port.clone(),
            head: ARef::from(head),
        }? Error)
    }

    /// The path around what C has of it.
    ///
    /// # Safety
    ///
    /// `raw` is in a `MpathDevice` of this driver, which stays for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_device) -> &'a Self {
        // SAFETY: By this function's contract; `Opaque` is transparent.
        unsafe { &*kernel::container_of!(Opaque::cast_from(raw), Self, raw) }
    }

    /// The path whose disk a bio was sent to.
    ///
    /// # Safety
    ///
    /// `bio` is valid, and of the disk of a path of this driver, which stays for `'a`.
    #[inline]
    pub(super) unsafe fn of_bio<'a>(bio: *mut bindings::bio) -> &'a Self {
        // SAFETY: By this function's contract; the private data of the disk is the path.
        unsafe { &*(*(*(*bio).bi_bdev).bd_disk).private_data.cast() }
    }

    /// The path whose disk has a queue.
    ///
    /// # Safety
    ///
    /// `queue` is of the disk of a path of this driver, which has been added and stays for `'a`.
    #[inline]
    pub(super) unsafe fn of_queue<'a>(queue: *mut bindings::request_queue) -> &'a Self {
        // SAFETY: By this function's contract; the queue's data is the path.
        unsafe { &*(*queue).queuedata.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_device {
        self.raw.get()
    }

    /// What the driver keeps for the path.
    #[inline]
    pub fn data(&self) -> &T::PathData {
        &self.data
    }

    /// The head that the path is on, as far as any context may use it.
    #[inline]
    pub fn head(&self) -> &AnyContextHead<T> {
        &self.head
    }

    /// The head that the path is on, for those who may sleep.
    #[inline]
    pub(super) fn sleepable_head(&self) -> &MpathHead<T> {
        &self.head
    }

    /// The port that the path goes through.
    #[inline]
    pub fn port(&self) -> &Arc<MpathPort> {
        &self.port
    }

    /// Says how the storage is reached through the path from now on. Also restores the trust that
    /// [`MpathBio::failover`] has taken from the path, which has been looked at since.
    ///
    /// Any context, hard interrupt included.
    ///
    /// [`MpathBio::failover`]: super::MpathBio::failover
    #[inline]
    pub fn set_access_state(&self, state: AccessState) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_device_set_access_state(self.as_raw(), state as u32) }
    }

    /// A reason more not to use the path: bios that are submitted after this returned do not.
    ///
    /// Any context, hard interrupt included.
    #[inline]
    pub fn disable(&self, reason: DisableReason) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_disable_device(self.as_raw(), reason as u32) }
    }

    /// A reason less not to use the path. When none is left it may be chosen, and bios that wait
    /// are submitted again. Also restores the trust that [`MpathBio::failover`] has taken from it.
    ///
    /// Any context, hard interrupt included.
    ///
    /// [`MpathBio::failover`]: super::MpathBio::failover
    #[inline]
    pub fn enable(&self, reason: DisableReason) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_enable_device(self.as_raw(), reason as u32) }
    }

    /// The path is near to another node from now on, or to all: a controller has come back by
    /// another way.
    ///
    /// Fails with `EINVAL` when there is no such node.
    ///
    /// Any context, hard interrupt included.
    #[inline]
    pub fn set_numa_node(&self, node: Option<i32>) -> Result {
        let node = numa_node(node)?;

        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_device_set_numa_node(self.as_raw(), node) };
        Ok(())
    }

    /// The path is as good as any: restores the trust that [`MpathBio::failover`] has taken from
    /// it, before a bio does that succeeds, and has bios that wait submitted again.
    ///
    /// For a controller that has come back, and for a path that fails single bios for reasons of
    /// theirs, as a transport does that cannot carry some: whoever says this after such a
    /// [`MpathBio::failover`] has the path used for all others as before, without a pause. What
    /// fails so again and again ends all the same: each bio's failures are counted.
    ///
    /// Any context, hard interrupt included.
    ///
    /// [`MpathBio::failover`]: super::MpathBio::failover
    #[inline]
    pub fn try_again(&self) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_enable_device(self.as_raw(), 0) }
    }
}

/// Of no path: what the compiler says of one that is to go live without its registration.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a path goes live once, by the `Registration<_, Added>` that it was added with",
    label = "this one may be live, or in a context that may not sleep",
    note = "what the storage says of the path later is for `set_access_state()`"
)]
pub trait GoesLive {}

impl<T: MpathDriver> MpathDevice<T> {
    /// There for the sake of what the compiler says of it.
    #[doc(hidden)]
    pub fn set_live(&self, _state: AccessState) -> Result<Registration<T>>
    where
        Self: GoesLive,
    {
        Err(EINVAL)
    }
}

// SAFETY: What changes in `raw` is atomic, or under a lock of the head; the rest is as the driver's
// data, which has to be both.
unsafe impl<T: MpathDriver> Send for MpathDevice<T> {}
// SAFETY: As above.
unsafe impl<T: MpathDriver> Sync for MpathDevice<T> {}
