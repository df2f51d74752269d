// SPDX-License-Identifier: GPL-2.0

//! The head's capacity changes, and paths have to follow.

use super::driver::{
    Setup,
    TestHead,
    CAPACITY, //
};
use super::fake::{
    Behaviour,
    FakePath,
    Options,
    NOT_READY,
    WRITE_CACHE_FEATURE, //
};
use super::io::{
    Io,
    IOERR,
    OK,
    PAGE_SECTORS,
    PENDING,
    PREFLUSH,
    WRITE, //
};
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::pure::state::PortState;
use crate::wrap::disk::Disk;
use kernel::prelude::*;
use kernel::sync::Arc;

pub(super) fn set_capacity(disk: *mut bindings::gendisk, capacity: u64) {
    // SAFETY: The disk is there.
    unsafe { bindings::set_capacity(disk, capacity) }
}

fn capacity(disk: *mut bindings::gendisk) -> u64 {
    // SAFETY: The disk is there.
    unsafe { Disk::from_raw(disk) }.capacity()
}

/// Two paths, the first of which is twice as large as the second. The head has grown with it.
fn large_and_small(head: &TestHead) -> Result<(Arc<FakePath>, Arc<FakePath>)> {
    let large = head.path()?;
    let small = head.path()?;

    set_capacity(large.disk(), CAPACITY * 2);
    set_capacity(head.disk(), CAPACITY * 2);
    revalidate(head);
    Ok((large, small))
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
            // The driver's own reasons stay apart.
            a.enable(NOT_READY);
            check_eq!(head.write_many(4)?, 4);
            check_eq!(a.bios(), before.0);
            revalidate(&head);
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
    fn waiting_bios_are_looked_at_again() -> Result {
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
        revalidate(&head);
        check_eq!(io.wait(), OK);
        Ok(())
    }

    /// Shows A-3.
    #[test]
    fn a_head_takes_the_capacity_that_is_left() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let (large, small) = large_and_small(&head)?;

            check_eq!(head.write(CAPACITY)?.wait(), OK);
            check_eq!(small.bios(), 0);
            // Bios that wait for the larger path: within the end that the head will have, and
            // beyond it.
            large.port().set(PortState::Recovering);
            let (within, beyond) = (head.write(0)?, head.write(CAPACITY)?);
            check!(within.status() == PENDING && beyond.status() == PENDING);

            large.remove();
            check_eq!(capacity(head.disk()), CAPACITY);
            check_eq!(within.wait(), OK);
            check_eq!(beyond.wait(), IOERR);
            check_eq!(head.write(CAPACITY)?.wait(), IOERR);
            check_eq!(head.write(CAPACITY - PAGE_SECTORS)?.wait(), OK);
            for seen in small.seen()?.iter() {
                check!(seen.sector < CAPACITY);
            }
        }
        Ok(())
    }

    /// Shows A-3.
    #[test]
    fn a_bio_of_a_larger_path_does_not_go_past_the_end_of_a_smaller_one() -> Result {
        let head = TestHead::new(Setup {
            limits: |limits| limits.features = WRITE_CACHE_FEATURE,
            ..Setup::default()
        })?;
        let (large, small) = large_and_small(&head)?;

        large.behave(Behaviour::Hold);
        let (within, beyond) = (head.write(0)?, head.write(CAPACITY)?);
        let flush = Io::submit(head.bdev(), WRITE | PREFLUSH, CAPACITY)?;
        large.quiesce();
        large.unlink();
        large.fail_held_over();
        check_eq!(within.wait(), OK);
        check_eq!(beyond.wait(), IOERR);
        check_eq!(flush.wait(), IOERR);
        check_eq!(small.bios(), 1);
        Ok(())
    }

    /// Shows A-3.
    #[test]
    fn a_head_keeps_its_capacity_while_a_path_has_it() -> Result {
        let head = TestHead::new(Setup::default())?;
        let (large, small) = large_and_small(&head)?;
        let other = head.path_with(Options {
            capacity: CAPACITY * 2,
            ..Options::default()
        })?;

        large.remove();
        check_eq!(capacity(head.disk()), CAPACITY * 2);
        check_eq!(head.write(CAPACITY)?.wait(), OK);
        check_eq!(head.write(0)?.wait(), OK);
        check_eq!(small.bios(), 0);
        check_eq!(other.bios(), 2);
        // The last path that goes leaves the head as large as it was.
        small.remove();
        other.remove();
        check_eq!(capacity(head.disk()), CAPACITY * 2);
        Ok(())
    }

    /// Shows A-3.
    #[test]
    fn a_path_that_is_being_set_up_has_no_say_in_the_capacity() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fresh = FakePath::new(Options {
            capacity: 0,
            ..Options::default()
        })?;
        let (large, small) = large_and_small(&head)?;

        fresh.add(&head)?;
        small.remove();
        check_eq!(capacity(head.disk()), CAPACITY * 2);
        large.remove();
        check_eq!(capacity(head.disk()), CAPACITY * 2);
        let io = head.write(CAPACITY)?;
        check_eq!(io.status(), PENDING);
        set_capacity(fresh.disk(), CAPACITY * 2);
        revalidate(&head);
        fresh.go_live();
        check_eq!(io.wait(), OK);
        Ok(())
    }
}
