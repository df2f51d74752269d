// SPDX-License-Identifier: GPL-2.0

//! An opener of a disk.

use crate::bindings;
use kernel::error::from_err_ptr;
use kernel::prelude::*;

const OPEN_READ_WRITE: bindings::blk_mode_t = 3;

/// A disk, or a partition, that is open. Dropping it closes it.
pub(super) struct Opener(*mut bindings::file);

impl Opener {
    /// Opens a device.
    pub(super) fn open(device: bindings::dev_t) -> Result<Self> {
        // SAFETY: An open that is not exclusive needs no holder.
        from_err_ptr(unsafe {
            bindings::bdev_file_open_by_dev(
                device,
                OPEN_READ_WRITE,
                core::ptr::null_mut(),
                core::ptr::null(),
            )
        })
        .map(Self)
    }

    /// The device.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: An open file of a block device.
        unsafe { bindings::file_bdev(self.0) }
    }

    /// Writes to the page cache, at the beginning.
    pub(super) fn write(&self, bytes: &[u8]) -> isize {
        let mut position = 0;

        // SAFETY: The file is open for writing, the bytes are there.
        unsafe { bindings::kernel_write(self.0, bytes.as_ptr().cast(), bytes.len(), &mut position) }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // SAFETY: The file is ours, and nobody else has it. Closed when this returns.
        unsafe { bindings::__fput_sync(self.0) }
    }
}
