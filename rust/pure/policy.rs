// SPDX-License-Identifier: GPL-2.0

//! Choosing a path.
//!
//! A [`Policy`] names the path for the next bio. It chooses from a head's shortlist, whose paths
//! are usable and equally good by access. It looks at a few of them, however many there are, even
//! if the driver adds or removes paths meanwhile. It writes nothing that another CPU reads. It is
//! pure: any type that implements [`Path`] will do, so the host's tests run the very code that the
//! kernel runs.
//!
//! To add a policy, add a file below this one, a variant of [`IoPolicy`], and a line in each of its
//! methods.

mod numa;
mod queue_depth;
mod round_robin;

use crate::pure::nodes::Node;
use crate::pure::state::Access;

pub use numa::Numa;
pub use queue_depth::QueueDepth;
pub use round_robin::RoundRobin;

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
