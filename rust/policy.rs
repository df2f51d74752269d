// SPDX-License-Identifier: GPL-2.0

//! Choosing a path.
//!
//! A [`Policy`] looks at a head's paths as one read-side section sees them and names the one that
//! the next bio goes to. It never names a path that is not usable, prefers optimized paths to
//! non-optimized ones, and looks at no path more than twice, whatever is added or unlinked
//! meanwhile. It is pure: paths are whatever implements [`Path`], so the host's tests run the very
//! code that the kernel runs.
//!
//! A new policy is a file below this one, a variant of [`IoPolicy`], and a line in each of its
//! methods.

mod numa;
mod queue_depth;
mod round_robin;

use crate::nodes::Node;
use crate::state::Access;

pub use numa::Numa;
pub use queue_depth::QueueDepth;
pub use round_robin::RoundRobin;

/// One path, as policies see it.
pub trait Path {
    /// How good the path is now. Loaded once for each decision about the path.
    fn access(&self) -> Access;

    /// How far the path is from `node`, in the units of the machine's SLIT (10 is local). A path
    /// that is near to no node is local everywhere.
    fn distance(&self, node: Node) -> u32;

    /// The number of requests in flight through the path's port.
    fn depth(&self) -> u32;

    /// Is it the same path?
    fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }
}

/// A head's paths during one read-side section.
pub trait Paths {
    /// What a path is here.
    type Path: Path;

    /// All paths in the order in which they were added. Ends, whatever is added or unlinked
    /// meanwhile.
    fn iter(&self) -> impl Iterator<Item = &Self::Path>;

    /// The paths that come after `path`, which may have been unlinked.
    fn iter_after<'a>(&'a self, path: &'a Self::Path) -> impl Iterator<Item = &'a Self::Path>;

    /// The path that was chosen last for `node`, a hint: it may have become anything since.
    fn cached(&self, node: Node) -> Option<&Self::Path>;

    /// Remembers `path` for `node`. The last writer wins.
    fn cache(&self, node: Node, path: &Self::Path);
}

/// A way to choose a path.
pub trait Policy {
    /// The name in sysfs and in module parameters.
    const NAME: &'static str;

    /// The path for a bio that is submitted on `node`, or `None` when no path is usable.
    fn choose<P: Paths>(paths: &P, node: Node) -> Option<&P::Path>;
}

/// The policies; the values are those of `enum mpath_iopolicy_e`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// // What userspace writes to an attribute.
/// assert_eq!(IoPolicy::parse(b"queue-depth\n"), Some(IoPolicy::QueueDepth));
/// assert_eq!(IoPolicy::parse(b"fastest"), None);
/// // What it reads.
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

    /// The path for a bio that is submitted on `node`.
    #[inline(always)]
    pub fn choose<P: Paths>(self, paths: &P, node: Node) -> Option<&P::Path> {
        match self {
            Self::Numa => Numa::choose(paths, node),
            Self::RoundRobin => RoundRobin::choose(paths, node),
            Self::QueueDepth => QueueDepth::choose(paths, node),
        }
    }

    /// Chooses for `node` afresh and remembers the choice: what is done for every online node when
    /// a path goes live.
    pub fn elect<P: Paths>(self, paths: &P, node: Node) -> Option<&P::Path> {
        match self {
            Self::Numa => elect(paths, node, |path| path.distance(node)),
            _ => elect(paths, node, |_| 0),
        }
    }
}

/// The usable path that is best by access and then cheapest, the first of equals.
fn best<P: Paths>(paths: &P, cost: impl Fn(&P::Path) -> u32) -> Option<&P::Path> {
    let mut best = None;

    for path in paths.iter() {
        let access = path.access();

        if access == Access::Unusable {
            continue;
        }

        let cost = cost(path);
        match best {
            Some((_, best_access, best_cost))
                if (best_access, core::cmp::Reverse(best_cost))
                    >= (access, core::cmp::Reverse(cost)) => {}
            _ => best = Some((path, access, cost)),
        }
    }

    best.map(|(path, ..)| path)
}

/// Finds the best path by `cost` and remembers it for `node`.
fn elect<P: Paths>(paths: &P, node: Node, cost: impl Fn(&P::Path) -> u32) -> Option<&P::Path> {
    let path = best(paths, cost)?;

    paths.cache(node, path);
    Some(path)
}
