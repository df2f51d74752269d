// SPDX-License-Identifier: GPL-2.0

//! A path that keeps failing, and the threads that end its pauses, try it, and tell the outcome.
//!
//! The library's own: the path's state word and its trust, [`parking::take`],
//! [`parking::fail_over`], [`parking::succeed`] and [`parking::retry`]. Made by hand: the retry
//! work, for which it is always time. No bio waits: `parking.rs` has those.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::kernel::Work;
use libmultipath::parking::{
    self,
    FailOver,
    Kick, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicPathState,
    PathState,
    Reasons, //
};
use libmultipath::trust::{
    Attempt,
    Trust, //
};
use loom::thread;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::Relaxed, //
};
use std::sync::Arc;

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// Each thread that sees that a path may be tried tries it.
    TakesInTwoSteps,
    /// The thread asks for the retry before the pause begins.
    AsksBeforeThePause,
    /// No thread asks for a retry.
    DoesNotAsk,
}

struct Head {
    path: AtomicPathState,
    retry: Work,
    /// How many bios may try the path: one from the start, and one for each pause that has ended.
    allowed: AtomicUsize,
    probes: AtomicUsize,
    mutant: Mutant,
}

impl Kick for Head {
    fn kick(&self) {}
}

impl FailOver for Head {
    type Path = AtomicPathState;

    fn note(&self, path: &AtomicPathState, f: impl Fn(PathState) -> PathState) -> PathState {
        path.update(f)
    }

    fn retry_later(&self, _path: &AtomicPathState, _msecs: u32) {
        if self.mutant != Mutant::DoesNotAsk {
            self.retry.queue();
        }
    }
}

impl Head {
    /// A path that has failed so often that one bio more makes it rest; or that has rested.
    fn new(has_rested: bool, mutant: Mutant) -> Arc<Self> {
        let path = AtomicPathState::new();

        path.update(|state| {
            state
                .enabled(Reasons::NOT_READY)
                .reaching(AccessState::Optimized)
                .failed(Attempt::Plain)
        });
        for _ in 1..Trust::FAILURES {
            path.update(|state| state.failed(Attempt::Watched));
        }
        if has_rested {
            path.update(|state| state.failed(Attempt::Watched).rested());
        }
        Arc::new(Self {
            path,
            retry: Work::new(),
            allowed: AtomicUsize::new(1),
            probes: AtomicUsize::new(0),
            mutant,
        })
    }

    /// Sends a bio to the path, if it may. The bio then ends well or not.
    fn send(&self, ends_well: bool) {
        let attempt = if self.mutant == Mutant::TakesInTwoSteps {
            let attempt = self.path.load().trust().attempt();

            parking::take(self, &self.path);
            attempt
        } else {
            parking::take(self, &self.path)
        };

        if attempt == Some(Attempt::Probe) {
            self.probes.fetch_add(1, Relaxed);
        }
        if let Some(attempt) = attempt {
            self.end(attempt, ends_well);
        }
    }

    fn end(&self, attempt: Attempt, ends_well: bool) {
        if ends_well {
            parking::succeed(self, &self.path);
        } else if self.mutant == Mutant::AsksBeforeThePause {
            self.retry.queue();
            self.path.update(|state| state.failed(attempt));
        } else {
            parking::fail_over(self, &self.path, attempt, || {});
        }
    }

    fn run_retry(&self) -> bool {
        self.retry.run(|| {
            self.allowed.fetch_add(1, Relaxed);
            parking::retry(self, core::iter::once(&self.path));
        })
    }
}

/// Two bios try a path that has rested, while the pause that follows ends whenever it likes.
fn tried_by_two(ends_well: [bool; 2], mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(true, mutant);
        let threads = ends_well.map(|ends_well| {
            let head = head.clone();
            thread::spawn(move || head.send(ends_well))
        });

        head.run_retry();
        for thread in threads {
            thread.join().unwrap();
        }
        let (probes, allowed) = (head.probes.load(Relaxed), head.allowed.load(Relaxed));
        assert!(probes <= allowed, "tried by {probes} instead of {allowed}");

        while head.run_retry() {}
        assert_ne!(
            head.path.load().access(),
            Access::Unusable,
            "left alone for ever"
        );
    }
}

/// Shows.
#[test]
fn one_bio_tries_a_path_after_each_pause() {
    for ends_well in [[false, false], [true, false]] {
        holds(AtMost(4), tried_by_two(ends_well, Mutant::Nothing));
    }
    is_caught(
        Mutant::TakesInTwoSteps,
        "tried by 2 instead of 1",
        AtMost(4),
        tried_by_two([false, false], Mutant::TakesInTwoSteps),
    );
    is_caught(
        Mutant::DoesNotAsk,
        "left alone for ever",
        AtMost(4),
        tried_by_two([false, false], Mutant::DoesNotAsk),
    );
}

/// One bio fails and makes the path rest, another one that was sent before ends well or not, and
/// the pause ends whenever it likes.
fn told_by_two(ends_well: bool, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(false, mutant);
        let threads = [false, ends_well].map(|ends_well| {
            let head = head.clone();
            thread::spawn(move || head.end(Attempt::Watched, ends_well))
        });

        head.run_retry();
        for thread in threads {
            thread.join().unwrap();
        }
        while head.run_retry() {}
        assert_ne!(
            head.path.load().access(),
            Access::Unusable,
            "left alone for ever"
        );
    }
}

/// Shows.
#[test]
fn no_path_is_left_alone_for_ever() {
    for ends_well in [false, true] {
        holds(Any, told_by_two(ends_well, Mutant::Nothing));
    }
    for mutant in [Mutant::AsksBeforeThePause, Mutant::DoesNotAsk] {
        is_caught(
            mutant,
            "left alone for ever",
            Any,
            told_by_two(false, mutant),
        );
    }
}
