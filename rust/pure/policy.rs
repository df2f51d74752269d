// SPDX-License-Identifier: GPL-2.0

//! Choosing a path.
//!
//! A [`Policy`] names the path for the next bio. It chooses from a head's shortlist, whose paths
//! are usable and equally good by access. It looks at a few of them, however many there are, even
//! if the driver adds or removes paths meanwhile. It writes nothing that another CPU reads. It is
//! pure: any type that implements [`Path`] will do, so the host's tests run the very code that the
//! kernel runs.
//!
//! To add a policy, add a type that implements [`Policy`], a variant of [`IoPolicy`], and a line in
//! each of its methods.

use crate::pure::nodes::Node;
use crate::pure::state::Access;

/// One path, as policies see it.
pub trait Path {
    /// The path's access class now. Loaded once for each decision about the path.
    fn access(&self) -> Access;

    /// The distance of the path from `node`, in the units of the machine's SLIT (10 is local). A
    /// path that is near to no node is local everywhere.
    fn distance(&self, node: Node) -> u32;

    /// The load of the path's port, as far as this CPU knows: requests in flight, in any unit.
    fn depth(&self) -> u32;
}

/// The paths that a head chooses from, as one read-side section sees them, which lasts for `'a`.
pub trait Candidates<'a>: Copy {
    /// The type of a path.
    type Path: Path + 'a;

    /// The number of candidates.
    fn len(self) -> usize;

    /// Is there none?
    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The path at an index less than [`Candidates::len`].
    fn at(self, index: usize) -> Option<&'a Self::Path>;

    /// The path that is nearest to `node`, the first of equals.
    fn nearest(self, node: Node) -> Option<&'a Self::Path>;

    /// This CPU's cursor: the index where it goes on. A hint of any value.
    fn cursor(self) -> usize;

    /// Sets the index where this CPU goes on.
    fn set_cursor(self, index: usize);

    /// The index of the path on which a request that began on this CPU has ended last. A hint of
    /// any value.
    fn last_done(self) -> usize;
}

/// A way to choose a path.
pub trait Policy {
    /// The name in sysfs and in module parameters.
    const NAME: &'static str;

    /// The path for a bio from a CPU of `node()`, or `None` when there are no candidates.
    fn choose<'a, C: Candidates<'a>>(
        candidates: C,
        node: impl FnOnce() -> Node,
    ) -> Option<&'a C::Path>;
}

/// The policies; the values are those of `enum mpath_iopolicy_e`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// // Userspace writes this to an attribute.
/// assert_eq!(IoPolicy::parse(b"queue-depth\n"), Some(IoPolicy::QueueDepth));
/// assert_eq!(IoPolicy::parse(b"fastest"), None);
/// // It reads this.
/// assert_eq!(IoPolicy::RoundRobin.name(), "round-robin");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IoPolicy {
    /// [`Numa`].
    Numa = 0,
    /// [`RoundRobin`].
    RoundRobin = 1,
    /// [`QueueDepth`].
    QueueDepth = 2,
}

impl IoPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Numa, Self::RoundRobin, Self::QueueDepth];

    /// The policy of a C value.
    #[inline]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Numa),
            1 => Some(Self::RoundRobin),
            2 => Some(Self::QueueDepth),
            _ => None,
        }
    }

    /// The policy's bit in a mask of policies.
    #[inline]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The name in sysfs and in module parameters.
    #[inline]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numa => Numa::NAME,
            Self::RoundRobin => RoundRobin::NAME,
            Self::QueueDepth => QueueDepth::NAME,
        }
    }

    /// The policy of a name, which one newline may follow.
    #[inline]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = name.strip_suffix(b"\n").unwrap_or(name);

        Self::ALL
            .into_iter()
            .find(|policy| policy.name().as_bytes() == name)
    }

    /// The path for a bio from a CPU of `node()`.
    #[inline(always)]
    pub fn choose<'a, C: Candidates<'a>>(
        self,
        candidates: C,
        node: impl FnOnce() -> Node,
    ) -> Option<&'a C::Path> {
        match self {
            Self::Numa => Numa::choose(candidates, node),
            Self::RoundRobin => RoundRobin::choose(candidates, node),
            Self::QueueDepth => QueueDepth::choose(candidates, node),
        }
    }
}

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

/// The next of `len` indices at this CPU's `cursor`. Of several CPUs that have chosen nothing yet,
/// each begins at another index.
#[inline(always)]
fn index_of(cursor: usize, len: usize) -> usize {
    if cursor < len {
        cursor
    } else {
        cursor % len
    }
}

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
