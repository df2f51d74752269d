// SPDX-License-Identifier: GPL-2.0

//! The machine's NUMA nodes, and the map from their ids to slots.

use crate::bindings;
use crate::pure::nodes::{
    Node,
    NodeMap, //
};
use kernel::prelude::*;
use kernel::sync::SetOnce;

/// The map for every id that this kernel can have.
pub(crate) type Map = NodeMap<{ bindings::MAX_NUMNODES as usize }>;

/// `NUMA_NO_NODE`.
pub(crate) const NO_NODE: i32 = -1;

/// `LOCAL_DISTANCE` of the SLIT.
const LOCAL_DISTANCE: u32 = 10;

static MAP: SetOnce<Map> = SetOnce::new();

/// The map of this machine. The kernel settles early in boot which nodes are possible.
pub(crate) fn map() -> &'static Map {
    loop {
        if let Some(map) = MAP.as_ref() {
            return map;
        }
        // A false return means that another CPU is making it: look again.
        MAP.populate(Map::new(|node| {
            // SAFETY: The helper reads a mask of `MAX_NUMNODES` bits; the id is less than that.
            unsafe { bindings::mpath_helper_node_possible(node.0 as i32) }
        }));
    }
}

/// The node of this CPU; a hint unless preemption is off.
#[inline(always)]
pub(crate) fn current() -> Node {
    // SAFETY: Any context may call it.
    Node(unsafe { bindings::mpath_helper_numa_node_id() } as u32)
}

/// All nodes that are online.
pub(crate) fn online() -> impl Iterator<Item = Node> {
    (0..bindings::MAX_NUMNODES).map(Node).filter(|node| {
        // SAFETY: The helper reads a mask.
        unsafe { bindings::mpath_helper_node_online(node.0 as i32) }
    })
}

/// All possible nodes.
#[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
pub(crate) fn possible() -> impl Iterator<Item = Node> {
    (0..bindings::MAX_NUMNODES).map(Node).filter(|node| {
        // SAFETY: The helper reads a mask.
        unsafe { bindings::mpath_helper_node_possible(node.0 as i32) }
    })
}

/// Checks the node that a driver gives for a path: the id of a node, or [`NO_NODE`].
pub(crate) fn check(node: i32) -> Result {
    if node == NO_NODE || (0..bindings::MAX_NUMNODES as i32).contains(&node) {
        return Ok(());
    }
    pr_err!(
        "{node} is no NUMA node: 0 to {}, or NUMA_NO_NODE\n",
        bindings::MAX_NUMNODES - 1
    );
    Err(EINVAL)
}

/// The node on which to allocate when a driver says `node`: that one, or any when it is not online.
pub(crate) fn to_allocate_on(node: i32) -> Result<i32> {
    check(node)?;
    // SAFETY: The helper reads a mask, and `node` is the id of a node.
    let is_online = node != NO_NODE && unsafe { bindings::mpath_helper_node_online(node) };

    Ok(if is_online { node } else { NO_NODE })
}

/// The distance from `from` to `to`; [`NO_NODE`] is local everywhere.
pub(crate) fn distance(from: Node, to: i32) -> u32 {
    if to == NO_NODE {
        return LOCAL_DISTANCE;
    }
    // SAFETY: Reads a table of the architecture's. `to` is the id of a node by `check()`, and
    // `from` comes from the kernel; the architecture checks for an id beyond the table's end.
    unsafe { bindings::mpath_helper_node_distance(from.0 as i32, to) as u32 }
}
