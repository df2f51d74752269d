// SPDX-License-Identifier: GPL-2.0

//! Fences hold the bios that a lost path may still carry out. The protocol is in
//! `crate::pure::fencing`.
//!
//! A fence is in memory of its own, since it outlives the controller, the port and the path whose
//! bios it holds. All users together have one reference to that memory, and so has the timer while
//! it is set. The last reference has a work on the library's queue free the memory. That queue
//! becomes empty before the library is unloaded.
//!
//! A held bio has not ended, so its submitter keeps the head's disk open, and that keeps the head
//! and the driver's module. A fence that holds nothing keeps nothing: when its last user goes, so
//! does its timer.

use super::submit::let_go;
use crate::bindings;
use crate::pure::fencing::{
    self,
    AtomicClock,
    Clock,
    Fenced,
    Rung, //
};
use crate::pure::parking::LocklessList;
use crate::pure::sync::Refcount;
use crate::wrap::bio::{
    Bio,
    BioList, //
};
use crate::wrap::work::{
    ensure_queue,
    DelayedWork,
    HasWork,
    Work, //
};
use core::mem::offset_of;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::static_lock_class;
use kernel::time::msecs_to_jiffies;

const TIMER: u32 = 0;
const FREE: u32 = 1;

/// A fence, which holds the bios of one association.
///
/// # Invariants
///
/// Lives in a [`KBox`] while `refs` is not 0.
#[pin_data]
pub(crate) struct Fence {
    clock: AtomicClock,
    list: BioList,
    /// The number of held bios.
    held: Atomic<u32>,
    /// The milliseconds from its first bio until it opens by itself.
    limit: u32,
    /// The references of the driver.
    users: Refcount,
    /// One for all users, one for the timer that is set.
    refs: Refcount,
    /// The work that opens the fence.
    #[pin]
    timer: DelayedWork<Fence, TIMER>,
    /// The work that frees the memory.
    #[pin]
    free: Work<Fence, FREE>,
}

const NSECS_PER_MSEC: u64 = 1_000_000;

/// The time in ns, which stands still while the machine is suspended. Not the tick: the kernel
/// makes up for late ticks at once, and a fence that went by them would open early.
fn now() -> u64 {
    // SAFETY: Reads the clock, in any context.
    unsafe { bindings::ktime_get() as u64 }
}

/// The time `msecs` milliseconds from now.
fn after(msecs: u32) -> u64 {
    now() + u64::from(msecs) * NSECS_PER_MSEC
}

/// The number of ticks that are as long as a time in ns, or longer, as far as a timer can be set.
fn ticks(nsecs: u64) -> usize {
    let msecs = nsecs.div_ceil(NSECS_PER_MSEC).min(i32::MAX as u64);

    match msecs {
        0 => 0,
        msecs => msecs_to_jiffies(msecs as u32) as usize + 1,
    }
}

impl Fence {
    /// The ms that a driver may take to say that an association is over, from when the fence holds
    /// a bio.
    pub(crate) const LIMIT_MSECS: u32 = bindings::MPATH_FENCE_LIMIT_SECS * 1000;

    /// Allocates a fence with one user. Sleeps.
    pub(crate) fn new(limit: u32) -> Result<NonNull<Self>> {
        ensure_queue()?;

        let fence = KBox::pin_init(
            pin_init!(Self {
                clock: AtomicClock::new(),
                list: BioList::new(),
                held: Atomic::new(0),
                limit,
                users: Refcount::new(),
                refs: Refcount::new(),
                timer <- DelayedWork::new(
                    c"mpath_fence",
                    static_lock_class!(),
                    static_lock_class!(),
                ),
                free <- Work::new(c"mpath_fence_free", static_lock_class!()),
            }),
            GFP_KERNEL,
        )?;

        // SAFETY: Nobody moves it out of its memory: `free` puts it into a box and drops that.
        let fence = KBox::into_raw(unsafe { Pin::into_inner_unchecked(fence) });
        // SAFETY: A box is not null.
        Ok(unsafe { NonNull::new_unchecked(fence) })
    }

    /// Adds a user. Any context.
    pub(crate) fn get(&self) {
        self.users.inc();
    }

    /// Drops a user, which is the caller. Any context.
    ///
    /// # Safety
    ///
    /// The user does not use the fence any more.
    pub(crate) unsafe fn put(&self) {
        if !self.users.dec_and_test() {
            return;
        }
        // Without users nobody puts a bio in.
        if self.list.as_list().is_empty() && self.timer.cancel() {
            self.drop_reference();
        }
        self.drop_reference();
    }

    fn drop_reference(&self) {
        if self.refs.dec_and_test() {
            self.free.schedule();
        }
    }

    /// Is it open, or would it be if it held a bio? Any context.
    pub(crate) fn is_open(&self) -> bool {
        self.clock.load().is_at(now()) == Clock::Open
    }

    /// The number of bios that it holds.
    pub(crate) fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// The time in milliseconds until it opens, 0 when it is open, `None` when nobody knows.
    pub(crate) fn msecs_left(&self) -> Option<u32> {
        let nsecs = self.clock.load().end()?.saturating_sub(now());

        Some(
            nsecs
                .div_ceil(NSECS_PER_MSEC)
                .try_into()
                .unwrap_or(u32::MAX),
        )
    }

    /// Says that the association is over, and that the storage carries out nothing of it from
    /// `msecs` ms on. Any context.
    pub(crate) fn start(&self, msecs: u32) {
        fencing::start(self, after(msecs));
    }

    /// Says that the storage carries out nothing of the association any more. Any context.
    pub(crate) fn open(&self) {
        fencing::open(self);
    }

    /// Holds a bio that [`let_go`] knows how to go on with. Any context, by a user.
    pub(crate) fn hold(&self, bio: Bio) {
        self.held.fetch_add(1, Relaxed);
        // SAFETY: A valid bio that is ours to give up.
        unsafe { fencing::hold(self, bio.into_raw(), after(self.limit)) }
    }
}

impl Fenced for Fence {
    type Item = bindings::bio;

    fn clock(&self) -> &AtomicClock {
        &self.clock
    }

    fn list(&self) -> &LocklessList<bindings::bio> {
        self.list.as_list()
    }

    fn set_timer(&self, at: u64) {
        let ticks = ticks(at.saturating_sub(now()));

        self.refs.inc();
        if self.timer.reschedule_on_kblockd(ticks) {
            // The timer was set already, and has a reference.
            self.drop_reference();
        }
    }
}

// SAFETY: All fields that change are atomic.
unsafe impl Send for Fence {}
// SAFETY: As above.
unsafe impl Sync for Fence {}

// SAFETY: The offset is that of `timer`.
unsafe impl HasWork<TIMER> for Fence {
    const OFFSET: usize = offset_of!(Fence, timer);

    fn run(&self) {
        if let Rung::Open { by_limit, held } = fencing::ring(self, now()) {
            if by_limit {
                pr_warn!(
                    "a fence opens since its driver has not said for {} s that the association \
                     is over: its bios may be carried out twice\n",
                    self.limit / 1000
                );
            }
            for bio in held {
                self.held.fetch_sub(1, Relaxed);
                // SAFETY: The list owned the bio; now we own it.
                let_go(unsafe { Bio::from_raw(bio) });
            }
        }
        self.drop_reference();
    }
}

// SAFETY: The offset is that of `free`.
unsafe impl HasWork<FREE> for Fence {
    const OFFSET: usize = offset_of!(Fence, free);

    fn run(&self) {
        // The timer's work may not have returned yet.
        self.timer.cancel_and_wait();
        // SAFETY: It came from a box, and nobody has a reference any more. A work may free the
        // object that embeds it.
        drop(unsafe { KBox::from_raw(core::ptr::from_ref(self).cast_mut()) });
    }
}
