// SPDX-License-Identifier: GPL-2.0

//! A list that writers change under a lock and readers walk under SRCU.
//!
//! A walk reads only `next`: `prev` of an unlinked element is poisoned (L-8). An unlinked element
//! keeps its `next`, so a walk that stands on one still arrives at the head.
//!
//! In the kernel the links are a `struct list_head`, so a list may be in memory that C has laid
//! out.

use core::marker::{
    PhantomData,
    PhantomPinned, //
};

use crate::pure::sync::{
    AtomicPtr,
    Guarded, //
};

/// A `struct list_head`.
#[repr(C)]
pub struct Links {
    next: AtomicPtr<Links>,
    prev: Guarded<*mut Links>,
    _pinned: PhantomPinned,
}

impl Links {
    /// The value of `prev` in an unlinked element: `LIST_POISON2`, without its offset.
    const POISON: *mut Self = core::ptr::without_provenance_mut(0x122);

    /// Links of an element that is on no list. In the kernel, C makes them.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self::leading_to(core::ptr::null_mut())
    }

    fn leading_to(this: *mut Self) -> Self {
        Self {
            next: AtomicPtr::new(this),
            prev: Guarded::new(this),
            _pinned: PhantomPinned,
        }
    }

    fn as_raw(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// A type whose values can be on a list.
///
/// # Safety
///
/// At `OFFSET` there are [`Links`], or a `list_head`, which only a list accesses.
pub unsafe trait Linked {
    /// Offset of the links in bytes.
    const OFFSET: usize;
}

/// The head of a list of `T`.
///
/// # Invariants
///
/// `head` is of a valid circular list whose other elements are the links of valid `T`s. An unlinked
/// element keeps its `next` and stays valid for as long as a walk can stand on it.
#[repr(transparent)]
pub struct RcuList<T: Linked> {
    head: Links,
    _elements: PhantomData<T>,
}

impl<T: Linked> RcuList<T> {
    /// Makes an empty list.
    ///
    /// # Safety
    ///
    /// `this` is valid for writes, and the list stays there.
    pub unsafe fn init(this: *mut Self) {
        // INVARIANT: A list of the head alone.
        // SAFETY: By this function's contract; the list is transparent.
        unsafe { this.cast::<Links>().write(Links::leading_to(this.cast())) }
    }

    /// The links of an element.
    ///
    /// # Safety
    ///
    /// `element` is valid for `'a`.
    unsafe fn links<'a>(element: *const T) -> &'a Links {
        // SAFETY: By the contract of `Linked`.
        unsafe { &*element.wrapping_byte_add(T::OFFSET).cast() }
    }

    /// Appends an element: from now on readers may see it.
    ///
    /// # Safety
    ///
    /// The caller holds the lock that serialises changes. `element` is valid, on no list, and stays
    /// valid until it has been removed and a grace period has passed.
    pub unsafe fn push_back(&self, element: *const T) {
        // SAFETY: `element` is valid by the contract, and the elements on the list by the
        // invariant; the lock makes us the only writer. Readers that see the element see all stores
        // before the release.
        unsafe {
            let new = Self::links(element);
            let last = self.head.prev.get();

            new.prev.set(last);
            new.next.store_relaxed(self.head.as_raw());
            (*last).next.store(new.as_raw());
            self.head.prev.set(new.as_raw());
        }
    }

    /// Unlinks an element. Readers may still stand on it.
    ///
    /// # Safety
    ///
    /// The caller holds the lock that serialises changes, and `element` is on this list.
    pub unsafe fn remove(&self, element: *const T) {
        // SAFETY: By the invariant the neighbours are valid, and the lock makes us the only writer.
        // `next` of the element stays.
        unsafe {
            let links = Self::links(element);
            let (next, prev) = (links.next.load_relaxed(), links.prev.get());

            (*next).prev.set(prev);
            (*prev).next.store_relaxed(next);
            links.prev.set(Links::POISON);
        }
    }

    /// Is the list empty? A hint, unless the caller holds the lock.
    pub fn is_empty(&self) -> bool {
        core::ptr::eq(self.head.next.load_relaxed(), &self.head)
    }

    /// Walks the list.
    ///
    /// # Safety
    ///
    /// A read-side section that keeps the elements lasts for `'a`, or the caller holds the lock.
    #[inline(always)]
    pub unsafe fn iter<'a>(&'a self) -> Iter<'a, T> {
        Iter {
            list: self,
            at: &self.head,
        }
    }
}

// SAFETY: The list only refers to its elements; `T: Sync` says that threads may share them.
unsafe impl<T: Linked + Sync> Send for RcuList<T> {}
// SAFETY: A lock serialises changes, by the contracts of the methods that make them.
unsafe impl<T: Linked + Sync> Sync for RcuList<T> {}

/// A walk from one element to the end.
///
/// # Invariants
///
/// `at` is the head or the links of an element, valid while the walk lives.
pub struct Iter<'a, T: Linked> {
    list: &'a RcuList<T>,
    at: *const Links,
}

impl<'a, T: Linked> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        // SAFETY: By the type invariant. The acquire makes the element's initialisation visible.
        let next = unsafe { &(*self.at).next }.load();

        if core::ptr::eq(next, &self.list.head) {
            return None;
        }
        // INVARIANT: `next` was on the list after the section had begun.
        self.at = next;
        // SAFETY: By the list's invariant; the section keeps the element for `'a`.
        Some(unsafe { &*next.wrapping_byte_sub(T::OFFSET).cast::<T>() })
    }
}
