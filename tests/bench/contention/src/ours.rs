// SPDX-License-Identifier: GPL-2.0

//! Our algorithm: the library's policies and its stamp, on a head that has what `rust/engine/` has
//! for choosing, and on lines as there.
//!
//! A thread is a CPU, and its thread-local storage is what is per CPU.

use super::side::{
    node_of,
    Disk,
    Side,
    MOST,
    NODES, //
};
use core::arch::asm;
use core::cell::Cell;
use core::ptr::null_mut;
use libmultipath::nodes::{
    Node,
    NodeMap, //
};
use libmultipath::policy::{
    Candidates,
    IoPolicy,
    Path, //
};
use libmultipath::shortlist::{
    change,
    nearest,
    usable,
    Changes,
    Stamp, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicPathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::AtomicPtr;
use std::sync::atomic::Ordering::{
    Acquire,
    Relaxed,
    Release,
    SeqCst, //
};
use std::sync::atomic::{
    AtomicI32,
    AtomicU32, //
};
use std::sync::Mutex;

/// A counter that only its own CPU writes.
struct PerCpuCounter(Cell<u64>);

impl PerCpuCounter {
    const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// `this_cpu_inc()` and `barrier()`.
    #[inline(always)]
    fn inc(&self) {
        // SAFETY: The cell is valid, and no other thread accesses it.
        unsafe { asm!("inc qword ptr [{}]", in(reg) self.0.as_ptr(), options(nostack)) }
    }
}

/// How many read-side sections have begun and ended on this CPU.
struct SrcuCtr {
    locks: PerCpuCounter,
    unlocks: PerCpuCounter,
}

impl SrcuCtr {
    const fn new() -> Self {
        Self {
            locks: PerCpuCounter::new(),
            unlocks: PerCpuCounter::new(),
        }
    }
}

/// What is per CPU, on lines that no other CPU writes.
#[repr(align(128))]
struct Cpu {
    srcu_ctrs: [SrcuCtr; 2],
    /// `struct mpath_turn`: where the CPU goes on, and where a request has ended last.
    next: Cell<u32>,
    done: Cell<u32>,
    node: Cell<u32>,
}

thread_local! {
    static CPU: Cpu = const {
        Cpu {
            srcu_ctrs: [SrcuCtr::new(), SrcuCtr::new()],
            next: Cell::new(0),
            done: Cell::new(0),
            node: Cell::new(0),
        }
    };
}

/// A value with a line of its own.
#[repr(align(64))]
struct OwnLine<T>(T);

/// `struct mpath_port`.
#[repr(C)]
struct Port {
    state: AtomicU32,
    nr_active: OwnLine<AtomicI32>,
}

/// `struct mpath_device`.
#[repr(align(128))]
struct Device {
    state: AtomicPathState,
    numa_node: u32,
    port: Box<Port>,
    disk: Box<Disk>,
    place: AtomicU32,
}

impl Device {
    /// A path that is not on a head's list yet. It stays.
    fn new(id: u32) -> &'static Self {
        let device = Box::leak(Box::new(Self {
            state: AtomicPathState::new(),
            numa_node: node_of(id),
            port: Box::new(Port {
                state: AtomicU32::new(PortState::Live as u32),
                nr_active: OwnLine(AtomicI32::new(0)),
            }),
            disk: Box::new(Disk {
                id,
                path: core::ptr::null(),
            }),
            place: AtomicU32::new(0),
        }));

        device.disk.path = (&raw const *device).cast();
        device
    }

    /// The path of a disk that this side has handed out.
    #[inline(always)]
    fn of(disk: &'static Disk) -> &'static Self {
        // SAFETY: `new()` made the disk, so it names its path, which stays.
        unsafe { &*disk.path.cast() }
    }
}

impl Path for Device {
    fn access(&self) -> Access {
        self.state
            .load()
            .access_through(|| PortState::from_raw(self.port.state.load(Relaxed)))
    }

    fn distance(&self, node: Node) -> u32 {
        if node.0 == self.numa_node {
            10
        } else {
            20
        }
    }

    #[inline(always)]
    fn depth(&self) -> i32 {
        self.port.nr_active.0.load(Relaxed)
    }
}

/// `Places` in `rust/engine/shortlist.rs`, with as many of them as there can be.
#[repr(C, align(128))]
struct Places {
    len: AtomicU32,
    places: [AtomicPtr<Device>; MOST],
}

/// `Shortlist` in `rust/engine/shortlist.rs`.
#[repr(C)]
struct Shortlist {
    stamp: Stamp,
    places: AtomicPtr<Places>,
    lock: Mutex<()>,
}

/// `CurrentPath` in `rust/engine/cache.rs`.
struct CurrentPath {
    map: &'static NodeMap<64>,
    slots: [AtomicPtr<Device>; NODES as usize],
}

impl CurrentPath {
    #[inline(always)]
    fn slot(&self, node: Node) -> &AtomicPtr<Device> {
        // SAFETY: The map is of `NODES` nodes, so every slot's index is less than that.
        unsafe { self.slots.get_unchecked(self.map.slot(node).index()) }
    }
}

/// What `MpathHead` has for choosing. In a head other members that are written under load are on
/// lines of their own.
#[repr(C, align(128))]
struct Head {
    group: &'static AtomicU32,
    /// Which of [`Cpu::srcu_ctrs`] readers count in.
    srcu_ctr: AtomicU32,
    shortlist: Shortlist,
    /// A static in the kernel.
    port_changes: &'static Changes,
    paths: Vec<&'static Device>,
    current_path: CurrentPath,
}

/// A read-side section, of the fast flavour of SRCU.
struct Section<'a> {
    head: &'a Head,
    srcu_ctr: usize,
}

impl Drop for Section<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        CPU.with(|cpu| cpu.srcu_ctrs[self.srcu_ctr].unlocks.inc());
    }
}

impl Head {
    fn new(policy: IoPolicy, paths: u32) -> &'static Self {
        let places = Box::new(Places {
            len: AtomicU32::new(0),
            places: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
        });
        let head = Box::leak(Box::new(Self {
            group: &Box::leak(Box::new(OwnLine(AtomicU32::new(policy as u32)))).0,
            srcu_ctr: AtomicU32::new(0),
            shortlist: Shortlist {
                stamp: Stamp::new(),
                places: AtomicPtr::new(Box::leak(places)),
                lock: Mutex::new(()),
            },
            port_changes: &Box::leak(Box::new(OwnLine(Changes::new()))).0,
            paths: (0..paths).map(Device::new).collect(),
            current_path: CurrentPath {
                map: Box::leak(Box::new(NodeMap::new(|node| node.0 < NODES))),
                slots: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
            },
        }));

        for path in &head.paths {
            change(&path.state, head.shortlist.stamp.changes(), |state| {
                state
                    .reaching(AccessState::Optimized)
                    .enabled(Reasons::NOT_READY)
            });
        }
        head
    }

    #[inline(always)]
    fn read(&self) -> Section<'_> {
        let srcu_ctr = self.srcu_ctr.load(Relaxed) as usize & 1;

        CPU.with(|cpu| cpu.srcu_ctrs[srcu_ctr].locks.inc());
        Section {
            head: self,
            srcu_ctr,
        }
    }

    #[inline(always)]
    fn places(&self) -> &Places {
        // SAFETY: `new()` leaked it, and nobody replaces it.
        unsafe { &*self.shortlist.places.load() }
    }

    /// The disk of the path that a bio would be sent to now.
    #[inline(never)]
    fn choose(&'static self) -> Option<&'static Disk> {
        let section = self.read();
        let policy = IoPolicy::from_raw(self.group.load(Relaxed)).unwrap_or(IoPolicy::Numa);
        let node = Node(CPU.with(|cpu| cpu.node.get()));
        let disk = policy
            .choose(section.shortlist(), || node)
            .map(|path| &raw const *path.disk);

        // SAFETY: Paths stay.
        disk.map(|disk| unsafe { &*disk })
    }
}

impl Section<'_> {
    #[inline(always)]
    fn shortlist(&self) -> Listed<'_> {
        let stamp = &self.head.shortlist.stamp;

        if !stamp.is_current(self.head.port_changes) {
            self.renew();
        }
        Listed {
            section: self,
            places: self.head.places(),
        }
    }

    #[cold]
    fn renew(&self) {
        let head = self.head;
        let _lock = head.shortlist.lock.lock();

        head.shortlist.stamp.renew(
            head.port_changes,
            || 0,
            || {
                let places = head.places();
                let mut len = 0;

                usable(
                    || head.paths.iter().copied(),
                    |path| {
                        places.places[len].store((&raw const *path).cast_mut());
                        path.place.store(len as u32, Relaxed);
                        len += 1;
                    },
                );
                for slot in &head.current_path.slots {
                    slot.store(null_mut());
                }
                places.len.store(len as u32, Release);
            },
        );
    }

    #[cold]
    fn elect(&self, node: Node) -> Option<&Device> {
        self.renew();

        let path = nearest(self.head.paths.iter().copied(), node)?;

        self.head
            .current_path
            .slot(node)
            .store((&raw const *path).cast_mut());
        Some(path)
    }
}

/// `Listed` in `rust/engine/shortlist.rs`.
#[derive(Clone, Copy)]
struct Listed<'a> {
    section: &'a Section<'a>,
    places: &'a Places,
}

impl<'a> Candidates<'a> for Listed<'a> {
    type Path = Device;

    #[inline(always)]
    fn len(self) -> usize {
        self.places.len.load(Acquire) as usize
    }

    #[inline(always)]
    fn at(self, place: usize) -> Option<&'a Device> {
        // SAFETY: `place` is less than a length that the array has had. Paths stay.
        unsafe { self.places.places.get_unchecked(place).load().as_ref() }
    }

    #[inline(always)]
    fn nearest(self, node: Node) -> Option<&'a Device> {
        let path = self.section.head.current_path.slot(node).load();

        if path.is_null() {
            return self.section.elect(node);
        }
        // SAFETY: Paths stay.
        Some(unsafe { &*path })
    }

    #[inline(always)]
    fn turn(self) -> usize {
        CPU.with(|cpu| cpu.next.get() as usize)
    }

    #[inline(always)]
    fn set_turn(self, place: usize) {
        CPU.with(|cpu| cpu.next.set(place as u32));
    }

    #[inline(always)]
    fn last_done(self) -> usize {
        CPU.with(|cpu| cpu.done.get() as usize)
    }
}

/// A head of ours.
#[derive(Clone, Copy)]
pub struct Ours(&'static Head);

impl Side for Ours {
    const NAME: &'static str = "ours";
    const OWN_TURNS: bool = true;

    fn new(policy: IoPolicy, paths: u32) -> Self {
        Self(Head::new(policy, paths))
    }

    fn be_cpu(number: u32, node: Node) {
        CPU.with(|cpu| {
            cpu.next.set(number);
            cpu.done.set(0);
            cpu.node.set(node.0);
        });
    }

    #[inline(always)]
    fn choose(self) -> Option<&'static Disk> {
        self.0.choose()
    }

    fn disk(self, id: u32) -> &'static Disk {
        &self.0.paths[id as usize].disk
    }

    #[inline(never)]
    fn begin(disk: &'static Disk) {
        Device::of(disk).port.nr_active.0.fetch_add(1, SeqCst);
    }

    #[inline(never)]
    fn end(disk: &'static Disk) {
        let path = Device::of(disk);

        let _ = path
            .port
            .nr_active
            .0
            .fetch_update(SeqCst, Relaxed, |count| (count > 0).then(|| count - 1));
        // `mpath_request_done()`
        CPU.with(|cpu| cpu.done.set(path.place.load(Relaxed)));
    }

    fn depth(disk: &'static Disk) -> i32 {
        Device::of(disk).depth()
    }
}
