// SPDX-License-Identifier: GPL-2.0

//! The delayed removal of a head, after any sequence of events.
//!
//! The calls are those of the engine, each of which is one step under the head's mutex; between any
//! two of them another event may happen. The timer is the kernel's `delayed_work`: it is pending or
//! not, it is running or not, and it can be both.

use libmultipath::removal::{
    Decision,
    Removal, //
};
use libmultipath::state::{
    AtomicHeadWord,
    HeadState, //
};
use proptest::prelude::*;

/// An event.
#[derive(Clone, Copy, Debug)]
enum Step {
    AddPath,
    DeletePath,
    /// The driver would like to remove the head.
    Ask,
    SetDelay(u32),
    Pass(u64),
    /// The work of a timer that is due begins.
    Begin,
    /// The work that has begun goes one step further.
    GoOn,
    /// From now on the driver's module can be pinned, or cannot.
    Pinnable(bool),
}

/// Where the work of the timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    No,
    Begun,
    Asking,
    Asked,
}

/// A head, as far as its removal goes.
struct Head {
    removal: Removal,
    word: AtomicHeadWord,
    paths: usize,
    now: u64,
    pending: Option<u64>,
    running: Running,
    references: usize,
    removed: usize,
    can_pin: bool,
}

impl Head {
    fn new() -> Self {
        let word = AtomicHeadWord::new();

        word.advance(HeadState::Live);
        Self {
            removal: Removal::new(),
            word,
            paths: 0,
            now: 0,
            pending: None,
            running: Running::No,
            references: 0,
            removed: 0,
            can_pin: true,
        }
    }

    fn state(&self) -> HeadState {
        self.word.load().state()
    }

    fn arm(&mut self, secs: u32) {
        let until = self.now + u64::from(secs);

        self.removal.armed(until);
        self.references += 1;
        if self.pending.replace(until).is_some() {
            self.references -= 1;
        }
    }

    fn ask(&mut self) {
        match self.removal.decide(self.state(), self.paths) {
            Decision::Keep => {}
            Decision::Wait(secs) if self.can_pin => self.arm(secs),
            Decision::Wait(_) | Decision::Remove => {
                assert_eq!(self.paths, 0);
                assert!(self.word.advance(HeadState::Dying));
                self.removed += 1;
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::AddPath if self.state() < HeadState::Dying => {
                self.paths += 1;
                if self.removal.path_added() && self.pending.take().is_some() {
                    self.references -= 1;
                }
            }
            Step::AddPath => {}
            Step::DeletePath => self.paths = self.paths.saturating_sub(1),
            Step::Ask => self.ask(),
            Step::SetDelay(secs) => {
                if self.removal.set_delay(secs) && self.can_pin {
                    self.arm(secs);
                }
            }
            Step::Pass(ticks) => self.now += ticks,
            Step::Begin => {
                if self.running == Running::No && self.pending.is_some_and(|at| at <= self.now) {
                    self.pending = None;
                    self.running = Running::Begun;
                }
            }
            Step::GoOn => self.go_on(),
            Step::Pinnable(can_pin) => self.can_pin = can_pin,
        }
    }

    fn go_on(&mut self) {
        self.running = match self.running {
            Running::No => Running::No,
            Running::Begun if self.removal.expire(self.now) => Running::Asking,
            Running::Asking => {
                let removed = self.removed;

                self.ask();
                if self.removed > removed {
                    let is_time = self.pending.is_none_or(|until| until <= self.now);
                    assert!(is_time, "the timer has been moved");
                }
                Running::Asked
            }
            Running::Begun | Running::Asked => {
                if self.running == Running::Asked {
                    self.removal.asked();
                }
                self.references -= 1;
                Running::No
            }
        };
    }

    /// Lets time pass until nothing more happens by itself.
    fn settle(&mut self) {
        while self.pending.is_some() || self.running != Running::No {
            self.now = self.now.max(self.pending.unwrap_or(0));
            self.take(Step::Begin);
            self.take(Step::GoOn);
        }
    }

    fn references_of_timer(&self) -> usize {
        usize::from(self.pending.is_some()) + usize::from(self.running != Running::No)
    }

    /// Is there something that will ask again?
    fn is_waiting(&self) -> bool {
        self.references_of_timer() > 0
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::AddPath),
        4 => Just(Step::DeletePath),
        4 => Just(Step::Ask),
        2 => (0u32..4).prop_map(Step::SetDelay),
        2 => (0u64..4).prop_map(Step::Pass),
        3 => Just(Step::Begin),
        4 => Just(Step::GoOn),
        1 => any::<bool>().prop_map(Step::Pinnable),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Shows L-22, L-23.
    #[test]
    fn a_timer_owns_one_reference_for_as_long_as_it_is_armed_or_expiring(steps in any_steps()) {
        let mut head = Head::new();

        for step in steps {
            head.take(step);
            prop_assert_eq!(head.references, head.references_of_timer());
        }
        head.settle();
        prop_assert_eq!(head.references, 0);
    }

    /// Shows L-24, L-29.
    #[test]
    fn a_head_with_a_path_is_not_removed_and_one_that_is_removed_gets_none(steps in any_steps()) {
        let mut head = Head::new();

        for step in steps {
            head.take(step);
            prop_assert!(head.paths == 0 || head.state() == HeadState::Live);
            prop_assert!(head.removed <= 1);
        }
    }

    /// Shows L-26.
    #[test]
    fn a_head_without_paths_that_is_kept_is_asked_about_again(steps in any_steps()) {
        let mut head = Head::new();

        for step in steps {
            head.take(step);
            if head.paths == 0
                && head.state() == HeadState::Live
                && head.removal.decide(HeadState::Live, 0) == Decision::Keep
            {
                prop_assert!(head.is_waiting());
            }
        }
    }

    /// Shows L-26.
    #[test]
    fn a_head_that_was_asked_about_is_gone_after_its_delay_unless_a_path_comes(
        steps in any_steps()
    ) {
        let mut head = Head::new();

        for step in steps {
            head.take(step);
        }
        head.paths = 0;
        head.take(Step::Ask);
        head.settle();
        prop_assert_eq!(head.removed, 1);
    }

    /// Shows L-27.
    #[test]
    fn a_timer_does_not_expire_before_the_delay_that_was_set_last(
        first in 1u32..100, second in 1u32..100, meanwhile in 0u64..100
    ) {
        let mut head = Head::new();

        head.take(Step::SetDelay(first));
        head.take(Step::Ask);
        head.take(Step::Pass(meanwhile.min(u64::from(first) - 1)));
        let set_at = head.now;
        head.take(Step::SetDelay(second));
        head.settle();
        prop_assert_eq!(head.removed, 1);
        prop_assert!(head.now >= set_at + u64::from(second));
    }
}

/// Shows L-26.
#[test]
fn storing_0_removes_a_waiting_head_at_once() {
    let mut head = Head::new();

    for step in [Step::SetDelay(3600), Step::Ask, Step::SetDelay(0)] {
        head.take(step);
    }
    head.settle();
    assert_eq!((head.removed, head.now), (1, 0));
}

/// Shows L-26.
#[test]
fn a_driver_that_does_not_ask_when_the_timer_expires_has_to_wait_again() {
    let mut removal = Removal::new();

    removal.set_delay(5);
    removal.armed(5);
    assert!(removal.expire(5));
    removal.asked();
    assert_eq!(removal.decide(HeadState::Live, 0), Decision::Wait(5));
}

/// Shows L-22, L-24.
#[test]
fn a_timer_whose_work_has_begun_does_not_remove_a_head_that_waits_anew() {
    let mut head = Head::new();

    head.take(Step::SetDelay(10));
    for step in [
        Step::Ask,
        Step::Pass(10),
        Step::Begin,
        Step::AddPath,
        Step::DeletePath,
        Step::Ask,
        Step::GoOn,
        Step::GoOn,
    ] {
        head.take(step);
    }
    assert_eq!((head.removed, head.references), (0, 1));
    head.settle();
    assert_eq!((head.removed, head.now, head.references), (1, 20, 0));
}
