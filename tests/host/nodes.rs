// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes and slots, on machines whose node ids have gaps.

use libmultipath::nodes::{
    Node,
    NodeMap, //
};
use libmultipath::sync::AtomicPtr;
use proptest::collection::btree_set;
use proptest::prelude::*;
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use std::ptr::null_mut;

const IDS: usize = 1024;

proptest! {
    /// Shows L-1.
    #[test]
    fn the_slots_of_possible_nodes_are_dense_and_differ(possible in btree_set(0..IDS as u32, 1..60)) {
        let map = NodeMap::<IDS>::new(|node| possible.contains(&node.0));
        let slots: Vec<_> = possible.iter().map(|id| map.slot(Node(*id)).index()).collect();

        prop_assert_eq!(map.slots(), possible.len());
        prop_assert_eq!(slots, (0..possible.len()).collect::<Vec<_>>());
    }

    /// Shows L-1.
    #[test]
    fn no_id_whatsoever_has_a_slot_beyond_the_last(
        possible in btree_set(0..IDS as u32, 0..60),
        id in prop_oneof![0..2 * IDS as u32, any::<u32>()],
    ) {
        let map = NodeMap::<IDS>::new(|node| possible.contains(&node.0));

        prop_assert!(map.slot(Node(id)).index() < map.slots());
    }
}

/// The slots of a head on a machine with these nodes, and the map.
fn head(possible: &BTreeSet<u32>) -> (NodeMap<IDS>, Vec<AtomicPtr<u8>>) {
    let map = NodeMap::new(|node| possible.contains(&node.0));
    let slots = (0..map.slots())
        .map(|_| AtomicPtr::new(null_mut()))
        .collect();

    (map, slots)
}

proptest! {
    /// Shows L-1.
    #[test]
    fn each_possible_node_remembers_its_own_path(
        possible in btree_set(0..IDS as u32, 1..60),
        choices in proptest::collection::vec((any::<proptest::sample::Index>(), 0..4usize), 0..80),
    ) {
        let paths = [0u8; 4];
        let (map, slots) = head(&possible);
        let nodes: Vec<_> = possible.iter().copied().map(Node).collect();
        let mut remembered = BTreeMap::new();

        for (node, path) in choices {
            let node = nodes[node.index(nodes.len())];

            slots[map.slot(node).index()].store((&raw const paths[path]).cast_mut());
            remembered.insert(node.0, path);
        }
        for node in nodes {
            let path = remembered.get(&node.0).map_or(null_mut(), |path| (&raw const paths[*path]).cast_mut());

            prop_assert_eq!(slots[map.slot(node).index()].load(), path);
        }
    }
}

/// Shows L-1.
#[test]
fn a_machine_with_nodes_0_8_and_252_to_255_has_six_slots() {
    let possible = [0, 8, 252, 253, 254, 255];
    let map = NodeMap::<256>::new(|node| possible.contains(&node.0));

    assert_eq!(map.slots(), 6);
    assert_eq!(
        possible.map(|id| map.slot(Node(id)).index()),
        [0, 1, 2, 3, 4, 5]
    );
}

/// A node without memory is possible, and so is one that is not online yet: both have CPUs, or may
/// get some. NUMA_NO_NODE is -1.
///
/// Shows L-1.
#[test]
fn no_node_at_all_is_within_bounds() {
    for possible in [0, 1, 6] {
        let map = NodeMap::<8>::new(|node| node.0 < possible);

        assert!(map.slot(Node(u32::MAX)).index() < map.slots());
    }
}
