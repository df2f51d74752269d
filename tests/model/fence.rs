// SPDX-License-Identifier: GPL-2.0

//! A fence: the bios that it holds go on, and not before they may.
//!
//! The library's own: [`hold`], [`start`], [`open`], [`ring`], the clock and the lot. Made by hand:
//! the timer, and a count of the bios that the fence lets go. The timer may go off whenever it
//! likes from the tick on for which it is set, and then makes it that tick.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::parking::Bio;
use libmultipath::fencing::{
    hold,
    open,
    ring,
    start,
    AtomicClock,
    Clock,
    Fenced,
    Rung, //
};
use libmultipath::parking::LocklessList;
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// The tick at which a fence opens when the driver says nothing of it.
const LIMIT: u64 = 180;
/// The tick from which on the controller carries out nothing more of the association.
const END: u64 = 15;

/// A mistake in a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The thread that holds a bio looks at the clock before the bio is in the lot.
    LooksBeforeItIsIn,
    /// The thread that starts the clock looks into the lot before.
    LooksBeforeItStarts,
    /// The timer is set once, although a caller has asked for another time by then.
    SetsOnce,
    /// The limit counts although the driver has given a time.
    LimitCounts,
    /// The next association of the port starts the clock anew.
    HeldByThePort,
}

struct Fence {
    clock: AtomicClock,
    list: LocklessList<Bio>,
    /// The tick for which the timer is set, with the lock of the kernel's timers.
    timer: Mutex<Option<u64>>,
    /// The tick at which the fence let each bio go.
    gone: Mutex<Vec<u64>>,
    mutant: Mutant,
}

impl Fenced for Fence {
    type Item = Bio;

    fn clock(&self) -> &AtomicClock {
        &self.clock
    }

    fn list(&self) -> &LocklessList<Bio> {
        &self.list
    }

    fn set_timer(&self, at: u64) {
        *self.timer.lock().unwrap() = Some(at);
    }
}

impl Fence {
    fn new(mutant: Mutant) -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicClock::new(),
            list: LocklessList::new(),
            timer: Mutex::new(None),
            gone: Mutex::new(Vec::new()),
            mutant,
        })
    }

    /// Sets the timer as a mutant does.
    fn set_timer_once(&self) {
        if let Some(at) = self.clock.load().end() {
            self.set_timer(at);
        }
    }

    fn hold(&self, number: usize) {
        let bio = Bio::new(number);

        match self.mutant {
            Mutant::LooksBeforeItIsIn => {
                self.clock.update(|clock| clock.held(LIMIT));
                self.set_timer_once();
                // SAFETY: A valid bio that we give up.
                unsafe { self.list.push(bio) };
            }
            Mutant::SetsOnce => {
                // SAFETY: As above.
                unsafe { self.list.push(bio) };
                let (_, clock) = self.clock.update(|clock| clock.held(LIMIT));
                self.set_timer(clock.end().unwrap());
            }
            // SAFETY: As above.
            _ => unsafe { hold(self, bio, LIMIT) },
        }
    }

    fn start(&self, at: u64) {
        match self.mutant {
            Mutant::LooksBeforeItStarts => {
                let is_empty = self.list.is_empty();

                self.clock.update(|clock| clock.started(at));
                if !is_empty {
                    self.set_timer_once();
                }
            }
            Mutant::LimitCounts => {
                self.clock.update(|clock| match clock {
                    Clock::Limited(limit) if limit < at => clock,
                    clock => clock.started(at),
                });
                self.set_timer_once();
            }
            Mutant::HeldByThePort => {
                self.clock.update(|clock| match clock {
                    Clock::Started(_) => Clock::Started(at),
                    clock => clock.started(at),
                });
                self.set_timer_once();
            }
            _ => start(self, at),
        }
    }

    /// The timer goes off, if it is set.
    fn run_timer(&self) -> bool {
        let Some(now) = self.timer.lock().unwrap().take() else {
            return false;
        };

        if let Rung::Open { held, .. } = ring(self, now) {
            for bio in held {
                Bio::end(bio);
                self.gone.lock().unwrap().push(now);
            }
        }
        true
    }

    /// Asserts that the fence has let `count` bios go, none of them before tick `first`.
    fn check(&self, count: usize, first: u64, last: u64) {
        while self.run_timer() {}
        let gone = self.gone.lock().unwrap();

        assert_eq!(gone.len(), count, "a bio is held for ever");
        for at in gone.iter() {
            // A bio that comes when the fence is open already goes on at once.
            assert!(*at == 0 || *at >= first, "too early: {at}");
            assert!(*at <= last, "too late: {at}");
        }
    }
}

/// The fence holds bios while a thread starts the clock and the timer goes off.
fn losing(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let fence = Fence::new(mutant);
        let failing = {
            let fence = fence.clone();
            thread::spawn(move || fence.hold(0))
        };
        let timing = {
            let fence = fence.clone();
            thread::spawn(move || {
                fence.run_timer();
            })
        };

        fence.start(END);
        failing.join().unwrap();
        timing.join().unwrap();
        fence.check(1, END, LIMIT);
    }
}

/// Shows F-1, F-2.
#[test]
fn a_bio_that_a_fence_holds_goes_on() {
    holds(AtMost(3), losing(Mutant::Nothing));
    is_caught(
        Mutant::LooksBeforeItIsIn,
        "held for ever",
        AtMost(3),
        losing(Mutant::LooksBeforeItIsIn),
    );
}

/// The fence holds a bio while a thread starts the clock.
fn starting(mutant: Mutant, at: u64) -> impl Fn() + Send + Sync {
    move || {
        let fence = Fence::new(mutant);
        let failing = {
            let fence = fence.clone();
            thread::spawn(move || fence.hold(0))
        };

        fence.start(at);
        failing.join().unwrap();
        fence.check(1, at, at);
    }
}

/// Shows F-1, F-2.
#[test]
fn a_fence_opens_when_the_driver_has_said() {
    for at in [END, LIMIT + 1] {
        holds(Any, starting(Mutant::Nothing, at));
    }
    for mutant in [Mutant::SetsOnce, Mutant::LooksBeforeItStarts] {
        is_caught(mutant, "too late", Any, starting(mutant, END));
    }
    is_caught(
        Mutant::LimitCounts,
        "too early",
        Any,
        starting(Mutant::LimitCounts, LIMIT + 1),
    );
}

/// Two threads say that the association is over, one later than the other.
fn starting_twice(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let fence = Fence::new(mutant);

        fence.hold(0);
        let other = {
            let fence = fence.clone();
            thread::spawn(move || fence.start(2 * END))
        };

        fence.start(END);
        other.join().unwrap();
        fence.check(1, END, END);
    }
}

/// Shows F-2.
#[test]
fn the_earliest_end_counts() {
    holds(Any, starting_twice(Mutant::Nothing));
    is_caught(
        Mutant::HeldByThePort,
        "too late",
        Any,
        starting_twice(Mutant::HeldByThePort),
    );
}

/// The fence holds bios while the driver opens it.
fn opening() {
    let fence = Fence::new(Mutant::Nothing);
    let failing = [0, 1].map(|number| {
        let fence = fence.clone();
        thread::spawn(move || fence.hold(number))
    });

    open(&*fence);
    for thread in failing {
        thread.join().unwrap();
    }
    fence.check(2, 0, 0);
}

/// Shows F-1, F-2.
#[test]
fn an_open_fence_holds_nothing() {
    holds(AtMost(3), opening);
}
