// SPDX-License-Identifier: GPL-2.0

//! Heads that stay for a while after their last path has gone.

use super::check::eventually;
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::FakePath;
use super::io::{
    IOERR,
    OK,
    PENDING, //
};
use super::remove::{
    module_references,
    more_references, //
};
use crate::ffi;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// A head that has lost its path, and whose timer is armed.
fn armed(delay: &CStr) -> Result<(TestHead, Arc<FakePath>)> {
    let head = TestHead::new(Setup::default())?;
    let path = head.path()?;

    if head.store_delay(delay) < 0 || !path.remove() || head.try_remove() {
        return Err(EINVAL);
    }
    Ok((head, path))
}

#[kunit_tests(mpath_delayed_removal)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_a_delay_stays_and_lets_bios_wait() -> Result {
        let (head, path) = armed(c"1000")?;

        // SAFETY: The head is there.
        check!(unsafe { ffi::mpath_head_queue_if_no_path(head.as_raw()) });
        check!(head.is_live());
        let io = head.write(0)?;
        head.kick();
        check_eq!(io.status(), PENDING);
        path.add(&head)?;
        path.go_live();
        check_eq!(io.wait(), OK);
        check!(!head.try_remove());
        Ok(())
    }

    /// Shows L-22.
    #[test]
    fn an_armed_timer_keeps_head_and_module_and_gives_them_back() -> Result {
        let before = module_references();
        let (head, path) = armed(c"1000")?;

        check_eq!(module_references(), before + more_references(1));
        path.add(&head)?;
        check_eq!(module_references(), before);
        path.go_live();
        check_eq!(head.write_many(2)?, 2);

        // Again, and again.
        for _ in 0..3 {
            check!(path.remove());
            check!(!head.try_remove());
            check_eq!(module_references(), before + more_references(1));
            path.add(&head)?;
            check_eq!(module_references(), before);
        }
        path.remove();
        head.store_delay(c"0");
        check!(head.try_remove());
        // The driver had the last reference.
        check_eq!(head.driver().released.get(), 1);
        check_eq!(head.driver().asked_to_remove.get(), 0);
        check_eq!(module_references(), before);
        Ok(())
    }

    /// Shows L-23.
    #[test]
    fn asking_again_takes_no_more_references() -> Result {
        let before = module_references();
        let (head, path) = armed(c"1000")?;

        for _ in 0..5 {
            check!(!head.try_remove());
        }
        check_eq!(module_references(), before + more_references(1));
        path.add(&head)?;
        check_eq!(module_references(), before);
        path.remove();
        head.store_delay(c"0");
        check!(head.try_remove());
        check_eq!(head.driver().released.get(), 1);
        Ok(())
    }

    /// Shows L-22, L-24.
    #[test]
    fn the_timer_asks_once_and_the_head_goes() -> Result {
        let before = module_references();
        let (head, _path) = armed(c"1")?;
        let begin = Instant::<Monotonic>::now();
        let io = head.write(0)?;

        check!(eventually(|| head.driver().released.get() == 1));
        check!(begin.elapsed() >= Delta::from_millis(900));
        check_eq!(head.driver().asked_to_remove.get(), 1);
        check_eq!(head.driver().removed.get(), 1);
        check_eq!(head.driver().cdevs_deleted.get(), 1);
        check!(io.wait() != OK);
        check!(eventually(|| module_references() == before));
        Ok(())
    }

    /// Shows L-26.
    #[test]
    fn a_shorter_delay_starts_the_timer_anew() -> Result {
        let before = module_references();
        let (head, _path) = armed(c"100000")?;

        head.store_delay(c"2000");
        check_eq!(module_references(), before + more_references(1));
        check!(!head.try_remove());
        head.store_delay(c"1");
        check_eq!(module_references(), before + more_references(1));
        check!(eventually(|| head.driver().released.get() == 1));
        check_eq!(head.driver().asked_to_remove.get(), 1);
        check!(eventually(|| module_references() == before));
        Ok(())
    }

    /// Shows L-26.
    #[test]
    fn a_longer_delay_puts_the_removal_off() -> Result {
        let (head, path) = armed(c"1")?;

        head.store_delay(c"1000");
        let begin = Instant::<Monotonic>::now();
        check!(eventually(|| begin.elapsed() > Delta::from_millis(1300)));
        check!(head.is_live());
        check_eq!(head.driver().asked_to_remove.get(), 0);
        path.add(&head)?;
        path.go_live();
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    /// Shows L-26.
    #[test]
    fn no_delay_any_more_removes_now() -> Result {
        let before = module_references();
        let (head, _path) = armed(c"1000")?;
        let io = head.write(0)?;

        check_eq!(io.status(), PENDING);
        check_eq!(head.store_delay(c"0"), 1);
        check!(eventually(|| head.driver().released.get() == 1));
        check_eq!(head.driver().asked_to_remove.get(), 1);
        check_eq!(head.driver().removed.get(), 1);
        check!(io.wait() != OK);
        check!(eventually(|| module_references() == before));
        Ok(())
    }

    /// Shows L-26.
    #[test]
    fn a_delay_that_is_stored_while_there_are_paths_arms_nothing() -> Result {
        let before = module_references();
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        head.store_delay(c"1000");
        head.store_delay(c"0");
        head.store_delay(c"5");
        check_eq!(module_references(), before);
        head.store_delay(c"0");
        path.remove();
        check_eq!(head.write(0)?.wait(), IOERR);
        check!(head.try_remove());
        check_eq!(head.driver().released.get(), 1);
        Ok(())
    }

    /// Shows L-24.
    #[test]
    fn a_path_that_comes_while_the_timer_goes_off_keeps_the_head_or_finds_it_gone() -> Result {
        let before = module_references();

        for round in 0..10 {
            let (head, path) = armed(c"1000")?;
            let _reference = head.engine();
            let driver = head.driver().clone();

            head.store_delay(c"0");
            if round % 2 == 1 {
                check!(eventually(|| driver.asked_to_remove.get() > 0));
            }
            let added = path.add(&head);
            check!(eventually(|| module_references() == before));
            // Either both path and head are there, or neither.
            check!(added.is_ok() == (driver.removed.get() == 0));
            if added.is_ok() {
                path.go_live();
                check_eq!(head.write_many(1)?, 1);
            } else {
                check!(added == Err(ENXIO));
            }
        }
        Ok(())
    }

    /// Shows L-25.
    #[test]
    fn a_head_whose_timer_was_armed_leaves_nothing_behind() -> Result {
        let before = module_references();

        for _ in 0..5 {
            drop(armed(c"1000")?);
        }
        check!(eventually(|| module_references() == before));
        Ok(())
    }

    /// Shows L-27.
    #[test]
    fn a_string_that_is_no_number_changes_nothing() -> Result {
        let head = TestHead::new(Setup::default())?;
        let delay = || i64::from(head.engine().control.lock().removal.delay_secs());

        check_eq!(head.store_delay(c"7\n"), 2);
        check_eq!(delay(), 7);
        for wrong in [c"", c"\n", c"x", c"7x", c"-1", c"1.5", c" ", c"7 8"] {
            check_eq!(head.store_delay(wrong), EINVAL.to_errno());
        }
        for large in [
            c"4294967296",
            c"18446744073709551616",
            c"99999999999999999999",
        ] {
            check_eq!(head.store_delay(large), ERANGE.to_errno());
        }
        check_eq!(delay(), 7);
        Ok(())
    }

    /// Shows L-27.
    #[test]
    fn the_longest_delay_is_long() -> Result {
        for secs in [c"4294967295", c"2147483648", c"4294968", c"17179870"] {
            let (head, path) = armed(secs)?;
            let begin = Instant::<Monotonic>::now();

            check!(eventually(|| begin.elapsed() > Delta::from_millis(100)));
            check!(head.is_live());
            check_eq!(head.driver().asked_to_remove.get(), 0);
            path.add(&head)?;
        }
        Ok(())
    }
}
