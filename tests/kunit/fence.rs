// SPDX-License-Identifier: GPL-2.0

//! The fence: it holds bios that a lost path may still carry out, and no others.

use super::check::{
    eventually,
    without_warnings, //
};
use super::driver::{
    Setup,
    TestHead, //
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
    READ,
    WRITE, //
};
use crate::bindings;
use crate::compat::local_interrupt_disable;
use crate::engine::fence::Fence;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::pure::state::PortState;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// Long against all that a test does meanwhile.
const LONG_MSECS: u32 = 3_600_000;
/// For how long a test looks whether something happens that must not.
const A_WHILE: Delta = Delta::from_millis(50);

/// A fence, of which a test is the user.
pub(super) struct TestFence(*mut bindings::mpath_fence);

impl TestFence {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: May sleep.
        let fence = unsafe { ffi::mpath_fence_alloc() };

        if fence.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self(fence))
    }

    /// A fence that opens by itself so many milliseconds after it has begun to hold something.
    fn limited(msecs: u32) -> Result<Self> {
        Ok(Self(Fence::new(msecs)?.as_ptr().cast()))
    }

    fn start(&self, msecs: u32) {
        // SAFETY: We are a user.
        unsafe { ffi::mpath_fence_start(self.0, msecs) }
    }

    pub(super) fn open(&self) {
        // SAFETY: As above.
        unsafe { ffi::mpath_fence_open(self.0) }
    }

    fn held(&self) -> u32 {
        // SAFETY: As above.
        unsafe { ffi::mpath_fence_held(self.0) }
    }

    fn msecs_left(&self) -> u32 {
        // SAFETY: As above.
        unsafe { ffi::mpath_fence_msecs_left(self.0) }
    }
}

impl Drop for TestFence {
    fn drop(&mut self) {
        // SAFETY: As above, and no user afterwards.
        unsafe { ffi::mpath_fence_put(self.0) }
    }
}

/// Has none of these bios ended, for a while?
fn all_wait(ios: &[Arc<Io>]) -> bool {
    fsleep(A_WHILE);
    ios.iter().all(|io| io.status() == PENDING)
}

/// Writes to the first pages.
fn writes(head: &TestHead, count: u64) -> Result<KVec<Arc<Io>>> {
    let mut ios = KVec::with_capacity(count as usize, GFP_KERNEL)?;

    for at in 0..count {
        ios.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
    }
    Ok(ios)
}

/// A write that the head has sent to `path`, which works again, and may still carry it out.
pub(super) fn lose_a_write(head: &TestHead, path: &FakePath, fence: &TestFence) -> Result<Arc<Io>> {
    path.behave(Behaviour::Hold);
    let io = head.write(0)?;

    // An open fence sends the write back at once, and then it completes.
    path.behave(Behaviour::Complete);
    path.fail_held_over_fenced(fence.0);
    Ok(io)
}

/// The same for a write that has failed on `path` so often before. The path goes on holding bios,
/// and also those that an open `fence` sends back.
fn lose_a_write_after(
    head: &TestHead,
    path: &FakePath,
    fence: &TestFence,
    failures: u32,
) -> Result<Arc<Io>> {
    path.behave(Behaviour::Hold);
    let io = head.write(0)?;

    for _ in 0..failures {
        path.fail_held_over();
        check!(eventually(|| path.held() == 1));
    }
    path.fail_held_over_fenced(fence.0);
    Ok(io)
}

#[kunit_tests(mpath_fence)]
mod tests {
    use super::*;

    /// Shows F-1.
    #[test]
    fn a_write_waits_for_its_fence() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let fence = TestFence::new()?;
            let lost = head.path()?;

            lost.behave(Behaviour::Hold);
            let ios = writes(&head, 8)?;
            check_eq!(lost.held(), 8);
            let other = head.path()?;
            lost.disable(NOT_READY);
            lost.fail_held_over_fenced(fence.0);
            check_eq!(fence.held(), 8);
            check!(all_wait(&ios));
            check_eq!(other.bios(), 0);

            // The fence does not hold new bios, not for the same place either.
            check_eq!(head.write(0)?.wait(), OK);
            check_eq!(other.bios(), 1);

            fence.open();
            for io in &ios {
                check_eq!(io.wait(), OK);
            }
            let seen = other.seen()?;
            check_eq!(seen.len(), 9);
            for (at, seen) in seen.iter().skip(1).enumerate() {
                check_eq!(seen.sector, at as u64 * PAGE_SECTORS);
                check_eq!(seen.status, OK);
            }
            check!(eventually(|| fence.held() == 0));
            check_eq!(head.failed(), 0);
        }
        Ok(())
    }

    /// Shows F-1.
    #[test]
    fn a_read_and_a_flush_go_on_at_once() -> Result {
        let head = TestHead::new(Setup {
            limits: |limits| limits.features = WRITE_CACHE_FEATURE,
            ..Setup::default()
        })?;
        let fence = TestFence::new()?;
        let caches = || Options {
            limits: |limits| limits.features |= WRITE_CACHE_FEATURE,
            ..Options::default()
        };
        let lost = head.path_with(caches())?;

        lost.behave(Behaviour::Hold);
        let read = Io::submit(head.bdev(), READ, 0)?;
        let flush = Io::submit_pages(head.bdev(), WRITE | PREFLUSH, 0, 0)?;
        let write = Io::submit(head.bdev(), WRITE | PREFLUSH, 0)?;
        check_eq!(lost.held(), 3);
        let other = head.path_with(caches())?;
        lost.disable(NOT_READY);
        lost.fail_held_over_fenced(fence.0);
        check_eq!(read.wait(), OK);
        check_eq!(flush.wait(), OK);
        check_eq!(fence.held(), 1);
        check!(all_wait(&[write.clone()]));

        fence.open();
        check_eq!(write.wait(), OK);
        check_eq!(other.bios(), 3);
        Ok(())
    }

    /// Shows F-1.
    #[test]
    fn a_bio_that_has_failed_before_is_held_like_any_other() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fence = TestFence::new()?;
        let lost = head.path()?;

        lost.behave(Behaviour::Hold);
        let ios = writes(&head, 3)?;
        for _ in 0..2 {
            lost.fail_held_over();
            check!(eventually(|| lost.held() == 3));
        }
        let other = head.path()?;
        lost.disable(NOT_READY);
        lost.fail_held_over_fenced(fence.0);
        check_eq!(fence.held(), 3);
        check!(all_wait(&ios));
        check_eq!(other.bios(), 0);

        fence.open();
        for io in &ios {
            check_eq!(io.wait(), OK);
        }
        check_eq!(other.bios(), 3);
        Ok(())
    }

    /// Shows F-1, F-2.
    #[test]
    fn a_started_fence_opens_when_its_time_has_come() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fence = TestFence::new()?;
        let path = head.path()?;

        check_eq!(fence.msecs_left(), u32::MAX);
        let io = lose_a_write(&head, &path, &fence)?;
        let begin = Instant::<Monotonic>::now();
        fence.start(200);
        fence.start(LONG_MSECS);
        check!(fence.msecs_left() <= 220);
        check_eq!(io.wait(), OK);
        check!(begin.elapsed() >= Delta::from_millis(200));
        check_eq!(fence.msecs_left(), 0);

        // The fence stays open.
        let io = lose_a_write(&head, &path, &fence)?;
        check_eq!(io.wait(), OK);
        Ok(())
    }

    /// The fence makes up at once for ticks that come late, as in a guest that got no CPU.
    ///
    /// Shows F-1.
    #[test]
    fn a_fence_does_not_open_early_when_ticks_come_late() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        for _ in 0..8 {
            let fence = TestFence::new()?;

            let io = lose_a_write(&head, &path, &fence)?;
            let begin = {
                let _interrupts = local_interrupt_disable();
                let late = Instant::<Monotonic>::now();

                while late.elapsed() < Delta::from_millis(150) {}
                let begin = Instant::<Monotonic>::now();

                fence.start(100);
                begin
            };
            check_eq!(io.wait(), OK);
            check!(begin.elapsed() >= Delta::from_millis(100));
        }
        Ok(())
    }

    /// Shows F-1.
    #[test]
    fn a_bio_that_comes_to_a_started_fence_waits_for_the_rest_of_its_time() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fence = TestFence::new()?;
        let path = head.path()?;
        let begin = Instant::<Monotonic>::now();

        fence.start(200);
        let io = lose_a_write(&head, &path, &fence)?;
        check_eq!(io.wait(), OK);
        check!(begin.elapsed() >= Delta::from_millis(200));
        Ok(())
    }

    /// Shows F-2.
    #[test]
    fn a_fence_that_nobody_opens_opens_by_itself() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fence = TestFence::limited(100)?;
        let path = head.path()?;

        let io = lose_a_write(&head, &path, &fence)?;
        check!(fence.msecs_left() <= 120);
        check_eq!(io.wait(), OK);

        // Nor does a fence that its driver has dropped stay closed.
        let dropped = TestFence::limited(100)?;
        let io = lose_a_write(&head, &path, &dropped)?;
        drop(dropped);
        check_eq!(io.wait(), OK);
        Ok(())
    }

    /// Shows F-2.
    #[test]
    fn the_limit_does_not_shorten_the_time_that_the_driver_gives() -> Result {
        let head = TestHead::new(Setup::default())?;
        let fence = TestFence::limited(100)?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        path.behave(Behaviour::Complete);
        let begin = Instant::<Monotonic>::now();
        path.fail_held_over_fenced(fence.0);
        fence.start(400);
        check_eq!(io.wait(), OK);
        // On a guest that stands still for as long, the limit may have passed before the start.
        check!(begin.elapsed() >= Delta::from_millis(100));
        if fence.msecs_left() == 0 {
            check!(begin.elapsed() >= Delta::from_millis(400));
        }
        Ok(())
    }

    /// Shows F-2.
    #[test]
    fn a_fence_that_holds_nothing_keeps_nobody() -> Result {
        for _ in 0..100 {
            let fence = TestFence::new()?;

            fence.start(LONG_MSECS);
        }
        let fence = TestFence::new()?;

        // SAFETY: We are a user, and one more from here on.
        unsafe {
            ffi::mpath_fence_get(fence.0);
            ffi::mpath_fence_put(fence.0);
        }
        fence.open();
        check_eq!(fence.msecs_left(), 0);
        Ok(())
    }

    /// Shows F-3.
    #[test]
    fn a_removed_head_fails_what_is_held_when_the_fence_opens() -> Result {
        // The second bio has a clone.
        for failures in [0, 2] {
            let head = TestHead::new(Setup::default())?;
            let fence = TestFence::new()?;
            let path = head.path()?;
            let opener = head.open()?;

            let io = lose_a_write_after(&head, &path, &fence, failures)?;
            path.port().set(PortState::Dead);
            path.remove();
            check!(head.try_remove());
            check!(all_wait(&[io.clone()]));

            let (status, warnings) = without_warnings(|| {
                fence.open();
                io.wait()
            });
            check_eq!(status, IOERR);
            check_eq!(warnings, 0);
            drop(opener);
        }
        Ok(())
    }

    /// Shows F-3.
    #[test]
    fn a_bio_that_waits_for_a_fence_outlives_its_path() -> Result {
        // The second bio has a clone.
        for failures in [0, 2] {
            let head = TestHead::new(Setup::default())?;
            let fence = TestFence::new()?;
            let other = head.path()?;
            let path = head.path()?;

            other.disable(NOT_READY);
            let io = lose_a_write_after(&head, &path, &fence, failures)?;
            path.remove();
            drop(path);
            other.enable(NOT_READY);
            check!(all_wait(&[io.clone()]));
            check_eq!(other.bios(), 0);

            fence.open();
            check_eq!(io.wait(), OK);
            check_eq!(other.bios(), 1);
        }
        Ok(())
    }
}
