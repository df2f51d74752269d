// SPDX-License-Identifier: GPL-2.0

//! References to a head: the last one to go frees it, and nobody touches it afterwards.
//!
//! The library's own: [`Refcount::try_inc`], on a count that has the orderings of the kernel's
//! `refcount_t`. After `rust/engine/head.rs`: the steps after the last put. And a driver that looks
//! heads up under a lock of its own. Its release callback takes the head from there before the
//! memory goes.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::Any, //
};
use libmultipath::sync::Refcount;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    fence,
    AtomicI32,
    Ordering, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::Arc;

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// The thread that looks the head up takes a reference, although there may be none any more.
    GetsWithoutTrying,
    /// The thread that puts a reference touches the head once more.
    TouchesAfterThePut,
    /// Uses of the reference are not ordered before its put.
    PutsWithoutRelease,
    /// A count that is not 0 is read and written in two steps.
    GetsInTwoSteps,
}

struct Head {
    refs: Refcount,
    /// loom fails when a thread touches memory that another one frees.
    memory: UnsafeCell<()>,
    /// Whether the driver finds the head. The driver's lock.
    registered: Mutex<bool>,
    mutant: Mutant,
}

impl Head {
    /// A head with two references.
    fn new(mutant: Mutant) -> Self {
        let refs = Refcount::new();

        refs.inc();
        Self {
            refs,
            memory: UnsafeCell::new(()),
            registered: Mutex::new(true),
            mutant,
        }
    }

    fn touch(&self) {
        self.memory.with(|_| ());
    }

    /// The count, for mutants.
    fn count(&self) -> &AtomicI32 {
        // SAFETY: On the host a count is one `AtomicI32`.
        unsafe { &*core::ptr::from_ref(&self.refs).cast() }
    }

    fn tryget(&self) -> bool {
        match self.mutant {
            Mutant::GetsWithoutTrying => {
                self.refs.inc();
                true
            }
            Mutant::GetsInTwoSteps => {
                let refs = self.count().load(Ordering::Relaxed);

                if refs > 0 {
                    self.count().store(refs + 1, Ordering::Relaxed);
                }
                refs > 0
            }
            _ => self.refs.try_inc(),
        }
    }

    fn dec_and_test(&self) -> bool {
        if self.mutant != Mutant::PutsWithoutRelease {
            return self.refs.dec_and_test();
        }

        let is_last = self.count().fetch_sub(1, Ordering::Relaxed) == 1;
        fence(Ordering::Acquire);
        is_last
    }

    /// Returns whether the head is gone.
    fn put(&self) -> bool {
        if !self.dec_and_test() {
            if self.mutant == Mutant::TouchesAfterThePut {
                self.touch();
            }
            return false;
        }
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
        let head = Arc::new(Head::new(mutant));
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
        is_caught(mutant, "Causality violation", Any, last_put(mutant));
    }
}
