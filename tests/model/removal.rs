// SPDX-License-Identifier: GPL-2.0

//! The delayed removal of a head against paths that come back.
//!
//! The library's own: all of [`removal`], [`bring_up::take_down`], and the head's word. Made by hand:
//! the mutexes, the timer and a clock. The timer is a work for which it is always time; the clock
//! jumps to the tick for which the timer was started. A path is a count, and so is the removal of
//! the disk.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::kernel::Work;
use libmultipath::bring_up::{
    self,
    BringUp,
    HasDisk, //
};
use libmultipath::parking::Kick;
use libmultipath::removal::{
    self,
    Control,
    Controlled,
    Decision,
    Removable, //
};
use libmultipath::shortlist::Generation;
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

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The thread lets the mutex go between the decision and its consequences.
    DecidesOutsideTheMutex,
    /// The thread does not look at the number of paths.
    DoesNotCountPaths,
    /// A timer that was armed already gets another reference.
    ArmsTwice,
    /// The thread that disarms the timer drops its reference, although its work has begun.
    DropsWhatTheWorkDrops,
}

struct Head {
    word: AtomicHeadWord,
    control: Mutex<Control>,
    bring_up: Mutex<BringUp>,
    generation: Generation,
    timer: Work,
    /// The tick for which the timer was started last; written under the mutex.
    until: AtomicUsize,
    /// The time in ticks.
    clock: AtomicUsize,
    /// References to the head, and at the same time to the module: a timer takes and drops both.
    references: AtomicUsize,
    removals: AtomicUsize,
    mutant: Mutant,
}

impl Kick for Head {
    fn kick(&self) {}
}

impl Controlled for Head {
    type Path = ();

    fn word(&self) -> &AtomicHeadWord {
        &self.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        f(&mut self.control.lock().unwrap())
    }

    fn is_listed(_path: &()) -> bool {
        unreachable!()
    }

    fn grace_period(&self) {}
}

impl Removable for Head {
    fn take_timer_references(&self) -> bool {
        self.get();
        true
    }

    fn drop_timer_references(&self) {
        self.put();
    }

    fn start_timer(&self, ticks: u64) -> bool {
        let until = self.now() + ticks;

        self.until.store(until as usize, Ordering::Relaxed);
        self.timer.queue() && self.mutant != Mutant::ArmsTwice
    }

    fn cancel_timer(&self) -> bool {
        self.timer.cancel() || self.mutant == Mutant::DropsWhatTheWorkDrops
    }

    fn now(&self) -> u64 {
        // The clock of the kernel does not go back; a load might.
        self.clock.fetch_add(0, Ordering::AcqRel) as u64
    }

    fn ticks(secs: u32) -> u64 {
        secs.into()
    }

    fn ask(&self) {
        self.remove_head();
    }
}

impl HasDisk for Head {
    type Error = ();

    const GONE: () = ();

    fn with_bring_up<R>(&self, f: impl FnOnce(&mut BringUp) -> R) -> R {
        f(&mut self.bring_up.lock().unwrap())
    }

    fn add_disk(&self) -> Result<(), ()> {
        unreachable!()
    }

    fn disk_added(&self, _bring_up: &mut BringUp) {
        unreachable!()
    }

    fn link_paths(&self, _bring_up: &BringUp) {
        unreachable!()
    }

    fn delete_disk(&self, _bring_up: &mut BringUp) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    fn settle(&self) {}
}

impl Head {
    /// A Live head with one path and a removal delay; the driver has a reference.
    fn new(mutant: Mutant) -> Self {
        let head = Self {
            word: AtomicHeadWord::new(),
            control: Mutex::new(Control {
                paths: 1,
                ..Control::default()
            }),
            bring_up: Mutex::new(BringUp {
                disk_added: true,
                ..BringUp::default()
            }),
            generation: Generation::new(),
            timer: Work::new(),
            until: AtomicUsize::new(0),
            clock: AtomicUsize::new(0),
            references: AtomicUsize::new(1),
            removals: AtomicUsize::new(0),
            mutant,
        };

        head.word.advance(HeadState::Live);
        head.control.lock().unwrap().removal.set_delay(DELAY);
        head
    }

    fn get(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    fn put(&self) {
        self.references.fetch_sub(1, Ordering::AcqRel);
    }

    fn add_path(&self) -> bool {
        removal::add_path(self, (), |_| Ok(())).is_ok()
    }

    fn try_remove(&self) -> bool {
        match self.mutant {
            Mutant::DecidesOutsideTheMutex | Mutant::DoesNotCountPaths => self.decide_wrongly(),
            _ => removal::try_remove(self),
        }
    }

    fn decide_wrongly(&self) -> bool {
        let counts = self.mutant != Mutant::DoesNotCountPaths;
        let decide = |control: &mut Control| {
            let paths = if counts { control.paths } else { 0 };

            control.removal.decide(self.word.load().state(), paths)
        };
        let carry_out = |control: &mut Control, decision| match decision {
            Decision::Keep => false,
            Decision::Wait(secs) => {
                control.removal.armed(self.now() + u64::from(secs));
                self.get();
                if self.start_timer(secs.into()) {
                    self.put();
                }
                false
            }
            Decision::Remove => self.word.advance(HeadState::Dying),
        };

        if counts {
            let decision = self.with_control(decide);

            self.with_control(|control| carry_out(control, decision))
        } else {
            self.with_control(|control| {
                let decision = decide(control);

                carry_out(control, decision)
            })
        }
    }

    /// `nvme_unlink_ns_head()` and `nvme_remove_ns_head()`: by a path's remover, or by the timer.
    fn remove_head(&self) {
        if self.try_remove() {
            bring_up::take_down(self);
            self.put();
        }
    }

    fn run_timer(&self) -> bool {
        self.timer.run(|| {
            self.with_control(|_| {
                let until = self.until.load(Ordering::Relaxed);

                self.clock.fetch_max(until, Ordering::AcqRel);
            });
            removal::expired(self);
            self.put();
        })
    }

    /// Asserts the end state: all threads are done, and `added` says how many paths were added. A
    /// removal that is still to come waits for its timer.
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
                removal::delete_path(&*head, &head.generation, || true);
                head.remove_head();
            })
        };
        let adder = {
            let head = head.clone();
            thread::spawn(move || head.add_path())
        };
        let setter = delay.map(|secs| {
            let head = head.clone();
            thread::spawn(move || removal::set_delay(&*head, secs))
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
    holds(Any, race(None, Mutant::Nothing));
    for mutant in [Mutant::DecidesOutsideTheMutex, Mutant::DoesNotCountPaths] {
        is_caught(
            mutant,
            "a head with a path was removed",
            Any,
            race(None, mutant),
        );
    }
}

/// Shows L-22, L-24, L-26, L-29.
#[test]
fn the_delay_may_be_set_to_0_while_the_last_path_goes_and_another_one_comes() {
    holds(AtMost(3), race(Some(0), Mutant::Nothing));
    is_caught(
        Mutant::DecidesOutsideTheMutex,
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
        is_caught(
            mutant,
            "references",
            AtMost(3),
            race(Some(2 * DELAY), mutant),
        );
    }
}
