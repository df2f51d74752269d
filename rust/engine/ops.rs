// SPDX-License-Identifier: GPL-2.0

//! A driver's callbacks, `struct mpath_head_template`.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::bindings;
use crate::compat::EOPNOTSUPP;
use crate::ffi;
use core::ptr::NonNull;
use kernel::ffi::{
    c_uint,
    c_ulong,
    c_void, //
};
use kernel::prelude::*;

/// The callbacks of one driver.
///
/// # Invariants
///
/// A valid template that has passed [`Ops::new`] and outlives all heads that name it.
#[derive(Clone, Copy)]
pub(crate) struct Ops(NonNull<bindings::mpath_head_template>);

/// An ioctl, without the path that carries it out.
#[derive(Clone, Copy)]
pub(crate) struct Ioctl {
    /// May it change anything?
    pub(crate) open_for_write: bool,
    /// The command.
    pub(crate) cmd: c_uint,
    /// Its argument.
    pub(crate) arg: c_ulong,
}

/// The object that `ioctl_begin` returned, with a reference of its own.
#[must_use = "the handle has a reference that only `ioctl_handle` drops"]
pub(crate) struct Handle(NonNull<c_void>);

impl Ops {
    /// Checks a template: required callbacks must be there, and pairs must be whole.
    ///
    /// # Safety
    ///
    /// `raw` is null or valid, and stays for as long as the result is used.
    pub(crate) unsafe fn new(raw: *const bindings::mpath_head_template) -> Result<Self> {
        let ops = NonNull::new(raw.cast_mut()).ok_or(EINVAL)?;
        // SAFETY: By this function's contract.
        let template = unsafe { ops.as_ref() };

        let mistake = if template.release.is_none() {
            "release is missing"
        } else if template.add_cdev.is_some() != template.del_cdev.is_some() {
            "one of add_cdev and del_cdev is missing"
        } else if template.ioctl_begin.is_some() != template.ioctl_handle.is_some() {
            "one of ioctl_begin and ioctl_handle is missing"
        } else {
            // INVARIANT: Checked.
            return Ok(Self(ops));
        };
        pr_err!("not a template: {mistake}\n");
        Err(EINVAL)
    }

    fn template(&self) -> &bindings::mpath_head_template {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }
    }

    /// The driver's module.
    pub(crate) fn owner(&self) -> *mut bindings::module {
        self.template().owner
    }

    /// The operations of a head's disk, checked: with others, bios would not come to the head, or
    /// its openers would not keep it and its driver.
    pub(crate) fn fops(&self) -> Result<NonNull<bindings::block_device_operations>> {
        let ops = NonNull::new(self.template().fops.cast_mut()).ok_or(EINVAL)?;
        // SAFETY: A template's operations are valid for as long as it is.
        let fops = unsafe { ops.as_ref() };

        let mistake = if !ffi::is_head(fops) || fops.open.is_none() || fops.release.is_none() {
            "they are not from MPATH_BDEV_OPS()"
        } else if fops.owner != self.owner() {
            "they are of another module than the template"
        } else {
            return Ok(ops);
        };
        pr_err!("not the operations of a head's disk: {mistake}\n");
        Err(EINVAL)
    }

    /// The attributes of a head's disk.
    pub(crate) fn disk_groups(&self) -> *mut *const bindings::attribute_group {
        self.template().disk_groups
    }

    /// Do they include links to the paths?
    pub(crate) fn has_links(&self) -> bool {
        let links: *const bindings::attribute_group = (&raw const ffi::mpath_attr_group).cast();
        let mut at = self.disk_groups();

        // SAFETY: A template's groups are null or an array that ends with null, for as long as the
        // template is.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                if core::ptr::eq(*at, links) {
                    return true;
                }
                at = at.add(1);
            }
        }
        false
    }

    /// The most failures of a bio for each path, 0 for the default.
    pub(crate) fn max_failovers(&self) -> u32 {
        self.template().max_failovers
    }

    /// Is there a callback to remove a head when its timer expires?
    pub(crate) fn can_remove_later(&self) -> bool {
        self.template().remove_head.is_some()
    }

    /// Tells the driver that the head has no reference any more.
    pub(crate) fn release(&self, head: &MpathHead) {
        if let Some(release) = self.template().release {
            // SAFETY: The callback gets a valid head.
            unsafe { release(head.as_raw()) }
        }
    }

    /// Tells the driver that the removal timer has expired.
    pub(crate) fn remove_head(&self, head: &MpathHead) {
        if let Some(remove_head) = self.template().remove_head {
            // SAFETY: The callback gets a valid head.
            unsafe { remove_head(head.as_raw()) }
        }
    }

    /// Makes the character device. Returns whether there is one now.
    pub(crate) fn add_cdev(&self, head: &MpathHead) -> bool {
        let _caller = head.in_callback.enter();

        self.template().add_cdev.is_some_and(|add_cdev| {
            // SAFETY: The callback gets a valid head.
            unsafe { add_cdev(head.as_raw()) == 0 }
        })
    }

    /// Removes the character device.
    pub(crate) fn del_cdev(&self, head: &MpathHead) {
        let _caller = head.in_callback.enter();

        if let Some(del_cdev) = self.template().del_cdev {
            // SAFETY: The callback gets a valid head.
            unsafe { del_cdev(head.as_raw()) }
        }
    }

    /// Takes a reference to the object that `ioctl` needs, when it is not one for a read-side
    /// section.
    pub(crate) fn ioctl_begin(&self, path: &MpathDevice, ioctl: Ioctl) -> Option<Handle> {
        let begin = self.template().ioctl_begin?;

        // SAFETY: The callback gets a path that a read-side section keeps.
        NonNull::new(unsafe { begin(path.as_raw(), ioctl.cmd) }).map(Handle)
    }

    /// Carries `ioctl` out on `handle`, and drops that.
    pub(crate) fn ioctl_handle(&self, handle: Handle, ioctl: Ioctl) -> i32 {
        let Some(run) = self.template().ioctl_handle else {
            return ENOTTY.to_errno();
        };
        let (open_for_write, cmd, arg) = (ioctl.open_for_write, ioctl.cmd, ioctl.arg);

        // SAFETY: The callback gets the handle that `ioctl_begin` returned, once.
        unsafe { run(handle.0.as_ptr(), open_for_write, cmd, arg) }
    }

    /// Carries `ioctl` out for the character device on `path`.
    pub(crate) fn cdev_ioctl(&self, path: &MpathDevice, ioctl: Ioctl) -> i32 {
        let Some(run) = self.template().cdev_ioctl else {
            return ENOTTY.to_errno();
        };
        let (open_for_write, cmd, arg) = (ioctl.open_for_write, ioctl.cmd, ioctl.arg);

        // SAFETY: The callback gets a path that a read-side section keeps.
        unsafe { run(path.as_raw(), open_for_write, cmd, arg) }
    }

    /// The driver's own block ioctl, if it has one.
    pub(crate) fn bdev_ioctl(
        &self,
        path: &MpathDevice,
        bdev: *mut bindings::block_device,
        mode: bindings::blk_mode_t,
        ioctl: Ioctl,
    ) -> Option<i32> {
        let run = self.template().bdev_ioctl?;

        // SAFETY: The callback gets a path that a read-side section keeps, and the opener's device.
        Some(unsafe { run(path.as_raw(), bdev, mode, ioctl.cmd, ioctl.arg) })
    }

    /// Issues an io_uring command on `path`.
    ///
    /// # Safety
    ///
    /// `ioucmd` is a command that the caller got to carry out.
    pub(crate) unsafe fn cdev_uring_cmd(
        &self,
        path: &MpathDevice,
        ioucmd: *mut bindings::io_uring_cmd,
        issue_flags: c_uint,
    ) -> i32 {
        let Some(run) = self.template().cdev_uring_cmd else {
            return EOPNOTSUPP.to_errno();
        };

        // SAFETY: The callback gets a path that a read-side section keeps; the rest by contract.
        unsafe { run(path.as_raw(), ioucmd, issue_flags) }
    }

    /// The driver's own identifier of `path`, if it has one.
    ///
    /// # Safety
    ///
    /// `id` is valid for 16 bytes.
    pub(crate) unsafe fn get_unique_id(
        &self,
        path: &MpathDevice,
        id: *mut u8,
        kind: bindings::blk_unique_id,
    ) -> Option<i32> {
        let run = self.template().get_unique_id?;

        // SAFETY: The callback gets a path that a read-side section keeps; the rest by contract.
        Some(unsafe { run(path.as_raw(), id, kind) })
    }

    /// Pins the driver's module. Returns false when the module is going.
    pub(crate) fn pin_module(&self) -> bool {
        // SAFETY: Null stands for a driver that is built in.
        unsafe { bindings::mpath_helper_get_module(self.owner()) }
    }

    /// Undoes [`Ops::pin_module`].
    pub(crate) fn unpin_module(owner: *mut bindings::module) {
        // SAFETY: Null stands for a driver that is built in; otherwise the caller has pinned the
        // module.
        unsafe { bindings::mpath_helper_put_module(owner) }
    }
}

// SAFETY: Templates are constant.
unsafe impl Send for Ops {}
// SAFETY: As above.
unsafe impl Sync for Ops {}

/// `result` as a C `int`.
pub(crate) fn to_int(result: Result) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}
