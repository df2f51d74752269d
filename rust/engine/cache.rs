// SPDX-License-Identifier: GPL-2.0

//! `current_path`: the path that is nearest to a node, one slot per possible node.
//!
//! The last member of a head, with as many slots as there are possible nodes; a head's allocation
//! makes the room. The slots are part of the head's shortlist. A CPU that makes the shortlist anew
//! empties them; a CPU of a node that submits a bio fills the node's slot. Both hold the
//! shortlist's lock.

use crate::pure::nodes::Node;
use crate::pure::sync::AtomicPtr;
use crate::wrap::node_slots;
use core::alloc::Layout;
use core::ptr::null_mut;

/// The slots of a head, for paths of type `T`.
///
/// # Invariants
///
/// `map.slots()` initialised slots follow `slots`, and end the allocation of the cache.
#[repr(C)]
pub(crate) struct CurrentPath<T> {
    map: &'static node_slots::Map,
    slots: [AtomicPtr<T>; 0],
}

impl<T> CurrentPath<T> {
    /// The layout of `header`, which ends with a cache, and its slots on `map`.
    pub(crate) fn layout(header: Layout, map: &node_slots::Map) -> Option<Layout> {
        let slots = Layout::array::<AtomicPtr<T>>(map.slots()).ok()?;
        let (layout, offset) = header.extend(slots).ok()?;

        (offset == header.size()).then_some(layout.pad_to_align())
    }

    /// Initialises the cache and its slots.
    ///
    /// # Safety
    ///
    /// `this` is in an allocation of [`CurrentPath::layout`] for the same map.
    pub(crate) unsafe fn init(this: *mut Self, map: &'static node_slots::Map) {
        // SAFETY: By this function's contract there is room for the slots.
        unsafe {
            (&raw mut (*this).map).write(map);

            let first = (&raw mut (*this).slots).cast::<AtomicPtr<T>>();
            for index in 0..map.slots() {
                first.add(index).write(AtomicPtr::new(null_mut()));
            }
        }
    }

    /// The map from nodes to slots.
    pub(crate) fn map(&self) -> &'static node_slots::Map {
        self.map
    }

    /// The slot of a node.
    #[inline(always)]
    pub(crate) fn slot(&self, node: Node) -> &AtomicPtr<T> {
        // SAFETY: By the invariant of the map a slot's index is less than `map.slots()`, so by the
        // type invariant the slot is there.
        unsafe { &*self.slots.as_ptr().add(self.map.slot(node).index()) }
    }

    /// All slots.
    pub(crate) fn all(&self) -> &[AtomicPtr<T>] {
        // SAFETY: By the type invariant.
        unsafe { core::slice::from_raw_parts(self.slots.as_ptr(), self.map.slots()) }
    }

    /// Clears all slots.
    pub(crate) fn clear(&self) {
        for slot in self.all() {
            slot.store(null_mut());
        }
    }
}
