// SPDX-License-Identifier: GPL-2.0

//! The registration of a path on its head: its owner decides when the path goes.

use super::mpath_device::{
    DisableReason,
    MpathDevice, //
};
use super::mpath_head::MpathHead;
use super::shims::Shims;
use super::zones::read_zones;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::state::AccessState;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use kernel::prelude::*;
use kernel::task::might_sleep;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// The state of a registration whose path is on its head, but has not been live.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::{add_path, head};
/// #
/// # struct Null;
/// #
/// # #[vtable]
/// # impl MpathDriver for Null {
/// #     type HeadData = ();
/// #     type PathData = ();
/// #
/// #     fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
/// #         bio.end();
/// #     }
/// # }
///
/// let head = head::<Null, Error>(Ok(()))?;
/// let path: Registration<Null, Added> = add_path(&head)?;
///
/// // No bio goes there, and there is no disk.
/// assert!(!head.is_live());
/// drop(path);
/// # Ok::<(), Error>(())
/// ```
pub enum Added {}

/// The state of a registration whose path has been live: the head may send it bios.
///
/// # Examples
///
/// ```
/// use crate::example::{
///     bring_up,
///     Ram, //
/// };
/// use libmultipath::prelude::*;
/// use libmultipath::Live;
///
/// let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
/// let path: Registration<Ram, Live> = bring_up(ram, DiskParams::new(2048))?;
///
/// assert!(path.head().is_live());
/// # Ok::<(), Error>(())
/// ```
pub enum Live {}

/// A path that is on its head until its registration is dropped.
///
/// The drop takes the path away. The head sends the path no more bios, and the driver's
/// [`MpathDriver::stop`] runs. The drop waits for read-side sections that see the path and for the
/// bios that the path has, and deletes the path's disk. With its last path the head goes, too, or
/// arms its removal timer. Then the driver's data of the path is dropped.
///
/// The drop sleeps, and waits. A driver must not drop a registration where the drop would wait for
/// itself:
///
/// - inside a read-side section of the same head, in which [`MpathDriver::unique_id`] and the
///   closure of [`MpathHead::on_path`](super::MpathHead::on_path) run. There the drop does nothing.
///   The kernel warns that a callback waits for itself, and the path stays on its head, live as
///   before, until the machine is shut down. Nothing of it is freed, and nobody can unload the
///   driver's module any more. A drop by a module that is being unloaded already never returns,
///   since nothing can keep such a module in memory. The same is true of
///   [`Registration::set_live`], which drops the registration when it fails;
/// - in code that ends the path's own bios, such as [`MpathDriver::submit`]: there it never
///   returns.
///
/// The kernel notices this as long as at most four tasks are inside callbacks of one head that were
/// called in sections. A fifth task that drops a registration there waits for itself and never
/// returns. Lockdep, where it is on, finds it, too.
///
/// # Invariants
///
/// The path has been added to its head, and not deleted from it; its disk has been added. Only
/// `drop()` drops `path`, and nothing uses it afterwards.
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
/// /// What a driver keeps for a controller.
/// struct Controller {
///     path: Option<Registration<Ram>>,
/// }
///
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
/// let mut controller = Controller { path: Some(path) };
/// assert!(controller.path.iter().all(|path| path.head().is_live()));
///
/// // The controller is unplugged.
/// controller.path = None;
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the path goes when its registration is dropped"]
pub struct Registration<T: MpathDriver, S = Live> {
    path: ManuallyDrop<Pin<KBox<MpathDevice<T>>>>,
    _state: PhantomData<fn() -> S>,
}

impl<T: MpathDriver> Registration<T, Added> {
    /// Puts a path on its head. Sleeps.
    #[inline]
    pub(super) fn new(path: Pin<KBox<MpathDevice<T>>>, node: i32) -> Result<Self> {
        let raw = path.as_raw();

        // SAFETY: The disk is new. It is deleted before the path's memory is freed.
        unsafe { path.disk.add::<T>(&raw const *path) }?;

        // SAFETY: The path is on no head. It keeps the head, the disk and the port, and stays until
        // it has been deleted and a grace period has passed.
        let error = unsafe {
            ffi::mpath_add_device(
                raw,
                path.head().as_raw(),
                path.disk.as_raw(),
                path.port().as_raw(),
                node,
            )
        };
        if let Err(error) = kernel::error::to_result(error) {
            // SAFETY: Added above.
            unsafe { path.disk.delete() };
            return Err(error);
        }

        // INVARIANT: Both have been added.
        Ok(Self {
            path: ManuallyDrop::new(path),
            _state: PhantomData,
        })
    }

    /// Takes the path into use: it reaches the storage as `state` says, and the head may send it
    /// bios. The first live path of a head adds the head's disk.
    ///
    /// Fails with `ENXIO` when the head is being removed. Fails with the error of adding the head's
    /// disk, such as `EEXIST` when another disk has the name. A failure takes the path away.
    ///
    /// If the disk is zoned, the driver first [reports](MpathDriver::report_zones) the zones of the
    /// path, and those of the head unless they are known. When a report fails, so does this. It
    /// fails with `ENODEV` when the block layer does not accept the zones, and the log says why. A
    /// report that fails with `EAGAIN`, or for which no path is usable, has to be made later: the
    /// driver calls [`Registration::revalidate_zones`] when it can make it.
    ///
    /// Process context, may sleep. Adding a disk does I/O: the port must be live.
    #[inline]
    pub fn set_live(self, state: AccessState) -> Result<Registration<T, Live>> {
        let unless_later = |result: Result| match result {
            Err(error) if error == EAGAIN => Ok(()),
            result => result,
        };

        might_sleep();
        // SAFETY: By the type invariant. Nothing has been sent to the path.
        unless_later(unsafe { read_zones(self.path.disk.as_raw(), false) })?;
        self.set_access_state(state);
        self.enable(DisableReason::NotReady);
        // SAFETY: The path keeps the head. The head's disk is not there yet, so its first user
        // finds its zones.
        unless_later(unsafe { read_zones(self.head().disk(), false) })?;
        // SAFETY: By the type invariant.
        kernel::error::to_result(unsafe { ffi::mpath_device_set_live(self.path.as_raw()) })?;

        let this = ManuallyDrop::new(self);
        // INVARIANT: It is still added.
        Ok(Registration {
            // SAFETY: `this` is not used any more, and not dropped.
            path: unsafe { core::ptr::read(&this.path) },
            _state: PhantomData,
        })
    }
}

impl<T: MpathDriver, S> Registration<T, S> {
    /// The head that the path is on. Unlike [`MpathDevice::head`] it offers methods that sleep,
    /// too.
    #[inline]
    pub fn head(&self) -> &MpathHead<T> {
        self.path.sleepable_head()
    }

    /// Sets the capacity of the storage as the path reaches it, in sectors of 512 bytes. The head
    /// sends bios to the path when its own capacity [is](MpathHead::set_capacity) the same.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn set_capacity(&self, sectors: u64) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::set_capacity_and_notify(self.path.disk.as_raw(), sectors);
            ffi::mpath_revalidate_paths(self.head().as_raw());
        }
    }

    /// Has the driver [report](MpathDriver::report_zones) the zones of the path's disk and of its
    /// head's disk anew. The driver calls it when zones have changed, after a change of capacity,
    /// and when it could not report zones before. Does nothing for a disk without zones.
    ///
    /// Fails with the error of a report, with `EAGAIN` when no path of the head is usable, and with
    /// `ENODEV` when the block layer does not accept the zones. Until it succeeds, operations on
    /// zones other than appends may fail, and a path that takes requests may reorder writes.
    ///
    /// Process context, may sleep. Waits until the path's bios and requests have ended.
    #[inline]
    pub fn revalidate_zones(&self) -> Result {
        might_sleep();
        // SAFETY: By the type invariant, and the path keeps the head.
        unsafe {
            read_zones(self.path.disk.as_raw(), true)?;
            read_zones(self.head().disk(), true)
        }
    }
}

impl<T: MpathDriver, S> Deref for Registration<T, S> {
    type Target = MpathDevice<T>;

    #[inline]
    fn deref(&self) -> &MpathDevice<T> {
        &self.path
    }
}

impl<T: MpathDriver, S> Drop for Registration<T, S> {
    #[inline]
    fn drop(&mut self) {
        might_sleep();
        // SAFETY: By the type invariant. The path's memory stays while this lasts, and longer
        // unless the path has been removed.
        if !unsafe { ffi::mpath_remove_device(self.path.as_raw(), Some(Shims::<T>::stop)) } {
            return keep_code::<T>();
        }
        // SAFETY: By the type invariant. The path is on no head any more, and nobody sees it.
        unsafe { self.path.disk.delete() };
        self.path.sleepable_head().try_remove();
        // SAFETY: Not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.path) }
    }
}

/// Keeps the module of a driver in memory for good, since a path that stays on its head needs its
/// code. Sleeps for good where it is too late for that.
#[cold]
fn keep_code<T: MpathDriver>() {
    // SAFETY: The owner is null, which stands for built-in code, or a module, which is in memory
    // for as long as its code runs.
    while !unsafe { bindings::mpath_helper_get_module(Shims::<T>::OWNER) } {
        fsleep(Delta::from_secs(1));
    }
}

#[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
impl<T: MpathDriver, S> Registration<T, S> {
    /// Takes the registration back of a path that stayed on its head when its registration was
    /// dropped.
    ///
    /// # Safety
    ///
    /// `path` is such a path, and is taken back once.
    pub(super) unsafe fn take_back(path: *const MpathDevice<T>) -> Self {
        // SAFETY: By this function's contract: the reference is that of `keep_code()`, and nobody
        // has the box.
        // INVARIANT: The path is on its head.
        unsafe {
            bindings::mpath_helper_put_module(Shims::<T>::OWNER);
            Self {
                path: ManuallyDrop::new(Pin::new_unchecked(KBox::from_raw(path.cast_mut()))),
                _state: PhantomData,
            }
        }
    }
}
