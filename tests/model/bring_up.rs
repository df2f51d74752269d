// SPDX-License-Identifier: GPL-2.0

//! Bringing a head's disk up against taking it away.
//!
//! The library's own: the head's word. After `rust/engine`: `bring_up()` and `add_disk()`
//! (`live.rs`), `try_remove()` and `remove()` (`remove.rs`), with the two mutexes they take.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::AtMost, //
};
use libmultipath::removal::{
    Decision,
    Removal, //
};
use libmultipath::state::{
    AtomicHeadWord,
    HeadState, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// What has been done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Added,
    Deleted,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The state is looked at before the mutexes are taken, and not again.
    DecidesOutsideTheMutexes,
    /// The one who removes does not wait for the one who adds.
    RemovesWhileTheDiskIsAdded,
    /// A disk that could not be added makes the head New again, whatever it is by now.
    BecomesNewAgainAfterDying,
}

struct Head {
    word: AtomicHeadWord,
    control: Mutex<()>,
    /// Has the disk been added, and not been deleted?
    bring_up: Mutex<bool>,
    /// The block layer's own view of the disk, with the lock that it takes.
    disk: Mutex<Vec<Event>>,
    /// Does adding the disk fail?
    add_fails: bool,
    mutant: Mutant,
}

impl Head {
    fn new(add_fails: bool, mutant: Mutant) -> Self {
        Self {
            word: AtomicHeadWord::new(),
            control: Mutex::new(()),
            bring_up: Mutex::new(false),
            disk: Mutex::new(Vec::new()),
            add_fails,
            mutant,
        }
    }

    fn bring_up(&self) -> bool {
        if self.mutant == Mutant::DecidesOutsideTheMutexes
            && self.word.load().state() >= HeadState::Dying
        {
            return false;
        }

        let mut disk_added = self.bring_up.lock().unwrap();

        if !*disk_added && !self.add_disk(&mut disk_added) {
            return false;
        }
        self.word.load().state() == HeadState::Live
    }

    fn add_disk(&self, disk_added: &mut bool) -> bool {
        {
            let _control = self.control.lock().unwrap();
            let is_live = self.word.advance(HeadState::Live);

            if !is_live && self.mutant != Mutant::DecidesOutsideTheMutexes {
                return false;
            }
        }
        if self.add_fails {
            let _control = self.control.lock().unwrap();

            match self.mutant {
                Mutant::BecomesNewAgainAfterDying => self.be_new_again(),
                _ => self.word.add_failed(),
            }
            return false;
        }
        self.disk.lock().unwrap().push(Event::Added);
        *disk_added = true;
        true
    }

    /// What `add_failed()` would do if it did not look.
    fn be_new_again(&self) {
        // SAFETY: The word is a transparent `AtomicU32`.
        let word: &libmultipath::sync::AtomicU32 =
            unsafe { &*core::ptr::from_ref(&self.word).cast() };

        word.update(|_| HeadState::New as u32);
    }

    fn try_remove(&self) -> bool {
        let _control = self.control.lock().unwrap();
        let state = self.word.load().state();

        match Removal::new().decide(state, 0) {
            Decision::Remove => self.word.advance(HeadState::Dying),
            _ => false,
        }
    }

    fn remove(&self) {
        let bring_up = match self.mutant {
            Mutant::RemovesWhileTheDiskIsAdded => self.bring_up.try_lock().ok(),
            _ => self.bring_up.lock().ok(),
        };

        if let Some(mut disk_added) = bring_up {
            if core::mem::take(&mut *disk_added) {
                self.disk.lock().unwrap().push(Event::Deleted);
            }
        }

        let _control = self.control.lock().unwrap();
        self.word.advance(HeadState::Dead);
    }
}

/// Two paths go live while two threads of the driver would like to remove the head.
fn race(add_fails: bool, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(add_fails, mutant));
        let live = [0, 1].map(|_| {
            let head = head.clone();
            thread::spawn(move || head.bring_up())
        });
        let remover = {
            let head = head.clone();
            thread::spawn(move || {
                let decided = head.try_remove();

                if decided {
                    head.remove();
                }
                decided
            })
        };

        let decided = head.try_remove();
        if decided {
            head.remove();
        }
        for thread in live {
            let is_live = thread.join().unwrap();
            assert!(!(is_live && add_fails), "live without a disk");
        }
        assert!(decided ^ remover.join().unwrap(), "removed once");
        assert_eq!(head.word.load().state(), HeadState::Dead, "dead in the end");

        let events = head.disk.lock().unwrap().clone();
        assert!(
            events.is_empty() || events == [Event::Added, Event::Deleted],
            "the disk is {events:?}"
        );
    }
}

/// Shows L-5.
#[test]
fn a_disk_is_deleted_once_if_it_was_added_and_never_added_afterwards() {
    holds(AtMost(3), race(false, Mutant::Nothing));
    for mutant in [
        Mutant::DecidesOutsideTheMutexes,
        Mutant::RemovesWhileTheDiskIsAdded,
    ] {
        is_caught("the disk is [", AtMost(3), race(false, mutant));
    }
}

/// Shows L-5.
#[test]
fn a_head_whose_disk_cannot_be_added_is_removed_once() {
    holds(AtMost(3), race(true, Mutant::Nothing));
    is_caught(
        "removed once",
        AtMost(3),
        race(true, Mutant::BecomesNewAgainAfterDying),
    );
}
