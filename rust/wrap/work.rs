// SPDX-License-Identifier: GPL-2.0

//! Work that is embedded in an object, and owns no reference to it.
//!
//! The kernel crate's work items own the object that embeds them. Interrupt context must be able to
//! requeue bios and the like, and could not drop the last reference. So here the object cancels its
//! work before it goes.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;
use kernel::sync::{
    LockClassKey,
    SetOnce, //
};
use kernel::types::Opaque;

/// The present tick, of the clock by which delayed work runs. Any context.
pub(crate) fn now() -> u64 {
    // SAFETY: Reads the clock.
    unsafe { bindings::mpath_helper_jiffies() }
}

/// An object with work number `ID` in it.
///
/// # Safety
///
/// `OFFSET` must be the offset of the [`Work`] or [`DelayedWork`] with this `ID` in `Self`.
pub(crate) unsafe trait HasWork<const ID: u32> {
    /// Offset of the work in bytes.
    const OFFSET: usize;

    /// Does the work. Process context, may sleep.
    fn run(&self);
}

/// The work function of every work here.
///
/// # Safety
///
/// `work` is the `work_struct` of work `ID` in a valid `T`.
unsafe extern "C" fn run<T: HasWork<ID>, const ID: u32>(work: *mut bindings::work_struct) {
    let object = work.wrapping_byte_sub(T::OFFSET).cast::<T>();

    // SAFETY: By this function's contract. `T` cancels the work before it is gone.
    unsafe { &*object }.run()
}

/// The lockdep class of a work, or of its timer. In generic code, a class that is made in place
/// would be the same for all works.
pub(crate) type Class = Pin<&'static LockClassKey>;

fn init<T: HasWork<ID>, const ID: u32>(
    work: *mut bindings::work_struct,
    name: &'static CStr,
    class: Class,
) {
    // SAFETY: `work` is valid for writes, and pinned; `run` fits `T`.
    unsafe {
        bindings::init_work_with_key(
            work,
            Some(run::<T, ID>),
            false,
            name.as_char_ptr(),
            class.as_ptr(),
        )
    }
}

/// A work that runs soon.
///
/// # Invariants
///
/// `inner` is an initialised `work_struct`.
#[pin_data]
pub(crate) struct Work<T, const ID: u32> {
    #[pin]
    inner: Opaque<bindings::work_struct>,
    _object: PhantomData<fn(&T)>,
}

impl<T: HasWork<ID>, const ID: u32> Work<T, ID> {
    /// A work that nobody has scheduled yet.
    pub(crate) fn new(name: &'static CStr, class: Class) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            inner <- Opaque::ffi_init(move |work| init::<T, ID>(work, name, class)),
            _object: PhantomData,
        })
    }

    /// Schedules it on the block layer's own queue, which requeues under memory pressure. Does
    /// nothing when the work waits already. Any context.
    pub(crate) fn schedule_on_kblockd(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kblockd_schedule_work(self.inner.get()) };
    }

    /// Schedules it on the library's queue. Returns false when it waits already.
    pub(crate) fn schedule(&self) -> bool {
        const ANY: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

        // SAFETY: By the type invariant.
        unsafe { bindings::queue_work_on(ANY, queue(), self.inner.get()) }
    }

    /// Waits until it has run as often as it was scheduled. Sleeps.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::flush_work(self.inner.get()) };
    }

    /// Makes sure that it neither waits nor runs. Returns whether it was waiting. Sleeps.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_work_sync(self.inner.get()) }
    }
}

// SAFETY: Any thread may use a `work_struct`.
unsafe impl<T, const ID: u32> Send for Work<T, ID> {}
// SAFETY: As above, also several at the same time.
unsafe impl<T, const ID: u32> Sync for Work<T, ID> {}

/// A work that runs later.
///
/// # Invariants
///
/// `inner` is an initialised `delayed_work`.
#[pin_data]
pub(crate) struct DelayedWork<T, const ID: u32> {
    #[pin]
    inner: Opaque<bindings::delayed_work>,
    _object: PhantomData<fn(&T)>,
}

impl<T: HasWork<ID>, const ID: u32> DelayedWork<T, ID> {
    const ANY: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

    /// A work that nobody has scheduled yet.
    pub(crate) fn new(name: &'static CStr, class: Class, timer: Class) -> impl PinInit<Self> {
        build_assert!(core::mem::offset_of!(bindings::delayed_work, work) == 0);

        pin_init!(Self {
            // INVARIANT: This initialises work and timer.
            inner <- Opaque::ffi_init(move |slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe {
                    init::<T, ID>(&raw mut (*slot).work, name, class);
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        name.as_char_ptr(),
                        timer.as_ptr(),
                    );
                }
            }),
            _object: PhantomData,
        })
    }

    /// Schedules it in `ticks` ticks from now, on the block layer's own queue, where no work waits
    /// for I/O. Returns whether it was waiting already. Any context.
    pub(crate) fn reschedule_on_kblockd(&self, ticks: usize) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::kblockd_mod_delayed_work_on(Self::ANY, self.inner.get(), ticks) != 0 }
    }

    /// Schedules it in `ticks` ticks from now. Returns whether it was waiting already.
    pub(crate) fn reschedule(&self, ticks: usize) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mod_delayed_work_on(Self::ANY, queue(), self.inner.get(), ticks) }
    }

    /// Makes it not wait any more. Returns false when it did not wait, or is running.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_delayed_work(self.inner.get()) }
    }

    /// Makes sure that it neither waits nor runs. Sleeps.
    pub(crate) fn cancel_and_wait(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.inner.get()) };
    }
}

// SAFETY: Any thread may use a `delayed_work`.
unsafe impl<T, const ID: u32> Send for DelayedWork<T, ID> {}
// SAFETY: As above, also several at the same time.
unsafe impl<T, const ID: u32> Sync for DelayedWork<T, ID> {}

/// The library's queue.
///
/// # Invariants
///
/// A valid `workqueue_struct`, until [`Queue::destroy`].
#[derive(Clone, Copy)]
struct Queue(*mut bindings::workqueue_struct);

// SAFETY: Any thread may use a workqueue.
unsafe impl Send for Queue {}
// SAFETY: As above, also several at the same time.
unsafe impl Sync for Queue {}

static QUEUE: SetOnce<Queue> = SetOnce::new();

fn queue() -> *mut bindings::workqueue_struct {
    // All works are in heads and fences, and nobody makes these without a queue.
    QUEUE
        .as_ref()
        .map_or(core::ptr::null_mut(), |queue| queue.0)
}

/// Makes sure that the library's queue is there. May sleep.
///
/// The first head or fence makes it, not the module's initialisation: built in, drivers may come
/// first.
pub(crate) fn ensure_queue() -> Result {
    while QUEUE.as_ref().is_none() {
        // SAFETY: The helper allocates.
        let queue = unsafe { bindings::mpath_helper_alloc_workqueue() };

        if queue.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just allocated.
        if !QUEUE.populate(Queue(queue)) {
            // SAFETY: Another caller was faster; nobody knows ours.
            unsafe { bindings::destroy_workqueue(queue) };
        }
    }
    Ok(())
}

/// Waits for all work and frees the queue.
///
/// # Safety
///
/// No head is left and no fence in use, and nobody makes one any more.
pub(crate) unsafe fn destroy_queue() {
    if let Some(queue) = QUEUE.as_ref() {
        // SAFETY: By the type invariant; by this function's contract nobody uses it any more.
        unsafe { bindings::destroy_workqueue(queue.0) };
    }
}
