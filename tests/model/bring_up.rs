// SPDX-License-Identifier: GPL-2.0

//! Bringing a head's disk up against taking it away.
//!
//! The library's own: the head's word, [`bring_up::bring_up`], [`removal::try_remove`] and
//! [`bring_up::take_down`]. Made by hand: the two mutexes that they take, and the disk.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use libmultipath::bring_up::{
    self,
    BringUp,
    HasDisk, //
};
use libmultipath::parking::Kick;
use libmultipath::removal::{
    self,
    Control,
    Controlled, //
};
use libmultipath::state::{
    AtomicHeadWord,
    HeadState, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// A call of the block layer for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Added,
    Deleted,
}

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The thread looks at the state before it takes the mutexes, and not again.
    DecidesOutsideTheMutexes,
    /// The thread that removes does not wait for the one that adds.
    RemovesWhileTheDiskIsAdded,
    /// A disk that could not be added makes the head New again, whatever it is by now.
    BecomesNewAgainAfterDying,
}

struct Head {
    word: AtomicHeadWord,
    control: Mutex<Control>,
    bring_up: Mutex<BringUp>,
    /// The block layer's own view of the disk, with the lock that it takes.
    disk: Mutex<Vec<Event>>,
    /// Does adding the disk fail?
    add_fails: bool,
    mutant: Mutant,
}

impl Kick for Head {
    fn kick(&self) {}
}

impl Controlled for Head {
    /// Is it on the head?
    type Path = bool;

    fn word(&self) -> &AtomicHeadWord {
        &self.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        f(&mut self.control.lock().unwrap())
    }

    fn is_listed(path: &bool) -> bool {
        *path
    }

    fn grace_period(&self) {}
}

crate::kernel::without_timer!(Head);

impl HasDisk for Head {
    type Error = ();

    const GONE: () = ();

    fn with_bring_up<R>(&self, f: impl FnOnce(&mut BringUp) -> R) -> R {
        f(&mut self.bring_up.lock().unwrap())
    }

    fn add_disk(&self) -> Result<(), ()> {
        if !self.add_fails {
            self.disk.lock().unwrap().push(Event::Added);
            return Ok(());
        }
        if self.mutant == Mutant::BecomesNewAgainAfterDying {
            self.with_control(|_| self.be_new_again());
        }
        Err(())
    }

    fn disk_added(&self, _bring_up: &mut BringUp) {}

    fn link_paths(&self, _bring_up: &BringUp) {}

    fn delete_disk(&self, _bring_up: &mut BringUp) {
        self.disk.lock().unwrap().push(Event::Deleted);
    }

    fn settle(&self) {}
}

impl Head {
    fn new(add_fails: bool, mutant: Mutant) -> Self {
        Self {
            word: AtomicHeadWord::new(),
            control: Mutex::new(Control::default()),
            bring_up: Mutex::new(BringUp::default()),
            disk: Mutex::new(Vec::new()),
            add_fails,
            mutant,
        }
    }

    fn bring_up(&self) -> bool {
        match self.mutant {
            Mutant::DecidesOutsideTheMutexes => self.bring_up_if_it_was_not_dying(),
            _ => bring_up::bring_up(self, &true).is_ok(),
        }
    }

    fn bring_up_if_it_was_not_dying(&self) -> bool {
        if self.word.load().state() >= HeadState::Dying {
            return false;
        }
        self.with_bring_up(|bring_up| {
            if !bring_up.disk_added {
                self.with_control(|_| self.word.advance(HeadState::Live));
                bring_up.disk_added = self.add_disk().is_ok();
            }
        });
        self.word.load().state() == HeadState::Live
    }

    /// Does what `add_failed()` would do if it did not look.
    fn be_new_again(&self) {
        // SAFETY: The word is a transparent `AtomicU32`.
        let word: &libmultipath::sync::AtomicU32 =
            unsafe { &*core::ptr::from_ref(&self.word).cast() };

        word.update(|_| HeadState::New as u32);
    }

    fn remove(&self) {
        match self.mutant {
            Mutant::RemovesWhileTheDiskIsAdded => self.remove_what_is_there(),
            _ => bring_up::take_down(self),
        }
    }

    fn assert_removed(&self) {
        assert_eq!(self.word.load().state(), HeadState::Dead, "dead in the end");

        let events = self.disk.lock().unwrap().clone();
        assert!(
            events.is_empty() || events == [Event::Added, Event::Deleted],
            "the disk is {events:?}"
        );
    }

    fn remove_what_is_there(&self) {
        if let Ok(mut bring_up) = self.bring_up.try_lock() {
            if core::mem::take(&mut bring_up.disk_added) {
                self.delete_disk(&mut bring_up);
            }
        }
        self.with_control(|_| self.word.advance(HeadState::Dead));
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
                let decided = removal::try_remove(&*head);

                if decided {
                    head.remove();
                }
                decided
            })
        };

        let decided = removal::try_remove(&*head);
        if decided {
            head.remove();
        }
        for thread in live {
            let is_live = thread.join().unwrap();
            assert!(!(is_live && add_fails), "live without a disk");
        }
        assert!(decided ^ remover.join().unwrap(), "removed once");
        head.assert_removed();
    }
}

/// A path goes live while the driver removes the head.
fn one_goes_live(add_fails: bool, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(add_fails, mutant));
        let live = {
            let head = head.clone();
            thread::spawn(move || head.bring_up())
        };

        assert!(removal::try_remove(&*head), "removed once");
        head.remove();
        let is_live = live.join().unwrap();
        assert!(!(is_live && add_fails), "live without a disk");
        head.assert_removed();
    }
}

/// Shows L-5.
#[test]
fn a_disk_that_is_added_while_the_head_is_removed_is_deleted() {
    for add_fails in [false, true] {
        holds(Any, one_goes_live(add_fails, Mutant::Nothing));
    }
    for mutant in [
        Mutant::DecidesOutsideTheMutexes,
        Mutant::RemovesWhileTheDiskIsAdded,
    ] {
        is_caught(mutant, "the disk is [", Any, one_goes_live(false, mutant));
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
        is_caught(mutant, "the disk is [", AtMost(3), race(false, mutant));
    }
}

/// Shows L-5.
#[test]
fn a_head_whose_disk_cannot_be_added_is_removed_once() {
    holds(AtMost(3), race(true, Mutant::Nothing));
    is_caught(
        Mutant::BecomesNewAgainAfterDying,
        "removed once",
        AtMost(3),
        race(true, Mutant::BecomesNewAgainAfterDying),
    );
}
