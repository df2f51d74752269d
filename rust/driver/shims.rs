// SPDX-License-Identifier: GPL-2.0

//! A driver's trait as the tables of functions that C and the engine call.

use super::bio::MpathBio;
use super::device::MpathDevice;
use super::head::MpathHead;
use super::{
    IdKind,
    MpathDriver, //
};
use crate::bindings;
use crate::ffi;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::ffi::{
    c_int,
    c_void, //
};
use kernel::prelude::*;
use kernel::ModuleMetadata;

/// The tables of one driver.
pub(super) struct Shims<T>(PhantomData<T>);

/// The attributes of every head's disk: the directory with the links to its paths.
struct Groups([*const bindings::attribute_group; 2]);

// SAFETY: Constant, and refers to constants only.
unsafe impl Sync for Groups {}

impl<T: MpathDriver> Shims<T> {
    /// The driver's module.
    pub(super) const OWNER: *mut bindings::module =
        <T::OwnerModule as ModuleMetadata>::THIS_MODULE.as_ptr();

    const HEAD_OPERATIONS: bindings::block_device_operations = bindings::block_device_operations {
        owner: Self::OWNER,
        submit_bio: Some(ffi::mpath_bdev_submit_bio),
        open: Some(ffi::mpath_bdev_open),
        release: Some(ffi::mpath_bdev_release),
        get_unique_id: Some(ffi::mpath_bdev_get_unique_id),
        ..pin_init::zeroed()
    };

    const PATH_OPERATIONS: bindings::block_device_operations = bindings::block_device_operations {
        owner: Self::OWNER,
        submit_bio: Some(Self::submit_bio),
        ..pin_init::zeroed()
    };

    const REQUEST_OPERATIONS: bindings::block_device_operations =
        bindings::block_device_operations {
            owner: Self::OWNER,
            ..pin_init::zeroed()
        };

    const GROUPS: &'static Groups =
        &Groups([(&raw const ffi::mpath_attr_group).cast(), core::ptr::null()]);

    const TEMPLATE: bindings::mpath_head_template = bindings::mpath_head_template {
        owner: Self::OWNER,
        fops: &Self::HEAD_OPERATIONS,
        disk_groups: Self::GROUPS.0.as_ptr().cast_mut(),
        max_failovers: T::MAX_FAILOVERS,
        release: Some(Self::release),
        remove_head: Some(Self::remove_head),
        get_unique_id: if T::HAS_UNIQUE_ID {
            Some(Self::unique_id)
        } else {
            None
        },
        add_cdev: None,
        del_cdev: None,
        bdev_ioctl: None,
        cdev_ioctl: None,
        ioctl_begin: None,
        ioctl_handle: None,
        cdev_uring_cmd: None,
    };

    /// The callbacks of heads.
    #[inline]
    pub(super) fn template() -> &'static bindings::mpath_head_template {
        &Self::TEMPLATE
    }

    /// The operations of the disk of a path that takes bios.
    #[inline]
    pub(super) fn path_operations() -> &'static bindings::block_device_operations {
        &Self::PATH_OPERATIONS
    }

    /// The operations of the disk of a path that takes requests: those are in its tag set.
    #[inline]
    pub(super) fn request_operations() -> &'static bindings::block_device_operations {
        &Self::REQUEST_OPERATIONS
    }

    /// # Safety
    ///
    /// Called by the block layer with a bio of a path's disk.
    unsafe extern "C" fn submit_bio(bio: *mut bindings::bio) {
        // SAFETY: Only the head sends bios to the disk, and gives them up. The block layer has
        // entered the disk's queue for the time of the call, so the path stays as long.
        unsafe {
            let path = MpathDevice::<T>::of_bio(bio);

            T::submit(path, MpathBio::arrive(bio))
        }
    }

    /// # Safety
    ///
    /// Called by the engine with a path of this driver that is being removed, which stays for the
    /// time of the call.
    pub(super) unsafe extern "C" fn stop(path: *mut bindings::mpath_device) {
        // SAFETY: As the engine calls it.
        T::stop(unsafe { MpathDevice::<T>::from_raw(path) })
    }

    /// # Safety
    ///
    /// Called by the engine when the last reference to a head of this driver has gone.
    unsafe extern "C" fn release(head: *mut bindings::mpath_head) {
        // SAFETY: As the engine calls it.
        unsafe { MpathHead::<T>::release(head) }
    }

    /// # Safety
    ///
    /// Called by the engine with a head of this driver, which it keeps for the time of the call.
    unsafe extern "C" fn remove_head(head: *mut bindings::mpath_head) {
        // SAFETY: As the engine calls it.
        unsafe { MpathHead::<T>::from_raw(head) }.try_remove()
    }

    /// # Safety
    ///
    /// Called by the engine with a path of this driver, in a read-side section, and 16 bytes.
    unsafe extern "C" fn unique_id(
        path: *mut bindings::mpath_device,
        id: *mut u8,
        kind: bindings::blk_unique_id,
    ) -> c_int {
        let kind = match kind {
            bindings::blk_unique_id_BLK_UID_T10 => IdKind::T10,
            bindings::blk_unique_id_BLK_UID_EUI64 => IdKind::Eui64,
            bindings::blk_unique_id_BLK_UID_NAA => IdKind::Naa,
            _ => return EINVAL.to_errno(),
        };
        let mut buffer = [0; 16];

        // SAFETY: As the engine calls it.
        let path = unsafe { MpathDevice::<T>::from_raw(path) };
        from_result(|| {
            let length = T::unique_id(path, kind, &mut buffer)?.min(buffer.len());

            // SAFETY: As the engine calls it.
            unsafe { id.cast::<[u8; 16]>().write(buffer) };
            Ok(length as c_int)
        })
    }

    /// Does `data.0` on a path, and leaves the result in `data.1`.
    ///
    /// # Safety
    ///
    /// Called by the engine with a path of this driver, in a read-side section; `data` is a
    /// `(Option<F>, Option<R>)` that nobody else uses.
    pub(super) unsafe extern "C" fn on_path<R, F: FnOnce(&MpathDevice<T>) -> R>(
        path: *mut bindings::mpath_device,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (path, call) = unsafe {
            (
                MpathDevice::<T>::from_raw(path),
                &mut *data.cast::<(Option<F>, Option<R>)>(),
            )
        };

        call.1 = call.0.take().map(|f| f(path));
        0
    }
}
