// SPDX-License-Identifier: GPL-2.0

//! `numa`: the path that is nearest to the CPU that submits.

use super::{
    Candidates,
    Policy, //
};
use crate::pure::nodes::Node;

/// The path nearest to the submitting node, the first of equals.
pub struct Numa;

impl Policy for Numa {
    const NAME: &'static str = "numa";

    #[inline(always)]
    fn choose<'a, C: Candidates<'a>>(
        candidates: C,
        node: impl FnOnce() -> Node,
    ) -> Option<&'a C::Path> {
        candidates.nearest(node())
    }
}
