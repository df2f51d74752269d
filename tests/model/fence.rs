// SPDX-License-Identifier: GPL-2.0

//! A fence: what it holds goes on, and not before it may.
//!
//! The library's own: [`hold`], [`start`], [`open`], [`ring`], the clock and the lot. Made by hand:
//! the timer, which may go off whenever it likes from the tick on for which it is set, and then
//! makes it that tick; and what becomes of what is let go, which is counted.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::parking::Bio;
use libmultipath::fence::{
    hold,
    open,
    ring,
    start,
    AtomicClock,
    Clock,
    Fenced,
    Rung, //
};
use libmultipath::parking::ParkingLot;
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// When a fence opens of which the driver says nothing.
const LIMIT: u64 = 180;
/// When nothing of the association is carried out any more.
const END: u64 = 15;

/// What is wrong with a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// Whoever holds something looks at the clock before it is in the lot.
    LooksBeforeItIsIn,
    /// Whoever starts the clock looks into the lot before.
    LooksBeforeItStarts,
    /// The timer is set once, although another has been asked for by then.
    SetsOnce,
    /// The limit counts although the driver has given a time.
    LimitCounts,
    /// The next association of the port starts the clock anew.
    HeldByThePort,
}

struct Fence {
    clock: AtomicClock,
    lot: ParkingLot<Bio>,
    /// The tick for which the timer is set, with the lock of the kernel's timers.
    timer: Mutex<Option<u64>>,
    /// At which tick each bio was let go.
    gone: Mutex<Vec<u64>>,
    mutant: Mutant,
}

impl Fenced for Fence {
    type Item = Bio;

    fn clock(&self) -> &AtomicClock {
        &self.clock
    }

    fn lot(&self) -> &ParkingLot<Bio> {
        &self.lot
    }

    fn set_timer(&self, at: u64) {
        *self.timer.lock().unwrap() = Some(at);
    }
}

impl Fence {
    fn new(mutant: Mutant) -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicClock::new(),
            lot: ParkingLot::new(),
            timer: Mutex::new(None),
            gone: Mutex::new(Vec::new()),
            mutant,
        })
    }

    /// For those who do it wrong.
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
                unsafe { self.lot.push(bio) };
            }
            Mutant::SetsOnce => {
                // SAFETY: As above.
                unsafe { self.lot.push(bio) };
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
                let is_empty = self.lot.is_empty();

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

    /// Asserts that `count` bios have been let go, none of them before tick `first`.
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

/// Bios are held while the clock is started and the timer goes off.
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
fn what_a_fence_holds_goes_on() {
    holds(AtMost(3), losing(Mutant::Nothing));
    is_caught(
        Mutant::LooksBeforeItIsIn,
        "held for ever",
        AtMost(3),
        losing(Mutant::LooksBeforeItIsIn),
    );
}

/// A bio is held while the clock is started.
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

/// Two of them say that the association is over, one later than the other.
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

/// Bios are held while the fence is opened.
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
