// SPDX-License-Identifier: GPL-2.0

//! Paths and heads go, and all that has to go with them does.

use super::check::{
    eventually,
    without_warnings, //
};
use super::driver::{
    Counter,
    FakePolicy,
    Setup,
    TestHead,
    ALL_POLICIES, //
};
use super::fake::{
    Behaviour,
    FakePath,
    Options,
    NOT_READY, //
};
use super::io::{
    Io,
    OK,
    PENDING,
    WRITE, //
};
use super::opener::Opener;
use super::thread::Thread;
use crate::bindings;
use crate::compat::this_module;
use crate::ffi;
use crate::pure::parking::Kick;
use crate::pure::policy::IoPolicy;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// How many references this module has; 0 where it is not a module.
pub(super) fn module_references() -> i32 {
    let module = this_module::<crate::Multipath>().as_ptr();

    if module.is_null() {
        return 0;
    }
    // SAFETY: This module is there.
    unsafe { bindings::module_refcount(module) }
}

/// How many references `count` more are, where this is a module.
pub(super) fn more_references(count: i32) -> i32 {
    if this_module::<crate::Multipath>().as_ptr().is_null() {
        0
    } else {
        count
    }
}

/// Removes the head, which has no path, in a thread. When that takes too long, it kicks the waiting
/// bios so that the removal ends. Returns whether it ended by itself.
fn removal_ends(head: &Arc<TestHead>) -> Result<bool> {
    let reference = head.engine();
    let removal = {
        let head = head.clone();

        Thread::spawn(move || head.try_remove())?
    };
    let ended = eventually(|| removal.is_done());

    while !removal.is_done() {
        reference.kick();
        reference.busy.requeue.flush();
    }
    Ok(removal.join()? && ended)
}

/// A write whose submitter has come to the path and dawdles there.
pub(super) fn dawdling_write(head: &Arc<TestHead>, path: &FakePath) -> Result<Thread<Result<u32>>> {
    path.behave(Behaviour::Dawdle);
    let submission = {
        let head = head.clone();

        Thread::spawn(move || head.write(0).map(|io| io.wait()))?
    };

    check!(eventually(|| path.bios() == 1));
    Ok(submission)
}

/// The errno of allocating a head with a template of which `spoil` takes something away.
fn error_of_template(spoil: fn(&mut bindings::mpath_head_template)) -> Option<Error> {
    TestHead::new(Setup {
        template: spoil,
        disk: false,
        ..Setup::default()
    })
    .err()
}

#[kunit_tests(mpath_remove)]
mod tests {
    use super::*;

    /// Shows L-24.
    #[test]
    fn a_dying_head_takes_no_path() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _reference = head.engine();
        let path = FakePath::new(Options::default())?;

        check!(head.try_remove());
        check!(path.add(&head) == Err(ENXIO));
        Ok(())
    }

    #[test]
    fn a_path_near_to_what_is_no_node_is_refused() -> Result {
        let head = TestHead::new(Setup::default())?;

        for node in [i32::MIN, -2, bindings::MAX_NUMNODES as i32, i32::MAX] {
            let path = FakePath::new(Options {
                node,
                ..Options::default()
            })?;
            check!(path.add(&head) == Err(EINVAL));
        }
        check!(head.try_remove());
        Ok(())
    }

    #[test]
    fn a_path_that_is_added_twice_is_refused() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        let (result, warnings) = without_warnings(|| path.relink(&head));
        check!(result == Err(EEXIST));
        check_eq!(warnings, 1);
        check_eq!(head.write_many(1)?, 1);
        // The path is still on the head once.
        check!(path.remove());
        Ok(())
    }

    #[test]
    fn a_path_that_is_not_there_is_not_deleted() -> Result {
        let head = TestHead::new(Setup::default())?;
        let (path, other) = (head.path()?, head.path()?);

        check!(!path.remove());
        let (was_last, warnings) = without_warnings(|| path.unlink());
        check!(!was_last);
        check_eq!(warnings, 1);
        check_eq!(head.write_many(1)?, 1);
        check!(other.remove());
        let (was_last, _) = without_warnings(|| path.unlink());
        check!(was_last);
        Ok(())
    }

    #[test]
    fn deleting_tells_whether_a_path_is_left() -> Result {
        let head = TestHead::new(Setup::default())?;
        // SAFETY: The head is there.
        let is_empty = || unsafe { ffi::mpath_head_devices_empty(head.as_raw()) };

        check!(is_empty());
        let (a, b) = (head.path()?, head.path()?);
        check!(!is_empty());
        check!(!a.remove());
        check!(!is_empty());
        check!(b.remove());
        check!(is_empty());
        Ok(())
    }

    #[test]
    fn a_quiesced_path_gets_nothing_whatever_is_said_of_it() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let (path, other) = (head.path()?, head.path()?);

            head.write_many(2)?;
            path.quiesce();
            // SAFETY: The path is on a head.
            check!(!unsafe { ffi::mpath_clear_current_path(path.dev()) });
            let before = path.bios();
            path.enable(NOT_READY);
            path.set_access(AccessState::Optimized);
            path.set_live();
            check_eq!(head.write_many(4)?, 4);
            check_eq!(path.bios(), before);
            check!(other.bios() >= 4);
        }
        Ok(())
    }

    /// Shows L-3.
    #[test]
    fn a_bio_that_does_not_arrive_is_not_waited_for_for_ever() -> Result {
        let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
        let path = head.path()?;
        let submission = dawdling_write(&head, &path)?;

        // SAFETY: May sleep.
        unsafe { ffi::mpath_synchronize_submitters() };
        check!(!submission.is_done());

        path.behave(Behaviour::Complete);
        check_eq!(submission.join()??, OK);
        // SAFETY: May sleep.
        unsafe { ffi::mpath_synchronize_submitters() };
        Ok(())
    }

    /// Shows A-8.
    #[test]
    fn readers_of_the_paths_of_a_head_without_a_disk_are_waited_for() -> Result {
        for disk in [false, true] {
            let head = Arc::new(
                TestHead::new(Setup {
                    disk,
                    ..Setup::default()
                })?,
                GFP_KERNEL,
            )?;
            let path = FakePath::new(Options::default())?;
            let state = Arc::new((Counter::new(), Atomic::new(false)), GFP_KERNEL)?;

            path.add(&head)?;
            let reader = {
                let (head, state) = (head.clone(), state.clone());

                Thread::spawn(move || {
                    let engine = head.engine();
                    let section = engine.read();

                    state.0.count();
                    while !state.1.load(Relaxed) {
                        fsleep(Delta::from_millis(1));
                    }
                    section.iter().count()
                })?
            };
            check!(eventually(|| state.0.get() == 1));
            path.quiesce();
            path.unlink();
            let wait = {
                let head = head.clone();

                Thread::spawn(move || head.synchronize())?
            };
            fsleep(Delta::from_millis(200));
            let is_early = !wait.is_done();
            state.1.store(true, Relaxed);
            wait.join()?;
            check_eq!(reader.join()?, 0);
            check!(is_early);
        }
        Ok(())
    }

    /// Shows A-11.
    #[test]
    fn a_path_that_readers_may_still_see_is_not_added() -> Result {
        for disk in [false, true] {
            let setup = || Setup {
                disk,
                ..Setup::default()
            };
            let (head, other) = (TestHead::new(setup())?, TestHead::new(setup())?);
            let path = FakePath::new(Options::default())?;

            path.add(&head)?;
            for to in [&head, &other] {
                path.quiesce();
                path.unlink();
                let (result, warnings) = without_warnings(|| path.relink(to));
                check!(result == Err(EBUSY));
                check_eq!(warnings, 1);
                // SAFETY: The head is there.
                check!(unsafe { ffi::mpath_head_devices_empty(to.as_raw()) });
                head.synchronize();
                path.relink(to)?;
            }
            // The path is on the other head.
            path.quiesce();
            check!(path.unlink());
            let (result, warnings) = without_warnings(|| {
                head.synchronize();
                path.relink(&head)
            });
            check!(result == Err(EBUSY));
            check_eq!(warnings, 1);
            other.synchronize();
            path.relink(&head)?;
        }
        Ok(())
    }

    /// Shows A-11.
    #[test]
    fn a_path_moves_on_from_a_head_that_is_gone() -> Result {
        for disk in [false, true] {
            let setup = || Setup {
                disk,
                ..Setup::default()
            };
            let path = FakePath::new(Options::default())?;
            let mut head = TestHead::new(setup())?;

            path.add(&head)?;
            for _ in 0..3 {
                path.remove();
                check!(head.try_remove());
                // The memory of the first head is gone, and perhaps in use elsewhere.
                head = TestHead::new(setup())?;
                path.add(&head)?;
            }
            path.remove();
        }
        Ok(())
    }

    /// Shows L-29.
    #[test]
    fn a_head_with_paths_is_not_removed() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check!(!head.try_remove());
        check!(head.is_live());
        path.remove();
        check!(head.try_remove());
        Ok(())
    }

    /// Shows L-29.
    #[test]
    fn a_removal_is_decided_once() -> Result {
        for _ in 0..5 {
            let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
            let reference = head.engine();
            let decide = || {
                let reference = reference.clone();

                // SAFETY: The reference keeps the head.
                Thread::spawn(move || unsafe { ffi::mpath_try_remove_head(reference.as_raw()) })
            };

            head.path()?.remove();
            let threads = [decide()?, decide()?, decide()?];
            let mut yes = 0;
            for thread in threads {
                yes += i32::from(thread.join()?);
            }
            check_eq!(yes, 1);
            check!(!reference.try_remove());
            // The thread that got the answer true has to do this.
            head.driver().forget();
            // SAFETY: The removal has been decided; this drops the driver's reference.
            unsafe {
                ffi::mpath_remove_head(head.as_raw());
                check!(!ffi::mpath_try_remove_head(head.as_raw()));
                ffi::mpath_put_head(head.as_raw());
            }
        }
        Ok(())
    }

    #[test]
    fn a_removal_that_was_not_decided_only_warns() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _path = head.path()?;

        // SAFETY: The head is there; the library notices the fault of the call.
        let ((), warnings) = without_warnings(|| unsafe { ffi::mpath_remove_head(head.as_raw()) });
        check_eq!(warnings, 1);
        check!(head.is_live());
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    /// Shows L-19.
    #[test]
    fn leaving_live_fails_what_waits() -> Result {
        let head = TestHead::new(Setup::default())?;
        let reference = head.engine();
        let path = head.path()?;

        head.store_delay(c"1000");
        path.remove();
        let ios = [head.write(0)?, head.write(8)?];
        check!(ios.iter().all(|io| io.status() == PENDING));
        // Removal without a delay, but without a kick, which is up to leaving Live.
        reference.control.lock().removal.set_delay(0);
        check!(head.try_remove());
        for io in &ios {
            check!(io.wait() != OK && io.status() != PENDING);
        }
        Ok(())
    }

    /// Shows L-19.
    #[test]
    fn pages_that_wait_to_be_written_do_not_hold_the_removal_up() -> Result {
        let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
        let reference = head.engine();
        let path = head.path()?;
        let opener = head.open()?;

        check_eq!(opener.write(&[1; 512]), 512);
        head.store_delay(c"1000");
        path.remove();
        let bdev = Device(opener.bdev());
        let writeback = Thread::spawn(move || bdev.sync())?;
        check!(eventually(|| head.requeued() > 0));
        reference.control.lock().removal.set_delay(0);
        check!(removal_ends(&head)?);
        writeback.join()?;
        drop(opener);
        Ok(())
    }

    /// Shows L-19.
    #[test]
    fn pages_that_are_dirty_do_not_hold_the_removal_up() -> Result {
        let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
        let reference = head.engine();
        let path = head.path()?;
        let opener = head.open()?;

        check_eq!(opener.write(&[1; 512]), 512);
        head.store_delay(c"1000");
        path.remove();
        reference.control.lock().removal.set_delay(0);
        check!(removal_ends(&head)?);
        drop(opener);
        Ok(())
    }

    /// Shows L-19.
    #[test]
    fn a_scan_that_waits_does_not_hold_the_removal_up() -> Result {
        let head = Arc::new(
            TestHead::new(Setup {
                partitions: true,
                ..Setup::default()
            })?,
            GFP_KERNEL,
        )?;
        let reference = head.engine();
        let path = FakePath::new(Options::default())?;

        head.store_delay(c"1000");
        path.port().set(PortState::Recovering);
        path.add(&head)?;
        path.go_live();
        check!(eventually(|| head.requeued() > 0));
        path.remove();
        reference.control.lock().removal.set_delay(0);
        check!(removal_ends(&head)?);
        Ok(())
    }

    /// Shows L-19.
    #[test]
    fn no_bio_is_left_behind_when_heads_go_under_load() -> Result {
        for _ in 0..8 {
            let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
            let path = head.path()?;
            let opener = head.open()?;
            let submitter = {
                let bdev = Device(opener.bdev());

                Thread::spawn(move || submit_until_it_fails(bdev))?
            };

            check!(eventually(|| path.bios() > 20));
            path.port().set(PortState::Recovering);
            check!(eventually(|| head.requeued() > 0));
            path.remove();
            check!(removal_ends(&head)?);
            check!(submitter.join()??);
            drop(opener);
        }
        Ok(())
    }

    /// Shows L-2, L-3.
    #[test]
    fn the_removal_waits_for_no_opener() -> Result {
        let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
        let path = head.path()?;
        let opener = head.open()?;

        check_eq!(Io::submit(opener.bdev(), WRITE, 0)?.wait(), OK);
        path.remove();
        check!(removal_ends(&head)?);
        check_eq!(head.driver().released.get(), 0);
        let io = Io::submit(opener.bdev(), WRITE, 0)?;
        check!(io.wait() != OK && io.status() != PENDING);
        check_eq!(path.bios(), 1);
        check_eq!(head.driver().released.get(), 0);
        drop(opener);
        check_eq!(head.driver().released.get(), 1);
        Ok(())
    }

    /// Shows L-2.
    #[test]
    fn the_last_reference_releases_the_head_once() -> Result {
        let head = TestHead::new(Setup::default())?;
        let first = head.engine();
        let second = first.tryget().ok_or(EINVAL)?;
        let path = head.path()?;
        let openers = [head.open()?, head.open()?];

        path.remove();
        check!(head.try_remove());
        drop(first);
        drop(openers);
        check_eq!(head.driver().released.get(), 0);
        drop(second);
        check_eq!(head.driver().released.get(), 1);
        Ok(())
    }

    /// Shows L-2.
    #[test]
    fn references_that_go_at_the_same_time_release_the_head_once() -> Result {
        for _ in 0..20 {
            let head = TestHead::new(Setup::default())?;
            let drop_one = || {
                let reference = head.engine();

                Thread::spawn(move || drop(reference))
            };

            head.path()?.remove();
            let opener = head.open()?;
            let threads = [drop_one()?, drop_one()?];
            check!(head.try_remove());
            drop(opener);
            for thread in threads {
                thread.join()?;
            }
            check_eq!(head.driver().released.get(), 1);
        }
        Ok(())
    }

    #[test]
    fn a_head_that_goes_at_once_leaves_no_scan() -> Result {
        let before = module_references();

        for _ in 0..10 {
            let head = TestHead::new(Setup {
                partitions: true,
                ..Setup::default()
            })?;
            let path = FakePath::new(Options::default())?;

            path.add(&head)?;
            path.go_live();
            path.remove();
            check!(head.try_remove());
            // Nobody else has a reference: a scan has none.
            check_eq!(head.driver().released.get(), 1);
        }
        check_eq!(module_references(), before);
        Ok(())
    }

    /// Shows L-46.
    #[test]
    fn an_open_disk_keeps_the_drivers_module() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let before = module_references();
        let opener = head.open()?;

        check_eq!(module_references(), before + more_references(1));
        path.remove();
        check!(head.try_remove());
        check_eq!(module_references(), before + more_references(1));
        drop(opener);
        check_eq!(module_references(), before);
        Ok(())
    }

    #[test]
    fn a_head_that_was_removed_cannot_be_opened() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _reference = head.engine();
        let path = head.path()?;
        // SAFETY: The head's disk is there.
        let device = unsafe { (*head.bdev()).bd_dev };

        drop(Opener::open(device)?);
        path.remove();
        check!(head.try_remove());
        check!(Opener::open(device).is_err());
        Ok(())
    }

    /// Shows L-28.
    #[test]
    fn a_head_without_a_disk_works() -> Result {
        let head = TestHead::new(Setup {
            disk: false,
            ..Setup::default()
        })?;
        let path = head.path()?;

        check!(head.disk().is_null());
        check!(!head.is_live());
        path.disable(NOT_READY);
        path.enable(NOT_READY);
        path.set_access(AccessState::NonOptimized);
        check_eq!(
            head.policy().set(IoPolicy::RoundRobin),
            IoPolicy::Numa as i32
        );
        // SAFETY: Head and path are there.
        unsafe {
            ffi::mpath_revalidate_paths(head.as_raw());
            ffi::mpath_add_sysfs_links(head.as_raw());
            ffi::mpath_clear_paths(head.as_raw());
            check!(!ffi::mpath_clear_current_path(path.dev()));
        }
        head.kick();
        check_eq!(head.store_delay(c"1000"), 4);
        check!(path.remove());
        check!(!head.try_remove());
        check_eq!(head.store_delay(c"0"), 1);
        check!(eventually(|| head.driver().released.get() == 1));
        check_eq!(head.driver().removed.get(), 1);
        check_eq!(head.driver().cdevs_added.get(), 0);
        Ok(())
    }

    /// Shows L-28.
    #[test]
    fn a_disk_that_was_never_added_goes_with_its_head() -> Result {
        let head = TestHead::new(Setup::default())?;

        check!(!head.disk().is_null());
        check!(head.try_remove());
        check_eq!(head.driver().released.get(), 1);
        check_eq!(head.driver().cdevs_deleted.get(), 0);
        Ok(())
    }

    /// Shows L-4.
    #[test]
    fn a_disk_that_cannot_be_had_is_not_there() -> Result {
        let head = TestHead::new(Setup {
            disk: false,
            template: |template| template.fops = core::ptr::null(),
            ..Setup::default()
        })?;
        let mut limits = bindings::queue_limits::default();
        let mut alloc = |head: &TestHead| {
            // SAFETY: The head is there, the limits are.
            unsafe {
                ffi::mpath_alloc_head_disk(head.as_raw(), &mut limits, core::ptr::null_mut(), -1)
            }
        };

        check_eq!(alloc(&head), EINVAL.to_errno());
        check!(head.disk().is_null());
        let head = TestHead::new(Setup::default())?;
        let disk = head.disk();
        check_eq!(alloc(&head), EEXIST.to_errno());
        check!(head.disk() == disk);

        // Limits that make no sense.
        limits.max_hw_sectors = 1;
        let head = TestHead::new(Setup {
            disk: false,
            ..Setup::default()
        })?;
        let (result, _) = without_warnings(|| {
            // SAFETY: The head is there, the limits are.
            unsafe {
                ffi::mpath_alloc_head_disk(head.as_raw(), &mut limits, core::ptr::null_mut(), -1)
            }
        });
        check_eq!(result, EINVAL.to_errno());
        check!(head.disk().is_null());
        Ok(())
    }

    #[test]
    fn a_template_must_be_whole() -> Result {
        check!(error_of_template(|template| template.release = None) == Some(EINVAL));
        check!(error_of_template(|template| template.del_cdev = None) == Some(EINVAL));
        check!(error_of_template(|template| template.add_cdev = None) == Some(EINVAL));
        check!(
            error_of_template(|template| template.ioctl_begin = Some(no_handle)) == Some(EINVAL)
        );
        check!(error_of_template(|_| ()).is_none());
        Ok(())
    }

    #[test]
    fn a_policy_outlives_only_its_heads() -> Result {
        let policy = FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?;
        let head = TestHead::new(Setup {
            policy: Some(policy.clone()),
            ..Setup::default()
        })?;
        let path = head.path()?;
        let opener = head.open()?;

        path.remove();
        check!(head.try_remove());
        // The opener keeps the head in its group.
        check_eq!(policy.set(IoPolicy::RoundRobin), IoPolicy::Numa as i32);
        drop(opener);
        check_eq!(head.driver().released.get(), 1);
        check_eq!(policy.set(IoPolicy::Numa), IoPolicy::RoundRobin as i32);
        Ok(())
    }

    #[test]
    fn a_path_that_holds_bios_can_be_taken_away() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        check!(path.remove());
        check!(head.try_remove());
        check_eq!(io.status(), PENDING);
        path.complete_held();
        check_eq!(io.wait(), OK);
        Ok(())
    }
}

/// A block device that an opener keeps.
struct Device(*mut bindings::block_device);

// SAFETY: A block device may be used from any thread.
unsafe impl Send for Device {}

impl Device {
    /// Writes dirty pages, and waits for them.
    fn sync(&self) -> i32 {
        // SAFETY: The opener keeps the device.
        unsafe { bindings::sync_blockdev(self.0) }
    }
}

/// Submits writes until one has failed, not more than a few at a time. Returns whether all
/// submitted writes have ended.
fn submit_until_it_fails(device: Device) -> Result<bool> {
    let mut ios: KVec<Arc<Io>> = KVec::with_capacity(8, GFP_KERNEL)?;

    loop {
        let is_over = ios
            .iter()
            .any(|io| io.status() != OK && io.status() != PENDING);

        if is_over {
            return Ok(ios.iter().all(|io| io.wait() != PENDING));
        }
        ios.retain(|io| io.status() == PENDING);
        if ios.len() < 8 {
            ios.push_within_capacity(Io::submit(device.0, WRITE, 0)?)?;
        } else if !eventually(|| ios.iter().any(|io| io.status() != PENDING)) {
            return Ok(false);
        }
    }
}

/// # Safety
///
/// Any caller may call it.
unsafe extern "C" fn no_handle(
    _dev: *mut bindings::mpath_device,
    _cmd: kernel::ffi::c_uint,
) -> *mut kernel::ffi::c_void {
    core::ptr::null_mut()
}
