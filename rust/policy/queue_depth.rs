// SPDX-License-Identifier: GPL-2.0

//! `queue-depth`: the path with the least to do.

use super::{
    place,
    Candidates,
    Path,
    Policy, //
};
use crate::nodes::Node;

/// The path whose port has the fewest requests in flight, among those that are looked at: the one
/// on which a request has just ended on this CPU, and [`QueueDepth::LOOKS`] more, which this CPU
/// takes in turn. Of up to so many paths none has less to do.
///
/// Where a request has ended is where one fewer is in flight than before, so as long as the paths
/// are evenly loaded, that is the least there is; the others even them out when they are not. A
/// path with nothing in flight is taken at once.
pub struct QueueDepth;

impl QueueDepth {
    /// How many paths are looked at in turn.
    pub const LOOKS: u32 = 3;
}

impl Policy for QueueDepth {
    const NAME: &'static str = "queue-depth";

    #[inline(always)]
    fn choose<C: Candidates>(candidates: &C, _node: Node) -> Option<&C::Path> {
        let len = candidates.len();

        if len == 0 {
            return None;
        }
        let mut at = place(candidates.turn(), len);
        let done = candidates.last_done();
        let mut best = candidates.at(if done < len { done } else { at })?;
        let mut least = best.depth();

        for _ in 0..len.min(Self::LOOKS) {
            if least <= 0 {
                break;
            }
            let path = candidates.at(at)?;
            let depth = path.depth();

            if depth < least {
                (best, least) = (path, depth);
            }
            at = if at + 1 < len { at + 1 } else { 0 };
        }
        candidates.set_turn(at);
        Some(best)
    }
}
