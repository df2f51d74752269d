// SPDX-License-Identifier: GPL-2.0

//! One timer for many callers: the timer forgets nobody who has asked, and is late for nobody.
//!
//! The library's own: [`Alarm`]. Made by hand: the timer, which may go off as soon as it is set,
//! and then makes it the tick for which it was set. After `MpathHead::retry_failed_paths()`: the
//! look.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use libmultipath::alarm::Alarm;
use libmultipath::sync::{
    AtomicU32,
    AtomicU64, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// The ticks at which the callers want a look.
const TICKS: [u64; 2] = [5, 10];

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The head rings the alarm after the look.
    LooksBeforeItRings,
    /// The look may come before others see that the alarm has been rung.
    LooksTooEarly,
    /// The timer is set once, although it may be too late by then.
    SetsOnce,
}

struct Head {
    alarm: Alarm,
    /// The tick for which the timer is set, with the lock of the kernel's timers.
    timer: Mutex<Option<u64>>,
    /// The callers that wait for a look, as bits.
    waits: AtomicU32,
    mutant: Mutant,
}

impl Head {
    fn new(mutant: Mutant) -> Arc<Self> {
        Arc::new(Self {
            alarm: Alarm::new(),
            timer: Mutex::new(None),
            waits: AtomicU32::new(0),
            mutant,
        })
    }

    /// The word of the alarm, for mutants.
    fn word(&self) -> &AtomicU64 {
        // SAFETY: Transparent.
        unsafe { &*core::ptr::from_ref(&self.alarm).cast() }
    }

    fn set_timer(&self, at: u64) {
        *self.timer.lock().unwrap() = Some(at);
    }

    fn ask(&self, who: usize) {
        let at = TICKS[who];

        self.waits.update(|waits| waits | 1 << who);
        if self.mutant == Mutant::SetsOnce {
            let known = self.word().load();

            if at < known && self.word().cmpxchg(known, at).is_ok() {
                self.set_timer(self.word().load().min(at));
            }
        } else {
            self.alarm.ask(at, |at| self.set_timer(at));
        }
    }

    /// The timer goes off if it is set. Returns whether it was.
    fn run_timer(&self) -> bool {
        let Some(now) = self.timer.lock().unwrap().take() else {
            return false;
        };

        match self.mutant {
            Mutant::LooksBeforeItRings => (),
            Mutant::LooksTooEarly => self.word().store(u64::MAX),
            _ => self.alarm.rings(),
        }
        let waits = self.waits.load();
        let is_due = |who: &usize| waits & 1 << who != 0 && TICKS[*who] <= now;
        let due = (0..TICKS.len())
            .filter(is_due)
            .fold(0, |due, who| due | 1 << who);
        let later = (0..TICKS.len()).find(|who| (waits & !due) & 1 << who != 0);

        self.waits.update(|waits| waits & !due);
        if self.mutant == Mutant::LooksBeforeItRings {
            self.alarm.rings();
        }
        if let Some(who) = later {
            self.alarm.ask(TICKS[who], |at| self.set_timer(at));
        }
        true
    }
}

/// Two callers ask while the timer goes off whenever it likes.
fn asking(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(mutant);
        let askers = [0, 1].map(|who| {
            let head = head.clone();
            thread::spawn(move || head.ask(who))
        });

        head.run_timer();
        head.run_timer();
        for asker in askers {
            asker.join().unwrap();
        }
        while head.run_timer() {}
        assert_eq!(head.waits.load(), 0, "somebody is forgotten");
    }
}

/// Shows.
#[test]
fn nobody_who_wants_to_be_looked_at_is_forgotten() {
    holds(AtMost(3), asking(Mutant::Nothing));
    for mutant in [Mutant::LooksBeforeItRings, Mutant::LooksTooEarly] {
        is_caught(mutant, "somebody is forgotten", AtMost(3), asking(mutant));
    }
}

/// Two callers ask before the timer goes off.
fn asking_first(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(mutant);
        let other = {
            let head = head.clone();
            thread::spawn(move || head.ask(1))
        };

        head.ask(0);
        other.join().unwrap();
        assert_eq!(*head.timer.lock().unwrap(), Some(TICKS[0]), "too late");
    }
}

/// Shows A-6.
#[test]
fn the_timer_is_set_for_the_one_who_comes_first() {
    holds(Any, asking_first(Mutant::Nothing));
    is_caught(
        Mutant::SetsOnce,
        "too late",
        Any,
        asking_first(Mutant::SetsOnce),
    );
}
