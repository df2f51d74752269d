// SPDX-License-Identifier: GPL-2.0

//! The list of paths to choose from. A head makes it when something changes and not for every bio.
//!
//! A head keeps a shortlist: its usable paths of the best access class, in the order in which the
//! driver added them. For each NUMA node the head remembers the nearest of them. A shortlist
//! follows from the head's paths, their states, and the states of ports. The head counts changes of
//! its paths and their states; one count for all ports has the changes of ports. A shortlist bears
//! the sum of both counts from before it was made. As long as that is still the sum, it is current,
//! and choosing a path looks at no state at all.
//!
//! Each port counts its own changes as well. So a head finds out when all ports that have changed
//! are ports of other heads; then its shortlist bears the new sum and stays as it is.
//!
//! A reader that needs a current shortlist makes it, under a lock that no interrupt takes. Of
//! readers that need the same one at the same time, one makes it, and the others see that without
//! having had the lock. Meanwhile readers may see the old one, the new one, or some of both. Every
//! place names a path that stays until their read-side section ends, and that was usable a moment
//! ago.
//!
//! A path goes in this order: it becomes unusable, the head counts the change, a grace period
//! passes, and the driver frees it. A section that the grace period did not wait for sees the
//! count. So it finds an older shortlist not current, and a newer one is without the path. No
//! reader follows the older entries any more.

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

/// A count of changes that shortlists follow from.
#[repr(transparent)]
pub struct Generation(AtomicU64);

impl Generation {
    /// A count of no change.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A count of no change.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The count.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.0.load()
    }

    /// The count, for a reader that has loaded a version, which orders this load.
    #[inline(always)]
    fn seen(&self) -> u64 {
        self.0.load_relaxed()
    }

    /// Counts a change. Called after the change; a reader that sees the count sees the change.
    /// Fully ordered. Any context.
    pub fn add(&self) {
        self.0.add(1);
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for Generation {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts that a shortlist was made of, which tell whether it is current.
#[repr(C)]
pub struct Version {
    /// The sum of all changes before the shortlist was made, or was found to be up to date. No
    /// shortlist is of 0.
    of: AtomicU64,
    /// The changes of the head.
    generation: Generation,
    /// The changes of the head, and of the ports of its paths, before the shortlist was made. Under
    /// the lock.
    made_of: [AtomicU64; 2],
    /// The number of shortlists made so far. Under the lock.
    made: AtomicU32,
}

/// The most times to make a shortlist again at once, because something changed meanwhile.
const TRIES: u32 = 3;

impl Version {
    /// The version of a head that has no shortlist yet.
    pub fn new() -> Self {
        let generation = Generation::new();

        generation.add();
        Self {
            of: AtomicU64::new(0),
            generation,
            made_of: [AtomicU64::new(0), AtomicU64::new(0)],
            made: AtomicU32::new(0),
        }
    }

    /// The number of the present shortlist, which changes when a reader makes it anew. Inside a
    /// read-side section in which the shortlist is current.
    pub fn number(&self) -> u32 {
        self.made.load()
    }

    /// The changes of the head.
    pub fn generation(&self) -> &Generation {
        &self.generation
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
    pub fn is_current(&self, of_ports: &Generation) -> bool {
        self.of.load() == self.generation.seen().wrapping_add(of_ports.seen())
    }

    /// Has `make` make the shortlist unless it is current, or would come out the same. `of_own` is
    /// the sum of the changes of the ports that the head's paths go through. Under the lock, inside
    /// a read-side section.
    pub fn renew(&self, of_ports: &Generation, of_own: impl Fn() -> u64, make: impl Fn()) {
        for _ in 0..TRIES {
            let of_head = self.generation.count();
            let sum = of_head.wrapping_add(of_ports.count());

            if self.of.load() == sum {
                return;
            }
            // A caller that counts a change for all ports has counted it for its own port before.
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

impl Default for Version {
    fn default() -> Self {
        Self::new()
    }
}

/// Changes the state of a path, and returns the old one. Any context.
///
/// A bio that a user submits after this has returned finds a shortlist that knows of the change. So
/// each caller counts. A caller that changes nothing cannot leave the count to the one that did,
/// which may not have counted yet.
pub fn change(
    state: &AtomicPathState,
    generation: &Generation,
    f: impl Fn(PathState) -> PathState,
) -> PathState {
    let old = state.update(f);

    generation.add();
    old
}

/// Changes the state of a path like [`change`], for a caller for which nobody waits. It counts only
/// a difference that it has made to a shortlist. Any context.
///
/// Otherwise readers would make the shortlist anew for each bio of a path that fails bio after bio.
pub fn note(
    state: &AtomicPathState,
    generation: &Generation,
    f: impl Fn(PathState) -> PathState,
) -> PathState {
    let old = state.update(&f);

    if f(old).listing() != old.listing() {
        generation.add();
    }
    old
}

/// Changes the state of a port, as [`change`] does that of a path, and returns the old one; `own`
/// are the changes of this port. Any context.
pub fn change_port(
    word: &AtomicU32,
    own: &Generation,
    of_ports: &Generation,
    state: PortState,
) -> PortState {
    let old = word.update(|_| state as u32);

    own.add();
    of_ports.add();
    PortState::from_raw(old)
}

/// A head's memory for its shortlist, as a read-side section sees it.
pub trait Keeper<'a>: Copy {
    /// The type of a path.
    type Path: Path + 'a;

    /// The version, which tells whether the shortlist is current.
    fn version(self) -> &'a Version;

    /// The changes of ports.
    fn of_ports(self) -> &'a Generation;

    /// Runs `f` under the shortlist's lock.
    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R;

    /// Runs `f` likewise if the lock is free. Returns whether it was.
    fn try_with_lock(self, f: impl FnOnce()) -> bool;

    /// All paths of the head.
    fn paths(self) -> impl Iterator<Item = &'a Self::Path>;

    /// The number of changes of a path's port.
    fn port_changes(path: &Self::Path) -> u64;

    /// Puts a path at an index of the shortlist. Under the lock. Returns whether there is room for
    /// it.
    fn put(self, index: usize, path: &'a Self::Path) -> bool;

    /// Do bios that need no care go to a path?
    fn is_trusted(path: &Self::Path) -> bool;

    /// Has choices follow the present policy. Under the lock.
    fn follow_policy(self);

    /// Has no node remember its nearest path. Under the lock.
    fn forget(self);

    /// Sets the length to `paths` paths, not all of which are trusted. Under the lock.
    fn set_careful(self, paths: usize);

    /// Sets the length to `paths` paths, all of which are trusted. Under the lock.
    fn set_len(self, paths: usize);

    /// The paths on the shortlist, if the head trusts all. Under the lock.
    fn listed(self) -> impl Iterator<Item = &'a Self::Path>;

    /// Remembers a path as the nearest to a node. Under the lock.
    fn remember(self, node: Node, path: &'a Self::Path);

    /// The path that is the nearest to a node, if that is known.
    fn remembered(self, node: Node) -> Option<&'a Self::Path>;
}

/// Sees to it that the shortlist is current. The caller loads its parts afterwards. Inside a
/// read-side section.
///
/// The caller goes on with the keeper that it gets back, so it need not keep its own over the rare
/// call.
#[inline(always)]
pub fn current<'a, K: Keeper<'a>>(keeper: K) -> K {
    if keeper.version().is_current(keeper.of_ports()) {
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
    // Hidden, or the compiler would see that it is the caller's own, and keep that.
    black_box(keeper)
}

/// The number of times that a CPU looks for the shortlist of the lock's owner, before it waits for
/// the lock itself.
#[cfg(not(loom))]
const LOOKS: u32 = 256;
#[cfg(loom)]
const LOOKS: u32 = 1;

/// Does the CPU that has the lock soon make the shortlist current?
///
/// After a change all CPUs find the shortlist not current at the same time. One of them makes it,
/// and the others go on together when they see it. If each took the lock to find that out, the last
/// one would wait for all.
fn is_made_by_another<'a, K: Keeper<'a>>(keeper: K) -> bool {
    (0..LOOKS).any(|_| {
        spin_loop();
        keeper.version().is_current(keeper.of_ports())
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

/// Sees to it that the shortlist is current, and runs `then` before any CPU makes it anew. Inside a
/// read-side section.
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

    keeper.version().renew(keeper.of_ports(), of_own, || {
        let index = Cell::new(0);
        let is_trusted = Cell::new(true);

        usable(
            || keeper.paths(),
            |path| {
                is_trusted.set(is_trusted.get() && K::is_trusted(path));
                if keeper.put(index.get(), path) {
                    index.set(index.get() + 1);
                }
            },
        );
        complete(keeper, index.get(), is_trusted.get());
    });
}

/// Completes a shortlist whose `paths` paths are in their entries; `is_trusted` says whether the
/// head trusts all.
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
    // Found out again, so that no caller keeps it over the rare call.
    let node = node();

    renew(keeper, || {
        let path = nearest(keeper.listed(), node)?;

        keeper.remember(node, path);
        Some(path)
    })
}

/// Calls `put` with each path that belongs on a shortlist, in order.
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
