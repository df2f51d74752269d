// SPDX-License-Identifier: GPL-2.0

//! Paths on the library's own list, in memory that loom watches, the list's `prev` included. It
//! fails when a reader touches a path that is not initialised yet, or freed.
//!
//! And calls that a list does not allow: [`List::push_back_relaxed`] and others.

use libmultipath::list::{
    Linked,
    Links,
    RcuList, //
};
use libmultipath::shortlist::Generation;
use libmultipath::state::{
    AccessState,
    AtomicPathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::{
    AtomicPtr,
    AtomicU32,
    Guarded, //
};
use loom::cell::UnsafeCell;
use std::mem::{
    offset_of,
    size_of,
    MaybeUninit, //
};
use std::sync::atomic::{
    AtomicBool,
    Ordering::Relaxed, //
};

/// A path on a list, or one that was or will be.
pub struct Device {
    links: Links,
    memory: UnsafeCell<()>,
    /// The path's disk, which takes bios.
    disk: UnsafeCell<()>,
    /// Is it on the list? This orders nothing.
    listed: AtomicBool,
    /// Has it a link in the head's directory? This orders nothing.
    linked: AtomicBool,
    /// The path's state.
    pub state: AtomicPathState,
    /// The state of its port, a [`PortState`].
    pub port: AtomicU32,
    /// How often the state of the port has changed.
    pub changes_of_port: Generation,
}

// SAFETY: The offset is that of `links`, which only lists access, and their mutants.
unsafe impl Linked for Device {
    const OFFSET: usize = offset_of!(Device, links);
}

impl Device {
    /// A path in memory that a driver has just allocated.
    pub fn new() -> Self {
        Self {
            links: Links::new(),
            memory: UnsafeCell::new(()),
            disk: UnsafeCell::new(()),
            listed: AtomicBool::new(false),
            linked: AtomicBool::new(false),
            state: AtomicPathState::new(),
            port: AtomicU32::new(PortState::Live as u32),
            changes_of_port: Generation::new(),
        }
    }

    /// The driver fills it in.
    pub fn init(&self, access: AccessState) {
        self.memory.with_mut(|_| ());
        self.state
            .update(|state| state.reaching(access).enabled(Reasons::NOT_READY));
    }

    /// Touches the path, as a user does.
    pub fn touch(&self) {
        self.memory.with(|_| ());
    }

    /// Is it on the list?
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Notes whether it is on the list.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Relaxed);
    }

    /// Has it a link in the head's directory?
    pub fn is_linked(&self) -> bool {
        self.linked.load(Relaxed)
    }

    /// Notes whether it has a link.
    pub fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Relaxed);
    }

    /// A bio comes to the disk.
    pub fn arrive(&self) {
        self.disk.with(|_| ());
    }

    /// The driver stops the disk. No bio may come to it any more, or still be about to.
    pub fn stop(&self) {
        self.disk.with_mut(|_| ());
    }

    /// The driver frees it. Nobody may touch it any more, or still be about to.
    pub fn free(&self) {
        self.memory.with_mut(|_| ());
    }
}

/// The head of a list. Devices stay in memory for as long as a model runs.
pub struct List(Box<MaybeUninit<RcuList<Device>>>);

impl List {
    /// An empty list.
    pub fn new() -> Self {
        let mut list = Box::new(MaybeUninit::uninit());

        // SAFETY: The box is valid for writes, and its contents stay there.
        unsafe { RcuList::init(list.as_mut_ptr()) };
        Self(list)
    }

    fn list(&self) -> &RcuList<Device> {
        // SAFETY: `new()` has initialised it.
        unsafe { self.0.assume_init_ref() }
    }

    /// `RcuList::push_back()`, under the lock.
    pub fn push_back(&self, new: &Device) {
        // SAFETY: loom finds out if it is not under the lock.
        unsafe { self.list().push_back(new) }
    }

    /// `RcuList::remove()`, under the lock.
    pub fn remove(&self, device: &Device) {
        // SAFETY: loom finds out if it is not under the lock.
        unsafe { self.list().remove(device) }
    }

    /// `RcuList::iter()`. A reader that stands on a path touches it in going on.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        let mut at: Option<&Device> = None;
        // SAFETY: Devices outlive the list; loom finds out if one was touched that was freed.
        let mut walk = unsafe { self.list().iter() };

        core::iter::from_fn(move || {
            if let Some(device) = at {
                device.touch();
            }
            at = walk.next();
            at
        })
    }

    // The mistakes. `Links` are `next` and `prev`, in that order.

    /// Like `push_back()`, but readers may see the new element before its contents.
    pub fn push_back_relaxed(&self, new: &Device) {
        let (head, new) = (self.head(), &new.links);

        // SAFETY: Under the lock.
        unsafe {
            let last = prev_of(head).get();

            prev_of(new).set(last);
            next_of(new).store_relaxed(raw(head));
            next_of(&*last).store_relaxed(raw(new));
            prev_of(head).set(raw(new));
        }
    }

    /// `list_del()`, which is not for lists with readers: `next` leads nowhere.
    pub fn remove_and_poison(&self, device: &Device) {
        self.remove(device);
        next_of(&device.links).store(raw(self.head()));
    }

    /// `list_is_singular()`, which is not for lists that change meanwhile.
    pub fn is_singular(&self) -> bool {
        let head = self.head();

        // SAFETY: It is read without the lock, which is the mistake.
        unsafe { prev_of(head).get() == next_of(head).load_relaxed() }
    }

    /// The path after `device` in a circle, whether that is on the list or not.
    pub fn next_in_the_circle<'a>(&'a self, device: &'a Device) -> &'a Device {
        let next = next_of(&device.links).load();

        if next == raw(self.head()) {
            return self.iter().next().unwrap_or(device);
        }
        // SAFETY: Not the head, so in a device.
        unsafe { &*next.wrapping_byte_sub(Device::OFFSET).cast() }
    }

    fn head(&self) -> &Links {
        // SAFETY: Transparent.
        unsafe { &*core::ptr::from_ref(self.list()).cast() }
    }
}

fn raw(links: &Links) -> *mut Links {
    core::ptr::from_ref(links).cast_mut()
}

fn next_of(links: &Links) -> &AtomicPtr<Links> {
    // SAFETY: The first field, and C's layout.
    unsafe { &*core::ptr::from_ref(links).cast() }
}

fn prev_of(links: &Links) -> &Guarded<*mut Links> {
    let prev = core::ptr::from_ref(links).wrapping_byte_add(size_of::<AtomicPtr<Links>>());

    // SAFETY: The second field, C's layout, and both fields are aligned alike.
    unsafe { &*prev.cast() }
}

// SAFETY: `prev` is under a lock, or else loom finds out.
unsafe impl Sync for Device {}
// SAFETY: As above.
unsafe impl Send for Device {}
