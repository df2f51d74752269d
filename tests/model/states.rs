// SPDX-License-Identifier: GPL-2.0

//! A path's state word: decisions are about states that existed, and no change gets lost.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::Any, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicPathState,
    PathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::AtomicU32;
use loom::thread;
use std::sync::Arc;

/// A path that is never optimized and enabled at the same time: it becomes disabled first, and
/// optimized then.
fn a_path_changes(look: fn(&AtomicPathState) -> Access) -> impl Fn() + Send + Sync {
    move || {
        let word = Arc::new(AtomicPathState::new());

        word.update(|state| {
            state
                .reaching(AccessState::NonOptimized)
                .enabled(Reasons::NOT_READY)
        });
        let looks = [0, 1].map(|_| {
            let word = word.clone();
            thread::spawn(move || look(&word))
        });

        word.update(|state| state.disabled(Reasons::STATE_PENDING));
        word.update(|state| state.reaching(AccessState::Optimized));
        for thread in looks {
            let access = thread.join().unwrap();

            assert_ne!(access, Access::Optimized, "a state that never was");
        }
    }
}

/// Looks at the reasons first, and then at the access state.
fn look_twice(word: &AtomicPathState) -> Access {
    let enabled = word.load();
    let is_enabled = enabled.access() != Access::Unusable;
    let state = word.load();

    match is_enabled {
        true => state.enabled(Reasons::STATE_PENDING).access(),
        false => Access::Unusable,
    }
}

/// Shows L-12.
#[test]
fn a_decision_is_about_a_state_that_existed() {
    holds(
        Any,
        a_path_changes(|word| word.load().access_through(|| PortState::Live)),
    );
    is_caught(
        "LooksTwice",
        "a state that never was",
        Any,
        a_path_changes(look_twice),
    );
}

/// Changes of one word by three threads.
fn three_changes<W: Send + Sync + 'static>(
    word: fn() -> W,
    change: fn(&W, usize),
    result: fn(&W) -> PathState,
) -> impl Fn() + Send + Sync {
    move || {
        let word = Arc::new(word());
        let threads = [0, 1].map(|number| {
            let word = word.clone();
            thread::spawn(move || change(&word, number))
        });

        change(&word, 2);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(
            result(&word).access(),
            Access::Optimized,
            "a change is lost"
        );
    }
}

/// The change that each thread makes to a new path.
fn changed(state: PathState, number: usize) -> PathState {
    match number {
        0 => state.reaching(AccessState::Optimized),
        1 => state.enabled(Reasons::NOT_READY),
        _ => state.disabled(Reasons::FAILED).enabled(Reasons::FAILED),
    }
}

/// Shows L-12.
#[test]
fn no_change_of_a_path_s_state_gets_lost() {
    holds(
        Any,
        three_changes(
            AtomicPathState::new,
            |word, number| {
                word.update(|state| changed(state, number));
            },
            AtomicPathState::load,
        ),
    );
}

/// Changes a word in a way that may lose a change: another one may come between its load and its
/// store.
fn torn(word: &AtomicU32, number: usize) {
    let bit = 1 << number;
    let new = word.load() | bit;

    word.update(|_| new);
}

#[test]
fn a_change_that_is_not_one_step_gets_lost() {
    is_caught("LoadsAndStores", "a change is lost", Any, || {
        let word = Arc::new(AtomicU32::new(0));
        let thread = {
            let word = word.clone();
            thread::spawn(move || torn(&word, 0))
        };

        torn(&word, 1);
        thread.join().unwrap();
        assert_eq!(word.load(), 3, "a change is lost");
    });
}
