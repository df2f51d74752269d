// SPDX-License-Identifier: GPL-2.0

//! The parts of the kernel that the models need, by hand.

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
/// them once. So when a grace period is over, each section that began before it is over, too, with
/// all that it did. A section that begins later sees all that was done before. Readers are not
/// ordered among each other, and may begin while a grace period lasts, as in the kernel.
///
/// More than the kernel promises: the mutexes order two grace periods at the same time. Less:
/// nothing about how long one takes, and a section is on one thread and not nested.
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
/// Queueing is `test_and_set_bit()` on the pending bit. While the bit is set, queueing does
/// nothing, and the run that is still to come sees all that was done before. The worker clears the bit
/// before it runs the function (`set_work_pool_and_clear_pending()`, whose barriers make it a fully
/// ordered exchange for the queueing side).
///
/// A work does not run on two threads at the same time. In a model one thread has the runs, as many
/// as the model gives it; pending work runs when all threads are done. Only a thread that flushes a
/// work may run it, too: a run holds a mutex for that.
pub struct Work {
    pending: AtomicBool,
    running: Mutex<()>,
}

impl Work {
    /// Work for which nobody has asked yet.
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

    /// Runs `f` if it is pending, and returns whether it was. Or `flush_work()`: waits for a run
    /// that goes on, and makes here one that is still to come.
    pub fn run(&self, f: impl FnOnce()) -> bool {
        let _running = self.running.lock().unwrap();
        let was_pending = self.cancel();

        if was_pending {
            f();
        }
        was_pending
    }

    /// Will it run? If it runs just now, this waits for that.
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
