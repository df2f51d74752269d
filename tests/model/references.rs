// SPDX-License-Identifier: GPL-2.0

//! References to a head: the last one to go frees it, and nobody touches it afterwards.
//!
//! After `rust/engine/head.rs`: `tryget()`, `inc_ref()` and `dec_ref()`, with the orderings of the
//! kernel's `refcount_t`; and a driver that looks heads up under a lock of its own, from which its
//! release callback takes the head before the memory goes.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::Any, //
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    fence,
    AtomicU32,
    Ordering, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// Whoever looks the head up takes a reference, although there may be none any more.
    GetsWithoutTrying,
    /// Whoever puts a reference touches the head once more.
    TouchesAfterThePut,
    /// What was done with a reference is not ordered before it is put.
    PutsWithoutRelease,
    /// A count that is not 0 is read and written in two steps.
    GetsInTwoSteps,
}

struct Head {
    refs: AtomicU32,
    /// loom fails when somebody touches what is being freed.
    memory: UnsafeCell<()>,
    /// Is the head to be found? The driver's lock.
    registered: Mutex<bool>,
    mutant: Mutant,
}

impl Head {
    fn new(refs: u32, mutant: Mutant) -> Self {
        Self {
            refs: AtomicU32::new(refs),
            memory: UnsafeCell::new(()),
            registered: Mutex::new(true),
            mutant,
        }
    }

    fn touch(&self) {
        self.memory.with(|_| ());
    }

    fn tryget(&self) -> bool {
        if self.mutant == Mutant::GetsWithoutTrying {
            self.refs.fetch_add(1, Ordering::Relaxed);
            return true;
        }

        let mut old = self.refs.load(Ordering::Relaxed);
        while old > 0 {
            if self.mutant == Mutant::GetsInTwoSteps {
                self.refs.store(old + 1, Ordering::Relaxed);
                return true;
            }
            match self
                .refs
                .compare_exchange(old, old + 1, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(current) => old = current,
            }
        }
        false
    }

    /// Returns whether the head is gone.
    fn put(&self) -> bool {
        let order = match self.mutant {
            Mutant::PutsWithoutRelease => Ordering::Relaxed,
            _ => Ordering::Release,
        };

        if self.refs.fetch_sub(1, order) != 1 {
            if self.mutant == Mutant::TouchesAfterThePut {
                self.touch();
            }
            return false;
        }
        fence(Ordering::Acquire);
        // The driver's release callback.
        *self.registered.lock().unwrap() = false;
        self.memory.with_mut(|_| ());
        true
    }

    /// A driver finds the head, uses it, and puts it. Returns whether the head is gone.
    fn look_up(&self) -> bool {
        let found = {
            let registered = self.registered.lock().unwrap();

            *registered && self.tryget()
        };

        found && self.use_and_put()
    }

    fn use_and_put(&self) -> bool {
        self.touch();
        self.put()
    }
}

// SAFETY: loom finds out if the memory is not accessed as it may be.
unsafe impl Sync for Head {}
// SAFETY: As above.
unsafe impl Send for Head {}

/// The driver and an opener put their references while two threads look the head up.
fn last_put(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(2, mutant));
        let threads = [Head::look_up, Head::use_and_put].map(|act| {
            let head = head.clone();
            thread::spawn(move || act(&head))
        });

        let mut freed = usize::from(head.use_and_put());
        for thread in threads {
            freed += usize::from(thread.join().unwrap());
        }
        assert_eq!(freed, 1, "freed once");
    }
}

/// Shows L-2.
#[test]
fn the_last_put_frees_the_head_once_and_nobody_touches_it_afterwards() {
    holds(Any, last_put(Mutant::Nothing));
    for mutant in [
        Mutant::GetsWithoutTrying,
        Mutant::TouchesAfterThePut,
        Mutant::PutsWithoutRelease,
        Mutant::GetsInTwoSteps,
    ] {
        is_caught("Causality violation", Any, last_put(mutant));
    }
}
