// SPDX-License-Identifier: GPL-2.0

//! A path, and the port that it goes through: the memory that drivers embed.
//!
//! `head`, `port` and `disk` are set before a path is published and do not change while it is on a
//! head. The state words and the node are atomics.

use super::head::MpathHead;
use super::misuse::{
    mark,
    misuse, //
};
use super::record;
use super::registry;
use crate::bindings;
use crate::pure::list::Linked;
use crate::pure::nodes::Node;
use crate::pure::policy::Path;
use crate::pure::shortlist::{
    change,
    change_port,
    Generation, //
};
use crate::pure::state::{
    Access,
    AtomicPathState,
    PathState,
    PortState,
    Reasons, //
};
use crate::pure::sync::AtomicU32;
use crate::wrap::disk::Disk;
use crate::wrap::node_slots;
use crate::wrap::srcu;
use crate::wrap::way::Way;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::types::Opaque;

/// The changes of ports' states, of which no head is told.
pub(crate) static PORTS_GENERATION: Generation = Generation::new();

/// The state that all paths through one controller share: `struct mpath_port`.
#[repr(transparent)]
pub(crate) struct MpathPort(Opaque<bindings::mpath_port>);

impl MpathPort {
    /// The port in a driver's structure.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`, and `mpath_port_init()` has been called on it.
    #[inline(always)]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_port) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*raw.cast() }
    }

    #[inline(always)]
    fn state_word(&self) -> &AtomicU32 {
        // SAFETY: `AtomicU32` is a transparent `u32`; all accesses to the word are atomic.
        unsafe { &*(&raw const (*self.0.get()).state).cast() }
    }

    /// The state of the port.
    #[inline(always)]
    pub(crate) fn state(&self) -> PortState {
        PortState::from_raw(self.state_word().load())
    }

    /// Sets the state of the port.
    pub(crate) fn set_state(&self, state: PortState) {
        let old = change_port(
            self.state_word(),
            self.generation(),
            &PORTS_GENERATION,
            state,
        );

        self.has_changed(old, state);
    }

    /// The changes of the state.
    pub(crate) fn generation(&self) -> &Generation {
        // SAFETY: `Generation` is a transparent `u64`, only accessed atomically.
        unsafe { &*(&raw const (*self.0.get()).generation).cast() }
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut bindings::mpath_port {
        self.0.get()
    }
}

// SAFETY: All of its fields that change are atomic.
unsafe impl Sync for MpathPort {}

/// One path: `struct mpath_device`.
///
/// # Invariants
///
/// While it is on a head, and for a grace period after, its pointers are valid.
#[repr(transparent)]
pub(crate) struct MpathDevice(Opaque<bindings::mpath_device>);

impl MpathDevice {
    /// The path in a driver's structure.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`, and has been added to a head.
    #[inline(always)]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_device) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*raw.cast() }
    }

    /// The path in a driver's structure. Warns when it has never been added to a head.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`, and so is the head to which the driver has added it.
    pub(crate) unsafe fn added<'a>(raw: *mut bindings::mpath_device) -> Option<&'a Self> {
        // SAFETY: By this function's contract; before the mark is found, only the mark is read.
        let path = unsafe { Self::from_raw(raw) };

        if !path.is_marked() {
            misuse("a path is used that has never been added to a head");
            return None;
        }
        Some(path)
    }

    /// Does the memory that a driver wants to initialise as a path hold one that is on a list?
    ///
    /// # Safety
    ///
    /// `raw` is valid for reads.
    pub(crate) unsafe fn is_in_use(raw: *mut bindings::mpath_device) -> bool {
        // SAFETY: By this function's contract; only the flags are read.
        let path = unsafe { Self::from_raw(raw) };

        path.is_marked() && path.is_listed()
    }

    /// Was there a path in this memory that has been deleted from its head, with no wait for
    /// readers since?
    ///
    /// # Safety
    ///
    /// `raw` is valid for reads.
    pub(crate) unsafe fn has_readers(raw: *mut bindings::mpath_device) -> bool {
        // SAFETY: By this function's contract; before the mark is found, only the mark is read, and
        // then the fields that `set_readers()` has written.
        let path = unsafe { Self::from_raw(raw) };

        if !path.is_marked() {
            return false;
        }
        let (head, cookie) = path.readers();

        // The head may be gone, and then its readers are, too.
        registry::with(head, |head| !head.srcu.has_passed(cookie)) == Some(true)
    }

    /// The C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::mpath_device {
        self.0.get()
    }

    /// Fills a driver's structure in, for a path that is on no list yet.
    ///
    /// # Safety
    ///
    /// `raw` is valid for writes, and only the caller uses it; the pointers fulfil the type
    /// invariant.
    pub(crate) unsafe fn init<'a>(
        raw: *mut bindings::mpath_device,
        head: *mut bindings::mpath_head,
        disk: *mut bindings::gendisk,
        port: *mut bindings::mpath_port,
        numa_node: i32,
    ) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe {
            raw.write(bindings::mpath_device {
                siblings: bindings::list_head {
                    next: core::ptr::null_mut(),
                    prev: core::ptr::null_mut(),
                },
                state: PathState::new().to_raw(),
                numa_node,
                port,
                disk,
                part0: (*disk).part0,
                head,
                flags: mark(raw, Self::FLAGS),
                cpus: (*port).cpus,
                cursors: MpathHead::from_raw(head).shortlist.cursors(),
                index: 0,
                pause_end: 0,
                readers: 0,
                readers_of: 0,
                record: record::of_new_path(),
            });
            Self::from_raw(raw)
        }
    }

    /// The state word. [`MpathDevice::change`] changes it.
    pub(crate) fn state(&self) -> &AtomicPathState {
        // SAFETY: `AtomicPathState` is a transparent `u32`, only accessed atomically.
        unsafe { &*(&raw const (*self.0.get()).state).cast() }
    }

    /// Changes the state, has the head's shortlist take note, and returns the old one. Any context.
    pub(crate) fn change(&self, f: impl Fn(PathState) -> PathState) -> PathState {
        let old = change(self.state(), self.head().shortlist.generation(), &f);

        self.has_changed(old, f(old));
        // The driver has looked at the path, and its port may have changed before.
        self.say_if_works();
        old
    }

    /// Does the driver want the path used? Then a failure there is the path's fault.
    pub(crate) fn is_meant_for_io(&self) -> bool {
        self.state().load().is_meant_for_io() && self.port().state().takes_io()
    }

    fn pause_end(&self) -> &Atomic<u64> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).pause_end) }
    }

    /// Notes the tick at which a bio may try the path again.
    pub(crate) fn set_pause_end(&self, at: u64) {
        self.pause_end().store(at, Relaxed);
    }

    /// The tick at which a bio may try the path again, if the head leaves it alone.
    pub(crate) fn pause_ends(&self) -> Option<u64> {
        self.state()
            .load()
            .has(Reasons::FAILED)
            .then(|| self.pause_end().load(Relaxed))
    }

    /// Notes the path's index on the head's shortlist, for `mpath_request_done()`.
    pub(crate) fn set_index(&self, index: u32) {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).index) }.store(index, Relaxed);
    }

    fn numa_node(&self) -> &Atomic<i32> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).numa_node) }
    }

    /// The node that the path is near to, or a negative number.
    pub(super) fn node(&self) -> i32 {
        self.numa_node().load(Relaxed)
    }

    /// Sets the node that the path is near to. Any context.
    pub(crate) fn set_numa_node(&self, node: i32) {
        if self.numa_node().xchg(node, Relaxed) != node {
            self.head().shortlist.generation().add();
        }
    }

    /// Notes that readers of its head may still see the path, which is unlinked.
    pub(crate) fn set_readers(&self) {
        let head = self.head();

        // SAFETY: The caller holds the head's `control` mutex, or is the only one that has the
        // path.
        unsafe {
            (*self.0.get()).readers = head.srcu.cookie();
            (*self.0.get()).readers_of = head.number;
        }
    }

    /// The notes of [`MpathDevice::set_readers`]: the number of the head, or 0, and the moment.
    fn readers(&self) -> (u32, srcu::Cookie) {
        // SAFETY: As in `set_readers()`.
        unsafe { ((*self.0.get()).readers_of, (*self.0.get()).readers) }
    }

    /// The port.
    #[inline(always)]
    pub(crate) fn port(&self) -> &MpathPort {
        // SAFETY: By the type invariant.
        unsafe { MpathPort::from_raw((*self.0.get()).port) }
    }

    /// The path's own disk.
    #[inline(always)]
    pub(crate) fn disk(&self) -> &Disk {
        // SAFETY: By the type invariant.
        unsafe { Disk::from_raw((*self.0.get()).disk) }
    }

    /// The path's own disk as a block device.
    #[inline(always)]
    pub(crate) fn part0(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.get()).part0 }
    }

    /// The way of a bio to the path's disk, unless the disk takes none now.
    #[inline(always)]
    pub(crate) fn way(&self) -> Option<Way> {
        // SAFETY: By the type invariant. Our caller has the path, so it is in a read-side section.
        // A removal of the path waits for that, and for tasks on their way to the disk.
        unsafe { Way::to(self.part0()) }
    }

    /// The head that the path is on.
    #[inline(always)]
    pub(crate) fn head(&self) -> &MpathHead {
        // SAFETY: By the type invariant.
        unsafe { MpathHead::from_raw((*self.0.get()).head) }
    }

    /// Is the path on its head's list?
    pub(crate) fn is_listed(&self) -> bool {
        self.flag(Self::LISTED)
    }

    /// Notes whether the path is on its head's list. Under the head's `control` mutex.
    pub(crate) fn set_listed(&self, listed: bool) {
        self.set_flag(Self::LISTED, listed);
    }

    /// Has the path its link in the head's directory?
    pub(crate) fn is_linked(&self) -> bool {
        self.flag(Self::LINKED)
    }

    /// Notes whether the path has its link. Under the head's `bring_up` mutex.
    pub(crate) fn set_linked(&self, linked: bool) {
        self.set_flag(Self::LINKED, linked);
    }

    const LISTED: usize = 1 << 0;
    const LINKED: usize = 1 << 1;
    const FLAGS: usize = Self::LISTED | Self::LINKED;

    /// Has [`MpathDevice::init`] been called on it?
    fn is_marked(&self) -> bool {
        self.flags().load(Relaxed) & !Self::FLAGS == mark(self.as_raw(), Self::FLAGS)
    }

    fn flags(&self) -> &Atomic<usize> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).flags) }
    }

    fn flag(&self, flag: usize) -> bool {
        self.flags().load(Relaxed) & flag != 0
    }

    fn set_flag(&self, flag: usize, value: bool) {
        let mut old = self.flags().load(Relaxed);

        loop {
            let new = if value { old | flag } else { old & !flag };
            match self.flags().cmpxchg(old, new, Relaxed) {
                Ok(_) => return,
                Err(current) => old = current,
            }
        }
    }
}

impl Path for MpathDevice {
    fn access(&self) -> Access {
        // One load of the word: a decision is about a state that existed (L-12).
        self.state().load().access_through(|| self.port().state())
    }

    fn distance(&self, node: Node) -> u32 {
        node_slots::distance(node, self.numa_node().load(Relaxed))
    }

    #[inline(always)]
    fn depth(&self) -> u32 {
        // SAFETY: By the type invariant the records are the port's, and stay as long as the port.
        unsafe { bindings::mpath_helper_depth((*self.0.get()).cpus) }
    }
}

// SAFETY: All fields that change are atomic, or under a lock of the head.
unsafe impl Sync for MpathDevice {}
// SAFETY: The memory is the driver's, which may free it from any thread.
unsafe impl Send for MpathDevice {}

// SAFETY: The offset is that of `siblings`, which is only used as links.
unsafe impl Linked for MpathDevice {
    const OFFSET: usize = core::mem::offset_of!(bindings::mpath_device, siblings);
}
