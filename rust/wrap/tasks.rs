// SPDX-License-Identifier: GPL-2.0

//! Waiting until tasks that are between a head and a path have gone on.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use super::work::{
    HasWork,
    Work, //
};
use crate::bindings;
use crate::compat::smp_mb;
use core::mem::offset_of;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Release, //
};
use kernel::sync::{
    new_condvar,
    new_mutex,
    static_lock_class,
    CondVar,
    CondVarTimeoutResult,
    Mutex,
    SetOnce, //
};
use kernel::time::delay::fsleep;
use kernel::time::{
    msecs_to_jiffies,
    Delta,
    Instant,
    Monotonic, //
};

/// The longest wait of [`synchronize`].
pub(crate) const LIMIT: Delta = Delta::from_secs(2);
/// The interval in which a task with a pending signal looks whether its wait is over.
const INTERVAL: Delta = Delta::from_millis(10);

/// A work that waits for tasks on behalf of all callers, and counts its rounds.
///
/// The tasks for which it waits cannot keep its callers waiting longer than [`LIMIT`]: these look
/// at the counters.
#[pin_data]
struct Round {
    #[pin]
    work: Work<Self, 0>,
    begun: Atomic<u64>,
    ended: Atomic<u64>,
    /// Taken by callers that wait, and by the work when it wakes them.
    #[pin]
    lock: Mutex<()>,
    #[pin]
    waiters: CondVar,
}

// SAFETY: The offset is that of `work`.
unsafe impl HasWork<0> for Round {
    const OFFSET: usize = offset_of!(Round, work);

    fn run(&self) {
        // A work does not run twice at the same time, so rounds end in the order of their numbers.
        let number = self.begun.fetch_add(1, Full) + 1;

        // SAFETY: A work may sleep, which is all that the function asks.
        unsafe { bindings::mpath_helper_synchronize_tasks() };
        self.ended.store(number, Release);
        // A caller that has not seen the count under the lock waits, and this wakes it.
        let _lock = self.lock.lock();
        self.waiters.notify_all();
    }
}

/// A valid [`Round`], until [`destroy`].
struct Rounds(NonNull<Round>);

// SAFETY: Any thread may use everything in it.
unsafe impl Send for Rounds {}
// SAFETY: As above, also several at the same time.
unsafe impl Sync for Rounds {}

static ROUNDS: SetOnce<Rounds> = SetOnce::new();

/// Makes sure that the [`Round`] for [`synchronize`] is there; the library's queue is there
/// already. May sleep.
pub(crate) fn ensure() -> Result {
    if ROUNDS.as_ref().is_some() {
        return Ok(());
    }
    let round = KBox::pin_init(
        pin_init!(Round {
            work <- Work::new(c"mpath_tasks", static_lock_class!()),
            begun: Atomic::new(0),
            ended: Atomic::new(0),
            lock <- new_mutex!((), "Round::lock"),
            waiters <- new_condvar!("Round::waiters"),
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: Nobody moves it out of its memory.
    let round = KBox::into_raw(unsafe { Pin::into_inner_unchecked(round) });

    // SAFETY: A box is not null.
    if !ROUNDS.populate(Rounds(unsafe { NonNull::new_unchecked(round) })) {
        // SAFETY: Another caller was faster; nobody knows ours.
        drop(unsafe { KBox::from_raw(round) });
    }
    Ok(())
}

/// Frees the [`Round`] that [`ensure`] has made.
///
/// # Safety
///
/// Nobody waits any more, and the library's queue is gone, with all work in it.
pub(crate) unsafe fn destroy() {
    if let Some(rounds) = ROUNDS.as_ref() {
        // SAFETY: `ensure()` has made it, and by this function's contract nobody uses it any more.
        drop(unsafe { KBox::from_raw(rounds.0.as_ptr()) });
    }
}

/// Waits until every other task that was running, or was preempted, has slept, has run in user
/// space, or has ended. Waits no longer than [`LIMIT`], since a thread of the kernel's own may do
/// none of that for as long as it is busy. Returns whether all have. Sleeps, for about a tenth of a
/// second where tasks are running.
///
/// In a kernel that does not preempt tasks this waits for an ordinary grace period, which is
/// enough. So it does in a kernel that preempts them and lacks `CONFIG_TASKS_RCU`, and there it is
/// not enough.
pub(crate) fn synchronize() -> bool {
    // Without a head there was no `ensure()`, and there is nobody to wait for.
    let Some(rounds) = ROUNDS.as_ref() else {
        return true;
    };
    // SAFETY: By the contract of `destroy()` the round is there.
    let round = unsafe { rounds.0.as_ref() };
    let begin = Instant::<Monotonic>::now();

    // Tasks for which this does not wait see the caller's changes.
    smp_mb(Full);
    // A round that is under way may have begun too early.
    let number = round.begun.load(Acquire) + 1;

    round.work.schedule();
    let mut lock = round.lock.lock();
    while round.ended.load(Acquire) < number {
        let left = LIMIT.as_millis() - begin.elapsed().as_millis();

        if left <= 0 {
            return false;
        }
        let ticks = msecs_to_jiffies(left as u32);
        if let CondVarTimeoutResult::Signal { .. } =
            round.waiters.wait_interruptible_timeout(&mut lock, ticks)
        {
            // A task with a pending signal still has to wait.
            drop(lock);
            fsleep(INTERVAL);
            lock = round.lock.lock();
        }
    }
    true
}
