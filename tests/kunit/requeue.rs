// SPDX-License-Identifier: GPL-2.0

//! Bios without a usable path: they wait, or fail, and do not wait for ever.

use super::driver::{
    Setup,
    TestHead,
    CAPACITY, //
};
use super::fake::{
    Behaviour,
    FakePort,
    Options,
    NOT_READY,
    NOWAIT_FEATURE, //
};
use super::io::{
    Io,
    AGAIN,
    IOERR,
    NOWAIT,
    OK,
    PAGE_SECTORS,
    PENDING,
    WRITE, //
};
use crate::ffi;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A head whose disk takes bios that must not wait.
fn nowait_head() -> Result<TestHead> {
    TestHead::new(Setup {
        limits: |limits| {
            limits.features = NOWAIT_FEATURE;
            limits.max_hw_sectors = PAGE_SECTORS as u32;
        },
        ..Setup::default()
    })
}

#[kunit_tests(mpath_requeue)]
mod tests {
    use super::*;

    #[test]
    fn a_bio_waits_while_a_port_recovers() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.port().set(PortState::Recovering);
        let io = head.write(0)?;
        for _ in 0..3 {
            head.kick();
            check_eq!(io.status(), PENDING);
        }
        check_eq!(path.bios(), 0);
        check_eq!(head.failed(), 0);

        path.port().set(PortState::Live);
        head.kick();
        check_eq!(io.wait(), OK);
        check_eq!(path.bios(), 1);
        Ok(())
    }

    #[test]
    fn bios_leave_in_the_order_in_which_they_came() -> Result {
        for kicks_in_vain in 0..3 {
            let head = TestHead::new(Setup::default())?;
            let path = head.path()?;
            let mut ios = KVec::with_capacity(32, GFP_KERNEL)?;

            path.port().set(PortState::Recovering);
            for at in 0..32 {
                ios.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
            }
            for _ in 0..kicks_in_vain {
                head.kick();
            }
            path.port().set(PortState::Live);
            head.kick();
            for io in &ios {
                check_eq!(io.wait(), OK);
            }
            let seen = path.seen()?;
            check_eq!(seen.len(), 32);
            for (at, seen) in seen.iter().enumerate() {
                check_eq!(seen.sector, at as u64 * PAGE_SECTORS);
            }
        }
        Ok(())
    }

    #[test]
    fn a_bio_waits_for_a_path_whose_state_is_being_read() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.set_access(AccessState::Other);
        let io = head.write(0)?;
        head.kick();
        check_eq!(io.status(), PENDING);
        // The call itself lets the waiting bios go on.
        path.set_access(AccessState::NonOptimized);
        check_eq!(io.wait(), OK);

        path.disable(NOT_READY);
        let io = head.write(0)?;
        check_eq!(io.status(), PENDING);
        path.enable(NOT_READY);
        check_eq!(io.wait(), OK);
        Ok(())
    }

    #[test]
    fn a_path_that_comes_takes_what_waits() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.port().set(PortState::Recovering);
        let io = head.write(0)?;
        let other = head.path()?;
        check_eq!(io.wait(), OK);
        check_eq!(other.bios(), 1);
        Ok(())
    }

    #[test]
    fn a_bio_fails_when_nothing_is_available() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        for state in [PortState::Dead, PortState::Draining] {
            path.port().set(state);
            path.disable(NOT_READY);
            let failed = head.failed();
            check_eq!(head.write(0)?.wait(), IOERR);
            check_eq!(head.failed(), failed + 1);
        }
        path.remove();
        check_eq!(head.write(0)?.wait(), IOERR);
        check_eq!(head.requeued(), 0);
        Ok(())
    }

    #[test]
    fn a_bio_waits_without_any_path_when_removal_is_delayed() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check_eq!(head.store_delay(c"1000"), 4);
        path.remove();
        let io = head.write(0)?;
        head.kick();
        check_eq!(io.status(), PENDING);
        path.add(&head)?;
        path.go_live();
        check_eq!(io.wait(), OK);
        Ok(())
    }

    /// Shows L-19b.
    #[test]
    fn a_port_that_is_given_up_fails_what_waits() -> Result {
        let head = TestHead::new(Setup::default())?;
        let port = FakePort::new(PortState::Live)?;
        let path = head.path_with(Options {
            port: Some(port.clone()),
            ..Options::default()
        })?;

        port.set(PortState::Recovering);
        let ios = [head.write(0)?, head.write(8)?];
        port.set(PortState::Dead);
        head.kick();
        check!(ios.iter().all(|io| io.wait() == IOERR));
        check_eq!(path.bios(), 0);
        check_eq!(head.failed(), 2);
        Ok(())
    }

    /// Shows L-19b.
    #[test]
    fn no_delay_any_more_fails_what_waits() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        head.store_delay(c"1000");
        path.remove();
        let io = head.write(0)?;
        check_eq!(io.status(), PENDING);
        head.store_delay(c"0");
        check_eq!(io.wait(), IOERR);
        Ok(())
    }

    /// Shows L-19b.
    #[test]
    fn the_last_path_that_goes_fails_what_waits() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.port().set(PortState::Recovering);
        let io = head.write(0)?;
        check_eq!(io.status(), PENDING);
        check!(path.remove());
        check_eq!(io.wait(), IOERR);
        Ok(())
    }

    /// Shows L-42.
    #[test]
    fn a_bio_that_must_not_wait_gets_again() -> Result {
        let head = nowait_head()?;
        let path = head.path()?;

        check_eq!(Io::submit(head.bdev(), WRITE | NOWAIT, 0)?.wait(), OK);
        path.port().set(PortState::Recovering);
        check_eq!(Io::submit(head.bdev(), WRITE | NOWAIT, 0)?.wait(), AGAIN);
        check_eq!(head.requeued(), 0);
        // It fails like any other when there is nothing to wait for.
        path.port().set(PortState::Dead);
        check_eq!(Io::submit(head.bdev(), WRITE | NOWAIT, 0)?.wait(), IOERR);
        check_eq!(path.bios(), 1);
        Ok(())
    }

    /// Shows L-18.
    #[test]
    fn a_bio_that_cannot_be_split_ends_with_an_error() -> Result {
        let head = nowait_head()?;
        let path = head.path()?;
        let bdev = head.bdev();

        check_eq!(Io::submit_pages(bdev, WRITE | NOWAIT, 0, 3)?.wait(), AGAIN);
        check_eq!(path.bios(), 0);
        check_eq!(Io::submit_pages(bdev, WRITE, 0, 3)?.wait(), OK);
        check_eq!(path.bios(), 3);
        Ok(())
    }

    #[test]
    fn pieces_of_a_bio_wait_and_leave_in_order() -> Result {
        let head = nowait_head()?;
        let path = head.path()?;

        path.port().set(PortState::Recovering);
        let io = Io::submit_pages(head.bdev(), WRITE, 0, 4)?;
        check_eq!(io.status(), PENDING);
        path.port().set(PortState::Live);
        path.behave(Behaviour::Hold);
        head.kick();
        check_eq!(path.held(), 4);
        for (at, seen) in path.seen()?.iter().enumerate() {
            check_eq!(seen.sector, at as u64 * PAGE_SECTORS);
        }
        check_eq!(io.status(), PENDING);
        path.complete_held();
        check_eq!(io.wait(), OK);
        Ok(())
    }

    #[test]
    fn a_bio_beyond_the_end_reaches_nobody() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check_eq!(head.write(CAPACITY)?.wait(), IOERR);
        check_eq!(path.bios(), 0);
        Ok(())
    }

    #[test]
    fn counters_can_be_read_and_set() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        // SAFETY: The head is there for as long as they are used; they are `atomic_long_t`s.
        let (requeued, failed) = unsafe {
            (
                Atomic::from_ptr(ffi::mpath_requeue_count(head.as_raw()).cast::<i64>()),
                Atomic::from_ptr(ffi::mpath_fail_count(head.as_raw()).cast::<i64>()),
            )
        };

        path.port().set(PortState::Recovering);
        let io = head.write(0)?;
        check_eq!(requeued.load(Relaxed), 1);
        requeued.store(0, Relaxed);
        head.kick();
        check_eq!(requeued.load(Relaxed), 1);
        path.port().set(PortState::Dead);
        head.kick();
        check_eq!(io.wait(), IOERR);
        check_eq!(failed.load(Relaxed), 1);
        failed.store(0, Relaxed);
        check_eq!(head.failed(), 0);
        Ok(())
    }
}
