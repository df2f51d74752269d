// SPDX-License-Identifier: GPL-2.0

//! A list that is changed under a lock and walked under SRCU.
//!
//! Only `next` is ever read by those who walk: `prev` of an unlinked element is poisoned (L-8). An
//! unlinked element keeps its `next`, so a walk that stands on one still arrives at the head.
//!
//! C header: [`include/linux/rculist.h`](srctree/include/linux/rculist.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};
use kernel::types::Opaque;

/// What can be on a list.
///
/// # Safety
///
/// `links` must return the same `list_head` in `*this` every time, at offset `OFFSET`.
pub(crate) unsafe trait Linked {
    /// Offset of the links in bytes.
    const OFFSET: usize;
}

/// The head of a list of `T`.
///
/// # Invariants
///
/// `head` is a valid circular list whose other elements are the links of valid `T`s. An element
/// that has been unlinked keeps its `next` and stays valid for as long as somebody can stand on it.
#[repr(transparent)]
#[pin_data]
pub(crate) struct RcuList<T: Linked> {
    #[pin]
    head: Opaque<bindings::list_head>,
    _elements: PhantomData<T>,
}

impl<T: Linked> RcuList<T> {
    /// An empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: A list of the head alone.
            head <- Opaque::ffi_init(|head: *mut bindings::list_head| {
                // SAFETY: `head` is valid for writes.
                unsafe { head.write(bindings::list_head { next: head, prev: head }) }
            }),
            _elements: PhantomData,
        })
    }

    fn links(element: *const T) -> *mut bindings::list_head {
        element.cast_mut().wrapping_byte_add(T::OFFSET).cast()
    }

    /// The atomic view of `links.next`.
    ///
    /// # Safety
    ///
    /// `links` is valid, and its `next` is accessed atomically only, or by a writer.
    unsafe fn next_of<'a>(links: *mut bindings::list_head) -> &'a Atomic<*mut bindings::list_head> {
        // SAFETY: By this function's contract.
        unsafe { Atomic::from_ptr(&raw mut (*links).next) }
    }

    /// Appends an element: from now on readers may see it.
    ///
    /// # Safety
    ///
    /// The caller holds the lock that serialises changes. `element` is valid, on no list, and stays
    /// valid until it has been removed and a grace period has passed.
    pub(crate) unsafe fn push_back(&self, element: *const T) {
        let head = self.head.get();
        let new = Self::links(element);

        // SAFETY: `head` is valid by the invariant, `new` by the contract; the lock makes us the
        // only ones who write. Readers see `new` with what was stored before the release.
        unsafe {
            let last = (*head).prev;

            (*new).prev = last;
            (*new).next = head;
            Self::next_of(last).store(new, Release);
            (*head).prev = new;
        }
    }

    /// Unlinks an element. Readers may still stand on it.
    ///
    /// # Safety
    ///
    /// The caller holds the lock that serialises changes, and `element` is on this list.
    pub(crate) unsafe fn remove(&self, element: *const T) {
        let links = Self::links(element);

        // SAFETY: By the invariant the neighbours are valid, and the lock makes us the only ones
        // who write. `next` of the element stays.
        unsafe {
            let (next, prev) = ((*links).next, (*links).prev);

            (*next).prev = prev;
            Self::next_of(prev).store(next, Relaxed);
            (*links).prev = core::ptr::without_provenance_mut(0x122);
        }
    }

    /// Is nothing on the list? A hint, unless the lock is held.
    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.get();

        // SAFETY: By the invariant.
        core::ptr::eq(unsafe { Self::next_of(head) }.load(Relaxed), head)
    }

    /// Walks the list.
    ///
    /// # Safety
    ///
    /// A read-side section that keeps the elements lasts for `'a`, or the lock is held.
    pub(crate) unsafe fn iter<'a>(&'a self) -> Iter<'a, T> {
        Iter {
            list: self,
            at: self.head.get(),
        }
    }

    /// Walks what comes after `element`, which may have been unlinked.
    ///
    /// # Safety
    ///
    /// As for [`RcuList::iter`], and `element` was on this list when the section began.
    pub(crate) unsafe fn iter_after<'a>(&'a self, element: &'a T) -> Iter<'a, T> {
        Iter {
            list: self,
            at: Self::links(element),
        }
    }
}

// SAFETY: The list only refers to its elements; what may be done with them is up to `T`.
unsafe impl<T: Linked + Sync> Send for RcuList<T> {}
// SAFETY: Changes are serialised by a lock, by the contracts of the methods that make them.
unsafe impl<T: Linked + Sync> Sync for RcuList<T> {}

/// A walk from one element to the end.
///
/// # Invariants
///
/// `at` is the head or the links of an element, valid while the walk lives.
pub(crate) struct Iter<'a, T: Linked> {
    list: &'a RcuList<T>,
    at: *mut bindings::list_head,
}

impl<'a, T: Linked> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: By the type invariant. The acquire makes the element's initialisation visible.
        let next = unsafe { RcuList::<T>::next_of(self.at) }.load(Acquire);

        if core::ptr::eq(next, self.list.head.get()) {
            return None;
        }
        // INVARIANT: `next` was on the list after the section had begun.
        self.at = next;
        // SAFETY: By the list's invariant; the section keeps the element for `'a`.
        Some(unsafe { &*next.wrapping_byte_sub(T::OFFSET).cast::<T>() })
    }
}
