// SPDX-License-Identifier: GPL-2.0

//! `numa`: the path that is nearest to the CPU that submits.

use super::{
    elect,
    Path,
    Paths,
    Policy, //
};
use crate::nodes::Node;
use crate::state::Access;

/// The usable path nearest to the submitting node, remembered for as long as it is optimized.
pub struct Numa;

impl Policy for Numa {
    const NAME: &'static str = "numa";

    #[inline(always)]
    fn choose<P: Paths>(paths: &P, node: Node) -> Option<&P::Path> {
        match paths.cached(node) {
            Some(path) if path.access() == Access::Optimized => Some(path),
            _ => nearest(paths, node),
        }
    }
}

#[cold]
fn nearest<P: Paths>(paths: &P, node: Node) -> Option<&P::Path> {
    elect(paths, node, |path| path.distance(node))
}
