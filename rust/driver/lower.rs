// SPDX-License-Identifier: GPL-2.0

//! Block devices below paths.

use super::disk_params::DiskParams;
use super::mpath_bio::MpathBio;
use super::mpath_head::MpathHead;
use super::queue::Queued;
use super::MpathDriver;
use crate::bindings;
use crate::wrap::bio::Failure;
use kernel::error::to_result;
use kernel::prelude::*;

/// An open block device to which the paths of a driver send their bios on.
///
/// The kernel crate has no such type yet. So a driver defines its own, and keeps it in the path's
/// [data](MpathDriver::PathData). `samples/rust_mpath_lower.rs` has one.
///
/// # Safety
///
/// As long as a value lives, `device()` always returns the same block device, which is open.
/// `clones()` always returns the same `struct bio_set` with a mempool, for this device alone. All
/// threads may use both.
///
/// # Examples
///
/// ```
/// # use crate::shared::Opened;
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
///
/// /// A driver whose paths send bios on to other block devices.
/// struct Below;
///
/// #[vtable]
/// impl MpathDriver for Below {
///     type HeadData = ();
///     // Implements `LowerDevice`.
///     type PathData = Opened;
///
///     fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         bio.submit_clone(|lower| lower);
///     }
/// }
///
/// /// Adds one more path to a head that may be in use.
/// fn add(head: &MpathHead<Below>, number: u32, lower: Opened) -> Result<Registration<Below>> {
///     head.stack_limits(&lower)?;
///
///     let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
///     head.add_path(&port, fmt!("mplowerc{number}"), None, lower)?
///         .set_live(AccessState::Optimized)
/// }
///
/// # let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
/// # let below = crate::example::bring_up(ram, DiskParams::new(2048))?;
/// # let lower = Opened::new(below.head())?;
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;
/// let params = DiskParams::stacked(2048, &lower)?;
/// let head = MpathHead::<Below>::new(&policy, fmt!("mplower"), params, ())?;
/// let path = add(&head, 0, lower)?;
/// assert!(path.head().is_live());
/// # // The calls by which a driver reaches its own device.
/// # assert!(!path.data().device().is_null() && !path.data().clones().is_null());
/// # Ok::<(), Error>(())
/// ```
pub unsafe trait LowerDevice: Send + Sync {
    /// The open block device.
    fn device(&self) -> *mut kernel::bindings::block_device;

    /// The `struct bio_set` that the library allocates clones for the device from.
    fn clones(&self) -> *mut kernel::bindings::bio_set;
}

impl DiskParams {
    /// Parameters of a disk of `capacity` sectors of 512 bytes, for a head whose first path leads
    /// to `lower`. They have that device's limits and features, except [`nowait`](Self::nowait).
    ///
    /// Fails with `EOPNOTSUPP` for a device with zones.
    #[inline]
    pub fn stacked(capacity: u64, lower: &impl LowerDevice) -> Result<Self> {
        let mut limits = bindings::queue_limits::default();
        let name = c"multipath".as_char_ptr();

        // SAFETY: The device is open; the others are valid for the time of the call.
        unsafe {
            bindings::blk_set_stacking_limits(&mut limits);
            bindings::queue_limits_stack_bdev(&mut limits, lower.device(), 0, name);
        }
        if limits.features & bindings::mpath_helper_features_MPATH_FEAT_ZONED != 0 {
            return Err(crate::compat::EOPNOTSUPP);
        }
        Ok(Self {
            limits,
            ..Self::new(capacity)
        })
    }
}

impl<T: MpathDriver> MpathHead<T> {
    /// Tightens the limits of the head's disk, so that `lower` can carry out every bio within them,
    /// too. The driver calls it before it adds a path to `lower`. The head may be in use.
    ///
    /// Fails with `EINVAL` when the device's logical blocks are larger than the head's, and with
    /// `EOPNOTSUPP` for a device with zones.
    ///
    /// Process context, may sleep: it waits for threads that are just submitting to the head.
    #[inline]
    pub fn stack_limits(&self, lower: &impl LowerDevice) -> Result {
        let block = DiskParams::stacked(0, lower)?.limits.logical_block_size;

        if block > self.head_data().params.limits.logical_block_size.max(512) {
            return Err(EINVAL);
        }
        // SAFETY: The head has a disk, and the device is open.
        to_result(unsafe { bindings::mpath_helper_stack_limits(self.disk(), lower.device()) })
    }
}

impl<T: MpathDriver> MpathBio<T> {
    /// Sends a clone of the bio to the device that `lower` finds in the path's data. The bio ends
    /// with the status of the clone, unless the path may be to blame. Then the library [fails the
    /// bio over](MpathBio::failover). `mpath_path_error()` of the C interface decides that. It
    /// blames the path for errors of the transport, timeouts, a device that is offline, a lack of
    /// resources, and I/O errors that say no more than that.
    ///
    /// The clone has the flushes and priorities of the bio, and all its flags but the head's mark.
    /// A bio [that must not wait](MpathBio::is_nowait) ends with [`Failure::Again`].
    ///
    /// For [`MpathDriver::submit`], process context; may sleep. The clone is on its way only when
    /// `submit()` has returned. So `submit()` must not wait for it.
    #[inline]
    pub fn submit_clone<L: LowerDevice>(self, lower: impl FnOnce(&T::PathData) -> &L) {
        if self.is_nowait() {
            return self.fail(Failure::Again);
        }
        let lower = lower(self.path().data());
        let (device, set) = (lower.device(), lower.clones());

        // SAFETY: The bio is ours. The device, a part of the path's data, stays until the bio ends.
        let clone = unsafe { bindings::mpath_helper_clone_bio(device, self.as_raw(), set) };
        if clone.is_null() {
            return self.failover();
        }
        // SAFETY: The clone is new, and nothing here uses it after `submit_bio_noacct()`. `ended()`
        // gets it back with the bio, which does not end before.
        unsafe {
            (*clone).bi_private = Queued::new(self).cast();
            (*clone).bi_end_io = Some(ended::<T>);
            bindings::submit_bio_noacct(clone);
        }
    }
}

/// # Safety
///
/// `clone` was submitted by [`MpathBio::submit_clone`] for this driver, and has ended.
unsafe extern "C" fn ended<T: MpathDriver>(clone: *mut bindings::bio) {
    // SAFETY: By this function's contract. The clone is freed first, since the path may go when
    // the bio has ended, and the clone's `struct bio_set` with it.
    let (bio, status) = unsafe {
        let of_clone = ((*clone).bi_private.cast(), (*clone).bi_status);

        bindings::bio_put(clone);
        (Queued::into_bio::<T>(of_clone.0), of_clone.1)
    };

    // SAFETY: Both take any status.
    let (is_of_path, errno) = unsafe {
        (
            bindings::mpath_helper_path_error(status),
            bindings::blk_status_to_errno(status),
        )
    };
    if is_of_path {
        bio.failover();
    } else {
        bio.end_with(to_result(errno));
    }
}
