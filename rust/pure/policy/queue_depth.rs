// SPDX-License-Identifier: GPL-2.0

//! `queue-depth`: the path with the least to do.

use super::{
    place,
    Candidates,
    Path,
    Policy, //
};
use crate::pure::nodes::Node;

/// The path whose port has the fewest requests in flight, among those that are looked at.
///
/// Of up to [`QueueDepth::FEW`] paths all are looked at. Of more it is the one on which a request
/// has just ended on this CPU, and [`QueueDepth::LOOKS`] others, which this CPU takes in turn, one
/// from either end. Where a request has ended is where one fewer is in flight than before, so as
/// long as the paths are evenly loaded, that is the least there is; the others even them out when
/// they are not.
///
/// A path with nothing in flight is taken at once, each in its turn where there are few. Of a few
/// that are equally busy it is the first: to take these in turn as well would have a slow path get
/// its share back sooner.
pub struct QueueDepth;

impl QueueDepth {
    /// Up to how many paths all are looked at.
    pub const FEW: usize = 4;
    /// How many of more paths are looked at in turn.
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
        // One path or two, as most heads have, without what a loop takes.
        let turn = candidates.take_turn() & last;
        let path = candidates.at(turn)?;
        let depth = path.depth();

        if depth > 0 && len == 2 {
            let other = candidates.at(turn ^ 1)?;

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
        if len <= Self::FEW {
            return Self::choose_of_few(candidates, len);
        }
        let turn = place(candidates.turn(), len);
        let done = candidates.last_done();
        let path = candidates.at(if done < len { done } else { turn })?;
        let depth = path.depth();

        if depth <= 0 {
            return Some(path);
        }
        let looks: [usize; Self::LOOKS] = [turn, len - 1 - turn];

        candidates.set_turn(turn + 1);
        Some(Self::lesser(candidates, (path, depth), looks))
    }

    fn choose_of_few<'a, C: Candidates<'a>>(candidates: C, len: usize) -> Option<&'a C::Path> {
        if len == 0 {
            return None;
        }
        let turn = place(candidates.turn(), len);
        let path = candidates.at(turn)?;

        candidates.set_turn(turn + 1);
        if path.depth() <= 0 {
            return Some(path);
        }
        let first = candidates.at(0)?;

        Some(Self::lesser(candidates, (first, first.depth()), 1..len))
    }

    /// The least busy of a path, of which the depth is known, and those at these places.
    #[inline(always)]
    fn lesser<'a, C: Candidates<'a>>(
        candidates: C,
        (mut best, mut least): (&'a C::Path, i32),
        places: impl IntoIterator<Item = usize>,
    ) -> &'a C::Path {
        for path in places.into_iter().filter_map(|place| candidates.at(place)) {
            let depth = path.depth();

            if depth < least {
                (best, least) = (path, depth);
            }
        }
        best
    }
}
