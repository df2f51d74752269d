// SPDX-License-Identifier: GPL-2.0

//! A path's being on its head: who has it decides when it goes.

use super::device::{
    DisableReason,
    MpathDevice, //
};
use super::head::MpathHead;
use super::MpathDriver;
use crate::ffi;
use crate::state::AccessState;
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::prelude::*;
use kernel::task::might_sleep;

/// The path is on its head, but has not been live.
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

/// The path has been live: bios may be sent to it.
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

/// A path that is on its head until this is dropped.
///
/// Dropping it takes the path away: no bio is sent to it any more, [`MpathDriver::stop`] is called,
/// the bios that it has are waited for, those who look at it in a read-side section are waited for,
/// and its disk is deleted. When it was the last one of its head, the head goes, too, or its
/// removal timer is armed. Then the driver's data of the path is dropped.
///
/// Dropping it sleeps. It must not be dropped inside a read-side section of the same head
/// ([`MpathHead::on_path`](super::MpathHead::on_path), [`MpathDriver::unique_id`]): it would wait
/// for itself, which lockdep reports. Nor may it be dropped by what ends the path's own bios.
///
/// # Invariants
///
/// The path has been added to its head and has not been deleted from it; its disk has been added.
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
    path: Pin<KBox<MpathDevice<T>>>,
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
            path,
            _state: PhantomData,
        })
    }

    /// The path is set up, and the storage is reached through it as `state` says: bios may be sent
    /// to it. The first path of a head that is live adds the head's disk.
    ///
    /// Fails with `ENXIO` when the head is being removed, and with what adding its disk failed
    /// with, such as `EEXIST` when another disk has the name; then the path is taken away.
    ///
    /// Process context, may sleep. Adding a disk does I/O: the port must be live.
    #[inline]
    pub fn set_live(self, state: AccessState) -> Result<Registration<T, Live>> {
        might_sleep();
        self.set_access_state(state);
        self.enable(DisableReason::NotReady);
        // SAFETY: By the type invariant.
        kernel::error::to_result(unsafe { ffi::mpath_device_set_live(self.path.as_raw()) })?;

        let this = core::mem::ManuallyDrop::new(self);
        // INVARIANT: It is still added.
        Ok(Registration {
            // SAFETY: `this` is not used any more, and not dropped.
            path: unsafe { core::ptr::read(&this.path) },
            _state: PhantomData,
        })
    }
}

impl<T: MpathDriver, S> Registration<T, S> {
    /// The head that the path is on. Unlike [`MpathDevice::head`] it offers what sleeps, too.
    #[inline]
    pub fn head(&self) -> &MpathHead<T> {
        self.path.sleepable_head()
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
        let path = &*self.path;
        let raw = path.as_raw();

        might_sleep();
        // SAFETY: By the type invariant, in the order that `include/linux/multipath.h` asks for.
        // The path's memory stays until the end of this function, and the head as long.
        unsafe {
            ffi::mpath_quiesce_device(raw);
            ffi::mpath_synchronize_submitters();
            T::stop(path);
            ffi::mpath_delete_device(raw);
            ffi::mpath_synchronize(path.head().as_raw());
            // Nobody sees the path on the head any more, so nobody links it anew.
            ffi::mpath_remove_sysfs_link(raw);
            path.disk.delete();
        }
        path.sleepable_head().try_remove();
    }
}
