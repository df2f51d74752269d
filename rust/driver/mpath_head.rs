// SPDX-License-Identifier: GPL-2.0

//! A head: one block device over the paths to one piece of storage.

use super::disk_params::{
    set_name,
    DiskParams,
    PathDisk, //
};
use super::mpath_device::{
    numa_node,
    MpathDevice, //
};
use super::mpath_iopolicy::MpathIoPolicy;
use super::mpath_port::MpathPort;
use super::mpath_request_driver::MpathRequestDriver;
use super::registration::{
    Added,
    Registration, //
};
use super::shims::Shims;
use super::tags::MpathTagSet;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::aref::{
    ARef,
    AlwaysRefCounted, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Arc;
use kernel::task::might_sleep;
use kernel::types::{
    ForeignOwnable,
    Opaque, //
};

/// The Rust face's data of a head: its `drvdata`.
#[pin_data]
pub(super) struct HeadData<T: MpathDriver> {
    #[pin]
    data: T::HeadData,
    pub(super) params: DiskParams,
    // Dropped last: the head follows it.
    group: Arc<MpathIoPolicy>,
}

/// One block device over several paths to the same storage.
///
/// References to it are counted. Each of its paths, each opener of its disk and an armed removal
/// timer have one; those of the driver come on top. Its disk is there from the time that its first
/// path is live until its last path is gone (and the removal delay over). Then nobody can add a
/// path to it any more. The memory goes with the last reference.
///
/// The last reference must not be dropped in atomic context. The kernel reports a drop there,
/// whichever reference it is.
///
/// Its own methods may sleep; methods for any context are those of [`AnyContextHead`], which it
/// derefs to.
///
/// # Examples
///
/// ```
/// use crate::example::Ram;
/// use kernel::new_mutex;
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
///
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;
/// let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
/// let head =
///     MpathHead::<Ram>::new(&policy, fmt!("mpdoc"), DiskParams::new(2048), new_mutex!(ram))?;
/// // Without paths it stays for a minute, in case one comes back.
/// head.set_removal_delay(60);
///
/// let near = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let far = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let first = head.add_path(&near, fmt!("mpdocc0"), Some(0), ())?;
/// let second = head.add_path(&far, fmt!("mpdocc1"), None, ())?;
/// let first = first.set_live(AccessState::Optimized)?;
/// let second = second.set_live(AccessState::NonOptimized)?;
///
/// assert!(head.on_path(|path| core::ptr::eq(path, &*first))?);
///
/// // The storage has shrunk to the half.
/// head.set_capacity(1024);
/// assert_eq!(head.capacity(), 1024);
/// assert_eq!(head.on_path(|_| ()), Err(EAGAIN));
/// first.set_capacity(1024);
/// second.set_capacity(1024);
/// assert!(head.on_path(|path| core::ptr::eq(path, &*first))?);
///
/// drop(first);
/// assert!(head.on_path(|path| core::ptr::eq(path, &*second))?);
///
/// assert_eq!(head.policy().set(IoPolicy::Numa), Ok(IoPolicy::RoundRobin));
/// head.set_removal_delay(0);
/// drop(second);
/// assert!(!head.is_live());
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct MpathHead<T: MpathDriver>(AnyContextHead<T>);

/// A head, as code in any context sees it that has come to it from one of its paths.
///
/// # Invariants
///
/// `raw` is a head of this driver, with a disk, and its `drvdata` is a `Pin<KBox<HeadData<T>>>`.
///
/// # Examples
///
/// ```
/// use crate::example::{
///     bring_up,
///     Ram, //
/// };
/// use libmultipath::prelude::*;
///
/// /// What an interrupt does when the controller has come back.
/// fn came_back(path: &MpathDevice<Ram>) {
///     path.port().set_state(PortState::Live);
///     path.head().kick();
/// }
///
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
/// came_back(&path);
///
/// let head: &AnyContextHead<Ram> = path.head();
/// assert!(head.is_live());
/// assert_eq!(head.data().lock().len(), 1 << 20);
/// assert_eq!(head.io_policy(), IoPolicy::RoundRobin);
/// assert_eq!(head.requeue_count(), 0);
/// assert_eq!(head.fail_count(), 0);
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct AnyContextHead<T: MpathDriver> {
    raw: Opaque<bindings::mpath_head>,
    _driver: PhantomData<HeadData<T>>,
}

impl<T: MpathDriver> AnyContextHead<T> {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_head {
        self.raw.get()
    }

    #[inline]
    pub(super) fn head_data(&self) -> &HeadData<T> {
        // SAFETY: By the type invariant; nobody changes it before the head is gone.
        unsafe { &*(*self.as_raw()).drvdata.cast() }
    }

    /// The driver's data of the head.
    #[inline]
    pub fn data(&self) -> &T::HeadData {
        &self.head_data().data
    }

    /// The policy in force. Any context.
    #[inline]
    pub fn io_policy(&self) -> IoPolicy {
        self.head_data().group.get()
    }

    /// Has the requeue worker submit waiting bios again: call it after [`MpathPort::set_state`].
    /// Any context.
    #[inline]
    pub fn kick(&self) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_kick_requeue(self.as_raw()) }
    }

    /// Is the head's disk there? Any context.
    #[inline]
    pub fn is_live(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_head_is_live(self.as_raw()) }
    }

    /// The capacity of the head's disk in sectors of 512 bytes, as the driver set it last. Any
    /// context.
    #[inline]
    pub fn capacity(&self) -> u64 {
        // SAFETY: By the type invariant; a racing change gives the old or the new capacity.
        unsafe { (&raw const (*(*(*self.as_raw()).disk).part0).bd_nr_sectors).read_volatile() }
    }

    /// How often the head parked a bio because no path was usable. Any context.
    #[inline]
    pub fn requeue_count(&self) -> i64 {
        // SAFETY: By the type invariant.
        unsafe { Self::count(ffi::mpath_requeue_count(self.as_raw())) }
    }

    /// How often the head failed a bio because no path was usable or worth waiting for. Any
    /// context.
    #[inline]
    pub fn fail_count(&self) -> i64 {
        // SAFETY: By the type invariant.
        unsafe { Self::count(ffi::mpath_fail_count(self.as_raw())) }
    }

    /// # Safety
    ///
    /// `counter` is valid for the time of the call.
    #[inline]
    unsafe fn count(counter: *mut bindings::atomic_long_t) -> i64 {
        // SAFETY: By this function's contract; only accessed atomically.
        unsafe { Atomic::<i64>::from_ptr(&raw mut (*counter).counter) }.load(Relaxed)
    }
}

impl<T: MpathDriver> Deref for MpathHead<T> {
    type Target = AnyContextHead<T>;

    #[inline]
    fn deref(&self) -> &AnyContextHead<T> {
        &self.0
    }
}

impl<T: MpathDriver> MpathHead<T> {
    /// Makes a head without paths that follows `policy`. Its disk is called `name` (at most 31
    /// bytes) and has the parameters `params`; nobody sees the disk until a path is live. `data` is
    /// initialised in place.
    ///
    /// Fails with `ENOMEM`, with `EINVAL` when the name is too long or the parameters contradict
    /// each other, or with the error of initialising the data.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn new<E>(
        policy: &Arc<MpathIoPolicy>,
        name: fmt::Arguments<'_>,
        params: DiskParams,
        data: impl PinInit<T::HeadData, E>,
    ) -> Result<ARef<Self>>
    where
        Error: From<E>,
    {
        params.check_zones::<T>()?;
        let data = KBox::try_pin_init::<Error>(
            try_pin_init!(HeadData::<T> {
                data <- data,
                params,
                group: policy.clone(),
            }? Error),
            GFP_KERNEL,
        )?
        .into_foreign();

        // SAFETY: The template is constant. The data keeps the group, and goes with the head.
        let head = unsafe { ffi::mpath_alloc_head(Shims::<T>::template(), policy.as_raw(), data) };
        let head = from_err_ptr(head).inspect_err(|_| {
            // SAFETY: Without a head nobody has the data but we.
            drop(unsafe { Pin::<KBox<HeadData<T>>>::from_foreign(data) });
        })?;
        // SAFETY: The reference that has been returned is ours. From here on the data goes with the
        // head.
        // INVARIANT: A new head, with the data; nobody gets it before it has its disk.
        let head: ARef<Self> = unsafe { ARef::from_raw(NonNull::new_unchecked(head.cast())) };

        let mut limits = params.limits();
        let node = bindings::NUMA_NO_NODE;
        // SAFETY: The head is new, the limits are valid, and there is no parent.
        to_result(unsafe {
            ffi::mpath_alloc_head_disk(head.as_raw(), &mut limits, core::ptr::null_mut(), node)
        })?;
        // SAFETY: The disk was allocated just now, and has not been added.
        unsafe {
            let disk = head.disk();

            set_name(disk, name)?;
            bindings::set_capacity(disk, params.capacity());
        }
        Ok(head)
    }

    /// The head behind a C pointer.
    ///
    /// # Safety
    ///
    /// `raw` is a head of this driver, and stays for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_head) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn disk(&self) -> *mut bindings::gendisk {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_raw()).disk }
    }

    /// Frees the data of a head.
    ///
    /// # Safety
    ///
    /// `raw` is a head of this driver, whose last reference has gone. Called once.
    #[inline]
    pub(super) unsafe fn release(raw: *mut bindings::mpath_head) {
        // SAFETY: By the type invariant, and this function's contract.
        drop(unsafe { Pin::<KBox<HeadData<T>>>::from_foreign((*raw).drvdata) });
    }

    /// The policy that the head follows.
    #[inline]
    pub fn policy(&self) -> &Arc<MpathIoPolicy> {
        &self.head_data().group
    }

    /// Adds a path that takes bios and goes through `port`. Its hidden disk is called `name` (at
    /// most 31 bytes). The path is near to `node` or, with `None`, to all nodes. `data` is
    /// initialised in place. The head does not use the path before [`Registration::set_live`].
    ///
    /// Disarms an armed removal timer.
    ///
    /// Fails with `ENXIO` when the head is being removed, with `ENOMEM`, and with the error of
    /// initialising the data. Fails with `EINVAL` when the name is too long or there is no such
    /// node, and with `EEXIST` when another disk has the name.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn add_path<E>(
        &self,
        port: &Arc<MpathPort>,
        name: fmt::Arguments<'_>,
        node: Option<i32>,
        data: impl PinInit<T::PathData, E>,
    ) -> Result<Registration<T, Added>>
    where
        Error: From<E>,
    {
        const {
            assert!(
                T::HAS_SUBMIT,
                "a driver whose paths take bios implements `submit()`"
            );
        }
        let node = numa_node(node)?;
        let disk = PathDisk::new::<T>(&self.head_data().params, self.capacity(), name, node)?;
        let path = MpathDevice::new(self, port, disk, None, data);

        Registration::new(KBox::try_pin_init::<Error>(path, GFP_KERNEL)?, node)
    }

    /// As [`MpathHead::add_path`], for a path that takes requests, with tags from `tags`. Several
    /// paths through one controller may have the same tag set.
    ///
    /// Fails as [`MpathHead::add_path`] does, and with `EINVAL` when the disk is to have a write
    /// cache and the driver has no [`MpathRequestDriver::flush`].
    #[inline]
    pub fn add_request_path<E>(
        &self,
        port: &Arc<MpathPort>,
        tags: &Arc<MpathTagSet<T>>,
        name: fmt::Arguments<'_>,
        node: Option<i32>,
        data: impl PinInit<T::PathData, E>,
    ) -> Result<Registration<T, Added>>
    where
        T: MpathRequestDriver,
        Error: From<E>,
    {
        let node = numa_node(node)?;
        let disk = PathDisk::with_tags(&self.head_data().params, self.capacity(), tags, name)?;
        let path = MpathDevice::new(self, port, disk, Some(tags.clone()), data);

        Registration::new(KBox::try_pin_init::<Error>(path, GFP_KERNEL)?, node)
    }

    /// Calls `f` with the path that the head would choose for a bio now, in a read-side section:
    /// the path stays until `f` returns. `f` may sleep, but must not drop a [`Registration`] of
    /// this head: the drop would leave the path on its head.
    ///
    /// Fails with `EAGAIN` when no path is usable.
    ///
    /// Process context.
    #[inline]
    pub fn on_path<R, F: FnOnce(&MpathDevice<T>) -> R>(&self, f: F) -> Result<R> {
        let mut call = (Some(f), None::<R>);

        // SAFETY: `call` is the tuple that the callback expects, and stays until this has returned.
        let error = unsafe {
            ffi::mpath_call_for_device(
                self.as_raw(),
                Some(Shims::<T>::on_path::<R, F>),
                (&raw mut call).cast(),
            )
        };
        to_result(error)?;
        call.1.ok_or(EAGAIN)
    }

    /// Sets for how many seconds the head stays after it has lost its last path, with bios waiting
    /// for one to come back; 0 is not at all. An armed removal timer starts anew, with 0 soon after
    /// this has returned: another task calls [`MpathDriver::unlink`].
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn set_removal_delay(&self, secs: u32) {
        // SAFETY: By the type invariant.
        unsafe { ffi::mpath_set_delayed_removal_secs(self.as_raw(), secs) }
    }

    /// Sets the capacity of the storage, in sectors of 512 bytes, and tells users of the disk. The
    /// head sends no bio to a path of another capacity, so the driver
    /// [sets](Registration::set_capacity) that of each path, too; while no path is as large, bios
    /// wait. Paths that the driver adds later are as large as the head. The driver has the zones
    /// [read anew](Registration::revalidate_zones) afterwards.
    ///
    /// I/O that was sent before may be beyond the new end: the driver fails it.
    ///
    /// Process context, may sleep. The head's queue must not be frozen: an uevent may wait for
    /// memory.
    #[inline]
    pub fn set_capacity(&self, sectors: u64) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::set_capacity_and_notify(self.disk(), sectors);
            ffi::mpath_revalidate_paths(self.as_raw());
        }
    }

    /// Removes the head if it has no path and no time to wait for one. Sleeps.
    #[inline]
    pub(super) fn try_remove(&self) {
        // SAFETY: By the type invariant. `mpath_try_remove_head()` says true once, so the head is
        // removed once.
        unsafe {
            if ffi::mpath_try_remove_head(self.as_raw()) {
                T::unlink(self);
                ffi::mpath_remove_head(self.as_raw());
            }
        }
    }
}

/// A trait that the head of a path does not have: by it the compiler says that such a head offers
/// no method that sleeps.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "what may sleep is done with a head, not with what a path or a bio has of it",
    label = "this is an `AnyContextHead`, which may be in a context that may not sleep",
    note = "a driver keeps an `ARef<MpathHead<_>>`, or comes to the head by a path's `Registration`"
)]
pub trait MaySleep {}

/// Methods that exist for the compiler's messages to a driver that calls them.
#[doc(hidden)]
impl<T: MpathDriver> AnyContextHead<T> {
    pub fn on_path<R, F: FnOnce(&MpathDevice<T>) -> R>(&self, _f: F) -> Result<R>
    where
        Self: MaySleep,
    {
        Err(EINVAL)
    }

    pub fn policy(&self) -> &Arc<MpathIoPolicy>
    where
        Self: MaySleep,
    {
        &self.head_data().group
    }

    pub fn set_capacity(&self, _sectors: u64)
    where
        Self: MaySleep,
    {
    }

    pub fn set_removal_delay(&self, _secs: u32)
    where
        Self: MaySleep,
    {
    }
}

// SAFETY: The engine counts, and frees a head with its last reference.
unsafe impl<T: MpathDriver> AlwaysRefCounted for MpathHead<T> {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: By the type invariant; the owner of `&self` has a reference, or borrows one.
        unsafe { ffi::mpath_get_head(self.as_raw()) }
    }

    #[inline]
    unsafe fn dec_ref(head: NonNull<Self>) {
        might_sleep();
        // SAFETY: The caller gives up a reference.
        unsafe { ffi::mpath_put_head(head.cast().as_ptr()) }
    }
}

// SAFETY: The engine's head may be used from any thread, and the driver's data, too.
unsafe impl<T: MpathDriver> Send for MpathHead<T> {}
// SAFETY: As above, also at the same time.
unsafe impl<T: MpathDriver> Sync for MpathHead<T> {}
