// SPDX-License-Identifier: GPL-2.0

//! An error costs its retry; the library leaves a path alone that keeps failing; and a bio that
//! every path fails ends.

use super::check::eventually;
use super::driver::{
    FakePolicy,
    Setup,
    TestHead,
    ALL_POLICIES, //
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
    AGAIN,
    IOERR,
    OK,
    PAGE_SECTORS,
    PENDING,
    PREFLUSH,
    TIMEOUT,
    TRANSPORT,
    WRITE, //
};
use crate::pure::policy::IoPolicy;
use crate::pure::state::{
    AccessState,
    PortState,
    Reasons, //
};
use crate::pure::trust::{
    Trust,
    MAX_FAILOVERS, //
};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// How many bios a path gets that fails everything, before its pauses are as long as they get.
/// These are the one that the library does not watch, those that it watches, and a probe after each
/// pause.
const UNTIL_LONGEST: u32 = 1 + Trust::FAILURES as u32 + Trust::LAST_PAUSE as u32;

/// A head that ends no bio because it has failed too often.
pub(super) fn patient(policy: IoPolicy) -> Result<TestHead> {
    TestHead::new(Setup {
        policy: Some(FakePolicy::new(policy, ALL_POLICIES)?),
        template: |template| template.max_failovers = 1_000_000,
        limits: |limits| limits.features = WRITE_CACHE_FEATURE,
        ..Setup::default()
    })
}

fn trust(path: &FakePath) -> Trust {
    path.engine().state().load().trust()
}

fn is_left_alone(path: &FakePath) -> bool {
    path.engine().state().load().has(Reasons::FAILED)
}

/// Has a path fail its bios until the library leaves it alone for the longest pause. Returns the
/// bio that waits for it.
pub(super) fn wear_out(head: &TestHead, path: &FakePath) -> Result<Arc<Io>> {
    path.behave(Behaviour::FailOver);
    let begin = path.bios();
    let io = head.write(0)?;
    check!(eventually(
        || path.bios() - begin > UNTIL_LONGEST && is_left_alone(path)
    ));
    Ok(io)
}

/// The most bios that a path gets in a time, from when the library leaves it alone for the first
/// time.
fn most_probes(begin: &Instant<Monotonic>) -> u32 {
    let longest = begin.elapsed().as_millis() / i64::from(Trust::LONGEST_MSECS);

    u32::from(Trust::LAST_PAUSE) + longest as u32 + 2
}

/// The calls by which a driver may say that it has evaluated a path anew.
const EVALUATIONS: [fn(&FakePath); 4] = [
    |path| path.set_access(AccessState::Optimized),
    |path| path.enable(NOT_READY),
    |path| path.enable(0),
    FakePath::set_live,
];

#[kunit_tests(mpath_trust)]
mod tests {
    use super::*;

    /// Shows A-6.
    #[test]
    fn an_error_costs_its_retry() -> Result {
        for policy in IoPolicy::ALL {
            for opf in [WRITE, WRITE | PREFLUSH] {
                let head = patient(policy)?;
                let path = head.path()?;

                for round in 1..=8 {
                    path.fail_next(1);
                    check!(Io::submit(head.bdev(), opf, 0)?.ended_well());
                    check_eq!(path.bios(), 2 * round);
                    // The library has never left the path alone, and nothing has waited for time to
                    // pass.
                    check!(head.engine().busy.alarm.next().is_none());
                    check_eq!(head.requeued(), 0);
                    check!(trust(&path) == Trust::Trusted);
                }
            }
        }
        Ok(())
    }

    /// Shows A-6.
    #[test]
    fn a_first_error_moves_no_bio_to_a_worse_path() -> Result {
        for policy in IoPolicy::ALL {
            // One bio that the head sends as it is, and one of which paths get clones from the
            // beginning.
            for opf in [WRITE, WRITE | PREFLUSH] {
                let head = patient(policy)?;
                let a = head.path()?;
                let b = head.path_with(Options {
                    access: AccessState::NonOptimized,
                    ..Options::default()
                })?;

                // Several at once, each of which fails once.
                a.behave(Behaviour::Hold);
                let mut ios = KVec::with_capacity(8, GFP_KERNEL)?;
                for at in 0..8 {
                    let io = Io::submit(head.bdev(), opf, at * PAGE_SECTORS)?;

                    ios.push_within_capacity(io)?;
                }
                a.behave(Behaviour::Complete);
                a.fail_held_over();
                for io in &ios {
                    check!(io.ended_well());
                }
                for _ in 0..8 {
                    a.fail_next(1);
                    check!(Io::submit(head.bdev(), opf, 0)?.ended_well());
                    check_eq!(head.write_many(3)?, 3);
                }
                check_eq!(b.bios(), 0);
                check_eq!(a.bios(), 8 + 8 + 8 * 5);

                // A bio that fails again tries the paths that there are.
                a.fail_next(2);
                check!(Io::submit(head.bdev(), opf, 0)?.ended_well());
                check_eq!(b.bios(), 1);
                check_eq!(head.write_many(4)?, 4);
                check_eq!(b.bios(), 1);
            }
        }
        Ok(())
    }

    /// Shows.
    #[test]
    fn a_path_that_keeps_failing_is_left_alone_for_longer_and_longer() -> Result {
        for opf in [WRITE, WRITE | PREFLUSH] {
            let head = patient(IoPolicy::Numa)?;
            let path = head.path()?;

            path.behave(Behaviour::FailOver);
            let begin = Instant::<Monotonic>::now();
            let io = Io::submit(head.bdev(), opf, 0)?;
            check!(eventually(|| {
                // A submitter with waiting bios does not make the library try the path more often.
                head.kick();
                path.bios() >= UNTIL_LONGEST + 4
            }));
            let bios = path.bios();
            check!(bios <= 1 + u32::from(Trust::FAILURES) + most_probes(&begin));
            path.behave(Behaviour::Complete);
            check!(io.ended_well());
            check!(trust(&path) == Trust::Trusted);
        }
        Ok(())
    }

    /// Shows.
    #[test]
    fn paths_that_all_fail_are_not_tried_in_a_loop() -> Result {
        for policy in IoPolicy::ALL {
            let head = patient(policy)?;
            let (a, b) = (head.path()?, head.path()?);
            let mut ios = KVec::with_capacity(4, GFP_KERNEL)?;

            a.behave(Behaviour::FailOver);
            b.behave(Behaviour::FailOver);
            let begin = Instant::<Monotonic>::now();
            for at in 0..4 {
                ios.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
            }
            check!(eventually(|| a.bios() + b.bios() >= 2 * UNTIL_LONGEST));
            let bios = a.bios().max(b.bios());
            // Four bios; the library tries each at once as often as a path may fail.
            check!(bios <= 4 * (1 + u32::from(Trust::FAILURES)) + most_probes(&begin));
            a.behave(Behaviour::Complete);
            for io in &ios {
                check!(io.ended_well());
            }
        }
        Ok(())
    }

    /// Shows.
    #[test]
    fn a_path_that_is_left_alone_is_used_as_soon_as_the_driver_has_looked_at_it() -> Result {
        for evaluate in EVALUATIONS {
            let head = patient(IoPolicy::Numa)?;
            let path = head.path()?;
            let io = wear_out(&head, &path)?;

            path.behave(Behaviour::Complete);
            evaluate(&path);
            check!(trust(&path) == Trust::Trusted);
            head.engine().busy.requeue.flush();
            check_eq!(io.status(), OK);
        }
        Ok(())
    }

    /// Shows A-6.
    #[test]
    fn one_bio_at_a_time_tries_a_path_that_is_left_alone() -> Result {
        let head = patient(IoPolicy::Numa)?;
        let path = head.path()?;
        let mut ios = KVec::with_capacity(8, GFP_KERNEL)?;

        ios.push_within_capacity(wear_out(&head, &path)?)?;
        path.behave(Behaviour::Hold);
        let begin = Instant::<Monotonic>::now();
        for at in 1..8 {
            ios.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
        }
        // A bio that does not end keeps no other from trying after the next pause.
        check!(eventually(|| {
            head.kick();
            path.held() >= 3
        }));
        let held = path.held() as i64;
        let pauses = begin.elapsed().as_millis() / i64::from(Trust::LONGEST_MSECS);
        check!(held <= pauses + 2);

        // When one succeeds, all the others go on at once.
        path.behave(Behaviour::Complete);
        path.complete_held();
        check!(trust(&path) == Trust::Trusted);
        head.engine().busy.requeue.flush();
        for io in &ios {
            check_eq!(io.status(), OK);
        }
        Ok(())
    }

    /// Shows A-6.
    #[test]
    fn a_path_goes_while_a_bio_tries_it() -> Result {
        for fails in [false, true] {
            let head = patient(IoPolicy::Numa)?;
            let a = head.path()?;
            let io = wear_out(&head, &a)?;

            a.behave(Behaviour::Hold);
            check!(eventually(|| a.held() == 1));
            let b = head.path()?;
            a.remove();
            check_eq!(io.status(), PENDING);
            if fails {
                a.fail_held_over();
            } else {
                a.complete_held();
            }
            check!(io.ended_well());
            check_eq!(b.bios(), u32::from(fails));
        }
        Ok(())
    }

    /// Shows A-6.
    #[test]
    fn a_path_that_may_be_tried_is_tried_whatever_the_policy_would_choose() -> Result {
        for policy in IoPolicy::ALL {
            let head = patient(policy)?;
            let (a, b) = (head.path()?, head.path()?);

            // The numa policy would go on with the first.
            a.disable(NOT_READY);
            b.behave(Behaviour::Hold);
            let io = head.write(0)?;
            a.enable(NOT_READY);
            b.behave(Behaviour::Complete);
            b.fail_held_over();
            check!(io.ended_well());
            check_eq!(b.bios(), 2);
            check!(trust(&b) == Trust::Trusted);

            // The same for a path that was left alone: the first bio after a pause tries it.
            a.disable(NOT_READY);
            let io = wear_out(&head, &b)?;
            a.enable(NOT_READY);
            check!(io.ended_well());
            b.behave(Behaviour::Complete);
            let begin = b.bios();
            check!(eventually(|| {
                head.write_many(1).is_ok() && trust(&b) == Trust::Trusted
            }));
            check!(b.bios() > begin);
        }
        Ok(())
    }

    /// Shows A-6.
    #[test]
    fn a_path_that_fails_everything_beside_one_that_works() -> Result {
        const WRITES: u32 = 400;

        for policy in IoPolicy::ALL {
            let head = patient(policy)?;
            let (a, b) = (head.path()?, head.path()?);

            for broken in [&a, &b] {
                let before = broken.bios();

                broken.behave(Behaviour::FailOver);
                let begin = Instant::<Monotonic>::now();
                check_eq!(head.write_many(WRITES)?, WRITES);
                let most = 1 + u32::from(Trust::FAILURES) + most_probes(&begin);
                check!(broken.bios() - before <= most);
                broken.behave(Behaviour::Complete);
                broken.enable(0);
            }
            check_eq!(head.requeued(), 0);
        }
        Ok(())
    }

    /// The bad bios fail alone whatever else happens on the head, and all the others succeed.
    ///
    /// Shows.
    #[test]
    fn bios_that_fail_again_and_again_pause_although_others_go_on() -> Result {
        const BAD: u64 = 2;
        const MSECS: i64 = 1000;

        let head = patient(IoPolicy::Numa)?;
        let path = head.path()?;
        let mut bad = KVec::with_capacity(BAD as usize, GFP_KERNEL)?;

        path.behave(Behaviour::HoldBeyond);
        let before = path.bios();
        let begin = Instant::<Monotonic>::now();
        for at in 1..=BAD {
            bad.push_within_capacity(head.write(at * PAGE_SECTORS)?)?;
        }
        let mut good = 0;
        while begin.elapsed().as_millis() < MSECS {
            check!(head.write(0)?.ended_well());
            good += 1;
            path.fail_held_over();
            // The requeue work is to have its turn.
            fsleep(Delta::from_millis(1));
        }
        // At once, then after pauses that grow; and before and after the time that the test looks
        // at.
        let longest = (begin.elapsed().as_millis() / i64::from(Trust::LONGEST_MSECS)) as u32;
        let most = 1 + u32::from(Trust::FAILURES) + u32::from(Trust::LAST_PAUSE) + longest + 2;
        check!(path.bios() - before - good <= BAD as u32 * most);

        // News for the head ends their pauses.
        path.behave(Behaviour::Complete);
        path.complete_held();
        path.enable(0);
        head.engine().busy.requeue.flush();
        for io in &bad {
            check_eq!(io.status(), OK);
        }
        Ok(())
    }

    /// The path fails some bios before their submitter goes on, so that they are the first to wait
    /// again.
    ///
    /// Shows A-6.
    #[test]
    fn bios_that_fail_at_once_let_others_try_a_path_that_is_left_alone() -> Result {
        const BAD: u32 = 2;

        for opf in [WRITE, WRITE | PREFLUSH] {
            let head = patient(IoPolicy::Numa)?;
            let path = head.path()?;
            let (mut bad, mut good) = (KVec::new(), KVec::new());

            path.behave(Behaviour::FailOverBeyond);
            for at in 1..=u64::from(BAD) {
                bad.push(Io::submit(head.bdev(), opf, at * PAGE_SECTORS)?, GFP_KERNEL)?;
            }
            check!(eventually(|| is_left_alone(&path)));
            let before = path.bios();
            for _ in 0..4 {
                good.push(Io::submit(head.bdev(), opf, 0)?, GFP_KERNEL)?;
            }
            for io in &good {
                check!(io.ended_well());
            }
            // Each of the bad bios may be on its way to try the path, and once more before the
            // others.
            let seen = path.seen()?;
            let first_good = seen.iter().position(|seen| seen.sector == 0);
            check!(first_good.is_some_and(|at| at as u32 <= before + 2 * BAD));

            path.behave(Behaviour::Complete);
            path.enable(0);
            for io in &bad {
                check!(io.ended_well());
            }
        }
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn a_bio_that_every_path_fails_ends_with_its_last_error() -> Result {
        const LIMIT: u32 = 5;

        for paths in 1..=3 {
            for opf in [WRITE, WRITE | PREFLUSH] {
                let head = TestHead::new(Setup {
                    template: |template| template.max_failovers = LIMIT,
                    limits: |limits| limits.features = WRITE_CACHE_FEATURE,
                    ..Setup::default()
                })?;
                let mut all = KVec::with_capacity(3, GFP_KERNEL)?;

                for _ in 0..paths {
                    let path = head.path()?;

                    path.behave(Behaviour::FailOver);
                    all.push_within_capacity(path)?;
                }
                let io = Io::submit(head.bdev(), opf, 0)?;
                let bios = || all.iter().map(|path| path.bios()).sum::<u32>();
                check!(eventually(|| bios() >= paths * LIMIT - 1));
                all.iter().for_each(|path| path.fail_with(TIMEOUT));
                let status = io.wait();
                check!(status == TIMEOUT || status == TRANSPORT);
                check_eq!(bios(), paths * LIMIT);
                check_eq!(head.failed(), 0);
            }
        }
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn the_last_error_is_what_the_submitter_gets() -> Result {
        let head = TestHead::new(Setup {
            template: |template| template.max_failovers = 3,
            ..Setup::default()
        })?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        for status in [IOERR, TRANSPORT, TIMEOUT] {
            check!(eventually(|| path.held() == 1));
            check_eq!(io.status(), PENDING);
            path.fail_with(status);
            path.fail_held_over();
        }
        check_eq!(io.wait(), TIMEOUT);
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn a_driver_that_says_nothing_gets_the_usual_limit() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.behave(Behaviour::FailOver);
        check_eq!(head.write(0)?.wait(), TRANSPORT);
        check_eq!(path.bios(), MAX_FAILOVERS);

        // A path's driver can ask how often a bio has failed over.
        for (at, seen) in path.seen()?.iter().enumerate() {
            check_eq!(seen.failovers, at as u32);
        }
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn a_failure_on_a_path_that_the_driver_does_not_want_used_does_not_count() -> Result {
        const UNWANTED: [(fn(&FakePath), fn(&FakePath)); 3] = [
            (
                |path| path.disable(NOT_READY),
                |path| path.enable(NOT_READY),
            ),
            (
                |path| path.set_access(AccessState::Other),
                |path| path.set_access(AccessState::Optimized),
            ),
            (
                |path| path.port().set(PortState::Recovering),
                |path| path.port().set(PortState::Live),
            ),
        ];

        for (forbid, allow) in UNWANTED {
            for fail in [FakePath::fail_held_over, FakePath::spend_held] {
                let head = TestHead::new(Setup {
                    template: |template| template.max_failovers = 3,
                    limits: |limits| limits.features = WRITE_CACHE_FEATURE,
                    ..Setup::default()
                })?;
                let path = head.path()?;

                path.behave(Behaviour::Hold);
                let io = Io::submit(head.bdev(), WRITE | PREFLUSH, 0)?;
                for _ in 0..12 {
                    check!(eventually(|| {
                        head.kick();
                        path.held() == 1
                    }));
                    forbid(&path);
                    fail(&path);
                    check_eq!(io.status(), PENDING);
                    allow(&path);
                }
                path.behave(Behaviour::Complete);
                head.kick();
                path.complete_held();
                check!(io.ended_well());
            }
        }
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn a_bio_that_would_have_had_to_wait_ends_as_it_is() -> Result {
        let head = patient(IoPolicy::Numa)?;
        let (path, other) = (head.path()?, head.path()?);

        path.behave(Behaviour::Hold);
        for opf in [WRITE, WRITE | PREFLUSH] {
            let io = Io::submit(head.bdev(), opf, 0)?;
            path.fail_with(AGAIN);
            path.fail_held_over();
            check_eq!(io.wait(), AGAIN);
            check!(trust(&path) == Trust::Trusted);
        }
        check_eq!(other.bios(), 0);
        Ok(())
    }
}
