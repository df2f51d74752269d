// SPDX-License-Identifier: GPL-2.0

//! The head's capacity changes, and paths have to follow.

use super::driver::{
    Setup,
    TestHead,
    CAPACITY, //
};
use super::fake::NOT_READY;
use super::io::{
    OK,
    PENDING, //
};
use crate::bindings;
use crate::ffi;
use crate::policy::IoPolicy;
use crate::state::PortState;
use kernel::prelude::*;

fn set_capacity(disk: *mut bindings::gendisk, capacity: u64) {
    // SAFETY: The disk is there.
    unsafe { bindings::set_capacity(disk, capacity) }
}

fn revalidate(head: &TestHead) {
    // SAFETY: The head is there.
    unsafe { ffi::mpath_revalidate_paths(head.as_raw()) }
}

#[kunit_tests(mpath_capacity)]
mod tests {
    use super::*;

    /// Shows L-21.
    #[test]
    fn only_paths_of_another_capacity_are_disabled() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let (a, b, c) = (head.path()?, head.path()?, head.path()?);

            head.write_many(3)?;
            for disk in [head.disk(), b.disk(), c.disk()] {
                set_capacity(disk, CAPACITY * 2);
            }
            let before = (a.bios(), b.bios() + c.bios());
            revalidate(&head);
            check_eq!(head.write_many(8)?, 8);
            check_eq!(a.bios(), before.0);
            check_eq!(b.bios() + c.bios(), before.1 + 8);

            set_capacity(a.disk(), CAPACITY * 2);
            a.enable(NOT_READY);
            b.disable(NOT_READY);
            c.disable(NOT_READY);
            check_eq!(head.write_many(2)?, 2);
            check_eq!(a.bios(), before.0 + 2);
        }
        Ok(())
    }

    /// Shows L-21.
    #[test]
    fn nothing_is_disabled_when_the_capacity_is_the_same() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let path = head.path()?;

        check_eq!(head.write_many(1)?, 1);
        revalidate(&head);
        // SAFETY: The path is on the head.
        check!(!unsafe { ffi::mpath_clear_current_path(path.dev()) });
        check_eq!(head.write_many(1)?, 1);
        check_eq!(path.bios(), 2);
        Ok(())
    }

    #[test]
    fn what_waits_is_looked_at_again() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.port().set(PortState::Recovering);
        let io = head.write(0)?;
        check_eq!(io.status(), PENDING);
        path.port().set(PortState::Live);
        revalidate(&head);
        check_eq!(io.wait(), OK);
        Ok(())
    }

    #[test]
    fn bios_wait_for_paths_that_have_to_follow() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        set_capacity(head.disk(), CAPACITY * 2);
        revalidate(&head);
        let io = head.write(CAPACITY)?;
        head.kick();
        check_eq!(io.status(), PENDING);
        set_capacity(path.disk(), CAPACITY * 2);
        path.enable(NOT_READY);
        check_eq!(io.wait(), OK);
        Ok(())
    }
}
