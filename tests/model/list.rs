// SPDX-License-Identifier: GPL-2.0

//! `rust/wrap/list.rs` on the host: a list that is changed under a lock and walked under SRCU.
//!
//! The same accesses to `next` and `prev` with the same orderings. `prev` and the memory as a whole
//! are cells that loom watches: it fails when a reader touches one that a writer changes, or a path
//! that is not initialised yet, or freed. Null stands for the head as the end of the list.

use libmultipath::state::{
    AccessState,
    AtomicPathState,
    Reasons, //
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    AtomicPtr,
    Ordering, //
};
use std::ptr::null_mut;

/// A path on a list, or one that was or will be.
pub struct Node {
    next: AtomicPtr<Node>,
    prev: UnsafeCell<*const Node>,
    memory: UnsafeCell<()>,
    /// The path's state.
    pub state: AtomicPathState,
}

impl Node {
    /// A path in memory that a driver has just allocated.
    pub fn new() -> Self {
        Self {
            next: AtomicPtr::new(null_mut()),
            prev: UnsafeCell::new(core::ptr::null()),
            memory: UnsafeCell::new(()),
            state: AtomicPathState::new(),
        }
    }

    /// The driver fills it in.
    pub fn init(&self, access: AccessState) {
        self.memory.with_mut(|_| ());
        self.state
            .update(|state| state.reaching(access).enabled(Reasons::NOT_READY));
    }

    /// Somebody uses it.
    pub fn touch(&self) {
        self.memory.with(|_| ());
    }

    /// The driver frees it. Nobody may touch it any more, or still be about to.
    pub fn free(&self) {
        self.memory.with_mut(|_| ());
    }
}

/// The head of a list. Nodes stay in memory for as long as a model runs.
pub struct List {
    first: AtomicPtr<Node>,
    last: UnsafeCell<*const Node>,
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        Self {
            first: AtomicPtr::new(null_mut()),
            last: UnsafeCell::new(core::ptr::null()),
        }
    }

    /// The `next` that leads on from `node`, or from the head.
    fn next_of(&self, node: *const Node) -> &AtomicPtr<Node> {
        // SAFETY: Nodes outlive the list.
        unsafe { node.as_ref() }.map_or(&self.first, |node| &node.next)
    }

    /// The `prev` that leads back from `node`, or from the head.
    fn prev_of(&self, node: *const Node) -> &UnsafeCell<*const Node> {
        // SAFETY: Nodes outlive the list.
        unsafe { node.as_ref() }.map_or(&self.last, |node| &node.prev)
    }

    /// `RcuList::push_back()`, under the lock, where `publication` is `Release`.
    pub fn push_back(&self, new: &Node, publication: Ordering) {
        let raw = core::ptr::from_ref(new);
        // SAFETY: Under the lock nobody else accesses a `prev`.
        let last = self.last.with(|last| unsafe { *last });

        // SAFETY: As above.
        new.prev.with_mut(|prev| unsafe { *prev = last });
        new.next.store(null_mut(), Ordering::Relaxed);
        self.next_of(last).store(raw.cast_mut(), publication);
        // SAFETY: As above.
        self.last.with_mut(|last| unsafe { *last = raw });
    }

    /// `RcuList::remove()`, under the lock.
    pub fn remove(&self, node: &Node) {
        let next = node.next.load(Ordering::Relaxed);
        // SAFETY: Under the lock nobody else accesses a `prev`.
        let prev = node.prev.with(|prev| unsafe { *prev });

        // SAFETY: As above.
        self.prev_of(next)
            .with_mut(|field| unsafe { *field = prev });
        self.next_of(prev).store(next, Ordering::Relaxed);
        // Poisoned.
        node.prev
            // SAFETY: As above.
            .with_mut(|prev| unsafe { *prev = core::ptr::dangling() });
    }

    /// `list_del()`, which is not for lists that are walked meanwhile: `next` leads nowhere.
    pub fn remove_and_poison(&self, node: &Node) {
        self.remove(node);
        node.next.store(null_mut(), Ordering::Relaxed);
    }

    /// `RcuList::iter()`, and `RcuList::iter_after()` if `after` is not null.
    pub fn iter_after(&self, after: *const Node) -> impl Iterator<Item = &Node> {
        let mut at = after;

        core::iter::from_fn(move || {
            // SAFETY: Nodes outlive the list.
            if let Some(node) = unsafe { at.as_ref() } {
                node.touch();
            }
            at = self.next_of(at).load(Ordering::Acquire);
            // SAFETY: As above.
            unsafe { at.as_ref() }
        })
    }

    /// `list_is_singular()`, which is not for lists that are changed meanwhile.
    pub fn is_singular(&self) -> bool {
        let first = self.first.load(Ordering::Relaxed);

        // SAFETY: It is read without the lock, which is the mistake.
        self.last
            .with(|last| core::ptr::eq(unsafe { *last }, first))
    }
}

// SAFETY: `prev` is under a lock, or else loom finds out.
unsafe impl Sync for Node {}
// SAFETY: As above.
unsafe impl Send for Node {}
// SAFETY: As above.
unsafe impl Sync for List {}
// SAFETY: As above.
unsafe impl Send for List {}
