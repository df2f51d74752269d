// SPDX-License-Identifier: GPL-2.0

//! The C face: the functions that `include/linux/multipath.h` declares and documents. Each converts
//! its arguments and calls the engine.
//!
//! Safety: C calls every function here according to that header. A `SAFETY` comment that says "by
//! the header" relies on that.

use crate::bindings;
use crate::bindings::{
    blk_mode_t,
    blk_unique_id,
    block_device,
    gendisk,
    mpath_device,
    mpath_head,
    mpath_head_template,
    mpath_iopolicy,
    mpath_port, //
};
use crate::compat::EOPNOTSUPP;
use crate::engine::fence::Fence;
use crate::engine::group::Group;
use crate::engine::head::MpathHead;
use crate::engine::membership::synchronize_submitters;
use crate::engine::misuse::misuse;
use crate::engine::ops::{
    to_int,
    Ioctl,
    Ops, //
};
use crate::engine::path::{
    MpathDevice,
    MpathPort, //
};
use crate::engine::submit::{
    failovers,
    PATH_FAILED, //
};
use crate::engine::sysfs::GROUP_NAME;
use crate::pure::parking::Kick;
use crate::pure::policy::IoPolicy;
use crate::pure::state::{
    AccessState,
    HeadState,
    PortState,
    Reasons, //
};
use crate::wrap::bio::{
    Bio,
    Returned, //
};
use crate::wrap::disk::{
    Disk,
    Parent, //
};
use crate::wrap::node_slots;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::ffi::{
    c_char,
    c_int,
    c_uint,
    c_ulong,
    c_void, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::task::might_sleep;

/// Defines a function for C, and checks that C declares it so.
macro_rules! export {
    ($(
        unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block
    )*) => {$(
        /// See `include/linux/multipath.h`.
        ///
        /// # Safety
        ///
        /// As the header says.
        #[no_mangle]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $ret)? $body

        const _: () = {
            // This compiles only if both have the same type.
            let _ = [bindings::$name, $name];
        };
    )*};
}

/// The fence behind a C pointer, if there is one.
///
/// # Safety
///
/// `fence` is null or came from [`Fence::new`], and the caller is a user of it for `'a`.
unsafe fn to_fence<'a>(fence: *mut bindings::mpath_fence) -> Option<&'a Fence> {
    // SAFETY: By this function's contract.
    unsafe { fence.cast::<Fence>().as_ref() }
}

export! {
    unsafe fn mpath_port_init(port: *mut mpath_port) -> c_int {
        // SAFETY: By the header nobody uses the port.
        to_int(unsafe { MpathPort::init(port) })
    }

    unsafe fn mpath_port_init_sharing(port: *mut mpath_port, other: *mut mpath_port) -> c_int {
        // SAFETY: By the header nobody uses the port, and the other one outlives it.
        to_int(unsafe { MpathPort::init_sharing(port, other) })
    }

    unsafe fn mpath_port_exit(port: *mut mpath_port) {
        // SAFETY: By the header no path goes through the port.
        unsafe { MpathPort::exit(port) }
    }

    unsafe fn mpath_port_in_flight(port: *mut mpath_port) -> c_uint {
        // SAFETY: By the header.
        unsafe { MpathPort::from_raw(port) }.in_flight()
    }

    unsafe fn mpath_port_set_state(port: *mut mpath_port, state: bindings::mpath_port_state) {
        if state > PortState::Live as u32 {
            misuse("a port is set to a state that there is not: it is dead");
        }
        // SAFETY: By the header.
        unsafe { MpathPort::from_raw(port) }.set_state(PortState::from_raw(state));
    }

    unsafe fn mpath_port_set_name(port: *mut mpath_port, name: *const c_char) {
        // SAFETY: By the header.
        unsafe { MpathPort::from_raw(port) }.set_name(name);
    }

    unsafe fn mpath_iopolicy_init(
        iopolicy: *mut mpath_iopolicy,
        policy: bindings::mpath_iopolicy_e,
        supported: c_uint,
    ) -> c_int {
        // SAFETY: By the header.
        to_int(unsafe { Group::init(iopolicy, IoPolicy::from_raw(policy), supported) })
    }

    unsafe fn mpath_iopolicy_parse(name: *const c_char) -> c_int {
        // SAFETY: By the header a string.
        let name = unsafe { CStr::from_char_ptr(name) };

        match IoPolicy::parse(name.to_bytes()) {
            Some(policy) => policy as c_int,
            None => EINVAL.to_errno(),
        }
    }

    unsafe fn mpath_iopolicy_name(policy: bindings::mpath_iopolicy_e) -> *const c_char {
        match IoPolicy::from_raw(policy) {
            Some(IoPolicy::Numa) => c"numa",
            Some(IoPolicy::RoundRobin) => c"round-robin",
            Some(IoPolicy::QueueDepth) => c"queue-depth",
            None => c"unknown",
        }
        .as_char_ptr()
    }

    unsafe fn mpath_iopolicy_set(
        iopolicy: *mut mpath_iopolicy,
        policy: bindings::mpath_iopolicy_e,
    ) -> c_int {
        // SAFETY: By the header.
        let set = unsafe { Group::initialised(iopolicy) }
            .and_then(|group| group.set(IoPolicy::from_raw(policy).ok_or(EINVAL)?));

        match set {
            Ok(old) => old as c_int,
            Err(error) => error.to_errno(),
        }
    }

    unsafe fn mpath_alloc_head(
        mpdt: *const mpath_head_template,
        iopolicy: *mut mpath_iopolicy,
        drvdata: *mut c_void,
    ) -> *mut mpath_head {
        // SAFETY: By the header.
        let head = unsafe { Ops::new(mpdt) }.and_then(|ops| {
            let group = NonNull::new(iopolicy).ok_or(EINVAL)?;

            // SAFETY: By the header.
            unsafe {
                Group::initialised(iopolicy)?;
                MpathHead::new(ops, group, drvdata, node_slots::map())
            }
        });

        match head {
            Ok(head) => ARef::into_raw(head).cast().as_ptr(),
            Err(error) => error.to_ptr(),
        }
    }

    unsafe fn mpath_head_iopolicy(head: *mut mpath_head) -> *mut mpath_iopolicy {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.group().as_raw()
    }

    unsafe fn mpath_get_head(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.get_for_driver()
    }

    unsafe fn mpath_tryget_head(head: *mut mpath_head) -> bool {
        // SAFETY: By the header the memory is there.
        unsafe { MpathHead::from_raw(head) }.tryget_for_driver()
    }

    unsafe fn mpath_put_head(head: *mut mpath_head) {
        might_sleep();
        // SAFETY: By the header.
        unsafe { MpathHead::put_for_driver(NonNull::new_unchecked(head).cast()) }
    }

    unsafe fn mpath_alloc_head_disk(
        head: *mut mpath_head,
        lim: *mut bindings::queue_limits,
        parent: *mut bindings::device,
        numa_node: c_int,
    ) -> c_int {
        // SAFETY: By the header.
        to_int(unsafe {
            MpathHead::from_raw(head).alloc_disk(lim, Parent::get(parent), numa_node)
        })
    }

    unsafe fn mpath_try_remove_head(head: *mut mpath_head) -> bool {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.try_remove()
    }

    unsafe fn mpath_remove_head(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.remove()
    }

    unsafe fn mpath_head_devices_empty(head: *mut mpath_head) -> bool {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.paths.is_empty()
    }

    unsafe fn mpath_head_is_live(head: *mut mpath_head) -> bool {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.word.load().state() == HeadState::Live
    }

    unsafe fn mpath_head_queue_if_no_path(head: *mut mpath_head) -> bool {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.word.load().queue_if_no_path()
    }

    unsafe fn mpath_set_delayed_removal_secs(head: *mut mpath_head, secs: c_uint) {
        // SAFETY: By the header.
        if unsafe { MpathHead::from_raw(head) }.set_removal_delay(secs).is_err() {
            misuse("a removal delay is set by a driver without remove_head: it is ignored");
        }
    }

    unsafe fn mpath_synchronize(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.synchronize()
    }

    unsafe fn mpath_synchronize_submitters() {
        synchronize_submitters();
    }

    unsafe fn mpath_kick_requeue(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.kick()
    }

    unsafe fn mpath_add_device(
        dev: *mut mpath_device,
        head: *mut mpath_head,
        disk: *mut gendisk,
        port: *mut mpath_port,
        numa_node: c_int,
    ) -> c_int {
        // SAFETY: By the header the driver keeps all of them.
        to_int(unsafe { MpathHead::from_raw(head).add_path(dev, disk, port, numa_node) })
    }

    unsafe fn mpath_quiesce_device(dev: *mut mpath_device) {
        // SAFETY: By the header.
        if let Some(path) = unsafe { MpathDevice::added(dev) } {
            path.head().quiesce(path);
        }
    }

    unsafe fn mpath_delete_device(dev: *mut mpath_device) -> bool {
        // SAFETY: By the header.
        unsafe { MpathDevice::added(dev) }.is_some_and(|path| path.head().delete_path(path))
    }

    unsafe fn mpath_remove_device(
        dev: *mut mpath_device,
        stop: Option<unsafe extern "C" fn(*mut mpath_device)>,
    ) -> bool {
        // SAFETY: By the header.
        unsafe { MpathDevice::added(dev) }.is_some_and(|path| {
            path.head().take_apart(path, || {
                if let Some(stop) = stop {
                    // SAFETY: The callback gets the path that it is for.
                    unsafe { stop(dev) }
                }
            })
        })
    }

    unsafe fn mpath_enable_device(dev: *mut mpath_device, reason: c_uint) {
        // SAFETY: By the header.
        if let Some(path) = unsafe { MpathDevice::added(dev) } {
            path.head().enable(path, reasons(reason));
        }
    }

    unsafe fn mpath_disable_device(dev: *mut mpath_device, reason: c_uint) {
        // SAFETY: By the header.
        if let Some(path) = unsafe { MpathDevice::added(dev) } {
            path.head().disable(path, reasons(reason));
        }
    }

    unsafe fn mpath_device_set_access_state(
        dev: *mut mpath_device,
        state: bindings::mpath_access_state,
    ) {
        // SAFETY: By the header.
        let Some(path) = (unsafe { MpathDevice::added(dev) }) else {
            return;
        };

        if state > AccessState::Other as u32 {
            misuse("a path is set to an access state that there is not: it is not used");
        }
        path.head().set_access_state(path, AccessState::from_raw(state))
    }

    unsafe fn mpath_device_set_numa_node(dev: *mut mpath_device, numa_node: c_int) {
        // SAFETY: By the header.
        let Some(path) = (unsafe { MpathDevice::added(dev) }) else {
            return;
        };

        match node_slots::check(numa_node) {
            Ok(()) => path.set_numa_node(numa_node),
            Err(_) => misuse("a path is set to a node that there is not: it stays where it is"),
        }
    }

    unsafe fn mpath_device_set_live(dev: *mut mpath_device) -> c_int {
        // SAFETY: By the header.
        let path = unsafe { MpathDevice::added(dev) };

        to_int(path.ok_or(EINVAL).and_then(|path| path.head().set_live(path)))
    }

    unsafe fn mpath_clear_current_path(dev: *mut mpath_device) -> bool {
        // SAFETY: By the header.
        unsafe { MpathDevice::added(dev) }.is_some_and(|path| {
            let head = path.head();
            let was_listed = head.read().inside().lists(path);

            head.shortlist.generation().add();
            was_listed
        })
    }

    unsafe fn mpath_clear_paths(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.shortlist.generation().add()
    }

    unsafe fn mpath_revalidate_paths(head: *mut mpath_head) {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.revalidate()
    }

    unsafe fn mpath_catch_up(dev: *mut mpath_device, counted: u16) {
        // SAFETY: By the header the path has been added, and is on its head.
        unsafe { MpathDevice::from_raw(dev) }.head().catch_up(counted)
    }

    unsafe fn mpath_failover(dev: *mut mpath_device, bios: *mut bindings::bio_list) {
        // SAFETY: By the header.
        unsafe { mpath_failover_fenced(dev, bios, null_mut()) }
    }

    unsafe fn mpath_failover_fenced(
        dev: *mut mpath_device,
        bios: *mut bindings::bio_list,
        fence: *mut bindings::mpath_fence,
    ) {
        // SAFETY: By the header; the list gives its bios up.
        unsafe {
            if let (Some(path), bios) = (MpathDevice::added(dev), Returned::from_raw(bios)) {
                path.head().failover(path, bios, 0, to_fence(fence));
            }
        }
    }

    unsafe fn mpath_failover_request(
        dev: *mut mpath_device,
        rq: *mut bindings::request,
        status: bindings::blk_status_t,
    ) -> bindings::blk_status_t {
        // SAFETY: By the header.
        unsafe { mpath_failover_request_fenced(dev, rq, status, null_mut()) }
    }

    unsafe fn mpath_failover_request_fenced(
        dev: *mut mpath_device,
        rq: *mut bindings::request,
        status: bindings::blk_status_t,
        fence: *mut bindings::mpath_fence,
    ) -> bindings::blk_status_t {
        // SAFETY: By the header; the request is the driver's, and so are its bios.
        let failed_over = unsafe {
            MpathDevice::added(dev).is_some_and(|path| {
                path.head()
                    .failover_request(path, rq, status, to_fence(fence))
            })
        };

        if failed_over { 0 } else { PATH_FAILED }
    }

    unsafe fn mpath_fence_alloc() -> *mut bindings::mpath_fence {
        Fence::new(Fence::LIMIT_MSECS).map_or(null_mut(), |fence| fence.as_ptr().cast())
    }

    unsafe fn mpath_fence_get(fence: *mut bindings::mpath_fence) {
        // SAFETY: By the header.
        if let Some(fence) = unsafe { to_fence(fence) } {
            fence.get();
        }
    }

    unsafe fn mpath_fence_put(fence: *mut bindings::mpath_fence) {
        // SAFETY: By the header.
        unsafe {
            if let Some(fence) = to_fence(fence) {
                fence.put();
            }
        }
    }

    unsafe fn mpath_fence_start(fence: *mut bindings::mpath_fence, msecs: c_uint) {
        // SAFETY: By the header.
        if let Some(fence) = unsafe { to_fence(fence) } {
            fence.start(msecs);
        }
    }

    unsafe fn mpath_fence_open(fence: *mut bindings::mpath_fence) {
        // SAFETY: By the header.
        if let Some(fence) = unsafe { to_fence(fence) } {
            fence.open();
        }
    }

    unsafe fn mpath_fence_held(fence: *mut bindings::mpath_fence) -> c_uint {
        // SAFETY: By the header.
        unsafe { to_fence(fence) }.map_or(0, Fence::held)
    }

    unsafe fn mpath_fence_msecs_left(fence: *mut bindings::mpath_fence) -> c_uint {
        // SAFETY: By the header.
        unsafe { to_fence(fence) }.map_or(0, |fence| fence.msecs_left().unwrap_or(u32::MAX))
    }

    unsafe fn mpath_bio_failovers(bio: *const bindings::bio) -> c_uint {
        // SAFETY: By the header the caller has the bio from its path.
        unsafe { failovers(bio.cast_mut()) }
    }

    unsafe fn mpath_call_for_device(
        head: *mut mpath_head,
        cb: Option<unsafe extern "C" fn(*mut mpath_device, *mut c_void) -> c_int>,
        data: *mut c_void,
    ) -> c_int {
        let Some(cb) = cb else {
            return EINVAL.to_errno();
        };

        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head).on_path(|path| cb(path.as_raw(), data)) }
    }

    unsafe fn mpath_call_for_all_devices(
        head: *mut mpath_head,
        cb: Option<unsafe extern "C" fn(*mut mpath_device, *mut c_void) -> c_int>,
        data: *mut c_void,
    ) -> c_int {
        let Some(cb) = cb else {
            return EINVAL.to_errno();
        };

        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head).on_every_path(|path| cb(path.as_raw(), data)) }
    }

    unsafe fn mpath_cdev_ioctl(
        head: *mut mpath_head,
        open_for_write: bool,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        // SAFETY: By the header.
        let head = unsafe { MpathHead::from_raw(head) };
        let ioctl = Ioctl { open_for_write, cmd, arg };

        head.ioctl(ioctl, |path| head.ops.cdev_ioctl(path, ioctl))
    }

    unsafe fn mpath_cdev_uring_cmd(
        head: *mut mpath_head,
        ioucmd: *mut bindings::io_uring_cmd,
        issue_flags: c_uint,
    ) -> c_int {
        // SAFETY: By the header.
        let head = unsafe { MpathHead::from_raw(head) };

        // SAFETY: By the header.
        let run = |path: &_| unsafe { head.ops.cdev_uring_cmd(path, ioucmd, issue_flags) };
        head.run_on_path(run).unwrap_or(EINVAL.to_errno())
    }

    unsafe fn mpath_bdev_submit_bio(bio: *mut bindings::bio) {
        // SAFETY: The block layer hands over a bio of a disk whose operations are a head's.
        unsafe { MpathHead::of_disk((*(*bio).bi_bdev).bd_disk).submit(Bio::from_raw(bio)) }
    }

    unsafe fn mpath_bdev_open(disk: *mut gendisk, _mode: blk_mode_t) -> c_int {
        // SAFETY: The block layer passes a head's disk.
        match unsafe { MpathHead::of_disk(disk) }.tryget() {
            Some(head) => {
                // Dropped by `mpath_bdev_release()`.
                ARef::into_raw(head);
                0
            }
            None => ENXIO.to_errno(),
        }
    }

    unsafe fn mpath_bdev_release(disk: *mut gendisk) {
        // SAFETY: The block layer passes a head's disk, and `mpath_bdev_open()` took the reference.
        drop(unsafe { ARef::from_raw(NonNull::from(MpathHead::of_disk(disk))) })
    }

    unsafe fn mpath_bdev_ioctl(
        bdev: *mut block_device,
        mode: blk_mode_t,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        // SAFETY: By the header.
        unsafe { bdev_ioctl(bdev, mode, cmd, arg, |disk| disk.fops().ioctl) }
    }

    unsafe fn mpath_bdev_compat_ioctl(
        bdev: *mut block_device,
        mode: blk_mode_t,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_int {
        // SAFETY: By the header; the helper extends a pointer of a compat task.
        unsafe {
            let arg = bindings::mpath_helper_compat_ptr(arg);

            bdev_ioctl(bdev, mode, cmd, arg, |disk| disk.fops().compat_ioctl)
        }
    }

    unsafe fn mpath_bdev_getgeo(disk: *mut gendisk, geo: *mut bindings::hd_geometry) -> c_int {
        // SAFETY: By the header.
        unsafe { MpathHead::of_disk(disk) }.on_path(|path| match path.disk().fops().getgeo {
            // SAFETY: The operation gets its own disk; `geo` by the header.
            Some(getgeo) => unsafe { getgeo(path.disk().as_raw(), geo) },
            None => ENOTTY.to_errno(),
        })
    }

    unsafe fn mpath_bdev_get_unique_id(
        disk: *mut gendisk,
        id: *mut u8,
        kind: blk_unique_id,
    ) -> c_int {
        // SAFETY: By the header.
        let head = unsafe { MpathHead::of_disk(disk) };

        head.on_path(|path| {
            // SAFETY: `id` by the header.
            if let Some(result) = unsafe { head.ops.get_unique_id(path, id, kind) } {
                return result;
            }
            match path.disk().fops().get_unique_id {
                // SAFETY: The operation gets its own disk; `id` by the header.
                Some(get_unique_id) => unsafe { get_unique_id(path.disk().as_raw(), id, kind) },
                None => 0,
            }
        })
    }

    unsafe fn mpath_bdev_report_zones(
        disk: *mut gendisk,
        sector: bindings::sector_t,
        nr_zones: c_uint,
        args: *mut bindings::blk_report_zones_args,
    ) -> c_int {
        // SAFETY: By the header.
        unsafe { MpathHead::of_disk(disk) }.on_path(|path| match path.disk().fops().report_zones {
            // SAFETY: The operation gets its own disk; `args` by the header.
            Some(report_zones) => unsafe {
                report_zones(path.disk().as_raw(), sector, nr_zones, args)
            },
            None => EOPNOTSUPP.to_errno(),
        })
    }

    unsafe fn mpath_add_sysfs_links(head: *mut mpath_head) {
        // SAFETY: By the header.
        let head = unsafe { MpathHead::from_raw(head) };

        if head.may_wait() {
            head.link_paths(&head.bring_up.lock());
        }
    }

    unsafe fn mpath_remove_sysfs_link(dev: *mut mpath_device) {
        // SAFETY: By the header.
        if let Some(path) = unsafe { MpathDevice::added(dev) } {
            path.head().unlink_path(path);
        }
    }

    unsafe fn mpath_numa_nodes_show(dev: *mut mpath_device, buf: *mut c_char) -> isize {
        // SAFETY: By the header.
        unsafe { MpathDevice::added(dev).map_or(0, |path| path.head().show_nodes(path, buf)) }
    }

    unsafe fn mpath_delayed_removal_secs_show(head: *mut mpath_head, buf: *mut c_char) -> isize {
        // SAFETY: By the header.
        let secs = unsafe { MpathHead::from_raw(head) }.control.lock().removal.delay_secs();

        // SAFETY: By the header.
        unsafe { bindings::sysfs_emit(buf, c"%u\n".as_char_ptr(), secs) as isize }
    }

    unsafe fn mpath_delayed_removal_secs_store(
        head: *mut mpath_head,
        buf: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: By the header.
        match unsafe { MpathHead::from_raw(head).store_removal_delay(buf) } {
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    unsafe fn mpath_requeue_count(head: *mut mpath_head) -> *mut bindings::atomic_long_t {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.busy.requeued.as_ptr().cast()
    }

    unsafe fn mpath_fail_count(head: *mut mpath_head) -> *mut bindings::atomic_long_t {
        // SAFETY: By the header.
        unsafe { MpathHead::from_raw(head) }.busy.failed.as_ptr().cast()
    }
}

/// The reasons not to use a path that a driver gives.
fn reasons(raw: c_uint) -> Reasons {
    if Reasons::is_foreign(raw) {
        misuse("a path is enabled or disabled for a reason that there is not");
    }
    Reasons::of_driver(raw)
}

type DiskIoctl = unsafe extern "C" fn(*mut block_device, blk_mode_t, c_uint, c_ulong) -> c_int;

/// Carries out an ioctl on a head's disk or on a partition of it: by the driver's callback, or else
/// by `op` of the path's disk. `op` knows nothing of partitions of the head's.
///
/// # Safety
///
/// `bdev` is a head's disk, or a partition of one.
unsafe fn bdev_ioctl(
    bdev: *mut block_device,
    mode: blk_mode_t,
    cmd: c_uint,
    arg: c_ulong,
    op: impl FnOnce(&Disk) -> Option<DiskIoctl>,
) -> c_int {
    const OPEN_FOR_WRITE: blk_mode_t = 1 << 1;

    // SAFETY: By this function's contract.
    let (head, is_whole) = unsafe {
        let disk = (*bdev).bd_disk;

        (MpathHead::of_disk(disk), core::ptr::eq(bdev, (*disk).part0))
    };
    let ioctl = Ioctl {
        open_for_write: mode & OPEN_FOR_WRITE != 0,
        cmd,
        arg,
    };

    head.ioctl(ioctl, |path| {
        if let Some(result) = head.ops.bdev_ioctl(path, bdev, mode, ioctl) {
            return result;
        }
        match op(path.disk()) {
            // SAFETY: The operation gets its own disk.
            Some(op) if is_whole => unsafe { op(path.disk().part0(), mode, cmd, arg) },
            _ => ENOTTY.to_errno(),
        }
    })
}

/// Forwards an operation for persistent reservations to the path's disk, also one that came through
/// a partition of the head's.
macro_rules! forward_pr {
    ($($name:ident: $op:ident($($arg:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(bdev: *mut block_device $(, $arg: $type)*) -> c_int {
            // SAFETY: The block layer passes a head's disk, or a partition of one.
            unsafe { MpathHead::of_disk((*bdev).bd_disk) }.on_path(|path| {
                match path.disk().pr_ops().and_then(|ops| ops.$op) {
                    // SAFETY: The operation gets its own disk.
                    Some(op) => unsafe { op(path.disk().part0() $(, $arg)*) },
                    None => EOPNOTSUPP.to_errno(),
                }
            })
        }
    )*};
}

forward_pr! {
    pr_register: pr_register(old_key: u64, new_key: u64, flags: u32);
    pr_reserve: pr_reserve(key: u64, kind: bindings::pr_type, flags: u32);
    pr_release: pr_release(key: u64, kind: bindings::pr_type);
    pr_preempt: pr_preempt(old_key: u64, new_key: u64, kind: bindings::pr_type, abort: bool);
    pr_clear: pr_clear(key: u64);
    pr_read_keys: pr_read_keys(keys: *mut bindings::pr_keys);
    pr_read_reservation: pr_read_reservation(held: *mut bindings::pr_held_reservation);
}

/// See `include/linux/multipath.h`.
#[no_mangle]
pub static mpath_pr_ops: bindings::pr_ops = bindings::pr_ops {
    pr_register: Some(pr_register),
    pr_reserve: Some(pr_reserve),
    pr_release: Some(pr_release),
    pr_preempt: Some(pr_preempt),
    pr_clear: Some(pr_clear),
    pr_read_keys: Some(pr_read_keys),
    pr_read_reservation: Some(pr_read_reservation),
};

/// Data that C code reads and nobody changes.
#[repr(transparent)]
pub struct Shared<T>(T);

// SAFETY: Its contents are constant, and refer to constants only.
unsafe impl<T> Sync for Shared<T> {}

/// An attribute that is always hidden: sysfs does not ask a group without attributes whether it is
/// visible.
static HIDDEN: Shared<bindings::attribute> = Shared(bindings::attribute {
    name: c"hidden".as_ptr().cast(),
    ..pin_init::zeroed()
});

static ATTRIBUTES: Shared<[*const bindings::attribute; 2]> =
    Shared([&raw const HIDDEN.0, core::ptr::null()]);

/// Hides the attribute everywhere, and the whole directory on disks that are not a head's.
unsafe extern "C" fn is_visible(
    kobj: *mut bindings::kobject,
    _attribute: *mut bindings::attribute,
    _index: c_int,
) -> bindings::umode_t {
    const SYSFS_GROUP_INVISIBLE: bindings::umode_t = 0o20000;

    // SAFETY: sysfs asks with the kobject of a disk's device, which is in its first block device.
    let is_head = unsafe {
        let device = kernel::container_of!(kobj, bindings::device, kobj);
        let part0 = kernel::container_of!(device, block_device, bd_device);

        is_head(&*(*(*part0).bd_disk).fops)
    };

    if is_head {
        0
    } else {
        SYSFS_GROUP_INVISIBLE
    }
}

/// See `include/linux/multipath.h`.
#[no_mangle]
pub static mpath_attr_group: Shared<bindings::attribute_group> =
    Shared(bindings::attribute_group {
        name: GROUP_NAME.as_ptr().cast(),
        __bindgen_anon_1: bindings::attribute_group__bindgen_ty_1 {
            is_visible: Some(is_visible),
        },
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs: (&raw const ATTRIBUTES.0).cast_mut().cast(),
        },
        ..pin_init::zeroed()
    });

/// Are these the operations of a head's disk?
pub(crate) fn is_head(fops: &bindings::block_device_operations) -> bool {
    let submit_bio: unsafe extern "C" fn(*mut bindings::bio) = mpath_bdev_submit_bio;

    fops.submit_bio.map(|op| op as usize) == Some(submit_bio as usize)
}
