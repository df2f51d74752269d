// SPDX-License-Identifier: GPL-2.0

//! `queue-depth`: the path with the least to do.

use super::{
    Path,
    Paths,
    Policy, //
};
use crate::nodes::Node;
use crate::state::Access;

/// The usable path whose port has the fewest requests in flight, the first of equals.
pub struct QueueDepth;

impl Policy for QueueDepth {
    const NAME: &'static str = "queue-depth";

    fn choose<P: Paths>(paths: &P, _node: Node) -> Option<&P::Path> {
        let mut best: Option<(&P::Path, Access, u32)> = None;

        for path in paths.iter() {
            let access = path.access();

            if access == Access::Unusable {
                continue;
            }

            let depth = path.depth();
            if access == Access::Optimized && depth == 0 {
                return Some(path);
            }
            match best {
                Some((_, best_access, _)) if best_access > access => {}
                Some((_, best_access, least)) if best_access == access && least <= depth => {}
                _ => best = Some((path, access, depth)),
            }
        }

        best.map(|(path, ..)| path)
    }
}
