// SPDX-License-Identifier: GPL-2.0

//! Requests that a driver keeps until it can end them: by their tags, or in order.

use super::mpath_request::{
    AnyRequest,
    Private, //
};
use super::mpath_request_driver::MpathRequestDriver;
use super::tags::MpathTagSet;
use crate::bindings;
use crate::pure::parking::{
    Chain,
    LocklessList, //
    Parkable,
};
use core::marker::PhantomData;
use core::ptr::null_mut;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// Requests that have been sent and not answered, by their [tags](super::MpathRequest::tag).
///
/// An interrupt that answers a request, a timeout and a path that goes may want the same one at the
/// same time. The first to take it out has it, and the others find nothing. A tag that nobody has
/// sent, as broken hardware may report, finds nothing either.
///
/// There is no lock. Requests that are in it when it is dropped end with an I/O error.
///
/// # Invariants
///
/// A slot is null, or points to a request that has been given up to it. The request is of the tag
/// set that the table was made for, or of another one with the same driver.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// /// Sends a request to the hardware.
/// fn send(sent: &MpathRequestTable<RequestRam>, rq: MpathRequest<RequestRam>) {
///     match sent.put(rq) {
///         Ok(tag) => pr_debug!("the hardware is told {tag}\n"),
///         Err(rq) => rq.fail(Failure::IoError),
///     }
/// }
///
/// # let tags = crate::shared::request_tags()?;
/// # let _ = send;
/// let sent = MpathRequestTable::new(&tags)?;
/// assert!(sent.take(7).is_none());
/// assert!(sent.take(u32::MAX).is_none());
/// assert_eq!(sent.take_all().count(), 0);
/// # Ok::<(), Error>(())
/// ```
pub struct MpathRequestTable<T: MpathRequestDriver> {
    slots: KVVec<Atomic<*mut bindings::request>>,
    depth: usize,
    _of: PhantomData<AnyRequest<T>>,
}

impl<T: MpathRequestDriver> MpathRequestTable<T> {
    /// A table for all requests of a tag set. Fails with `ENOMEM`. Sleeps.
    pub fn new(tags: &MpathTagSet<T>) -> Result<Self> {
        let depth = tags.depth() as usize;
        let mut slots = KVVec::new();

        // INVARIANT: All are null.
        for _ in 0..depth * tags.queues() as usize {
            slots.push(Atomic::new(null_mut()), GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            depth,
            _of: PhantomData,
        })
    }

    #[inline]
    fn slot(&self, tag: u32) -> Option<&Atomic<*mut bindings::request>> {
        let queue = (tag >> bindings::BLK_MQ_UNIQUE_TAG_BITS) as usize;
        let number = (tag & bindings::BLK_MQ_UNIQUE_TAG_MASK) as usize;

        if number >= self.depth {
            return None;
        }
        self.slots.get(queue * self.depth + number)
    }

    /// Puts a request in, and returns its tag. From here on all who know the tag may take it out,
    /// so the driver tells the hardware afterwards. Any context.
    ///
    /// Gives the request back when there is no place for it, or another request in it. That happens
    /// only to a request of another tag set.
    #[inline]
    pub fn put(&self, rq: impl Into<AnyRequest<T>>) -> Result<u32, AnyRequest<T>> {
        let rq = rq.into();
        let tag = rq.tag();
        let Some(slot) = self.slot(tag) else {
            return Err(rq);
        };
        let raw = rq.into_raw();

        // INVARIANT: It has been given up.
        match slot.cmpxchg(null_mut(), raw, Full) {
            Ok(_) => Ok(tag),
            // SAFETY: It is not in the table, so it is still ours.
            Err(_) => Err(unsafe { AnyRequest::from_raw(raw) }),
        }
    }

    /// Takes the request with a tag out, if there is one. Any context.
    #[inline]
    pub fn take(&self, tag: u32) -> Option<AnyRequest<T>> {
        Self::empty(self.slot(tag)?)
    }

    /// Takes all requests out, one after the other. Any context.
    #[inline]
    pub fn take_all(&self) -> impl Iterator<Item = AnyRequest<T>> + '_ {
        self.slots.iter().filter_map(Self::empty)
    }

    #[inline]
    fn empty(slot: &Atomic<*mut bindings::request>) -> Option<AnyRequest<T>> {
        if slot.load(Relaxed).is_null() {
            return None;
        }
        let rq = slot.xchg(null_mut(), Full);

        // SAFETY: By the type invariant, and taken out once.
        (!rq.is_null()).then(|| unsafe { AnyRequest::from_raw(rq) })
    }
}

impl<T: MpathRequestDriver> Drop for MpathRequestTable<T> {
    #[inline]
    fn drop(&mut self) {
        self.take_all().for_each(drop);
    }
}

// SAFETY: Any thread may end a request.
unsafe impl<T: MpathRequestDriver> Send for MpathRequestTable<T> {}
// SAFETY: The slots are atomic.
unsafe impl<T: MpathRequestDriver> Sync for MpathRequestTable<T> {}

/// A request in a queue. Never a value, only pointed to.
struct Queued<T>(PhantomData<T>);

// SAFETY: Both access the private part of the request, of which this field is for queues.
unsafe impl<T: MpathRequestDriver> Parkable for Queued<T> {
    #[inline]
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: By the caller's contract; it is a request of `T`.
        unsafe { (*Private::<T>::of(this.cast())).next.cast() }
    }

    #[inline]
    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: By the caller's contract; it is a request of `T`.
        unsafe { (*Private::<T>::of(this.cast())).next = next.cast() }
    }
}

/// Requests that wait in the driver, first in, first out, without an allocation and without a lock.
///
/// Requests that are in it when it is dropped end with an I/O error.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// /// A timer, which ends what came since it ran last.
/// fn end_all(late: &MpathRequestQueue<RequestRam>) {
///     late.take().for_each(|rq| rq.end_with(Ok(())));
/// }
///
/// /// Has a request end when the timer runs next.
/// fn end_later(late: &MpathRequestQueue<RequestRam>, rq: MpathRequest<RequestRam>) {
///     late.push(rq);
/// }
///
/// # let _ = end_later;
/// end_all(&MpathRequestQueue::new());
/// ```
pub struct MpathRequestQueue<T: MpathRequestDriver> {
    list: LocklessList<Queued<T>>,
    _of: PhantomData<AnyRequest<T>>,
}

impl<T: MpathRequestDriver> MpathRequestQueue<T> {
    /// An empty queue.
    #[inline]
    pub const fn new() -> Self {
        Self {
            list: LocklessList::new(),
            _of: PhantomData,
        }
    }

    /// Puts a request in, as the last. Any context, hard interrupt included.
    #[inline]
    pub fn push(&self, rq: impl Into<AnyRequest<T>>) {
        // SAFETY: The request is ours, and given up.
        unsafe { self.list.push(rq.into().into_raw().cast()) }
    }

    /// Takes all requests out, in the order in which they were put in. Any context, hard interrupt
    /// included.
    #[inline]
    pub fn take(&self) -> impl Iterator<Item = AnyRequest<T>> {
        Taken {
            chain: self.list.take(),
        }
    }
}

impl<T: MpathRequestDriver> Default for MpathRequestQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: MpathRequestDriver> Drop for MpathRequestQueue<T> {
    #[inline]
    fn drop(&mut self) {
        self.take().for_each(drop);
    }
}

// SAFETY: The lot is a word, and any thread may end a request.
unsafe impl<T: MpathRequestDriver> Send for MpathRequestQueue<T> {}
// SAFETY: The word is atomic.
unsafe impl<T: MpathRequestDriver> Sync for MpathRequestQueue<T> {}

/// Requests that have been taken out of a queue.
struct Taken<T: MpathRequestDriver> {
    chain: Chain<Queued<T>>,
}

impl<T: MpathRequestDriver> Iterator for Taken<T> {
    type Item = AnyRequest<T>;

    #[inline]
    fn next(&mut self) -> Option<AnyRequest<T>> {
        // SAFETY: Each request in a queue has been given up to it, and leaves it once.
        self.chain
            .next()
            .map(|rq| unsafe { AnyRequest::from_raw(rq.cast()) })
    }
}

impl<T: MpathRequestDriver> Drop for Taken<T> {
    #[inline]
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
