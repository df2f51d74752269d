// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes and the slots that a head has for them.
//!
//! Node ids may have gaps (0, 8, 252 to 255), and a head has one slot per possible node, not per
//! id. A [`Node`] cannot index anything; the [`NodeMap`] turns it into a [`Slot`], which can. Only
//! the map makes slots.

/// A NUMA node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(pub u32);

/// The index of a possible node among the possible nodes, less than [`NodeMap::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

impl Slot {
    /// The slot as an index into an array of [`NodeMap::slots`] elements.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The dense map from the ids of at most `IDS` nodes, a power of two, to slots.
///
/// # Invariants
///
/// Every element of `slot_of` is less than `slots`, which is at least 1.
pub struct NodeMap<const IDS: usize> {
    slot_of: [u16; IDS],
    slots: u16,
}

impl<const IDS: usize> NodeMap<IDS> {
    /// The mask that makes an index out of any id.
    const MASK: usize = {
        assert!(IDS.is_power_of_two());
        IDS - 1
    };

    /// The map of a machine whose possible nodes `is_possible` names.
    ///
    /// An id that is not possible shares the first slot: it may get a far path, never a wild one.
    /// A machine without any possible node has one slot all the same.
    pub fn new(is_possible: impl Fn(Node) -> bool) -> Self {
        let mut slot_of = [0; IDS];
        let mut slots = 0;

        for (id, slot) in slot_of.iter_mut().enumerate() {
            if is_possible(Node(id as u32)) {
                *slot = slots;
                slots += 1;
            }
        }

        // INVARIANT: Each slot was given out when `slots` was less than it is now; the others are
        // 0, and `slots` is at least 1.
        Self {
            slot_of,
            slots: if slots == 0 { 1 } else { slots },
        }
    }

    /// The number of slots.
    pub const fn slots(&self) -> usize {
        self.slots as usize
    }

    /// The slot of a node. An id that is too large is taken for another one.
    #[inline(always)]
    pub fn slot(&self, node: Node) -> Slot {
        Slot(self.slot_of[node.0 as usize & Self::MASK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_ids_get_dense_slots() {
        let possible = [0, 8, 252, 253, 254, 255];
        let map = NodeMap::<1024>::new(|node| possible.contains(&node.0));

        assert_eq!(map.slots(), possible.len());
        for (index, id) in possible.into_iter().enumerate() {
            assert_eq!(map.slot(Node(id)).index(), index);
        }
    }

    #[test]
    fn an_impossible_id_is_within_bounds() {
        let map = NodeMap::<64>::new(|node| node.0 == 3);

        for id in [0, 1, 2, 4, 63, 64, 1000, u32::MAX] {
            assert!(map.slot(Node(id)).index() < map.slots());
        }
    }

    #[test]
    fn a_machine_without_nodes_has_one_slot() {
        assert_eq!(NodeMap::<64>::new(|_| false).slots(), 1);
    }

    #[test]
    fn every_id_possible_fills_the_map() {
        let map = NodeMap::<1024>::new(|_| true);

        assert_eq!(map.slots(), 1024);
        assert_eq!(map.slot(Node(1023)).index(), 1023);
    }
}
