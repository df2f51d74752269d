// SPDX-License-Identifier: GPL-2.0

//! `queue-depth`: the path whose port has the fewest requests in flight.

use super::{
    index_of,
    Candidates,
    Path,
    Policy, //
};
use crate::pure::nodes::Node;

/// The path whose port has the fewest requests in flight, as far as this CPU knows, among those
/// that it looks at.
///
/// Of up to [`QueueDepth::FEW`] paths the CPU looks at all. Of more it looks at the one on which a
/// request of this CPU has just ended, and at [`QueueDepth::LOOKS`] others. It takes these in turn,
/// one from either end. A path on which a request has just ended has one fewer in flight than
/// before. As long as the load is even, that is the least there is; when it is not, the other two
/// even it out.
///
/// Of a few paths that are equally busy, or idle, a CPU takes the same one each time: the first
/// from the index that is its own. Other CPUs hear of its choices only when they look (see
/// [`depth`](crate::pure::depth)), so their estimates are right as long as its choices stay. CPUs
/// have different indices, so they do not meet on one path before they have heard of each other.
pub struct QueueDepth;

impl QueueDepth {
    /// The most paths of which the CPU looks at all.
    pub const FEW: usize = 4;
    /// The number of paths that the CPU looks at in turn where there are more.
    pub const LOOKS: usize = 2;
}

impl Policy for QueueDepth {
    const NAME: &'static str = "queue-depth";

    #[inline(always)]
    fn choose<'a, C: Candidates<'a>>(
        candidates: C,
        _node: impl FnOnce() -> Node,
    ) -> Option<&'a C::Path> {
        let len = candidates.len();
        let last = len.wrapping_sub(1);

        if last > 1 {
            return Self::choose_of_several(candidates, len);
        }
        // One path or two, as most heads have, without the cost of a loop. A single path is
        // compared with itself, which costs less than to see that there is no other.
        let index = candidates.cursor() & last;
        let path = candidates.at(index)?;
        let depth = path.depth();

        if depth > 0 {
            let other = candidates.at(index ^ last)?;

            if other.depth() < depth {
                return Some(other);
            }
        }
        Some(path)
    }
}

impl QueueDepth {
    /// Chooses from any number of paths. A function of its own, so that other policies do not pay
    /// for the registers that it needs.
    #[inline(never)]
    fn choose_of_several<'a, C: Candidates<'a>>(candidates: C, len: usize) -> Option<&'a C::Path> {
        if len == 0 {
            return None;
        }
        let cursor = index_of(candidates.cursor(), len);

        if len <= Self::FEW {
            return Self::least(candidates, (cursor..len).chain(0..cursor));
        }
        let done = candidates.last_done();
        let path = candidates.at(if done < len { done } else { cursor })?;
        let depth = path.depth();

        if depth == 0 {
            return Some(path);
        }
        let looks: [usize; Self::LOOKS] = [cursor, len - 1 - cursor];

        candidates.set_cursor(cursor + 1);
        Some(Self::lesser(candidates, (path, depth), looks))
    }

    /// The least busy of those at these indices, the first of equals.
    #[inline(always)]
    fn least<'a, C: Candidates<'a>>(
        candidates: C,
        mut indices: impl Iterator<Item = usize>,
    ) -> Option<&'a C::Path> {
        let first = candidates.at(indices.next()?)?;
        let depth = first.depth();

        if depth == 0 {
            return Some(first);
        }
        Some(Self::lesser(candidates, (first, depth), indices))
    }

    /// The least busy of a path, of which the depth is known, and those at these indices.
    #[inline(always)]
    fn lesser<'a, C: Candidates<'a>>(
        candidates: C,
        (mut best, mut least): (&'a C::Path, u32),
        indices: impl IntoIterator<Item = usize>,
    ) -> &'a C::Path {
        for path in indices.into_iter().filter_map(|entry| candidates.at(entry)) {
            let depth = path.depth();

            if depth < least {
                (best, least) = (path, depth);
            }
        }
        best
    }
}
