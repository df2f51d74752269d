// SPDX-License-Identifier: GPL-2.0

//! A path, as all code sees it that has a reference to it.

use super::disk_params::PathDisk;
use super::mpath_head::{
    AnyContextHead,
    MpathHead, //
};
use super::mpath_port::MpathPort;
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

/// A reason of a driver for which the head does not use a path.
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
    /// The path is not set up; [`Registration::set_live`] ends this for the first time.
    ///
    /// [`Registration::set_live`]: super::Registration::set_live
    NotReady = bindings::mpath_disable_reason_MPATH_DISABLE_NOT_READY,
    /// The path's access state is out of date, and the driver is reading it.
    StatePending = bindings::mpath_disable_reason_MPATH_DISABLE_STATE_PENDING,
}

/// The node that a path is near to, as C has it; `None` stands for all nodes.
#[inline]
pub(super) fn numa_node(node: Option<i32>) -> Result<i32> {
    node.map_or(Ok(bindings::NUMA_NO_NODE), |node| {
        NumaNode::new(node).map(|_| node)
    })
}

/// A path: one way to the storage of a head.
///
/// [`MpathHead::add_path`] makes it. A reference to it comes from the path's
/// [`Registration`](super::Registration), from a [bio](super::MpathBio), from a
/// [request](super::MpathRequest), or from a read-side section. A path outlasts all of them. So any
/// context may call the methods of this type, and nobody can call them for a path that is gone.
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
    // The disk's tag set, if the path takes requests. The disk goes before it.
    _tags: Option<Arc<MpathTagSet<T>>>,
    port: Arc<MpathPort>,
    // Dropped last: with the head its driver's data may go.
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

    /// The path around its C structure.
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

    /// The driver's data of the path.
    #[inline]
    pub fn data(&self) -> &T::PathData {
        &self.data
    }

    /// The head that the path is on, as far as any context may use it.
    #[inline]
    pub fn head(&self) -> &AnyContextHead<T> {
        &self.head
    }

    /// The head that the path is on, for callers that may sleep.
    #[inline]
    pub(super) fn sleepable_head(&self) -> &MpathHead<T> {
        &self.head
    }

    /// The port that the path goes through.
    #[inline]
    pub fn port(&self) -> &Arc<MpathPort> {
        &self.port
    }

    /// Says how the path reaches the storage from now on. Also restores the trust that
    /// [`MpathBio::failover`] has taken from the path: the driver has looked at it since.
    ///
    /// Any context, hard interrupt included.
    ///
    /// [`MpathBio::failover`]: super::MpathBio::failover
    #[inline]
    pub fn set_access_state(&self, state: AccessState) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_device_set_access_state(self.as_raw(), state as u32) }
    }

    /// Adds a reason not to use the path. Bios that are submitted after this returned do not use
    /// it.
    ///
    /// Any context, hard interrupt included.
    #[inline]
    pub fn disable(&self, reason: DisableReason) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_disable_device(self.as_raw(), reason as u32) }
    }

    /// Removes a reason not to use the path. When none is left, the head may choose the path, and
    /// submits waiting bios again. Also restores the trust that [`MpathBio::failover`] has taken
    /// from it.
    ///
    /// Any context, hard interrupt included.
    ///
    /// [`MpathBio::failover`]: super::MpathBio::failover
    #[inline]
    pub fn enable(&self, reason: DisableReason) {
        // SAFETY: By the type invariant the path has been added.
        unsafe { ffi::mpath_enable_device(self.as_raw(), reason as u32) }
    }

    /// Sets the node that the path is near to, or all nodes: for a controller that has come back by
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

    /// Says that the path is as good as any. Restores the trust that [`MpathBio::failover`] has
    /// taken from it, before a bio that succeeds does, and has waiting bios submitted again.
    ///
    /// For a controller that has come back. Also for a path that fails single bios for reasons of
    /// these bios, as a transport does that cannot carry some of them. A driver that calls it after
    /// such a [`MpathBio::failover`] has the head use the path for all other bios as before,
    /// without a pause. A bio that fails so again and again ends all the same: the head counts each
    /// bio's failures.
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

/// A trait that no path has: by it the compiler says that a path goes live by its registration.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a path goes live once, by the `Registration<_, Added>` that it was added with",
    label = "this one may be live, or in a context that may not sleep",
    note = "what the storage says of the path later is for `set_access_state()`"
)]
pub trait GoesLive {}

impl<T: MpathDriver> MpathDevice<T> {
    /// Exists for the compiler's message to a driver that calls it.
    #[doc(hidden)]
    pub fn set_live(&self, _state: AccessState) -> Result<Registration<T>>
    where
        Self: GoesLive,
    {
        Err(EINVAL)
    }
}

// SAFETY: All that changes in `raw` is atomic, or under a lock of the head. The rest is `Send` and
// `Sync`, as the driver's data has to be.
unsafe impl<T: MpathDriver> Send for MpathDevice<T> {}
// SAFETY: As above.
unsafe impl<T: MpathDriver> Sync for MpathDevice<T> {}
