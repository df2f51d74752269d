// SPDX-License-Identifier: GPL-2.0

//! Bios that a path gives back.

use super::check::eventually;
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    Behaviour,
    FakePath,
    NOT_READY, //
};
use super::io::{
    Io,
    MEDIUM,
    OK,
    PAGE_SECTORS,
    PENDING,
    WRITE, //
};
use crate::bindings;
use crate::compat::local_interrupt_disable;
use crate::pure::policy::IoPolicy;
use kernel::impl_has_hr_timer;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    ArcBorrow,
    SpinLock, //
};
use kernel::time::hrtimer::{
    HrTimer,
    HrTimerCallback,
    HrTimerCallbackContext,
    HrTimerPointer,
    HrTimerRestart,
    RelativeMode, //
};
use kernel::time::{
    Delta,
    Monotonic, //
};

/// Submits writes one after the other, without waiting.
fn write_in_order(head: &TestHead, count: u64) -> Result<KVec<Arc<Io>>> {
    let mut ios = KVec::with_capacity(count as usize, GFP_KERNEL)?;

    for at in 0..count {
        ios.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
    }
    Ok(ios)
}

/// Have `count` clean bios come to the path in order?
fn saw_clean_and_in_order(path: &FakePath, count: usize) -> Result<bool> {
    let seen = path.seen()?;

    Ok(seen.len() == count
        && seen.iter().enumerate().all(|(at, seen)| {
            seen.sector == at as u64 * PAGE_SECTORS
                && seen.status == OK
                && seen.opf & (1 << bindings::req_flag_bits___REQ_DRV) != 0
        }))
}

/// A timer that gives a path's bios back in its interrupt.
#[pin_data]
struct FailoverTimer {
    #[pin]
    timer: HrTimer<Self>,
    path: Arc<FakePath>,
    #[pin]
    bios: SpinLock<Option<Bios>>,
}

struct Bios(bindings::bio_list);

// SAFETY: The bios are the list's.
unsafe impl Send for Bios {}

impl FailoverTimer {
    fn new(path: &Arc<FakePath>) -> Result<Arc<Self>> {
        let bios = Bios(path.take_held());

        Arc::pin_init(
            pin_init!(Self {
                timer <- HrTimer::new(),
                path: path.clone(),
                bios <- new_spinlock!(Some(bios)),
            }),
            GFP_KERNEL,
        )
    }
}

impl HrTimerCallback for FailoverTimer {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        if let Some(bios) = this.bios.lock().take() {
            this.path.fail_over(bios.0);
        }
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for FailoverTimer {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

#[kunit_tests(mpath_failover)]
mod tests {
    use super::*;

    /// Shows S-8.
    #[test]
    fn bios_that_failed_go_elsewhere_clean_and_in_order() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let a = head.path()?;

            a.behave(Behaviour::Hold);
            let ios = write_in_order(&head, 16)?;
            check_eq!(a.held(), 16);
            let b = head.path()?;
            a.disable(NOT_READY);
            a.fail_held_over();
            for io in &ios {
                check_eq!(io.wait(), OK);
            }
            check!(saw_clean_and_in_order(&b, 16)?);
            check_eq!(a.bios(), 16);
            check_eq!(head.failed(), 0);
        }
        Ok(())
    }

    /// Shows S-8.
    #[test]
    fn failover_may_happen_with_interrupts_off() -> Result {
        let head = TestHead::new(Setup::default())?;
        let a = head.path()?;

        a.behave(Behaviour::Hold);
        let ios = write_in_order(&head, 8)?;
        let b = head.path()?;
        let bios = a.take_held();
        a.disable(NOT_READY);
        {
            let _off = local_interrupt_disable();

            a.fail_over(bios);
        }
        for io in &ios {
            check_eq!(io.wait(), OK);
        }
        check!(saw_clean_and_in_order(&b, 8)?);
        Ok(())
    }

    /// Shows S-8.
    #[test]
    fn failover_may_happen_in_an_interrupt() -> Result {
        let head = TestHead::new(Setup::default())?;
        let a = head.path()?;

        a.behave(Behaviour::Hold);
        let ios = write_in_order(&head, 8)?;
        let b = head.path()?;
        a.disable(NOT_READY);
        let timer = FailoverTimer::new(&a)?;
        let _handle = timer.clone().start(Delta::from_micros(100));
        for io in &ios {
            check_eq!(io.wait(), OK);
        }
        check!(saw_clean_and_in_order(&b, 8)?);
        Ok(())
    }

    /// Shows S-8.
    #[test]
    fn the_first_error_of_a_bio_in_pieces_wins() -> Result {
        let head = TestHead::new(Setup {
            limits: |limits| limits.max_hw_sectors = PAGE_SECTORS as u32,
            ..Setup::default()
        })?;
        let a = head.path()?;
        let b = head.path()?;

        // Four pieces: one ends with an error, the others fail over and end well.
        a.behave(Behaviour::Hold);
        b.behave(Behaviour::Hold);
        let io = Io::submit_pages(head.bdev(), WRITE, 0, 4)?;
        let mut rest = a.take_held();
        let first = rest.head;
        // SAFETY: The path held four bios, which are ours now; the first is ended, once.
        unsafe {
            rest.head = core::mem::replace(&mut (*first).bi_next, core::ptr::null_mut());
            (*first).bi_status = MEDIUM as u8;
            bindings::bio_endio(first);
        }
        a.disable(NOT_READY);
        a.fail_over(rest);
        check!(eventually(|| b.held() == 3));
        check_eq!(io.status(), PENDING);
        b.complete_held();
        check_eq!(io.wait(), MEDIUM);
        Ok(())
    }

    #[test]
    fn an_error_that_is_not_the_paths_reaches_the_submitter() -> Result {
        let head = TestHead::new(Setup::default())?;
        let a = head.path()?;
        let b = head.path()?;

        a.behave(Behaviour::Hold);
        let io = head.write(0)?;
        a.end_held(MEDIUM);
        check_eq!(io.wait(), MEDIUM);
        check_eq!(b.bios(), 0);
        Ok(())
    }

    #[test]
    fn a_path_that_was_taken_away_may_still_give_bios_back() -> Result {
        let head = TestHead::new(Setup::default())?;
        let a = head.path()?;

        a.behave(Behaviour::Hold);
        let io = head.write(0)?;
        let b = head.path()?;
        a.remove();
        a.fail_held_over();
        check_eq!(io.wait(), OK);
        check_eq!(b.bios(), 1);
        Ok(())
    }

    #[test]
    fn bios_given_back_without_another_path_fail_in_the_end() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        path.remove();
        path.fail_held_over();
        check!(io.wait() != OK && io.status() != PENDING);
        Ok(())
    }

    #[test]
    fn bios_given_back_after_the_head_was_removed_fail() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let _reference = head.engine();

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        path.remove();
        check!(head.try_remove());
        path.fail_held_over();
        check!(io.wait() != OK && io.status() != PENDING);
        Ok(())
    }
}
