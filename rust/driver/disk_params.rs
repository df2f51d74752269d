// SPDX-License-Identifier: GPL-2.0

//! The disks of heads and paths, as far as a driver has a say.

use super::mpath_device::MpathDevice;
use super::mpath_request_driver::MpathRequestDriver;
use super::shims::Shims;
use super::tags::MpathTagSet;
use super::zones::{
    ZoneLimits,
    ZONED, //
};
use super::MpathDriver;
use crate::bindings;
use crate::compat::EOPNOTSUPP;
use core::ptr::NonNull;
use kernel::block::SECTOR_SHIFT;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::fmt;
use kernel::fmt::Write;
use kernel::prelude::*;
use kernel::str::NullTerminatedFormatter;

/// `GENHD_FL_HIDDEN`: nobody can open the disk.
const HIDDEN: i32 = 1 << 1;

const WRITE_CACHE: u32 = bindings::mpath_helper_features_MPATH_FEAT_WRITE_CACHE;
const FUA: u32 = bindings::mpath_helper_features_MPATH_FEAT_FUA;
const NOWAIT: u32 = bindings::mpath_helper_features_MPATH_FEAT_NOWAIT;

/// The parameters of a head's disk, and so of the disks of its paths.
///
/// # Examples
///
/// ```
/// use crate::example::bring_up;
/// use libmultipath::prelude::*;
///
/// // 1 MiB in blocks of 4 KiB.
/// let params = DiskParams::new(2048)
///     .logical_block_size(4096)?
///     .physical_block_size(8192)?
///     .chunk_sectors(256)
///     .max_sectors(128)
///     .max_segments(64)
///     .discard(2048, 4096)
///     .write_zeroes(1024)
///     .nowait();
/// let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, params)?;
///
/// assert!(path.head().is_live());
/// assert!(params.logical_block_size(513).is_err());
/// assert!(params.physical_block_size(1000).is_err());
/// # Ok::<(), Error>(())
/// ```
///
/// Storage that has a volatile write cache:
///
/// ```
/// use kernel::new_mutex;
/// use kernel::sync::{
///     Arc,
///     Mutex, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Cached;
///
/// /// What is read, and what a loss of power leaves of it.
/// struct Memory {
///     cached: KVVec<u8>,
///     stable: KVVec<u8>,
/// }
///
/// #[vtable]
/// impl MpathDriver for Cached {
///     type HeadData = Mutex<Memory>;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         let mut memory = path.head().data().lock();
///         let Memory { cached, stable } = &mut *memory;
///
///         // First: writes that have ended. A flush asks for nothing else.
///         if bio.is_preflush() {
///             stable.copy_from_slice(cached);
///         }
///         let result = match bio.op() {
///             BioOp::Read(mut all) => all.try_for_each(|part| part.fill(&cached[part.range()])),
///             BioOp::Write(mut all) => all.try_for_each(|part| {
///                 part.store(&mut cached[part.range()])?;
///                 // Before the bio ends: what it has written itself.
///                 if bio.is_fua() {
///                     stable[part.range()].copy_from_slice(&cached[part.range()]);
///                 }
///                 Ok(())
///             }),
///             BioOp::Flush => Ok(()),
///             _ => Err(EOPNOTSUPP),
///         };
///         bio.end_with(result);
///     }
/// }
///
/// let memory = Memory {
///     cached: KVVec::from_elem(1, 1 << 20, GFP_KERNEL)?,
///     stable: KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?,
/// };
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let params = DiskParams::new(2048).write_cache().fua();
/// let head = MpathHead::<Cached>::new(&policy, fmt!("mpdoc"), params, new_mutex!(memory))?;
/// let _path = head.add_path(&port, fmt!("mpdocc0"), None, ())?.set_live(AccessState::Optimized)?;
///
/// // What fsync() does. A disk that has no cache would never be asked.
/// assert_eq!(head.data().lock().stable[0], 0);
/// # crate::shared::flush(&head)?;
/// assert_eq!(head.data().lock().stable[0], 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy)]
#[must_use = "parameters do nothing until a head is made with them"]
pub struct DiskParams {
    pub(super) capacity: u64,
    pub(super) limits: bindings::queue_limits,
    /// The size of a zone in sectors, 0 without zones.
    pub(super) zone: u32,
}

impl DiskParams {
    /// A disk of `capacity` sectors of 512 bytes, which are also its blocks.
    #[inline]
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            limits: pin_init::zeroed(),
            zone: 0,
        }
    }

    /// Sets the smallest addressable unit, in bytes: a power of two, 512 to the size of a page.
    ///
    /// Fails with `EINVAL` for another size.
    #[inline]
    pub fn logical_block_size(mut self, bytes: u32) -> Result<Self> {
        if !bytes.is_power_of_two() || !(512..=kernel::page::PAGE_SIZE as u32).contains(&bytes) {
            return Err(EINVAL);
        }
        self.limits.logical_block_size = bytes;
        Ok(self)
    }

    /// Sets the unit that the storage writes, in bytes, where that is larger than the smallest
    /// addressable one. For a smaller write the storage reads the rest. A power of two, 512 or
    /// more.
    ///
    /// Fails with `EINVAL` for another size.
    #[inline]
    pub fn physical_block_size(mut self, bytes: u32) -> Result<Self> {
        if !bytes.is_power_of_two() || bytes < 512 {
            return Err(EINVAL);
        }
        self.limits.physical_block_size = bytes;
        Ok(self)
    }

    /// Has no bio cross a multiple of this many sectors. On a zoned disk that is the size of a
    /// zone, and need not be set.
    #[inline]
    pub fn chunk_sectors(mut self, sectors: u32) -> Self {
        self.limits.chunk_sectors = sectors;
        self
    }

    /// Sets the most sectors of a bio. 255 by default.
    #[inline]
    pub fn max_sectors(mut self, sectors: u32) -> Self {
        self.limits.max_hw_sectors = sectors;
        self
    }

    /// Sets the most pieces of memory of a bio or request, where pieces that follow one another are
    /// one. A controller that gets their addresses has such a limit. 128 by default. A bio may have
    /// more [`Segment`](super::Segment)s than this, each of which is within one page.
    #[inline]
    pub fn max_segments(mut self, segments: u16) -> Self {
        self.limits.max_segments = segments;
        self
    }

    /// Says that there is a volatile write cache, which a loss of power may empty: a write that has
    /// ended is on stable storage only after a flush.
    ///
    /// The driver then has three duties, which the block layer never asks of it without this:
    ///
    /// - a [`BioOp::Flush`](super::BioOp::Flush) ends well only when all writes that had ended
    ///   before it came are on stable storage;
    /// - it carries out a write that [`MpathBio::is_preflush`](super::MpathBio::is_preflush) only
    ///   then;
    /// - a write that [`MpathBio::is_fua`](super::MpathBio::is_fua) ends well only when its own
    ///   data is on stable storage. A driver that cannot force one block there flushes all of them.
    ///   A write may be both.
    ///
    /// A write has ended when its bio has, whichever path carried it. So where each path has a
    /// cache of its own, a flush on one path is to flush the caches of all. The driver [fails
    /// over](super::MpathBio::failover) a flush that a path failed, like a write.
    #[inline]
    pub fn write_cache(mut self) -> Self {
        self.limits.features |= WRITE_CACHE;
        self
    }

    /// Says that forcing one write through the [write cache](Self::write_cache) costs less than a
    /// flush after it, so that users should ask for it. With or without this, writes may come that
    /// the driver is to force.
    #[inline]
    pub fn fua(mut self) -> Self {
        self.limits.features |= FUA;
        self
    }

    /// Has the driver get discards of up to `sectors` sectors, in units of `granularity` bytes.
    #[inline]
    pub fn discard(mut self, sectors: u32, granularity: u32) -> Self {
        self.limits.max_hw_discard_sectors = sectors;
        self.limits.discard_granularity = granularity;
        self
    }

    /// Has the driver get [`BioOp::WriteZeroes`](super::BioOp::WriteZeroes) of up to `sectors`
    /// sectors. Without this it gets writes when a user has zeroes written.
    #[inline]
    pub fn write_zeroes(mut self, sectors: u32) -> Self {
        self.limits.max_write_zeroes_sectors = sectors;
        self
    }

    /// Has the driver get bios that must not wait: [`MpathDriver::submit`] heeds
    /// [`MpathBio::is_nowait`](super::MpathBio::is_nowait).
    #[inline]
    pub fn nowait(mut self) -> Self {
        self.limits.features |= NOWAIT;
        self
    }

    /// Gives the disk zones, as [`MpathDriver::report_zones`] reports them: a driver without that
    /// function cannot have such a disk. The driver gets the operations for zones, appends among
    /// them.
    ///
    /// Fails with `EINVAL` for limits that are not allowed, and the log says which; with
    /// `EOPNOTSUPP` in a kernel without zoned disks (`CONFIG_BLK_DEV_ZONED`).
    #[inline]
    pub fn zones(mut self, zones: ZoneLimits) -> Result<Self> {
        if !cfg!(CONFIG_BLK_DEV_ZONED) {
            pr_err!("a zoned disk: only a kernel with CONFIG_BLK_DEV_ZONED has them\n");
            return Err(EOPNOTSUPP);
        }
        zones.check()?;
        self.zone = zones.size;
        self.limits.features |= ZONED;
        self.limits.max_open_zones = zones.max_open;
        self.limits.max_active_zones = zones.max_active;
        self.limits.max_hw_zone_append_sectors = zones.max_append;
        Ok(self)
    }

    /// Compares zones with the other parameters and with the driver. Fails with `EINVAL`, and says
    /// in the log why.
    #[inline]
    pub(super) fn check_zones<T: MpathDriver>(&self) -> Result {
        let (zone, chunk) = (self.zone, self.limits.chunk_sectors);
        let block = self.limits.logical_block_size;

        if zone == 0 {
            return Ok(());
        }
        if !T::HAS_REPORT_ZONES {
            pr_err!("a zoned disk: only a driver with report_zones() may have one\n");
        } else if chunk != 0 && chunk != zone {
            pr_err!("chunks of {chunk} sectors: only the size of a zone is allowed, {zone}\n");
        } else if u64::from(zone) << SECTOR_SHIFT < u64::from(block) {
            pr_err!("zones of {zone} sectors: a block of {block} bytes is larger than a zone\n");
        } else {
            return Ok(());
        }
        Err(EINVAL)
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    pub(super) fn limits(&self) -> bindings::queue_limits {
        let mut limits = self.limits;

        if self.zone != 0 {
            limits.chunk_sectors = self.zone;
        }
        limits
    }
}

/// Names a disk: at most 31 bytes.
///
/// Fails with `EINVAL` when the name is longer.
///
/// # Safety
///
/// `disk` is valid, and has not been added.
#[inline]
pub(super) unsafe fn set_name(disk: *mut bindings::gendisk, name: fmt::Arguments<'_>) -> Result {
    // SAFETY: By this function's contract nobody else uses the name.
    let buffer = unsafe { &mut (*disk).disk_name };

    NullTerminatedFormatter::new(buffer)
        .ok_or(EINVAL)?
        .write_fmt(name)
        .map_err(|_| EINVAL)
}

/// A path's own disk, which its head sends bios to and which nobody else sees.
///
/// # Invariants
///
/// A valid gendisk, which we own a reference to.
pub(super) struct PathDisk(NonNull<bindings::gendisk>);

impl PathDisk {
    /// Allocates a disk that takes bios. Sleeps.
    #[inline]
    pub(super) fn new<T: MpathDriver>(
        params: &DiskParams,
        capacity: u64,
        name: fmt::Arguments<'_>,
        node: i32,
    ) -> Result<Self> {
        let mut limits = params.limits();
        // SAFETY: The limits are valid for the time of the call.
        let raw = unsafe { bindings::mpath_helper_alloc_path_disk(&mut limits, node) };

        // SAFETY: Just allocated, and given up.
        unsafe { Self::set_up(raw, Shims::<T>::path_operations(), capacity, name) }
    }

    /// Allocates a disk that takes requests. Its tag set stays for longer than the disk. Sleeps.
    ///
    /// Fails with `EINVAL` when it has a write cache that its driver cannot flush.
    #[inline]
    pub(super) fn with_tags<T: MpathRequestDriver>(
        params: &DiskParams,
        capacity: u64,
        tags: &MpathTagSet<T>,
        name: fmt::Arguments<'_>,
    ) -> Result<Self> {
        let mut limits = params.limits();

        if limits.features & WRITE_CACHE != 0 && !T::HAS_FLUSH {
            return Err(EINVAL);
        }
        // SAFETY: The limits and the tags are valid for the time of the call.
        let raw = unsafe { bindings::mpath_helper_alloc_request_disk(tags.as_raw(), &mut limits) };

        // SAFETY: Just allocated, and given up.
        unsafe { Self::set_up(raw, Shims::<T>::request_operations(), capacity, name) }
    }

    /// Sets up a disk that has been allocated, or passes its error on.
    ///
    /// # Safety
    ///
    /// `raw` is an error, or a disk that the caller gives up and nobody knows.
    #[inline]
    unsafe fn set_up(
        raw: *mut bindings::gendisk,
        operations: &'static bindings::block_device_operations,
        capacity: u64,
        name: fmt::Arguments<'_>,
    ) -> Result<Self> {
        // INVARIANT: By this function's contract.
        let disk = Self(NonNull::new(from_err_ptr(raw)?).ok_or(ENOMEM)?);

        // SAFETY: Nobody knows the disk yet.
        unsafe {
            let raw = disk.as_raw();

            (*raw).fops = operations;
            (*raw).flags |= HIDDEN;
            set_name(raw, name)?;
            bindings::set_capacity(raw, capacity);
        }
        Ok(disk)
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.as_ptr()
    }

    /// Adds the disk: its bios and requests go to `path` from now on. Sleeps.
    ///
    /// # Safety
    ///
    /// The disk has not been added. `path` stays until the disk has been deleted.
    #[inline]
    pub(super) unsafe fn add<T: MpathDriver>(&self, path: *const MpathDevice<T>) -> Result {
        let raw = self.as_raw();

        // SAFETY: By the type invariant and this function's contract.
        to_result(unsafe {
            (*raw).private_data = path.cast_mut().cast();
            (*(*raw).queue).queuedata = path.cast_mut().cast();
            bindings::device_add_disk(core::ptr::null_mut(), raw, core::ptr::null_mut())
        })
    }

    /// Takes the disk away, after waiting for the bios and requests that it has taken. Sleeps.
    ///
    /// # Safety
    ///
    /// The disk has been added, and not been deleted.
    #[inline]
    pub(super) unsafe fn delete(&self) {
        // SAFETY: By this function's contract.
        unsafe { bindings::del_gendisk(self.as_raw()) }
    }
}

impl Drop for PathDisk {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::put_disk(self.as_raw()) }
    }
}

// SAFETY: A gendisk may be used from any thread.
unsafe impl Send for PathDisk {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for PathDisk {}
