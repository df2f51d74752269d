// SPDX-License-Identifier: GPL-2.0

//! A driver's trait as the tables of functions that C and the engine call.

use super::attributes::Attributes;
use super::mpath_bio::MpathBio;
use super::mpath_device::MpathDevice;
use super::mpath_head::MpathHead;
use super::operations::{
    HeldReservation,
    Ioctl,
    RegisteredKeys,
    Reservation,
    ReservationKind,
    ReservationStatus, //
};
use super::zones::ZoneReport;
use super::{
    IdKind,
    MpathDriver, //
};
use crate::bindings;
use crate::compat;
use crate::ffi;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::ffi::{
    c_int,
    c_uint,
    c_ulong,
    c_void, //
};
use kernel::prelude::*;

/// `PR_FL_IGNORE_KEY`.
const IGNORE_KEY: u32 = 1 << 0;

type ReportZones = unsafe extern "C" fn(
    *mut bindings::gendisk,
    bindings::sector_t,
    c_uint,
    *mut bindings::blk_report_zones_args,
) -> c_int;

/// The tables of one driver.
pub(super) struct Shims<T>(PhantomData<T>);

impl<T: MpathDriver> Shims<T> {
    /// The driver's module.
    pub(super) const OWNER: *mut bindings::module = compat::owner::<T>();

    const HEAD_OPERATIONS: bindings::block_device_operations = bindings::block_device_operations {
        owner: Self::OWNER,
        submit_bio: Some(ffi::mpath_bdev_submit_bio),
        open: Some(ffi::mpath_bdev_open),
        release: Some(ffi::mpath_bdev_release),
        ioctl: if T::HAS_IOCTL {
            Some(ffi::mpath_bdev_ioctl)
        } else {
            None
        },
        compat_ioctl: if T::HAS_IOCTL {
            Some(ffi::mpath_bdev_compat_ioctl)
        } else {
            None
        },
        get_unique_id: Some(ffi::mpath_bdev_get_unique_id),
        report_zones: if T::HAS_REPORT_ZONES {
            Some(ffi::mpath_bdev_report_zones)
        } else {
            None
        },
        pr_ops: if T::HAS_RESERVATION {
            (&raw const ffi::mpath_pr_ops).cast()
        } else {
            core::ptr::null()
        },
        ..pin_init::zeroed()
    };

    /// The operations for reservations of a path's disk: only its head calls them.
    const PR_OPS: Option<&'static bindings::pr_ops> = if T::HAS_RESERVATION {
        Some(&bindings::pr_ops {
            pr_register: Some(Self::pr_register),
            pr_reserve: Some(Self::pr_reserve),
            pr_release: Some(Self::pr_release),
            pr_preempt: Some(Self::pr_preempt),
            pr_clear: Some(Self::pr_clear),
            pr_read_keys: Some(Self::pr_read_keys),
            pr_read_reservation: Some(Self::pr_read_reservation),
        })
    } else {
        None
    };

    const PATH_PR_OPS: *const bindings::pr_ops = match Self::PR_OPS {
        Some(ops) => ops,
        None => core::ptr::null(),
    };

    const REPORT_ZONES: Option<ReportZones> = if T::HAS_REPORT_ZONES {
        Some(Self::report_zones)
    } else {
        None
    };

    const PATH_OPERATIONS: bindings::block_device_operations = bindings::block_device_operations {
        owner: Self::OWNER,
        submit_bio: Some(Self::submit_bio),
        report_zones: Self::REPORT_ZONES,
        pr_ops: Self::PATH_PR_OPS.cast(),
        ..pin_init::zeroed()
    };

    const REQUEST_OPERATIONS: bindings::block_device_operations =
        bindings::block_device_operations {
            owner: Self::OWNER,
            report_zones: Self::REPORT_ZONES,
            pr_ops: Self::PATH_PR_OPS.cast(),
            ..pin_init::zeroed()
        };

    const TEMPLATE: bindings::mpath_head_template = bindings::mpath_head_template {
        owner: Self::OWNER,
        fops: &Self::HEAD_OPERATIONS,
        disk_groups: Attributes::<T>::GROUPS.cast_mut(),
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
        bdev_ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        cdev_ioctl: None,
        ioctl_begin: None,
        ioctl_handle: None,
        cdev_uring_cmd: None,
    };

    /// The callbacks of heads.
    #[inline]
    pub(super) fn template() -> &'static bindings::mpath_head_template {
        compat::need_owner();
        &Self::TEMPLATE
    }

    /// The operations of the disk of a path that takes bios.
    #[inline]
    pub(super) fn path_operations() -> &'static bindings::block_device_operations {
        compat::need_owner();
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
    /// Called by the engine with a path of this driver, in a read-side section, and with room for
    /// 16 bytes.
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

    /// # Safety
    ///
    /// Called by the engine with a path of this driver, in a read-side section, and with the block
    /// device that the user has opened.
    unsafe extern "C" fn ioctl(
        path: *mut bindings::mpath_device,
        bdev: *mut bindings::block_device,
        mode: bindings::blk_mode_t,
        command: c_uint,
        argument: c_ulong,
    ) -> c_int {
        const OPEN_FOR_WRITE: bindings::blk_mode_t = 1 << 1;

        // SAFETY: As the engine calls it.
        let (path, is_whole) = unsafe {
            (
                MpathDevice::<T>::from_raw(path),
                core::ptr::eq(bdev, (*(*bdev).bd_disk).part0),
            )
        };
        let ioctl = Ioctl {
            command,
            argument,
            may_write: mode & OPEN_FOR_WRITE != 0,
            is_on_partition: !is_whole,
        };

        from_result(|| T::ioctl(path, ioctl))
    }

    /// Has the driver carry out an operation on the reservations of a path.
    ///
    /// # Safety
    ///
    /// `bdev` is the disk of a path of this driver, which stays for the time of the call.
    #[inline]
    unsafe fn reservation(bdev: *mut bindings::block_device, asked: Reservation<'_>) -> c_int {
        // SAFETY: By this function's contract; the disk's private data is the path.
        let path = unsafe { &*(*(*bdev).bd_disk).private_data.cast::<MpathDevice<T>>() };

        from_result(|| T::reservation(path, asked).map(|status: ReservationStatus| status as c_int))
    }

    /// # Safety
    ///
    /// Called by the engine, in a read-side section, with the disk of a path of this driver.
    unsafe extern "C" fn pr_register(
        bdev: *mut bindings::block_device,
        old_key: u64,
        new_key: u64,
        flags: u32,
    ) -> c_int {
        let ignore_key = flags & IGNORE_KEY != 0;
        let asked = Reservation::Register {
            old_key,
            new_key,
            ignore_key,
        };

        // SAFETY: As the engine calls it.
        unsafe { Self::reservation(bdev, asked) }
    }

    /// # Safety
    ///
    /// As for `pr_register()`.
    unsafe extern "C" fn pr_reserve(
        bdev: *mut bindings::block_device,
        key: u64,
        kind: bindings::pr_type,
        flags: u32,
    ) -> c_int {
        let ignore_key = flags & IGNORE_KEY != 0;
        let Ok(kind) = ReservationKind::from_raw(kind) else {
            return EINVAL.to_errno();
        };
        let asked = Reservation::Reserve {
            key,
            kind,
            ignore_key,
        };

        // SAFETY: As the engine calls it.
        unsafe { Self::reservation(bdev, asked) }
    }

    /// # Safety
    ///
    /// As for `pr_register()`.
    unsafe extern "C" fn pr_release(
        bdev: *mut bindings::block_device,
        key: u64,
        kind: bindings::pr_type,
    ) -> c_int {
        let Ok(kind) = ReservationKind::from_raw(kind) else {
            return EINVAL.to_errno();
        };

        // SAFETY: As the engine calls it.
        unsafe { Self::reservation(bdev, Reservation::Release { key, kind }) }
    }

    /// # Safety
    ///
    /// As for `pr_register()`.
    unsafe extern "C" fn pr_preempt(
        bdev: *mut bindings::block_device,
        old_key: u64,
        new_key: u64,
        kind: bindings::pr_type,
        abort: bool,
    ) -> c_int {
        let Ok(kind) = ReservationKind::from_raw(kind) else {
            return EINVAL.to_errno();
        };
        let asked = Reservation::Preempt {
            old_key,
            new_key,
            kind,
            abort,
        };

        // SAFETY: As the engine calls it.
        unsafe { Self::reservation(bdev, asked) }
    }

    /// # Safety
    ///
    /// As for `pr_register()`.
    unsafe extern "C" fn pr_clear(bdev: *mut bindings::block_device, key: u64) -> c_int {
        // SAFETY: As the engine calls it.
        unsafe { Self::reservation(bdev, Reservation::Clear { key }) }
    }

    /// # Safety
    ///
    /// As for `pr_register()`; `keys` has room for as many as it says.
    unsafe extern "C" fn pr_read_keys(
        bdev: *mut bindings::block_device,
        keys: *mut bindings::pr_keys,
    ) -> c_int {
        // SAFETY: As the engine calls it.
        unsafe {
            let mut keys = RegisteredKeys::new(keys);

            Self::reservation(bdev, Reservation::ReadKeys(&mut keys))
        }
    }

    /// # Safety
    ///
    /// As for `pr_register()`; `held` is valid for writes.
    unsafe extern "C" fn pr_read_reservation(
        bdev: *mut bindings::block_device,
        held: *mut bindings::pr_held_reservation,
    ) -> c_int {
        let mut told = HeldReservation(bindings::pr_held_reservation::default());

        // SAFETY: As the engine calls it.
        unsafe {
            let result = Self::reservation(bdev, Reservation::ReadReservation(&mut told));

            held.write(told.0);
            result
        }
    }

    /// # Safety
    ///
    /// Called with the disk of a path of this driver, which stays for the time of the call: by the
    /// engine, in a read-side section, or by [`read_zones`](super::zones::read_zones).
    unsafe extern "C" fn report_zones(
        disk: *mut bindings::gendisk,
        sector: bindings::sector_t,
        room: c_uint,
        args: *mut bindings::blk_report_zones_args,
    ) -> c_int {
        // SAFETY: By this function's contract; the disk's private data is the path.
        let (path, mut report) = unsafe {
            (
                &*(*disk).private_data.cast::<MpathDevice<T>>(),
                ZoneReport::new(disk, sector, room, args),
            )
        };

        from_result(|| T::report_zones(path, sector, &mut report).map(|()| report.told() as c_int))
    }

    /// Calls `data.0` with a path, and leaves the result in `data.1`.
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
