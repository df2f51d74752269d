// SPDX-License-Identifier: GPL-2.0

//! Work that is embedded in an object, without owning a reference to it.
//!
//! The kernel crate's work items own what they are embedded in. Requeueing and the like must be
//! possible from interrupt context, where the last reference could not be dropped, so here the
//! object cancels its work before it goes.
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

/// What lockdep knows a work, or its timer, by: in generic code, a class that is made in place
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

/// Work to be done soon.
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
    /// Work that nobody has asked for yet.
    pub(crate) fn new(name: &'static CStr, class: Class) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            inner <- Opaque::ffi_init(move |work| init::<T, ID>(work, name, class)),
            _object: PhantomData,
        })
    }

    /// Has it done on the block layer's own queue, which is there for requeueing under memory
    /// pressure. Nothing happens when it waits to be done already. Any context.
    pub(crate) fn schedule_on_kblockd(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kblockd_schedule_work(self.inner.get()) };
    }

    /// Has it done on the library's queue. Returns false when it waits to be done already.
    pub(crate) fn schedule(&self) -> bool {
        const ANY: i32 = bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32;

        // SAFETY: By the type invariant.
        unsafe { bindings::queue_work_on(ANY, queue(), self.inner.get()) }
    }

    /// Waits until it has been done as often as asked for. Sleeps.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::flush_work(self.inner.get()) };
    }

    /// Makes sure that it neither waits nor is being done. Returns whether it was waiting. Sleeps.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_work_sync(self.inner.get()) }
    }
}

// SAFETY: A `work_struct` may be used from any thread.
unsafe impl<T, const ID: u32> Send for Work<T, ID> {}
// SAFETY: As above, also at the same time.
unsafe impl<T, const ID: u32> Sync for Work<T, ID> {}

/// Work to be done later.
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

    /// Work that nobody has asked for yet.
    pub(crate) fn new(name: &'static CStr, class: Class, timer: Class) -> impl PinInit<Self> {
        build_assert!(core::mem::offset_of!(bindings::delayed_work, work) == 0);

        pin_init!(Self {
            // INVARIANT: Work and timer are initialised here.
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

    /// Has it done in `ticks` from now, on the block layer's own queue, where no work waits for
    /// I/O. Returns whether it was waiting to be done already. Any context.
    pub(crate) fn reschedule_on_kblockd(&self, ticks: usize) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::kblockd_mod_delayed_work_on(Self::ANY, self.inner.get(), ticks) != 0 }
    }

    /// Has it done in `ticks` from now. Returns whether it was waiting to be done already.
    pub(crate) fn reschedule(&self, ticks: usize) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::mod_delayed_work_on(Self::ANY, queue(), self.inner.get(), ticks) }
    }

    /// Makes it not wait any more. Returns false when it did not, or is being done.
    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_delayed_work(self.inner.get()) }
    }

    /// Makes sure that it is neither waiting nor being done. Sleeps.
    pub(crate) fn cancel_and_wait(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.inner.get()) };
    }
}

// SAFETY: A `delayed_work` may be used from any thread.
unsafe impl<T, const ID: u32> Send for DelayedWork<T, ID> {}
// SAFETY: As above, also at the same time.
unsafe impl<T, const ID: u32> Sync for DelayedWork<T, ID> {}

/// The library's queue.
///
/// # Invariants
///
/// A valid `workqueue_struct`, until [`Queue::destroy`].
#[derive(Clone, Copy)]
struct Queue(*mut bindings::workqueue_struct);

// SAFETY: A workqueue may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for Queue {}

static QUEUE: SetOnce<Queue> = SetOnce::new();

fn queue() -> *mut bindings::workqueue_struct {
    // Heads and fences, which have all the work, are not made without a queue.
    QUEUE
        .as_ref()
        .map_or(core::ptr::null_mut(), |queue| queue.0)
}

/// Makes sure that the library's queue is there. May sleep.
///
/// Done when it is needed, not when the module is initialised: built in, drivers may come first.
pub(crate) fn ensure_queue() -> Result {
    while QUEUE.as_ref().is_none() {
        // SAFETY: The helper allocates.
        let queue = unsafe { bindings::mpath_helper_alloc_workqueue() };

        if queue.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just allocated.
        if !QUEUE.populate(Queue(queue)) {
            // SAFETY: Another one was faster; nobody knows ours.
            unsafe { bindings::destroy_workqueue(queue) };
        }
    }
    Ok(())
}

/// Waits for all work and frees the queue.
///
/// # Safety
///
/// No head is left and no fence in use, and none can be made any more.
pub(crate) unsafe fn destroy_queue() {
    if let Some(queue) = QUEUE.as_ref() {
        // SAFETY: By the type invariant; by this function's contract nobody uses it any more.
        unsafe { bindings::destroy_workqueue(queue.0) };
    }
}
