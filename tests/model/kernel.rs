// SPDX-License-Identifier: GPL-2.0

//! What the models need of the kernel, by hand.

use loom::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use loom::sync::{
    Mutex,
    MutexGuard, //
};

/// SRCU with a fixed number of reading threads.
///
/// Every reading thread has a mutex, which it holds in its sections; a grace period takes each of
/// them once. So a section that began before the grace period is over, with all that it did, when
/// the grace period is, and one that begins later sees what was done before. Readers are not
/// ordered among each other, and may begin while a grace period lasts, as in the kernel.
///
/// More than the kernel promises: two grace periods at the same time are ordered by the mutexes.
/// Less: nothing about how long one takes, and a section is on one thread and not nested.
pub struct Srcu<const READERS: usize> {
    sections: [Mutex<()>; READERS],
}

/// A read-side section.
pub struct Guard<'a> {
    _section: MutexGuard<'a, ()>,
}

impl<const READERS: usize> Srcu<READERS> {
    /// A domain without sections.
    pub fn new() -> Self {
        Self {
            sections: core::array::from_fn(|_| Mutex::new(())),
        }
    }

    /// Begins a section of a reading thread.
    pub fn read_lock(&self, reader: usize) -> Guard<'_> {
        Guard {
            _section: self.sections[reader].lock().unwrap(),
        }
    }

    /// Waits for all sections that have begun.
    pub fn synchronize(&self) {
        for section in &self.sections {
            drop(section.lock().unwrap());
        }
    }
}

/// A `work_struct`, or a `delayed_work` for whose timer it is always time.
///
/// Queueing is `test_and_set_bit()` on the pending bit: while it is set, queueing does nothing, and
/// the run that is still to come sees what was done before. The bit is cleared before the function
/// runs (`set_work_pool_and_clear_pending()`, whose barriers make it a fully ordered exchange as
/// far as the queueing side is concerned). A work does not run on two threads at the same time: in
/// a model one thread has the runs, as many as the model gives it, and what is pending when all
/// threads are done runs then. Only a thread that flushes a work may run it, too: a run holds a
/// mutex for that.
pub struct Work {
    pending: AtomicBool,
    running: Mutex<()>,
}

impl Work {
    /// Work that nobody has asked for yet.
    pub fn new() -> Self {
        Self {
            pending: AtomicBool::new(false),
            running: Mutex::new(()),
        }
    }

    /// `queue_work()`, or `mod_delayed_work()`. Returns whether it was pending already.
    pub fn queue(&self) -> bool {
        self.pending.swap(true, Ordering::AcqRel)
    }

    /// `cancel_delayed_work()`. Returns whether it was pending.
    pub fn cancel(&self) -> bool {
        self.pending
            .compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Runs `f` if it is pending, and returns whether it was. Or `flush_work()`: a run that goes on
    /// is waited for, and one that is still to come is made here.
    pub fn run(&self, f: impl FnOnce()) -> bool {
        let _running = self.running.lock().unwrap();
        let was_pending = self.cancel();

        if was_pending {
            f();
        }
        was_pending
    }

    /// Will it run? Asked while it does not, which is waited for.
    pub fn is_pending(&self) -> bool {
        let _running = self.running.lock().unwrap();

        self.pending.load(Ordering::Acquire)
    }
}

/// Makes a head one without a removal delay, and so without a timer.
macro_rules! without_timer {
    ($head:ty $(, $($generic:tt)*)?) => {
        impl$(<$($generic)*>)? libmultipath::removal::Removable for $head {
            fn take_timer_references(&self) -> bool {
                unreachable!()
            }

            fn drop_timer_references(&self) {
                unreachable!()
            }

            fn start_timer(&self, _ticks: u64) -> bool {
                unreachable!()
            }

            fn cancel_timer(&self) -> bool {
                unreachable!()
            }

            fn now(&self) -> u64 {
                unreachable!()
            }

            fn ticks(_secs: u32) -> u64 {
                unreachable!()
            }

            fn ask(&self) {
                unreachable!()
            }
        }
    };
}

pub(crate) use without_timer;
