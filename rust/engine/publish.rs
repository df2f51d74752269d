// SPDX-License-Identifier: GPL-2.0

//! A head's shortlist: its memory, and the way in which readers make it.

use super::head::MpathHead;
use super::path::{
    MpathDevice,
    PORTS_GENERATION, //
};
use super::select::Inside;
use crate::bindings;
use crate::pure::nodes::Node;
use crate::pure::policy::{
    Candidates,
    IoPolicy, //
};
use crate::pure::shortlist::{
    self,
    Generation,
    Keeper,
    Version, //
};
use crate::pure::sync::AtomicPtr;
use crate::wrap::node_slots;
use core::alloc::Layout;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::alloc::allocator::Kmalloc;
use kernel::alloc::{
    Allocator,
    NumaNode, //
};
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};
use kernel::sync::{
    new_spinlock,
    SpinLock, //
};

/// An array of candidates. `capacity` entries follow the header.
#[repr(C)]
pub(crate) struct Entries {
    /// The array that this one has replaced. Readers may still use it, so it goes with the head.
    older: *mut Entries,
    /// The number of entries in use, for bios that need no care.
    len: Atomic<u32>,
    /// The number while the head does not trust some of these paths; `len` is 0 then.
    careful: Atomic<u32>,
    capacity: u32,
    first: [AtomicPtr<MpathDevice>; 0],
}

/// The array of a head that has never had a path.
static NO_ENTRIES: Entries = Entries {
    older: null_mut(),
    len: Atomic::new(0),
    careful: Atomic::new(0),
    capacity: 0,
    first: [],
};

impl Entries {
    /// The least capacity of a head with paths.
    const MIN_CAPACITY: usize = 4;

    fn layout(capacity: usize) -> Result<Layout> {
        Layout::array::<AtomicPtr<MpathDevice>>(capacity)
            .and_then(|entries| Layout::new::<Self>().extend(entries))
            .map(|(layout, _)| layout)
            .map_err(|_| EOVERFLOW)
    }

    /// Allocates an empty array. Sleeps.
    fn alloc(capacity: usize, older: *mut Entries) -> Result<NonNull<Self>> {
        let layout = Self::layout(capacity)?;
        let this = Kmalloc::alloc(layout, GFP_KERNEL, NumaNode::NO_NODE)?.cast::<Self>();

        // SAFETY: The allocation has room for the header and for as many entries.
        unsafe {
            this.write(Self {
                older,
                len: Atomic::new(0),
                careful: Atomic::new(0),
                capacity: capacity.try_into()?,
                first: [],
            });
            let first = (&raw mut (*this.as_ptr()).first).cast::<AtomicPtr<MpathDevice>>();
            for index in 0..capacity {
                first.add(index).write(AtomicPtr::new(null_mut()));
            }
        }
        Ok(this)
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.len.load(Acquire)
    }

    /// The number of entries in use, whether bios need care there or not. At most one of the two
    /// counts is not 0, so a reader that sees one of an older list sees no more than that list had.
    fn listed(&self) -> u32 {
        self.len().max(self.careful.load(Acquire))
    }

    /// The entries that are in use.
    fn used(&self) -> &[AtomicPtr<MpathDevice>] {
        &self.all()[..self.listed() as usize]
    }

    /// All entries, also those that are not in use.
    fn all(&self) -> &[AtomicPtr<MpathDevice>] {
        // SAFETY: `capacity` entries follow, and were initialised with the array.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.capacity as usize) }
    }
}

// SAFETY: All fields that change are atomic; only the last owner follows `older`.
unsafe impl Sync for Entries {}

/// Each CPU's cursor: `struct mpath_cursor`.
struct Cursors(NonNull<bindings::mpath_cursor>);

impl Cursors {
    fn new() -> Result<Self> {
        // SAFETY: The function allocates, and the caller may sleep.
        NonNull::new(unsafe { bindings::mpath_helper_alloc_cursors() })
            .map(Self)
            .ok_or(ENOMEM)
    }
}

/// The part of a CPU's cursor that code other than choices uses: `struct mpath_cursor`.
#[repr(C)]
pub(super) struct Cursor {
    next: Atomic<u32>,
    done: Atomic<u32>,
    /// The tick in which the CPU last looked at the requests of others.
    pub(super) tick: Atomic<u32>,
    /// The number of the shortlist for which it looked.
    pub(super) list: Atomic<u32>,
}

const _: () = assert!(size_of::<Cursor>() == size_of::<bindings::mpath_cursor>());

impl Drop for Cursors {
    fn drop(&mut self) {
        // SAFETY: `new()` has allocated it, and nobody else has it.
        unsafe { bindings::mpath_helper_free_cursors(self.0.as_ptr()) }
    }
}

/// A head's shortlist.
///
/// # Invariants
///
/// `entries` is an array whose `older` ones are all valid for as long as the shortlist is. Only
/// holders of `lock` write `entries`, the array, and the head's slots.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Shortlist {
    version: Version,
    entries: AtomicPtr<Entries>,
    cursors: Cursors,
    /// The policy in force. Here, so that a choice need not look at the group.
    policy: Atomic<u32>,
    #[pin]
    lock: SpinLock<()>,
}

impl Shortlist {
    /// The shortlist of a head without paths. Allocates; may sleep.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            version: Version::new(),
            // INVARIANT: An array without an older one; nobody writes to an array without entries.
            entries: AtomicPtr::new((&raw const NO_ENTRIES).cast_mut()),
            cursors: Cursors::new()?,
            policy: Atomic::new(IoPolicy::Numa as u32),
            lock <- new_spinlock!((), "Shortlist::lock"),
        }? Error)
    }

    /// The count of changes of the head's paths. Any context.
    #[inline]
    pub(crate) fn generation(&self) -> &Generation {
        self.version.generation()
    }

    /// Each CPU's cursor, for the path's part of it.
    pub(crate) fn cursors(&self) -> *mut bindings::mpath_cursor {
        self.cursors.0.as_ptr()
    }

    /// A CPU's cursor. `cpu` is a possible CPU.
    pub(super) fn cursor_of(&self, cpu: u32) -> &Cursor {
        // SAFETY: There is one for each possible CPU, which stays as long as the shortlist; all
        // accesses are atomic.
        unsafe { &*bindings::mpath_helper_cursor_of(self.cursors(), cpu).cast() }
    }

    /// Is the shortlist current? Inside a read-side section.
    #[inline(always)]
    fn is_current(&self) -> bool {
        self.version.is_current(&PORTS_GENERATION)
    }

    #[inline(always)]
    fn entries(&self) -> &Entries {
        // SAFETY: By the type invariant.
        unsafe { &*self.entries.dereference() }
    }

    /// Makes room for so many paths. Sleeps.
    ///
    /// Under the head's `control` mutex, so only one caller at a time does.
    pub(crate) fn reserve(&self, paths: usize) -> Result {
        let old = self.entries();

        if paths <= old.capacity as usize {
            return Ok(());
        }
        let capacity = paths.next_power_of_two().max(Entries::MIN_CAPACITY);
        let new = Entries::alloc(capacity, core::ptr::from_ref(old).cast_mut())?;
        let _lock = self.lock.lock();

        {
            // SAFETY: Allocated above.
            let new = unsafe { new.as_ref() };

            for (from, to) in old.all().iter().zip(new.all()) {
                to.store(from.load());
            }
            new.careful.store(old.careful.load(Acquire), Release);
            new.len.store(old.len(), Release);
        }
        // INVARIANT: The older arrays are those that were there before. The one without entries is
        // static.
        self.entries.store(new.as_ptr());
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Shortlist {
    fn drop(self: Pin<&mut Self>) {
        let mut at = self.entries.load();

        while !core::ptr::eq(at, &raw const NO_ENTRIES) {
            // SAFETY: By the type invariant; `Entries::alloc()` has allocated all but the static
            // one. A shortlist that is being dropped has no readers any more.
            unsafe {
                let older = (*at).older;

                if let Ok(layout) = Entries::layout((*at).capacity as usize) {
                    Kmalloc::free(NonNull::new_unchecked(at.cast()), layout);
                }
                at = older;
            }
        }
    }
}

// SAFETY: All fields that change are atomic, or under the lock.
unsafe impl Send for Shortlist {}
// SAFETY: As above.
unsafe impl Sync for Shortlist {}

impl<'a> Inside<'a> {
    /// The current shortlist. The paths that it names stay until the section ends.
    #[inline(always)]
    pub(crate) fn shortlist(self) -> Listed<'a> {
        let inside = shortlist::current(self);

        Listed {
            inside,
            entries: inside.entries(),
        }
    }

    /// The path that the policy in force chooses, if the head trusts all paths of the current
    /// shortlist.
    #[inline(always)]
    pub(crate) fn choose_trusted(self) -> Option<&'a MpathDevice> {
        let inside = shortlist::current(self);
        let policy = inside.head().shortlist.policy.load(Relaxed);

        // SAFETY: Only values of policies are stored there.
        match unsafe { IoPolicy::from_raw(policy).unwrap_unchecked() } {
            // Without a look at the entries, for which `numa` has no use.
            IoPolicy::Numa => shortlist::nearest_to(inside, node_slots::current),
            policy => {
                let entries = inside.entries();

                policy.choose(Listed { inside, entries }, node_slots::current)
            }
        }
    }

    #[inline(always)]
    fn entries(self) -> &'a Entries {
        self.head().shortlist.entries()
    }

    /// Is `path` on the shortlist, if that is current? Any context.
    pub(crate) fn lists(self, path: &MpathDevice) -> bool {
        let shortlist = &self.head().shortlist;

        // This loads the array after the version, as everywhere.
        shortlist.is_current()
            && shortlist
                .entries()
                .used()
                .iter()
                .any(|entry| core::ptr::eq(entry.load(), path))
    }

    /// The number of the shortlist and the paths on it, if it is current. Any context.
    pub(crate) fn current(self) -> Option<(u32, impl Iterator<Item = &'a MpathDevice> + Clone)> {
        let shortlist = &self.head().shortlist;

        if !shortlist.is_current() {
            return None;
        }
        let number = shortlist.version.number();
        // This loads the array after the version, as everywhere.
        let used = shortlist.entries().used().iter();

        // SAFETY: A path on a shortlist that was current stays until the section ends.
        Some((
            number,
            used.filter_map(|entry| unsafe { entry.load().as_ref() }),
        ))
    }

    /// The current shortlist, for callers that check whether the head trusts its paths.
    pub(crate) fn listed(self) -> Careful<'a> {
        let listed = self.shortlist();

        Careful(listed)
    }
}

impl<'a> Keeper<'a> for Inside<'a> {
    type Path = MpathDevice;

    #[inline(always)]
    fn version(self) -> &'a Version {
        &self.head().shortlist.version
    }

    #[inline(always)]
    fn of_ports(self) -> &'a Generation {
        &PORTS_GENERATION
    }

    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R {
        let _lock = self.head().shortlist.lock.lock();

        f()
    }

    fn try_with_lock(self, f: impl FnOnce()) -> bool {
        let lock = self.head().shortlist.lock.try_lock();

        lock.is_some().then(f).is_some()
    }

    fn paths(self) -> impl Iterator<Item = &'a MpathDevice> {
        self.iter()
    }

    fn port_changes(path: &MpathDevice) -> u64 {
        path.port().generation().count()
    }

    fn put(self, index: usize, path: &'a MpathDevice) -> bool {
        let Some(to) = self.entries().all().get(index) else {
            return false;
        };

        to.store(core::ptr::from_ref(path).cast_mut());
        path.set_index(index as u32);
        true
    }

    fn is_trusted(path: &MpathDevice) -> bool {
        path.state().load().is_trusted()
    }

    fn follow_policy(self) {
        let head = self.head();

        head.shortlist
            .policy
            .store(head.group().policy() as u32, Relaxed);
    }

    fn forget(self) {
        self.head().current_path.clear();
    }

    fn set_careful(self, paths: usize) {
        self.entries().careful.store(paths as u32, Release);
    }

    fn set_len(self, paths: usize) {
        self.entries().len.store(paths as u32, Release);
    }

    fn listed(self) -> impl Iterator<Item = &'a MpathDevice> {
        let entries = self.entries();

        entries.all()[..entries.len() as usize]
            .iter()
            // SAFETY: A path on a current shortlist stays until the section ends.
            .filter_map(|entry| unsafe { entry.load().as_ref() })
    }

    fn remember(self, node: Node, path: &'a MpathDevice) {
        self.head()
            .current_path
            .slot(node)
            .store(core::ptr::from_ref(path).cast_mut());
    }

    #[inline(always)]
    fn remembered(self, node: Node) -> Option<&'a MpathDevice> {
        // SAFETY: A path that a slot of a current shortlist names stays until the section ends.
        unsafe { self.head().current_path.slot(node).dereference().as_ref() }
    }
}

/// A shortlist that was current in a read-side section. Two words, which registers can pass on.
#[derive(Clone, Copy)]
pub(crate) struct Listed<'a> {
    inside: Inside<'a>,
    entries: &'a Entries,
}

impl<'a> Listed<'a> {
    #[inline(always)]
    fn head(self) -> &'a MpathHead {
        self.inside.head()
    }

    #[inline(always)]
    fn cursors(self) -> *mut bindings::mpath_cursor {
        self.head().shortlist.cursors()
    }
}

impl<'a> Candidates<'a> for Listed<'a> {
    type Path = MpathDevice;

    #[inline(always)]
    fn len(self) -> usize {
        self.entries.len() as usize
    }

    #[inline(always)]
    fn at(self, index: usize) -> Option<&'a MpathDevice> {
        // SAFETY: `index` is less than a length that the array has had, which is at most its
        // capacity. The pointer there was stored before, and is not null. The path stays until the
        // section ends, by the protocol in `shortlist`.
        Some(unsafe { &*(*self.entries.first.as_ptr().add(index)).dereference() })
    }

    #[inline(always)]
    fn nearest(self, node: Node) -> Option<&'a MpathDevice> {
        shortlist::nearest_to(self.inside, || node)
    }

    #[inline(always)]
    fn cursor(self) -> usize {
        // SAFETY: The head's cursors, which stay as long as the head.
        unsafe { bindings::mpath_helper_cursor(self.cursors()) as usize }
    }

    #[inline(always)]
    fn set_cursor(self, index: usize) {
        // SAFETY: As above.
        unsafe { bindings::mpath_helper_set_cursor(self.cursors(), index as u32) }
    }

    #[inline(always)]
    fn last_done(self) -> usize {
        // SAFETY: As above.
        unsafe { bindings::mpath_helper_last_done(self.cursors()) as usize }
    }
}

/// A shortlist that was current in a read-side section, with paths that the head may not trust.
/// Slower than [`Listed`].
#[derive(Clone, Copy)]
pub(crate) struct Careful<'a>(Listed<'a>);

impl<'a> Careful<'a> {
    /// The path that the policy in force chooses.
    #[inline(never)]
    pub(crate) fn choose(self) -> Option<&'a MpathDevice> {
        self.0
            .head()
            .group()
            .policy()
            .choose(self, node_slots::current)
    }

    /// All paths on it.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a MpathDevice> {
        self.0
            .entries
            .used()
            .iter()
            // SAFETY: A path on a shortlist that was current stays until the section ends.
            .filter_map(|entry| unsafe { entry.load().as_ref() })
    }
}

impl<'a> Candidates<'a> for Careful<'a> {
    type Path = MpathDevice;

    fn len(self) -> usize {
        self.0.entries.listed() as usize
    }

    fn at(self, index: usize) -> Option<&'a MpathDevice> {
        self.0.at(index)
    }

    fn nearest(self, node: Node) -> Option<&'a MpathDevice> {
        shortlist::nearest(self.iter(), node)
    }

    fn cursor(self) -> usize {
        self.0.cursor()
    }

    fn set_cursor(self, index: usize) {
        self.0.set_cursor(index)
    }

    fn last_done(self) -> usize {
        self.0.last_done()
    }
}
