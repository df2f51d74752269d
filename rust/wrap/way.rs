// SPDX-License-Identifier: GPL-2.0

//! The way of a bio to the disk of the path that the head has chosen for it.
//!
//! A kernel with `blk_submit_lower()` lets a bio enter the queue of the path's disk where the head
//! chooses the path. That keeps the disk until it has the bio, so no removal has to wait for bios
//! on their way. In other kernels the head submits the bio to the disk as any other one. It enters
//! the queue later, and `mpath_synchronize_submitters()` waits for that.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::bio::Bio;
use super::disk::Disk;
use crate::bindings;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::prelude::*;

/// Does a bio enter a path's queue where the head chooses the path?
pub(crate) const IS_ONE_PASS: bool = cfg!(CONFIG_LIBMULTIPATH_ONE_PASS);

/// The way of one bio to the disk of a path. Dropping it leaves the queue, if it has entered one.
///
/// # Invariants
///
/// With [`IS_ONE_PASS`] the task has entered the disk's queue, once, for this. Otherwise the task
/// does not sleep before it has sent the bio.
pub(crate) struct Way(NonNull<bindings::block_device>);

impl Way {
    /// The way to a disk, unless its queue takes no bio now. Any context.
    ///
    /// # Safety
    ///
    /// `part0` is the whole of a path's disk, which is there as long as the caller's read-side
    /// section. A removal of the path waits for such sections, and without [`IS_ONE_PASS`] for
    /// tasks that have not slept since.
    #[inline(always)]
    pub(crate) unsafe fn to(part0: *mut bindings::block_device) -> Option<Self> {
        #[cfg(CONFIG_LIBMULTIPATH_ONE_PASS)]
        // SAFETY: By this function's contract.
        if !unsafe { bindings::mpath_helper_enter_lower(part0) } {
            return None;
        }
        // SAFETY: A valid pointer is not null.
        // INVARIANT: Entered, with `IS_ONE_PASS`.
        Some(Self(unsafe { NonNull::new_unchecked(part0) }))
    }

    /// Sends a bio of the disk of `head`. Process context. May sleep with [`IS_ONE_PASS`].
    #[inline(always)]
    pub(crate) fn send(self, head: *mut bindings::mpath_head, bio: Bio) {
        let part0 = ManuallyDrop::new(self).0.as_ptr();

        #[cfg(CONFIG_LIBMULTIPATH_ONE_PASS)]
        {
            let _ = head;
            // SAFETY: By the type invariant; the bio is the block layer's from here on.
            unsafe { bindings::blk_submit_lower(bio.into_raw(), part0, Bio::DRIVER) };
        }
        #[cfg(not(CONFIG_LIBMULTIPATH_ONE_PASS))]
        {
            let mut bio = bio;

            bio.remap(head, part0);
            bio.submit();
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        #[cfg(CONFIG_LIBMULTIPATH_ONE_PASS)]
        // SAFETY: By the type invariant.
        unsafe {
            bindings::blk_queue_exit(self.0.as_ref().bd_queue)
        }
    }
}

/// A disk whose queue takes no bio now, and which stays while a submitter waits for it.
///
/// # Invariants
///
/// This holds a reference to the disk's device.
pub(crate) struct Closed(*mut bindings::block_device);

impl Closed {
    /// Takes a reference to a disk.
    pub(crate) fn new(disk: &Disk) -> Self {
        // SAFETY: The disk is valid, and so is its device.
        unsafe { bindings::get_device(disk.device()) };
        // INVARIANT: Just taken.
        Self(disk.part0())
    }

    /// Is it this disk?
    pub(crate) fn is(&self, disk: &Disk) -> bool {
        self.0 == disk.part0()
    }

    /// Waits until the queue may take bios. Fails with `ENODEV` when the disk is dead. Sleeps.
    pub(crate) fn wait(&self) -> Result {
        #[cfg(CONFIG_LIBMULTIPATH_ONE_PASS)]
        // SAFETY: By the type invariant.
        kernel::error::to_result(unsafe { bindings::blk_wait_lower(self.0) })?;
        Ok(())
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::put_device(&raw mut (*self.0).bd_device) }
    }
}
