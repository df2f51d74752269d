// SPDX-License-Identifier: GPL-2.0

//! `round-robin`: one path after the other.

use super::{
    index_of,
    Candidates,
    Policy, //
};
use crate::pure::nodes::Node;

/// The path after the one that this CPU chose last, in the order in which the driver added paths.
pub struct RoundRobin;

impl Policy for RoundRobin {
    const NAME: &'static str = "round-robin";

    #[inline(always)]
    fn choose<'a, C: Candidates<'a>>(
        candidates: C,
        _node: impl FnOnce() -> Node,
    ) -> Option<&'a C::Path> {
        let len = candidates.len();

        if len == 0 {
            return None;
        }
        let index = index_of(candidates.cursor(), len);

        candidates.set_cursor(index + 1);
        candidates.at(index)
    }
}
