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
    fn choose<'a, C: Candidates<'a>>(candidates: C, _node: Node) -> Option<&'a C::Path> {
        let len = candidates.len();

        if len == 0 {
            return None;
        }
        let turn = place(candidates.turn(), len);
        // Where all paths are looked at, the one on which a request has ended is among them.
        let (first, next) = if len <= Self::LOOKS {
            (turn, turn + 1)
        } else {
            let done = candidates.last_done();

            (if done < len { done } else { turn }, turn)
        };
        let path = candidates.at(first)?;
        let depth = path.depth();

        if depth > 0 {
            return Self::choose_among(candidates, len, (path, depth), next);
        }
        candidates.set_turn(next);
        Some(path)
    }
}

impl QueueDepth {
    /// Looks at the paths from `next` on, too, for one that is better than the `best` yet, of which
    /// the depth is known. A function of its own, so that other policies do not pay for the
    /// registers that it needs.
    #[inline(never)]
    fn choose_among<'a, C: Candidates<'a>>(
        candidates: C,
        len: u32,
        (mut best, mut least): (&'a C::Path, i32),
        mut next: u32,
    ) -> Option<&'a C::Path> {
        let mut left = Self::LOOKS.min(len - 1);

        while least > 0 && left > 0 {
            let path = candidates.at(if next < len { next } else { next - len })?;
            let depth = path.depth();

            if depth < least {
                (best, least) = (path, depth);
            }
            next += 1;
            left -= 1;
        }
        candidates.set_turn(next);
        Some(best)
    }
}
