// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes and slots, on machines whose node ids have gaps.

use libmultipath::nodes::{
    Node,
    NodeMap, //
};
use proptest::collection::btree_set;
use proptest::prelude::*;

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
