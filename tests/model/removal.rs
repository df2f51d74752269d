// SPDX-License-Identifier: GPL-2.0

//! The delayed removal of a head against paths that come back.
//!
//! The library's own: [`Removal`] and the head's word. After `rust/engine/remove.rs`: adding and
//! deleting paths, the decision, the timer and its references, and the delay. The timer is a work
//! for which it is always time; a clock jumps to the tick for which it was armed.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::AtMost, //
};
use crate::kernel::Work;
use libmultipath::removal::{
    Decision,
    Removal, //
};
use libmultipath::state::{
    AtomicHeadWord,
    HeadState, //
};
use loom::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

const DELAY: u32 = 40;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The mutex is let go between the decision and what follows from it.
    DecidesOutsideTheMutex,
    /// The number of paths is not looked at.
    DoesNotCountPaths,
    /// A timer that was armed already gets another reference.
    ArmsTwice,
    /// Whoever disarms the timer drops its reference, although its work has begun.
    DropsWhatTheWorkDrops,
}

struct Control {
    paths: usize,
    removal: Removal,
    /// The tick for which the timer was armed last.
    until: u64,
}

struct Head {
    word: AtomicHeadWord,
    control: Mutex<Control>,
    timer: Work,
    /// In ticks.
    clock: AtomicUsize,
    /// To the head, and at the same time to the module: a timer takes and drops both.
    references: AtomicUsize,
    removals: AtomicUsize,
    mutant: Mutant,
}

impl Head {
    /// A Live head with one path and a removal delay; the driver has a reference.
    fn new(mutant: Mutant) -> Self {
        let head = Self {
            word: AtomicHeadWord::new(),
            control: Mutex::new(Control {
                paths: 1,
                removal: Removal::new(),
                until: 0,
            }),
            timer: Work::new(),
            clock: AtomicUsize::new(0),
            references: AtomicUsize::new(1),
            removals: AtomicUsize::new(0),
            mutant,
        };

        head.word.advance(HeadState::Live);
        head.control.lock().unwrap().removal.set_delay(DELAY);
        head
    }

    fn now(&self) -> u64 {
        // The clock of the kernel does not go back; a load might.
        self.clock.fetch_add(0, Ordering::AcqRel) as u64
    }

    fn get(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    fn put(&self) {
        self.references.fetch_sub(1, Ordering::AcqRel);
    }

    fn add_path(&self) -> bool {
        let mut control = self.control.lock().unwrap();

        if self.word.load().state() >= HeadState::Dying {
            return false;
        }
        control.paths += 1;
        if control.removal.path_added() {
            let was_pending = self.timer.cancel();

            if was_pending || self.mutant == Mutant::DropsWhatTheWorkDrops {
                self.put();
            }
        }
        true
    }

    fn delete_path(&self) {
        self.control.lock().unwrap().paths -= 1;
    }

    fn try_remove(&self) -> bool {
        let mut control = self.control.lock().unwrap();
        let state = self.word.load().state();
        let paths = match self.mutant {
            Mutant::DoesNotCountPaths => 0,
            _ => control.paths,
        };
        let decision = control.removal.decide(state, paths);

        if self.mutant == Mutant::DecidesOutsideTheMutex {
            drop(control);
            control = self.control.lock().unwrap();
        }
        match decision {
            Decision::Keep => false,
            Decision::Wait(secs) => {
                self.arm(&mut control, secs);
                false
            }
            Decision::Remove => self.word.advance(HeadState::Dying),
        }
    }

    fn arm(&self, control: &mut Control, secs: u32) {
        control.until = self.now() + u64::from(secs);
        control.removal.armed(control.until);
        self.get();
        if self.timer.queue() && self.mutant != Mutant::ArmsTwice {
            self.put();
        }
    }

    fn set_removal_delay(&self, secs: u32) {
        let mut control = self.control.lock().unwrap();

        self.word.set_queue_if_no_path(secs != 0);
        if control.removal.set_delay(secs) {
            self.arm(&mut control, secs);
        }
    }

    /// `nvme_unlink_ns_head()` and `nvme_remove_ns_head()`: by a path's remover, or by the timer.
    fn remove_head(&self) {
        if self.try_remove() {
            self.removals.fetch_add(1, Ordering::AcqRel);

            let control = self.control.lock().unwrap();
            self.word.advance(HeadState::Dead);
            drop(control);
            self.put();
        }
    }

    fn run_timer(&self) -> bool {
        self.timer.run(|| {
            let is_time = {
                let mut control = self.control.lock().unwrap();

                self.clock
                    .fetch_max(control.until as usize, Ordering::AcqRel);
                control.removal.expire(self.now())
            };

            if is_time {
                self.remove_head();
                self.control.lock().unwrap().removal.asked();
            }
            self.put();
        })
    }

    /// All threads are done; `added` says how many paths were added. What is still to be removed
    /// waits for its timer.
    fn assert_consistent(&self, added: usize) {
        self.assert_agreement(added);
        while self.run_timer() {}
        self.assert_agreement(added);
        assert_eq!(
            self.word.load().state() == HeadState::Dead,
            added == 0,
            "a head without paths goes, another one stays"
        );
    }

    fn assert_agreement(&self, added: usize) {
        let is_dead = self.word.load().state() == HeadState::Dead;
        let is_armed = self.timer.cancel();

        if is_armed {
            self.timer.queue();
        }
        assert_eq!(self.control.lock().unwrap().paths, added);
        assert!(!is_dead || added == 0, "a head with a path was removed");
        assert_eq!(
            self.removals.load(Ordering::Acquire),
            usize::from(is_dead),
            "removed once"
        );
        assert_eq!(
            self.references.load(Ordering::Acquire),
            usize::from(!is_dead) + usize::from(is_armed),
            "references"
        );
    }
}

/// The only path goes, another one comes, and the delay changes, while the timer expires whenever
/// it likes.
fn race(delay: Option<u32>, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(mutant));
        let deleter = {
            let head = head.clone();
            thread::spawn(move || {
                head.delete_path();
                head.remove_head();
            })
        };
        let adder = {
            let head = head.clone();
            thread::spawn(move || head.add_path())
        };
        let setter = delay.map(|secs| {
            let head = head.clone();
            thread::spawn(move || head.set_removal_delay(secs))
        });

        head.run_timer();
        head.run_timer();
        deleter.join().unwrap();
        let added = adder.join().unwrap();
        if let Some(setter) = setter {
            setter.join().unwrap();
        }
        head.assert_consistent(added.into());
    }
}

/// Shows L-24, L-29.
#[test]
fn a_path_comes_before_the_decision_to_remove_or_not_at_all() {
    holds(AtMost(4), race(None, Mutant::Nothing));
    for mutant in [Mutant::DecidesOutsideTheMutex, Mutant::DoesNotCountPaths] {
        is_caught(
            "a head with a path was removed",
            AtMost(4),
            race(None, mutant),
        );
    }
}

/// Shows L-22, L-24, L-26, L-29.
#[test]
fn the_delay_may_be_set_to_0_while_the_last_path_goes_and_another_one_comes() {
    holds(AtMost(3), race(Some(0), Mutant::Nothing));
    is_caught(
        "a head with a path was removed",
        AtMost(3),
        race(Some(0), Mutant::DecidesOutsideTheMutex),
    );
}

/// Shows L-22, L-23, L-26.
#[test]
fn an_armed_timer_owns_one_reference_whoever_moves_or_disarms_it() {
    holds(AtMost(3), race(Some(2 * DELAY), Mutant::Nothing));
    for mutant in [Mutant::ArmsTwice, Mutant::DropsWhatTheWorkDrops] {
        is_caught("references", AtMost(3), race(Some(2 * DELAY), mutant));
    }
}
