// SPDX-License-Identifier: GPL-2.0

//! Operations that a path or the driver carries out.

use super::check::eventually;
use super::driver::{
    Driver,
    Setup,
    TestHead, //
};
use super::fake::{
    FakePath,
    Options,
    ANSWER,
    COMPAT_ANSWER,
    NOT_READY, //
};
use super::thread::Thread;
use crate::bindings;
use crate::compat::EOPNOTSUPP;
use crate::ffi;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use kernel::ffi::{
    c_int,
    c_uint,
    c_ulong,
    c_void, //
};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

/// An ioctl that the driver may carry out inside a read-side section.
const SHORT: c_uint = 1;
/// An ioctl that the driver wants to carry out on a handle.
const LONG: c_uint = 2;

const WRITABLE: bindings::blk_mode_t = 3;
const READ_ONLY: bindings::blk_mode_t = 1;

/// The result of the driver's own operations.
const DRIVERS_ANSWER: i32 = 4321;
/// The driver's result for a handle.
const HANDLES_ANSWER: i32 = 4322;

/// `-EWOULDBLOCK`.
fn would_block() -> i32 {
    EAGAIN.to_errno()
}

/// How many paths the callback has been called for, and for which of them it fails; never for 0.
#[derive(Default)]
struct Visit {
    seen: u32,
    fails_at: u32,
}

/// # Safety
///
/// Called by the library; `data` is a [`Visit`] that nobody else uses.
unsafe extern "C" fn visit_one(_dev: *mut bindings::mpath_device, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let visit = unsafe { &mut *data.cast::<Visit>() };

    visit.seen += 1;
    if visit.seen == visit.fails_at {
        ANSWER
    } else {
        0
    }
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn bdev_ioctl(
    dev: *mut bindings::mpath_device,
    bdev: *mut bindings::block_device,
    _mode: bindings::blk_mode_t,
    cmd: c_uint,
    arg: c_ulong,
) -> c_int {
    // SAFETY: The path is on a head of this driver's.
    let driver = unsafe { Driver::of((*dev).head) };

    driver.last_bdev.store(bdev, Relaxed);
    driver.last_arg.store(arg, Relaxed);
    driver.entered.count();
    if cmd == LONG {
        eventually(|| driver.go_on.load(Relaxed));
    }
    driver.left.count();
    DRIVERS_ANSWER
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn cdev_ioctl(
    dev: *mut bindings::mpath_device,
    open_for_write: bool,
    _cmd: c_uint,
    arg: c_ulong,
) -> c_int {
    // SAFETY: The path is on a head of this driver's.
    let driver = unsafe { Driver::of((*dev).head) };

    driver.last_arg.store(arg, Relaxed);
    driver.entered.count();
    DRIVERS_ANSWER + c_int::from(open_for_write)
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn cdev_uring_cmd(
    _dev: *mut bindings::mpath_device,
    _ioucmd: *mut bindings::io_uring_cmd,
    issue_flags: c_uint,
) -> c_int {
    issue_flags as c_int
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn ioctl_begin(dev: *mut bindings::mpath_device, cmd: c_uint) -> *mut c_void {
    if cmd != LONG {
        return core::ptr::null_mut();
    }
    // SAFETY: The path is on a head of this driver's. The reference is the handle's.
    unsafe { (*(*dev).head).drvdata }
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn ioctl_handle(
    handle: *mut c_void,
    open_for_write: bool,
    _cmd: c_uint,
    arg: c_ulong,
) -> c_int {
    // SAFETY: From `ioctl_begin()`; the test keeps the driver.
    let driver = unsafe { &*handle.cast::<Driver>() };

    driver.last_arg.store(arg, Relaxed);
    driver.entered.count();
    eventually(|| driver.go_on.load(Relaxed));
    driver.left.count();
    HANDLES_ANSWER + c_int::from(open_for_write)
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn get_unique_id(
    _dev: *mut bindings::mpath_device,
    id: *mut u8,
    _kind: bindings::blk_unique_id,
) -> c_int {
    // SAFETY: There is room for 16 bytes.
    unsafe { id.write(b'x') };
    DRIVERS_ANSWER
}

/// # Safety
///
/// `data` is an integer.
unsafe extern "C" fn add_one(_dev: *mut bindings::mpath_device, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { *data.cast::<i32>() += 1 };
    DRIVERS_ANSWER
}

/// A head whose driver has all its callbacks.
fn head_of_a_full_driver() -> Result<Arc<TestHead>> {
    let head = TestHead::new(Setup {
        partitions: true,
        template: |template| {
            template.bdev_ioctl = Some(bdev_ioctl);
            template.cdev_ioctl = Some(cdev_ioctl);
            template.cdev_uring_cmd = Some(cdev_uring_cmd);
            template.get_unique_id = Some(get_unique_id);
        },
        ..Setup::default()
    })?;

    Ok(Arc::new(head, GFP_KERNEL)?)
}

/// A head whose driver wants handles for long ioctls.
fn head_of_a_driver_with_handles() -> Result<Arc<TestHead>> {
    let head = TestHead::new(Setup {
        template: |template| {
            template.cdev_ioctl = Some(cdev_ioctl);
            template.ioctl_begin = Some(ioctl_begin);
            template.ioctl_handle = Some(ioctl_handle);
        },
        ..Setup::default()
    })?;

    Ok(Arc::new(head, GFP_KERNEL)?)
}

/// A path that shows a partition, on a head whose disk may have some.
fn partitioned(head: &TestHead, options: Options) -> Result<Arc<FakePath>> {
    let path = FakePath::new(options)?;

    path.show_a_partition();
    path.add(head)?;
    path.go_live();
    head.settle();
    Ok(path)
}

/// The operations of a head's disk, called as the block layer does.
struct Operations<'a>(&'a TestHead);

impl Operations<'_> {
    fn fops(&self) -> &bindings::block_device_operations {
        // SAFETY: The head's disk is there.
        unsafe { &*(*self.0.disk()).fops }
    }

    fn ioctl_on(&self, bdev: *mut bindings::block_device, cmd: c_uint, arg: c_ulong) -> i32 {
        self.fops().ioctl.map_or(0, |op| {
            // SAFETY: The block device is the disk or a partition of it.
            unsafe { op(bdev, WRITABLE, cmd, arg) }
        })
    }

    fn ioctl(&self, cmd: c_uint) -> i32 {
        self.ioctl_on(self.0.bdev(), cmd, 0)
    }

    fn compat_ioctl(&self, cmd: c_uint, arg: c_ulong) -> i32 {
        self.fops().compat_ioctl.map_or(0, |op| {
            // SAFETY: The block device is the disk.
            unsafe { op(self.0.bdev(), READ_ONLY, cmd, arg) }
        })
    }

    fn getgeo(&self) -> i32 {
        // SAFETY: The paths here do not look at the geometry.
        (self.fops().getgeo).map_or(0, |op| unsafe { op(self.0.disk(), core::ptr::null_mut()) })
    }

    fn unique_id(&self) -> i32 {
        let mut id = [0u8; 16];

        // SAFETY: There is room for 16 bytes.
        (self.fops().get_unique_id).map_or(0, |op| unsafe { op(self.0.disk(), id.as_mut_ptr(), 0) })
    }

    fn report_zones(&self) -> i32 {
        // SAFETY: The paths here do not look at the arguments.
        (self.fops().report_zones).map_or(0, |op| unsafe {
            op(self.0.disk(), 0, 1, core::ptr::null_mut())
        })
    }

    fn reservations(&self) -> &bindings::pr_ops {
        // SAFETY: Heads here have them.
        unsafe { &*self.fops().pr_ops.cast() }
    }

    fn pr_clear(&self, bdev: *mut bindings::block_device) -> i32 {
        // SAFETY: The block device is the disk or a partition of it.
        (self.reservations().pr_clear).map_or(0, |op| unsafe { op(bdev, 1) })
    }

    fn pr_reserve(&self) -> i32 {
        // SAFETY: The block device is the disk.
        (self.reservations().pr_reserve).map_or(0, |op| unsafe { op(self.0.bdev(), 1, 1, 0) })
    }

    fn cdev_ioctl(&self, open_for_write: bool, cmd: c_uint, arg: c_ulong) -> i32 {
        // SAFETY: The head is there.
        unsafe { ffi::mpath_cdev_ioctl(self.0.as_raw(), open_for_write, cmd, arg) }
    }

    fn uring_cmd(&self, issue_flags: c_uint) -> i32 {
        // SAFETY: The head is there; the driver here does not look at the command.
        unsafe { ffi::mpath_cdev_uring_cmd(self.0.as_raw(), core::ptr::null_mut(), issue_flags) }
    }
}

#[kunit_tests(mpath_forward)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_carried_out_on_the_chosen_path() -> Result {
        let head = TestHead::new(Setup::default())?;
        let slow = head.path_with(Options {
            access: AccessState::NonOptimized,
            ..Options::default()
        })?;
        let path = head.path()?;
        let ops = Operations(&head);

        check_eq!(ops.ioctl(SHORT), ANSWER);
        check_eq!(ops.getgeo(), ANSWER);
        check_eq!(ops.unique_id(), ANSWER);
        check_eq!(ops.report_zones(), ANSWER);
        check_eq!(ops.pr_clear(head.bdev()), ANSWER);
        check_eq!(path.operations.get(), 5);
        check_eq!(slow.operations.get(), 0);
        // SAFETY: The path's disk is there.
        check!(path.last_bdev.load(Relaxed) == unsafe { (*path.disk()).part0 });
        Ok(())
    }

    /// Shows L-35.
    #[test]
    fn operations_that_a_path_lacks_have_their_errors() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _path = head.path_with(Options {
            operations: false,
            ..Options::default()
        })?;
        let ops = Operations(&head);

        check_eq!(ops.ioctl(SHORT), ENOTTY.to_errno());
        check_eq!(ops.compat_ioctl(SHORT, 0), ENOTTY.to_errno());
        check_eq!(ops.getgeo(), ENOTTY.to_errno());
        check_eq!(ops.unique_id(), 0);
        check_eq!(ops.report_zones(), EOPNOTSUPP.to_errno());
        check_eq!(ops.pr_clear(head.bdev()), EOPNOTSUPP.to_errno());
        check_eq!(ops.cdev_ioctl(true, SHORT, 0), ENOTTY.to_errno());
        check_eq!(ops.uring_cmd(0), EOPNOTSUPP.to_errno());
        Ok(())
    }

    /// Shows L-35.
    #[test]
    fn a_reservation_that_a_path_lacks_is_not_supported() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check_eq!(Operations(&head).pr_reserve(), EOPNOTSUPP.to_errno());
        check_eq!(path.operations.get(), 0);
        Ok(())
    }

    /// Shows A-8.
    #[test]
    fn operations_of_the_character_device_find_no_path_without_a_disk() -> Result {
        let head = TestHead::new(Setup {
            disk: false,
            template: |template| {
                template.cdev_ioctl = Some(cdev_ioctl);
                template.cdev_uring_cmd = Some(cdev_uring_cmd);
            },
            ..Setup::default()
        })?;
        let path = FakePath::new(Options::default())?;
        let ops = Operations(&head);

        path.add(&head)?;
        path.enable(NOT_READY);
        path.set_access(AccessState::Optimized);
        check_eq!(ops.cdev_ioctl(true, SHORT, 0), would_block());
        check_eq!(ops.uring_cmd(99), EINVAL.to_errno());
        check_eq!(head.driver().entered.get(), 0);
        Ok(())
    }

    /// Shows L-35.
    #[test]
    fn operations_without_a_usable_path_have_their_errors() -> Result {
        let head = head_of_a_full_driver()?;
        let path = head.path()?;
        let ops = Operations(&head);
        let mut count = 0;

        for make_unusable in [
            |path: &FakePath| path.disable(NOT_READY),
            |path: &FakePath| path.port().set(PortState::Recovering),
        ] {
            make_unusable(&path);
            check_eq!(ops.ioctl(SHORT), would_block());
            check_eq!(ops.compat_ioctl(SHORT, 0), would_block());
            check_eq!(ops.getgeo(), would_block());
            check_eq!(ops.unique_id(), would_block());
            check_eq!(ops.report_zones(), would_block());
            check_eq!(ops.pr_clear(head.bdev()), would_block());
            check_eq!(ops.cdev_ioctl(true, SHORT, 0), would_block());
            check_eq!(ops.uring_cmd(0), EINVAL.to_errno());
            // SAFETY: The head is there; the callback expects the counter.
            let result = unsafe {
                ffi::mpath_call_for_device(head.as_raw(), Some(add_one), (&raw mut count).cast())
            };
            check_eq!(result, would_block());
        }
        check_eq!(count, 0);
        check_eq!(path.operations.get(), 0);
        check_eq!(head.driver().entered.get(), 0);
        Ok(())
    }

    #[test]
    fn a_function_is_called_for_the_chosen_path() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _path = head.path()?;
        let mut count = 0;

        // SAFETY: The head is there; the callback expects the counter.
        let result = unsafe {
            ffi::mpath_call_for_device(head.as_raw(), Some(add_one), (&raw mut count).cast())
        };
        check_eq!(result, DRIVERS_ANSWER);
        check_eq!(count, 1);
        Ok(())
    }

    #[test]
    fn the_drivers_own_operations_come_first() -> Result {
        let head = head_of_a_full_driver()?;
        let path = head.path()?;
        let ops = Operations(&head);

        check_eq!(ops.ioctl(SHORT), DRIVERS_ANSWER);
        check_eq!(ops.unique_id(), DRIVERS_ANSWER);
        check_eq!(ops.cdev_ioctl(false, SHORT, 5), DRIVERS_ANSWER);
        check_eq!(head.driver().last_arg.load(Relaxed), 5);
        check_eq!(ops.cdev_ioctl(true, SHORT, 6), DRIVERS_ANSWER + 1);
        check_eq!(ops.uring_cmd(99), 99);
        check_eq!(path.operations.get(), 0);
        Ok(())
    }

    /// Shows L-36.
    #[test]
    fn compat_ioctls_reach_the_compat_operation() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check_eq!(Operations(&head).compat_ioctl(SHORT, 0), COMPAT_ANSWER);
        check_eq!(path.operations.get(), 1);
        Ok(())
    }

    /// Shows L-36.
    #[test]
    fn compat_ioctls_reach_the_driver_with_a_whole_pointer() -> Result {
        const ARG: c_ulong = 0xdead_8765_4321;
        let head = head_of_a_full_driver()?;
        let _path = head.path()?;

        check_eq!(Operations(&head).compat_ioctl(SHORT, ARG), DRIVERS_ANSWER);
        let arg = head.driver().last_arg.load(Relaxed);
        // SAFETY: The helper only calculates.
        check!(arg == unsafe { bindings::mpath_helper_compat_ptr(ARG) });
        Ok(())
    }

    /// Shows L-37.
    #[test]
    fn an_ioctl_on_a_partition_is_the_drivers_or_refused() -> Result {
        let head = TestHead::new(Setup {
            partitions: true,
            ..Setup::default()
        })?;
        let path = partitioned(&head, Options::default())?;
        let partition = head.partition();

        check!(!partition.is_null());
        let ops = Operations(&head);
        check_eq!(ops.ioctl_on(partition, SHORT, 0), ENOTTY.to_errno());
        check_eq!(path.operations.get(), 0);

        let head = head_of_a_full_driver()?;
        let _path = partitioned(&head, Options::default())?;
        let partition = head.partition();
        check!(!partition.is_null());
        let ops = Operations(&head);
        check_eq!(ops.ioctl_on(partition, SHORT, 0), DRIVERS_ANSWER);
        check!(head.driver().last_bdev.load(Relaxed) == partition);
        Ok(())
    }

    /// Shows L-32.
    #[test]
    fn a_reservation_through_a_partition_is_one_of_the_paths_whole_disk() -> Result {
        let head = TestHead::new(Setup {
            partitions: true,
            ..Setup::default()
        })?;
        let path = partitioned(&head, Options::default())?;
        let partition = head.partition();

        check!(!partition.is_null());
        check_eq!(Operations(&head).pr_clear(partition), ANSWER);
        // SAFETY: The path's disk is there.
        check!(path.last_bdev.load(Relaxed) == unsafe { (*path.disk()).part0 });
        Ok(())
    }

    #[test]
    fn every_path_is_called_whether_it_can_be_used_or_not_until_one_fails() -> Result {
        let head = TestHead::new(Setup::default())?;
        let paths = [head.path()?, head.path()?, head.path()?];
        let mut visit = Visit::default();
        let call = |visit: &mut Visit| {
            // SAFETY: The callback gets the data that it expects.
            unsafe {
                ffi::mpath_call_for_all_devices(
                    head.as_raw(),
                    Some(visit_one),
                    core::ptr::from_mut(visit).cast(),
                )
            }
        };

        paths[0].disable(NOT_READY);
        paths[1].port().set(PortState::Dead);
        check_eq!(call(&mut visit), 0);
        check_eq!(visit.seen, 3);
        visit = Visit {
            seen: 0,
            fails_at: 2,
        };
        check_eq!(call(&mut visit), ANSWER);
        check_eq!(visit.seen, 2);

        paths.iter().for_each(|path| {
            path.remove();
        });
        visit = Visit::default();
        check_eq!(call(&mut visit), 0);
        check_eq!(visit.seen, 0);
        Ok(())
    }

    /// Shows L-30.
    #[test]
    fn an_ioctl_on_a_handle_does_not_keep_the_path() -> Result {
        let head = head_of_a_driver_with_handles()?;
        let path = head.path()?;
        let caller = {
            let head = head.clone();

            Thread::spawn(move || Operations(&head).ioctl_on(head.bdev(), LONG, 7))?
        };
        let driver = head.driver().clone();

        check!(eventually(|| driver.entered.get() == 1));
        let remover = {
            let path = path.clone();

            Thread::spawn(move || path.remove())?
        };
        let removed = eventually(|| remover.is_done());
        driver.go_on.store(true, Relaxed);
        check!(removed);
        check_eq!(caller.join()?, HANDLES_ANSWER + 1);
        check_eq!(driver.last_arg.load(Relaxed), 7);
        check_eq!(path.operations.get(), 0);
        Ok(())
    }

    #[test]
    fn an_ioctl_that_is_short_has_no_handle() -> Result {
        let head = head_of_a_driver_with_handles()?;
        let path = head.path()?;
        let ops = Operations(&head);

        check_eq!(ops.ioctl(SHORT), ANSWER);
        check_eq!(path.operations.get(), 1);
        check_eq!(ops.cdev_ioctl(false, SHORT, 0), DRIVERS_ANSWER);
        head.driver().go_on.store(true, Relaxed);
        check_eq!(ops.cdev_ioctl(false, LONG, 0), HANDLES_ANSWER);
        check_eq!(ops.cdev_ioctl(true, LONG, 0), HANDLES_ANSWER + 1);
        check_eq!(head.driver().left.get(), 2);
        Ok(())
    }

    /// Shows L-30.
    #[test]
    fn an_ioctl_inside_a_section_keeps_the_path() -> Result {
        let head = head_of_a_full_driver()?;
        let path = head.path()?;
        let driver = head.driver().clone();
        let caller = {
            let head = head.clone();

            Thread::spawn(move || Operations(&head).ioctl(LONG))?
        };

        check!(eventually(|| driver.entered.get() == 1));
        let was_usable = path.engine().state().load();
        let remover = {
            let (path, driver) = (path.clone(), driver.clone());

            Thread::spawn(move || {
                path.remove();
                driver.left.get()
            })?
        };
        let begun = eventually(|| path.engine().state().load() != was_usable);
        driver.go_on.store(true, Relaxed);
        check!(begun);
        // When the path was gone, the driver had left.
        check_eq!(remover.join()?, 1);
        check_eq!(caller.join()?, DRIVERS_ANSWER);
        Ok(())
    }
}
