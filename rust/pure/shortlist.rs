// SPDX-License-Identifier: GPL-2.0

//! Which paths there are to choose from, found out when something changes and not for every bio.
//!
//! A head keeps a shortlist: its usable paths of the best access that there is, in the order in
//! which they were added, and for each NUMA node the nearest of them. Whatever a shortlist follows
//! from is counted when it changes: the states of the head's paths, and which of them there are, by
//! the head, the states of ports by all ports together. A shortlist bears the sum of both counts
//! from before it was made. As long as that is still the sum, it is current, and choosing a path
//! looks at no state at all.
//!
//! Each port counts its own changes as well. So a head finds out that only ports have changed that
//! none of its paths goes through, and then its shortlist bears the new sum and stays as it is.
//!
//! Shortlists are made anew by those who need one, under a lock that no interrupt takes. Of those
//! who need the same one at the same time, one makes it, and the others see that without having had
//! the lock. Meanwhile others may read the old one, the new one, or some of both: every place names
//! a path that stays until their read-side section ends, and that was usable a moment ago.
//!
//! A path goes in this order: it is made unusable, the change is counted, a grace period passes,
//! and its memory goes. A section that the grace period did not wait for sees the count, so it
//! finds a shortlist that was made before not current, and one that is made later is without the
//! path. What older places still name is not read any more.

use core::cell::Cell;
use core::hint::{
    black_box,
    spin_loop, //
};

use crate::pure::nodes::Node;
use crate::pure::policy::Path;
use crate::pure::state::{
    Access,
    AtomicPathState,
    PathState,
    PortState, //
};
use crate::pure::sync::{
    AtomicU32,
    AtomicU64, //
};

/// How often something has changed that shortlists follow from.
#[repr(transparent)]
pub struct Changes(AtomicU64);

impl Changes {
    /// Nothing has changed yet.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Nothing has changed yet.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How often.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.0.load()
    }

    /// How often, for whoever has loaded a stamp, which orders it.
    #[inline(always)]
    fn seen(&self) -> u64 {
        self.0.load_relaxed()
    }

    /// Once more. Called after the change, which those see who see the count. Fully ordered. Any
    /// context.
    pub fn add(&self) {
        self.0.add(1);
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

/// The changes that a shortlist follows from, and whether there have been others since.
#[repr(C)]
pub struct Stamp {
    /// The sum of all changes before the shortlist was made, or was found to be as it would be
    /// made. No shortlist is of 0.
    of: AtomicU64,
    /// The changes of the head.
    changes: Changes,
    /// The changes of the head, and of the ports of its paths, before the shortlist was made. Under
    /// the lock.
    made_of: [AtomicU64; 2],
    /// How many shortlists have been made. Under the lock.
    made: AtomicU32,
}

/// How often a shortlist is made again at once, because something changed while it was made.
const TRIES: u32 = 3;

impl Stamp {
    /// Of a head that has no shortlist yet.
    pub fn new() -> Self {
        let changes = Changes::new();

        changes.add();
        Self {
            of: AtomicU64::new(0),
            changes,
            made_of: [AtomicU64::new(0), AtomicU64::new(0)],
            made: AtomicU32::new(0),
        }
    }

    /// The number of the shortlist that is there: another one once it has been made anew. Inside a
    /// read-side section in which the shortlist is current.
    pub fn number(&self) -> u32 {
        self.made.load()
    }

    /// The changes of the head.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    #[inline(always)]
    fn sum(&self, of_ports: &Changes) -> u64 {
        self.changes.seen().wrapping_add(of_ports.seen())
    }

    /// Was the shortlist made of other counts than these? Under the lock.
    fn differs(&self, counts: [u64; 2]) -> bool {
        let [of_head, of_ports] = &self.made_of;

        [of_head.load(), of_ports.load()] != counts
    }

    fn set_made_of(&self, counts: [u64; 2]) {
        let [of_head, of_ports] = &self.made_of;

        of_head.store(counts[0]);
        of_ports.store(counts[1]);
    }

    /// Has nothing changed since the shortlist was made? Inside a read-side section.
    #[inline(always)]
    pub fn is_current(&self, of_ports: &Changes) -> bool {
        self.of.load() == self.sum(of_ports)
    }

    /// Has `make` make the shortlist unless it is current, or would be made as it is. `of_own` is
    /// the sum of the changes of the ports that the head's paths go through. Under the lock, inside
    /// a read-side section.
    pub fn renew(&self, of_ports: &Changes, of_own: impl Fn() -> u64, make: impl Fn()) {
        for _ in 0..TRIES {
            let of_head = self.changes.count();
            let sum = of_head.wrapping_add(of_ports.count());

            if self.of.load() == sum {
                return;
            }
            // Whoever counts a change for all ports has counted it for its own.
            let counts = [of_head, of_own()];

            if self.differs(counts) {
                make();
                self.set_made_of(counts);
                self.made.update(|made| made.wrapping_add(1));
            }
            self.of.store(sum);
        }
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self::new()
    }
}

/// Changes the state of a path, and returns the old one. Any context.
///
/// A bio that is submitted after this has returned finds a shortlist that knows of the change. So
/// each caller counts. One that changes nothing cannot leave it to the one that did, who may not
/// have counted yet.
pub fn change(
    state: &AtomicPathState,
    changes: &Changes,
    f: impl Fn(PathState) -> PathState,
) -> PathState {
    let old = state.update(f);

    changes.add();
    old
}

/// Changes the state of a path like [`change`], for a caller that nobody waits for: it counts only
/// a difference that it has made to a shortlist. Any context.
///
/// A path that fails bio after bio would otherwise have the shortlist made anew for each.
pub fn note(
    state: &AtomicPathState,
    changes: &Changes,
    f: impl Fn(PathState) -> PathState,
) -> PathState {
    let old = state.update(&f);

    if f(old).listing() != old.listing() {
        changes.add();
    }
    old
}

/// Changes the state of a port, as [`change`] does that of a path, and returns the old one; `own`
/// are the changes of this port. Any context.
pub fn change_port(
    word: &AtomicU32,
    own: &Changes,
    of_ports: &Changes,
    state: PortState,
) -> PortState {
    let old = word.update(|_| state as u32);

    own.add();
    of_ports.add();
    PortState::from_raw(old)
}

/// Where a head keeps its shortlist, as a read-side section sees it.
pub trait Keeper<'a>: Copy {
    /// The type of a path.
    type Path: Path + 'a;

    /// Whether the shortlist is current.
    fn stamp(self) -> &'a Stamp;

    /// The changes of ports.
    fn of_ports(self) -> &'a Changes;

    /// Runs `f` under the shortlist's lock.
    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R;

    /// The same, if nobody else has the lock. Returns whether that was so.
    fn try_with_lock(self, f: impl FnOnce()) -> bool;

    /// All paths of the head.
    fn paths(self) -> impl Iterator<Item = &'a Self::Path>;

    /// How often the port of a path has changed.
    fn port_changes(path: &Self::Path) -> u64;

    /// Puts a path on a place of the shortlist. Under the lock. Returns whether there is room for
    /// it.
    fn put(self, place: usize, path: &'a Self::Path) -> bool;

    /// Do bios that need no care go to a path?
    fn is_trusted(path: &Self::Path) -> bool;

    /// Choices follow the policy that is set now. Under the lock.
    fn follow_policy(self);

    /// No node remembers the nearest path. Under the lock.
    fn forget(self);

    /// So many paths are listed, not all of which are trusted. Under the lock.
    fn set_careful(self, paths: usize);

    /// So many paths are listed, all of which are trusted. Under the lock.
    fn set_len(self, paths: usize);

    /// The paths on the shortlist, if all are trusted. Under the lock.
    fn listed(self) -> impl Iterator<Item = &'a Self::Path>;

    /// A path is the nearest to a node. Under the lock.
    fn remember(self, node: Node, path: &'a Self::Path);

    /// The path that is the nearest to a node, if that is known.
    fn remembered(self, node: Node) -> Option<&'a Self::Path>;
}

/// Sees to it that the shortlist is current. What belongs to it is loaded afterwards. Inside a
/// read-side section.
///
/// The caller goes on with the keeper that it gets back, so that it need not keep its own over the
/// call that seldom happens.
#[inline(always)]
pub fn current<'a, K: Keeper<'a>>(keeper: K) -> K {
    if keeper.stamp().is_current(keeper.of_ports()) {
        keeper
    } else {
        renewed(keeper)
    }
}

#[cold]
#[inline(never)]
fn renewed<'a, K: Keeper<'a>>(keeper: K) -> K {
    let is_made = keeper.try_with_lock(|| make(keeper)) || is_made_by_another(keeper);

    if !is_made {
        keeper.with_lock(|| make(keeper));
    }
    // Hidden, or the caller would see that it is its own, and keep that.
    black_box(keeper)
}

/// How often a CPU looks whether the one that has the lock has made the shortlist, before it waits
/// for the lock itself.
#[cfg(not(loom))]
const LOOKS: u32 = 256;
#[cfg(loom)]
const LOOKS: u32 = 1;

/// Somebody has the lock. Makes that one the shortlist current soon?
///
/// After a change all CPUs find the shortlist not current at the same time. One of them makes it,
/// and the others go on together when they see it. If each took the lock to find that out, the last
/// one would have to wait for all.
fn is_made_by_another<'a, K: Keeper<'a>>(keeper: K) -> bool {
    (0..LOOKS).any(|_| {
        spin_loop();
        keeper.stamp().is_current(keeper.of_ports())
    })
}

/// The path of a current shortlist that is nearest to a node. Inside a read-side section.
#[inline(always)]
pub fn nearest_to<'a, K: Keeper<'a>>(keeper: K, node: impl Fn() -> Node) -> Option<&'a K::Path> {
    match keeper.remembered(node()) {
        Some(path) => Some(path),
        None => elect(keeper, node),
    }
}

/// Sees to it that the shortlist is current, and does something with it before anybody makes it
/// anew. Inside a read-side section.
pub fn renew<'a, K: Keeper<'a>, R>(keeper: K, then: impl FnOnce() -> R) -> R {
    keeper.with_lock(|| {
        make(keeper);
        then()
    })
}

/// Makes the shortlist unless it is current. Under the lock, inside a read-side section.
fn make<'a, K: Keeper<'a>>(keeper: K) {
    let of_own = || {
        keeper
            .paths()
            .fold(0, |sum: u64, path| sum.wrapping_add(K::port_changes(path)))
    };

    keeper.stamp().renew(keeper.of_ports(), of_own, || {
        let place = Cell::new(0);
        let is_trusted = Cell::new(true);

        usable(
            || keeper.paths(),
            |path| {
                is_trusted.set(is_trusted.get() && K::is_trusted(path));
                if keeper.put(place.get(), path) {
                    place.set(place.get() + 1);
                }
            },
        );
        complete(keeper, place.get(), is_trusted.get());
    });
}

/// All paths are in their places: the shortlist has this many, all of which are trusted or not.
fn complete<'a, K: Keeper<'a>>(keeper: K, paths: usize, is_trusted: bool) {
    let (len, careful) = match is_trusted {
        true => (paths, 0),
        false => (0, paths),
    };

    keeper.follow_policy();
    keeper.forget();
    keeper.set_careful(careful);
    keeper.set_len(len);
}

/// Finds the path that is nearest to a node, and remembers it. Inside a read-side section.
#[cold]
#[inline(never)]
pub fn elect<'a, K: Keeper<'a>>(keeper: K, node: impl Fn() -> Node) -> Option<&'a K::Path> {
    // Found out again, so that nobody keeps it over a call that seldom happens.
    let node = node();

    renew(keeper, || {
        let path = nearest(keeper.listed(), node)?;

        keeper.remember(node, path);
        Some(path)
    })
}

/// Tells `put` of each path that belongs on a shortlist, in order.
pub fn usable<'a, P: Path + 'a, I: Iterator<Item = &'a P>>(
    paths: impl Fn() -> I,
    put: impl FnMut(&'a P),
) {
    let best = paths().map(Path::access).max();

    if let Some(best) = best.filter(|best| *best != Access::Unusable) {
        paths().filter(|path| path.access() == best).for_each(put);
    }
}

/// The path that is nearest to `node`, the first of equals.
pub fn nearest<'a, P: Path + 'a>(paths: impl Iterator<Item = &'a P>, node: Node) -> Option<&'a P> {
    paths.min_by_key(|path| path.distance(node))
}
