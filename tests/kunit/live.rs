// SPDX-License-Identifier: GPL-2.0

//! The first path that can carry I/O brings the disk up.

use super::check::{
    eventually,
    without_warnings, //
};
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    FakePath,
    Options, //
};
use super::io::{
    OK,
    PENDING, //
};
use super::sysfs::has_link;
use super::thread::Thread;
use crate::bindings;
use crate::ffi;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use kernel::ffi::{
    c_int,
    c_void, //
};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

/// Says that a path is live, from inside a read-side section.
///
/// # Safety
///
/// `data` is a [`FakePath`].
unsafe extern "C" fn set_live(_dev: *mut bindings::mpath_device, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { &*data.cast::<FakePath>() }.set_live();
    0
}

/// A path, and the thread that says that it is live.
struct Elsewhere {
    path: Arc<FakePath>,
    thread: Option<Thread<()>>,
}

/// Has another thread say that a path is live, and waits for that inside a read-side section.
///
/// # Safety
///
/// `data` is an [`Elsewhere`] that nobody else uses.
unsafe extern "C" fn set_live_elsewhere(
    _dev: *mut bindings::mpath_device,
    data: *mut c_void,
) -> c_int {
    // SAFETY: By this function's contract.
    let Elsewhere { path, thread } = unsafe { &mut *data.cast() };
    let path = path.clone();

    match Thread::spawn(move || path.set_live()) {
        // The caller waits for the thread outside of the section, should it wait for that.
        Ok(new) => {
            let thread = thread.insert(new);

            i32::from(eventually(|| thread.is_done()))
        }
        Err(error) => error.to_errno(),
    }
}

#[kunit_tests(mpath_live)]
mod tests {
    use super::*;

    #[test]
    fn the_first_live_path_adds_the_disk() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = FakePath::new(Options::default())?;

        path.add(&head)?;
        check!(!head.is_live());
        check!(head.open().is_err());
        path.go_live();
        check!(head.is_live());
        check_eq!(head.driver().cdevs_added.get(), 1);
        drop(head.open()?);
        head.path()?;
        check_eq!(head.driver().cdevs_added.get(), 1);
        check_eq!(head.driver().cdevs_deleted.get(), 0);
        Ok(())
    }

    /// Shows L-41.
    #[test]
    fn structures_that_a_driver_embeds_need_not_be_zeroed() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = FakePath::new(Options::default())?;

        // Path, port and policy were full of garbage until the library initialised them.
        path.add(&head)?;
        check_eq!(path.port().active(), 0);
        path.go_live();
        check_eq!(head.write_many(1)?, 1);
        // Remains of the last time do not matter either.
        path.remove();
        path.add(&head)?;
        check_eq!(head.write(0)?.status(), PENDING);
        path.go_live();
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    #[test]
    fn a_path_that_was_just_added_is_not_used() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let other = FakePath::new(Options::default())?;

        other.add(&head)?;
        path.port().set(PortState::Dead);
        path.set_access(AccessState::Other);
        other.set_access(AccessState::Optimized);
        let io = head.write(0)?;
        head.kick();
        check_eq!(other.bios(), 0);
        other.go_live();
        check_eq!(io.wait(), OK);
        Ok(())
    }

    /// Shows L-5, L-6.
    #[test]
    fn two_threads_that_go_live_add_one_disk() -> Result {
        for _ in 0..5 {
            let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
            let paths = [
                FakePath::new(Options::default())?,
                FakePath::new(Options::default())?,
            ];
            let go = |path: &Arc<FakePath>| {
                let (path, head) = (path.clone(), head.clone());

                path.add(&head)?;
                Thread::spawn(move || path.go_live())
            };
            let threads = [go(&paths[0])?, go(&paths[1])?];

            for thread in threads {
                thread.join()?;
            }
            check!(head.is_live());
            check_eq!(head.driver().cdevs_added.get(), 1);
            check!(has_link(&head, &paths[0]) && has_link(&head, &paths[1]));
        }
        Ok(())
    }

    /// Shows L-5.
    #[test]
    fn a_path_that_goes_live_after_the_removal_adds_nothing() -> Result {
        for was_added in [false, true] {
            let head = TestHead::new(Setup::default())?;
            let _reference = head.engine();
            let path = FakePath::new(Options::default())?;

            path.add(&head)?;
            if was_added {
                path.go_live();
            }
            path.quiesce();
            path.unlink();
            check!(head.try_remove());
            path.set_live();
            check!(!head.is_live());
            check_eq!(head.driver().cdevs_added.get(), u32::from(was_added));
            check_eq!(head.driver().cdevs_deleted.get(), u32::from(was_added));
            check!(head.open().is_err());
        }
        Ok(())
    }

    /// Shows L-5.
    #[test]
    fn going_live_and_removal_at_the_same_time_leave_no_disk() -> Result {
        for _ in 0..10 {
            let head = TestHead::new(Setup::default())?;
            let _reference = head.engine();
            let path = FakePath::new(Options::default())?;

            path.add(&head)?;
            let thread = {
                let path = path.clone();
                Thread::spawn(move || path.set_live())?
            };
            path.quiesce();
            path.unlink();
            check!(head.try_remove());
            thread.join()?;
            check!(!head.is_live() && head.open().is_err());
            let driver = head.driver();
            check_eq!(driver.cdevs_added.get(), driver.cdevs_deleted.get());
        }
        Ok(())
    }

    /// Shows L-43.
    #[test]
    fn going_live_does_not_wait_for_readers() -> Result {
        let head = TestHead::new(Setup::default())?;
        let mut other = Elsewhere {
            path: head.path()?,
            thread: None,
        };

        // SAFETY: The head is there; the callback gets the argument that it expects.
        let is_done = unsafe {
            ffi::mpath_call_for_device(
                head.as_raw(),
                Some(set_live_elsewhere),
                (&raw mut other).cast(),
            )
        };
        check_eq!(is_done, 1);
        Ok(())
    }

    /// Shows L-43.
    #[test]
    fn going_live_inside_a_read_side_section_is_refused() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _path = head.path()?;
        let other = FakePath::new(Options::default())?;

        other.add(&head)?;
        let data = core::ptr::from_ref(&*other).cast_mut().cast();
        let (_, warnings) = without_warnings(|| {
            // SAFETY: The head is there; the callback expects the path.
            unsafe { ffi::mpath_call_for_device(head.as_raw(), Some(set_live), data) }
        });
        check_eq!(warnings, 1);
        check!(!has_link(&head, &other));
        other.go_live();
        check!(has_link(&head, &other));
        Ok(())
    }

    #[test]
    fn a_character_device_that_failed_is_not_deleted() -> Result {
        let head = TestHead::new(Setup::default())?;
        let _reference = head.engine();
        let driver = head.driver();

        driver.cdev_error.store(ENOMEM.to_errno(), Relaxed);
        head.path()?.remove();
        check!(head.try_remove());
        check_eq!(driver.cdevs_added.get(), 1);
        check_eq!(driver.cdevs_deleted.get(), 0);
        Ok(())
    }

    #[test]
    fn a_disk_that_could_not_be_added_is_added_later() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = FakePath::new(Options::default())?;

        path.add(&head)?;
        // SAFETY: The disk has not been added; no major number has so many minor numbers.
        unsafe {
            (*head.disk()).major = 1;
            (*head.disk()).minors = 1;
            (*head.disk()).first_minor = i32::MAX;
        }
        path.go_live();
        check!(!head.is_live());
        check_eq!(head.driver().cdevs_added.get(), 0);
        // SAFETY: The disk still has not been added.
        unsafe {
            (*head.disk()).major = 0;
            (*head.disk()).minors = 0;
            (*head.disk()).first_minor = 0;
        }
        path.set_live();
        check!(head.is_live());
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    #[test]
    fn a_disk_that_was_given_a_number_and_not_added_is_added_later() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = FakePath::new(Options::default())?;

        path.add(&head)?;
        // SAFETY: The disk has not been added.
        let first = unsafe { core::mem::take(&mut (*head.disk()).disk_name[0]) };
        let ((), warnings) = without_warnings(|| path.go_live());
        check!(!head.is_live());
        check_eq!(warnings, 1);
        // SAFETY: The disk still has not been added.
        unsafe { (*head.disk()).disk_name[0] = first };
        let ((), warnings) = without_warnings(|| path.set_live());
        check_eq!(warnings, 0);
        check!(head.is_live());
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    #[test]
    fn partitions_are_scanned_when_the_disk_is_there() -> Result {
        let head = TestHead::new(Setup {
            partitions: true,
            ..Setup::default()
        })?;
        let path = FakePath::new(Options::default())?;

        path.show_a_partition();
        path.add(&head)?;
        path.go_live();
        head.settle();
        check!(!head.partition().is_null());
        Ok(())
    }

    #[test]
    fn a_scan_that_waits_for_a_path_holds_nobody_up() -> Result {
        let head = TestHead::new(Setup {
            partitions: true,
            ..Setup::default()
        })?;
        let path = FakePath::new(Options::default())?;

        path.show_a_partition();
        path.port().set(PortState::Recovering);
        path.add(&head)?;
        path.go_live();
        check!(head.is_live());
        check!(eventually(|| head.requeued() > 0));
        // The scan waits; another path is added and takes it on.
        let other = FakePath::new(Options::default())?;
        other.show_a_partition();
        other.add(&head)?;
        other.go_live();
        head.settle();
        check!(other.bios() > 0);
        check!(!head.partition().is_null());
        Ok(())
    }
}
