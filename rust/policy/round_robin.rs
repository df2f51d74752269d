// SPDX-License-Identifier: GPL-2.0

//! `round-robin`: one path after the other.

use super::{
    elect,
    Path,
    Paths,
    Policy, //
};
use crate::nodes::Node;
use crate::state::Access;

/// The next optimized path after the one that was chosen last on this node, in the order in which
/// paths were added; the next non-optimized one when there is none.
pub struct RoundRobin;

impl Policy for RoundRobin {
    const NAME: &'static str = "round-robin";

    fn choose<P: Paths>(paths: &P, node: Node) -> Option<&P::Path> {
        let Some(last) = paths.cached(node) else {
            return elect(paths, node, |_| 0);
        };
        let path = next(paths, last)?;

        if !path.is(last) {
            paths.cache(node, path);
        }
        Some(path)
    }
}

/// The best path after `last`, which comes last itself.
///
/// The circle is walked in two parts, from `last` to the end of the list and from its beginning,
/// each of which ends by itself. That `last` is met again is not needed for that, and does not
/// happen when it has been unlinked (L-7).
fn next<'a, P: Paths>(paths: &'a P, last: &'a P::Path) -> Option<&'a P::Path> {
    let before = paths.iter().take_while(|path| !path.is(last));
    let mut fallback = None;

    for path in paths.iter_after(last).chain(before) {
        match path.access() {
            Access::Optimized => return Some(path),
            Access::NonOptimized if fallback.is_none() => fallback = Some(path),
            _ => {}
        }
    }

    match last.access() {
        Access::Optimized => Some(last),
        Access::NonOptimized if fallback.is_none() => Some(last),
        _ => fallback,
    }
}
