// SPDX-License-Identifier: GPL-2.0

//! The disks of heads and of paths.
//!
//! C headers: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h),
//! [`include/linux/pr.h`](srctree/include/linux/pr.h)

use super::bio::Bio;
use crate::bindings;
use core::ptr::NonNull;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::prelude::*;
use kernel::types::Opaque;

/// The things that a bio may ask for and that a path's disk can do. A change meanwhile counts for
/// the next bio.
pub(crate) struct Abilities {
    /// Can a submitter poll for bios that the head sends to it?
    pub(crate) polls: bool,
    /// Does a write with FUA reach it unchanged?
    pub(crate) writes_through: bool,
    /// Has it a cache that needs flushes?
    pub(crate) caches_writes: bool,
    /// The most sectors that it discards, erases, and zeroes at once; 0 where it cannot.
    discard: u32,
    secure_erase: u32,
    write_zeroes: u32,
}

impl Abilities {
    /// The abilities of a disk now.
    pub(crate) fn of(disk: &Disk) -> Self {
        const FUA: u32 = bindings::mpath_helper_features_MPATH_FEAT_FUA;
        let caches_writes = disk.caches_writes();
        let limits = disk.limits();
        // SAFETY: The disk's limits are valid; a racing change gives the old or the new one.
        let read = |limit: *const u32| unsafe { limit.read_volatile() };

        // SAFETY: As above.
        unsafe {
            Self {
                polls: bindings::mpath_helper_disk_polls(disk.as_raw()),
                writes_through: caches_writes && disk.features() & FUA != 0,
                caches_writes,
                discard: read(&raw const (*limits).max_discard_sectors),
                secure_erase: read(&raw const (*limits).max_secure_erase_sectors),
                write_zeroes: read(&raw const (*limits).max_write_zeroes_sectors),
            }
        }
    }

    /// Can it carry out the operation of a bio of the head's disk? It can carry out reads, writes
    /// and operations on zones, whose limits are stacked.
    pub(crate) fn can(&self, bio: &Bio) -> bool {
        match bio.op() {
            bindings::req_op_REQ_OP_DISCARD => self.discard != 0,
            bindings::req_op_REQ_OP_SECURE_ERASE => self.secure_erase != 0,
            bindings::req_op_REQ_OP_WRITE_ZEROES => self.write_zeroes != 0,
            _ => true,
        }
    }
}

/// The I/O that a disk has carried, as far as the block layer counts it.
pub(crate) struct Carried {
    pub(crate) reads: u64,
    pub(crate) read_sectors: u64,
    pub(crate) writes: u64,
    pub(crate) written_sectors: u64,
    pub(crate) discards: u64,
    pub(crate) flushes: u64,
}

/// Any disk, of a head, a path or another driver.
///
/// # Invariants
///
/// A valid gendisk whose `part0`, `queue` and `fops` are set.
#[repr(transparent)]
pub(crate) struct Disk(Opaque<bindings::gendisk>);

impl Disk {
    /// The disk behind a pointer.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`, and its operations are set.
    #[inline(always)]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: `Disk` is a transparent `gendisk`.
        unsafe { &*raw.cast() }
    }

    /// The C disk.
    #[inline(always)]
    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.get()
    }

    /// The whole disk as a block device, never a partition of it.
    #[inline(always)]
    pub(crate) fn part0(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_raw()).part0 }
    }

    /// The capacity in sectors of 512 bytes.
    pub(crate) fn capacity(&self) -> u64 {
        // SAFETY: By the type invariant; a racing change gives the old or the new capacity.
        unsafe { (&raw const (*self.part0()).bd_nr_sectors).read_volatile() }
    }

    /// Has the disk been added, so that it has a place in sysfs?
    pub(crate) fn is_added(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_disk_added(self.as_raw()) }
    }

    /// The disk's device.
    pub(crate) fn device(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant.
        unsafe { &raw mut (*self.part0()).bd_device }
    }

    fn kobject(&self) -> *mut bindings::kobject {
        // SAFETY: By the type invariant.
        unsafe { &raw mut (*self.device()).kobj }
    }

    fn kobject_name(&self) -> *const kernel::ffi::c_char {
        // SAFETY: An added disk's kobject has a name.
        unsafe { (*self.kobject()).name }
    }

    /// The name, which does not change once the disk has been added.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the type invariant; a string that ends within the array.
        unsafe { CStr::from_char_ptr((&raw const (*self.as_raw()).disk_name).cast()) }
    }

    /// The number of its openers.
    pub(crate) fn openers(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_disk_openers(self.as_raw()) }
    }

    /// The number of its requests or bios in flight. Exact while none begins or ends.
    pub(crate) fn in_flight(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_disk_in_flight(self.as_raw()) }
    }

    /// The I/O that it has carried.
    pub(crate) fn carried(&self) -> Carried {
        use bindings::{
            mpath_helper_groups_MPATH_STAT_DISCARD as DISCARD,
            mpath_helper_groups_MPATH_STAT_FLUSH as FLUSH,
            mpath_helper_groups_MPATH_STAT_READ as READ,
            mpath_helper_groups_MPATH_STAT_WRITE as WRITE, //
        };
        // SAFETY: By the type invariant; the groups are existing ones.
        let ios = |group| unsafe { bindings::mpath_helper_disk_ios(self.as_raw(), group) };
        // SAFETY: As above.
        let sectors = |group| unsafe { bindings::mpath_helper_disk_sectors(self.as_raw(), group) };

        Carried {
            reads: ios(READ),
            read_sectors: sectors(READ),
            writes: ios(WRITE),
            written_sectors: sectors(WRITE),
            discards: ios(DISCARD),
            flushes: ios(FLUSH),
        }
    }

    fn limits(&self) -> *mut bindings::queue_limits {
        // SAFETY: By the type invariant.
        unsafe { &raw mut (*(*self.as_raw()).queue).limits }
    }

    fn features(&self) -> u32 {
        // SAFETY: By the type invariant; a racing change gives the old or the new features.
        unsafe { (&raw const (*self.limits()).features).read_volatile() }
    }

    /// Has the disk a cache that needs flushes?
    fn caches_writes(&self) -> bool {
        const CACHE: u32 = bindings::mpath_helper_features_MPATH_FEAT_WRITE_CACHE;
        const DISABLED: u32 = bindings::mpath_helper_features_MPATH_FLAG_WRITE_CACHE_DISABLED;

        // SAFETY: As in `features()`.
        let flags = unsafe { (&raw const (*self.limits()).flags).read_volatile() };

        self.features() & CACHE != 0 && flags & DISABLED == 0
    }

    /// The operations.
    pub(crate) fn fops(&self) -> &bindings::block_device_operations {
        // SAFETY: By the type invariant.
        unsafe { &*(*self.as_raw()).fops }
    }

    /// The operations for persistent reservations, if there are any.
    pub(crate) fn pr_ops(&self) -> Option<&bindings::pr_ops> {
        // SAFETY: `pr_ops` is null or valid for as long as the operations are.
        unsafe { self.fops().pr_ops.cast::<bindings::pr_ops>().as_ref() }
    }

    /// Puts a link to `path`, named like it, into `group` of this disk. Both have been added.
    pub(crate) fn add_link(&self, group: &CStr, path: &Disk) -> Result {
        // SAFETY: Added disks have initialised, named kobjects.
        to_result(unsafe {
            bindings::sysfs_add_link_to_group(
                self.kobject(),
                group.as_char_ptr(),
                path.kobject(),
                path.kobject_name(),
            )
        })
        .inspect_err(|_| {
            // SAFETY: The helper prints the names of two added disks.
            unsafe { bindings::mpath_helper_err_link(self.as_raw(), path.as_raw()) }
        })
    }

    /// Removes the link that [`Disk::add_link`] made.
    pub(crate) fn remove_link(&self, group: &CStr, path: &Disk) {
        // SAFETY: As for `add_link()`.
        unsafe {
            bindings::sysfs_remove_link_from_group(
                self.kobject(),
                group.as_char_ptr(),
                path.kobject_name(),
            )
        }
    }

    /// Says in the log, not too often, that bios wait.
    pub(crate) fn warn_requeuing(&self) {
        // SAFETY: The helper prints the name of the disk.
        unsafe { bindings::mpath_helper_warn_requeuing(self.as_raw()) }
    }

    /// Says in the log that a path fails, unless too many do. Returns whether it has said so.
    pub(crate) fn warn_path_fails(&self, path: &Disk, failures: u64) -> bool {
        // SAFETY: The helper prints the names of the disks.
        unsafe { bindings::mpath_helper_warn_path_fails(self.as_raw(), path.as_raw(), failures) }
    }

    /// Says in the log that a path works again.
    pub(crate) fn tell_path_works(&self, path: &Disk, failures: u64) {
        // SAFETY: The helper prints the names of the disks.
        unsafe { bindings::mpath_helper_info_path_works(self.as_raw(), path.as_raw(), failures) }
    }

    /// Says in the log, not too often, that bios fail.
    pub(crate) fn warn_failing(&self) {
        // SAFETY: The helper prints the name of the disk.
        unsafe { bindings::mpath_helper_warn_failing(self.as_raw()) }
    }
}

// SAFETY: The fields accessed here do not change, or the accesses are atomic.
unsafe impl Send for Disk {}
// SAFETY: As above.
unsafe impl Sync for Disk {}

/// A device that is the parent of one of ours.
///
/// # Invariants
///
/// We own a reference to the device.
pub(crate) struct Parent(NonNull<bindings::device>);

impl Parent {
    /// Takes a reference; `None` for no device.
    ///
    /// # Safety
    ///
    /// `raw` is null or valid.
    pub(crate) unsafe fn get(raw: *mut bindings::device) -> Option<Self> {
        // SAFETY: By this function's contract.
        // INVARIANT: `get_device()` has taken the reference.
        NonNull::new(unsafe { bindings::get_device(raw) }).map(Self)
    }

    fn as_raw(this: Option<&Self>) -> *mut bindings::device {
        this.map_or(core::ptr::null_mut(), |parent| parent.0.as_ptr())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::put_device(self.0.as_ptr()) }
    }
}

// SAFETY: A device is refcounted, and any thread may release it.
unsafe impl Send for Parent {}
// SAFETY: Threads only access the pointer.
unsafe impl Sync for Parent {}

/// A head's disk, which the head owns.
///
/// # Invariants
///
/// A valid bio-based gendisk to which we own a reference.
pub(crate) struct HeadDisk(NonNull<bindings::gendisk>, Option<Parent>);

impl HeadDisk {
    /// Allocates a disk with operations `fops` and private data `head`. Sleeps.
    ///
    /// # Safety
    ///
    /// `lim` is valid. `fops`, and the object behind `head` that it expects, stay until the disk is
    /// gone.
    pub(crate) unsafe fn new(
        lim: *mut bindings::queue_limits,
        node: i32,
        parent: Option<Parent>,
        fops: *const bindings::block_device_operations,
        head: *mut kernel::ffi::c_void,
    ) -> Result<Self> {
        // SAFETY: By this function's contract.
        let raw = from_err_ptr(unsafe { bindings::mpath_helper_alloc_disk(lim, node) })?;

        // SAFETY: Just allocated, and nobody else knows of it.
        unsafe {
            (*raw).fops = fops;
            (*raw).private_data = head;
            bindings::mpath_helper_suppress_part_scan(raw);
        }
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(raw).ok_or(ENOMEM)?, parent))
    }

    /// Changes the capacity, and sends the event. Sleeps.
    pub(crate) fn resize(&self, sectors: u64) {
        // SAFETY: By the type invariant.
        unsafe { bindings::set_capacity_and_notify(self.0.as_ptr(), sectors) };
    }

    /// Makes the disk visible. Sleeps. The caller may try again after an error.
    ///
    /// # Safety
    ///
    /// `groups` is null or valid, and stays until the disk is gone. The disk has not been added.
    pub(crate) unsafe fn add(&self, groups: *mut *const bindings::attribute_group) -> Result {
        let parent = Parent::as_raw(self.1.as_ref());

        let raw = self.0.as_ptr();

        // SAFETY: By this function's contract and the type invariant.
        to_result(unsafe { bindings::device_add_disk(parent, raw, groups) }).inspect_err(|_| {
            /// `BLOCK_EXT_MAJOR`.
            const EXTENDED: i32 = 259;

            // The block layer has taken the disk's number back. But the disk still claims a number
            // of its driver's, without minors, and such a disk is not added.
            // SAFETY: By the type invariant; only we use a disk that has not been added.
            unsafe {
                if (*raw).major == EXTENDED {
                    (*raw).major = 0;
                    (*raw).first_minor = 0;
                }
            }
        })
    }

    /// Takes the disk away from its users. Sleeps, but does not wait for openers.
    ///
    /// # Safety
    ///
    /// The disk has been added, and not been deleted.
    pub(crate) unsafe fn delete(&self) {
        // SAFETY: By this function's contract.
        unsafe { bindings::del_gendisk(self.0.as_ptr()) }
    }

    /// Scans the partitions for the first time. Sleeps, and does I/O.
    pub(crate) fn scan_partitions(&self) {
        let raw = self.0.as_ptr();

        // SAFETY: By the type invariant; the function notices a disk that is not live any more.
        unsafe {
            if !bindings::mpath_helper_allow_part_scan(raw) {
                return;
            }
            bindings::mutex_lock(&raw mut (*raw).open_mutex);
            bindings::bdev_disk_changed(raw, false);
            bindings::mutex_unlock(&raw mut (*raw).open_mutex);
        }
    }
}

impl core::ops::Deref for HeadDisk {
    type Target = Disk;

    #[inline(always)]
    fn deref(&self) -> &Disk {
        // SAFETY: By the type invariant.
        unsafe { Disk::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for HeadDisk {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::put_disk(self.0.as_ptr()) }
    }
}

// SAFETY: Any thread may use a gendisk.
unsafe impl Send for HeadDisk {}
// SAFETY: As above, also several at the same time.
unsafe impl Sync for HeadDisk {}
