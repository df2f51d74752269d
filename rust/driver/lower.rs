// SPDX-License-Identifier: GPL-2.0

//! Block devices below paths.

use super::bio::MpathBio;
use super::disk::DiskParams;
use super::head::MpathHead;
use super::queue::Queued;
use super::MpathDriver;
use crate::bindings;
use crate::wrap::bio::Failure;
use kernel::error::to_result;
use kernel::prelude::*;

/// A block device that is there already, opened by a driver whose paths send their bios on to it.
///
/// The kernel crate has no such type yet, so a driver makes its own, which it keeps in the path's
/// [data](MpathDriver::PathData). `samples/rust_mpath_lower.rs` has one.
///
/// # Safety
///
/// As long as a value lives, `device()` is one block device, which is open, and `clones()` one
/// `struct bio_set` with a mempool, for this device alone. Both may be used by all threads.
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
/// # // What a driver says of its own device.
/// # assert!(!path.data().device().is_null() && !path.data().clones().is_null());
/// # Ok::<(), Error>(())
/// ```
pub unsafe trait LowerDevice: Send + Sync {
    /// The device.
    fn device(&self) -> *mut kernel::bindings::block_device;

    /// What clones for it are allocated from.
    fn clones(&self) -> *mut kernel::bindings::bio_set;
}

impl DiskParams {
    /// A disk of `capacity` sectors of 512 bytes for a head whose first path leads to `lower`: with
    /// that device's limits, and with what it can do, but for bios that must not wait.
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
    /// Makes the limits of the head's disk so tight that `lower` can carry out what is within them,
    /// too: to be called before a path to it is added. The head may be in use.
    ///
    /// Fails with `EINVAL` when the device's logical blocks are larger than the head's, and with
    /// `EOPNOTSUPP` for a device with zones.
    ///
    /// Process context, may sleep: waits for those who are just submitting to the head.
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
    /// Sends a clone of the bio to the device that `lower` finds in the path's data. When that has
    /// ended well, so does the bio. It is [failed over](MpathBio::failover) when the path may be to
    /// blame, as `mpath_path_error()` of the C interface says: for errors of the transport,
    /// timeouts, a device that is offline, a lack of resources, and I/O errors that say no more
    /// than that. With another status it ends as the clone did.
    ///
    /// What is asked for goes with it: flushes, priorities and all flags but the mark of the head.
    /// A bio [that must not wait](MpathBio::is_nowait) ends with [`Failure::Again`].
    ///
    /// For [`MpathDriver::submit`], process context; may sleep. The clone is on its way only when
    /// `submit()` has returned, so that must not wait for it.
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
        // SAFETY: The clone is new, and given up. It comes back to `ended()` with the bio, which
        // does not end before.
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
    // SAFETY: By this function's contract. The clone is freed first: the path, with what it was
    // allocated from, may go when the bio has ended.
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
