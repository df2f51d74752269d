// SPDX-License-Identifier: GPL-2.0

//! Our algorithm: the library's own code for finding, making and choosing from a shortlist, and for
//! a CPU's view of others, on memory laid out as in `rust/engine/`.
//!
//! A thread is a CPU, and its thread-local storage is the memory per CPU. But requests are counted
//! in memory that other threads look at: each CPU has lines of its own there.

use super::side::{
    node_of,
    Counted,
    Disk,
    Side,
    CPUS,
    MOST,
    NODES, //
};
use core::arch::asm;
use core::cell::Cell;
use core::ptr::null_mut;
use libmultipath::depth::{
    self,
    catch_up,
    in_flight,
    Port as _,
    Record, //
};
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
    self,
    change,
    Generation,
    Keeper,
    Version, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicPathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::AtomicPtr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{
    Acquire,
    Relaxed,
    Release, //
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

/// The memory per CPU, on lines that no other CPU writes.
#[repr(align(128))]
struct Cpu {
    srcu_ctrs: [SrcuCtr; 2],
    /// `struct mpath_cursor`.
    next: Cell<u32>,
    done: Cell<u32>,
    tick: Cell<u32>,
    list: Cell<u32>,
    number: Cell<u32>,
    node: Cell<u32>,
}

thread_local! {
    static CPU: Cpu = const {
        Cpu {
            srcu_ctrs: [SrcuCtr::new(), SrcuCtr::new()],
            next: Cell::new(0),
            done: Cell::new(0),
            tick: Cell::new(0),
            list: Cell::new(0),
            number: Cell::new(0),
            node: Cell::new(0),
        }
    };
}

/// A value with a line of its own.
#[repr(align(64))]
struct OwnLine<T>(T);

/// `jiffies`, which a thread that measures advances.
static TICK: OwnLine<AtomicU32> = OwnLine(AtomicU32::new(0));

/// The counters of one CPU for all ports of a head. The kernel allocates them per CPU: those of one
/// CPU are side by side, and far from those of another CPU. Were they side by side here, a CPU that
/// reads its own ahead would take them from its neighbour.
#[repr(align(4096))]
struct PortsOfCpu([Record; MOST]);

/// `struct mpath_port`.
struct Port {
    state: AtomicU32,
    cpus: &'static [PortsOfCpu],
    number: usize,
}

impl depth::Port for Port {
    fn cpus(&self, first: u32) -> impl Iterator<Item = u32> {
        first..CPUS as u32
    }

    #[inline(always)]
    fn record(&self, cpu: u32) -> &Record {
        // SAFETY: There are as many as CPUs can be and ports can be.
        unsafe {
            self.cpus
                .get_unchecked(cpu as usize)
                .0
                .get_unchecked(self.number)
        }
    }
}

#[inline(always)]
fn this_cpu() -> u32 {
    CPU.with(|cpu| cpu.number.get())
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
    fn new(id: u32, head: *const Head, cpus: &'static [PortsOfCpu]) -> &'static Self {
        let device = Box::leak(Box::new(Self {
            state: AtomicPathState::new(),
            numa_node: node_of(id),
            port: Box::new(Port {
                state: AtomicU32::new(PortState::Live as u32),
                cpus,
                number: id as usize,
            }),
            disk: Box::new(Disk {
                id,
                path: core::ptr::null(),
                head: head.cast(),
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
    fn depth(&self) -> u32 {
        self.port.record(this_cpu()).depth()
    }
}

/// `Entries` in `rust/engine/publish.rs`, with as many of them as there can be.
#[repr(C, align(128))]
struct Entries {
    len: AtomicU32,
    entries: [AtomicPtr<Device>; MOST],
}

/// `Shortlist` in `rust/engine/publish.rs`.
#[repr(C)]
struct Shortlist {
    version: Version,
    entries: AtomicPtr<Entries>,
    policy: AtomicU32,
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

/// The members of `MpathHead` for choosing. In a head other members that are written under load are
/// on lines of their own.
#[repr(C, align(128))]
struct Head {
    group: &'static AtomicU32,
    /// Which of [`Cpu::srcu_ctrs`] readers count in.
    srcu_ctr: AtomicU32,
    shortlist: Shortlist,
    /// A static in the kernel.
    port_changes: &'static Generation,
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
        let entries = Box::new(Entries {
            len: AtomicU32::new(0),
            entries: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
        });
        let cpus = (0..CPUS).map(|_| PortsOfCpu(core::array::from_fn(|_| Record::default())));
        let cpus: &'static [PortsOfCpu] = Box::leak(cpus.collect());
        let head = Box::leak(Box::new(Self {
            group: &Box::leak(Box::new(OwnLine(AtomicU32::new(policy as u32)))).0,
            srcu_ctr: AtomicU32::new(0),
            shortlist: Shortlist {
                version: Version::new(),
                entries: AtomicPtr::new(Box::leak(entries)),
                policy: AtomicU32::new(policy as u32),
                lock: Mutex::new(()),
            },
            port_changes: &Box::leak(Box::new(OwnLine(Generation::new()))).0,
            paths: Vec::new(),
            current_path: CurrentPath {
                map: Box::leak(Box::new(NodeMap::new(|node| node.0 < NODES))),
                slots: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
            },
        }));
        let at: *const Self = head;

        head.paths = (0..paths).map(|id| Device::new(id, at, cpus)).collect();
        for path in &head.paths {
            change(&path.state, head.shortlist.version.generation(), |state| {
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
    fn entries(&self) -> &Entries {
        // SAFETY: `new()` leaked it, and nobody replaces it.
        unsafe { &*self.shortlist.entries.load() }
    }

    /// The disk of the path that a bio would be sent to now.
    #[inline(never)]
    fn choose(&'static self) -> Option<&'static Disk> {
        let section = self.read();
        let inside = shortlist::current(Inside(section.head));
        let entries = inside.entries();
        let policy = IoPolicy::from_raw(self.shortlist.policy.load(Relaxed));
        let node = || Node(CPU.with(|cpu| cpu.node.get()));
        let disk = policy
            .unwrap_or(IoPolicy::Numa)
            .choose(Listed { inside, entries }, node)
            .map(|path| &raw const *path.disk);

        // SAFETY: Paths stay.
        disk.map(|disk| unsafe { &*disk })
    }

    /// `MpathHead::catch_up()`.
    #[cold]
    fn catch_up(&self, now: u32) {
        let section = self.read();
        let inside = Inside(section.head);
        let list = self.shortlist.version.number();
        let ports = inside.iter().map(|path| &*path.port);

        CPU.with(|cpu| {
            let has_changed = cpu.list.replace(list) != list;

            let ago = now.wrapping_sub(cpu.tick.replace(now));

            catch_up(ports, this_cpu(), has_changed, ago, now);
        });
    }
}

/// Proof that a read-side section of the head lasts.
#[derive(Clone, Copy)]
struct Inside<'a>(&'a Head);

impl<'a> Inside<'a> {
    #[inline(always)]
    fn entries(self) -> &'a Entries {
        self.0.entries()
    }

    fn iter(self) -> impl Iterator<Item = &'a Device> + Clone {
        let entries = self.entries();

        entries.entries[..entries.len.load(Acquire) as usize]
            .iter()
            // SAFETY: Paths stay.
            .filter_map(|place| unsafe { place.load().as_ref() })
    }
}

impl<'a> Keeper<'a> for Inside<'a> {
    type Path = Device;

    #[inline(always)]
    fn version(self) -> &'a Version {
        &self.0.shortlist.version
    }

    #[inline(always)]
    fn of_ports(self) -> &'a Generation {
        self.0.port_changes
    }

    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R {
        let _lock = self.0.shortlist.lock.lock();

        f()
    }

    fn try_with_lock(self, f: impl FnOnce()) -> bool {
        let lock = self.0.shortlist.lock.try_lock();

        lock.is_ok().then(f).is_some()
    }

    fn paths(self) -> impl Iterator<Item = &'a Device> {
        self.0.paths.iter().copied()
    }

    // Ports do not change here.
    fn port_changes(_path: &Device) -> u64 {
        0
    }

    fn put(self, place: usize, path: &'a Device) -> bool {
        self.entries().entries[place].store(core::ptr::from_ref(path).cast_mut());
        path.place.store(place as u32, Relaxed);
        true
    }

    fn is_trusted(path: &Device) -> bool {
        path.state.load().is_trusted()
    }

    fn follow_policy(self) {
        let policy = self.0.group.load(Relaxed);

        self.0.shortlist.policy.store(policy, Relaxed);
    }

    fn forget(self) {
        for slot in &self.0.current_path.slots {
            slot.store(null_mut());
        }
    }

    // All paths are trusted here.
    fn set_careful(self, _paths: usize) {}

    fn set_len(self, paths: usize) {
        self.entries().len.store(paths as u32, Release);
    }

    fn listed(self) -> impl Iterator<Item = &'a Device> {
        self.iter()
    }

    fn remember(self, node: Node, path: &'a Device) {
        self.0
            .current_path
            .slot(node)
            .store(core::ptr::from_ref(path).cast_mut());
    }

    #[inline(always)]
    fn remembered(self, node: Node) -> Option<&'a Device> {
        // SAFETY: Paths stay.
        unsafe { self.0.current_path.slot(node).load().as_ref() }
    }
}

/// `Listed` in `rust/engine/publish.rs`.
#[derive(Clone, Copy)]
struct Listed<'a> {
    inside: Inside<'a>,
    entries: &'a Entries,
}

impl<'a> Candidates<'a> for Listed<'a> {
    type Path = Device;

    #[inline(always)]
    fn len(self) -> usize {
        self.entries.len.load(Acquire) as usize
    }

    #[inline(always)]
    fn at(self, place: usize) -> Option<&'a Device> {
        // SAFETY: `place` is less than a length that the array has had. Paths stay.
        unsafe { self.entries.entries.get_unchecked(place).load().as_ref() }
    }

    #[inline(always)]
    fn nearest(self, node: Node) -> Option<&'a Device> {
        shortlist::nearest_to(self.inside, || node)
    }

    #[inline(always)]
    fn cursor(self) -> usize {
        CPU.with(|cpu| cpu.next.get() as usize)
    }

    #[inline(always)]
    fn set_cursor(self, place: usize) {
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
            cpu.next.set(number + number / 2);
            cpu.done.set(number + number / 2);
            cpu.number.set(number);
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
    fn begin(disk: &'static Disk) -> Counted {
        let cpu = this_cpu();

        // `mpath_request_start()`
        Device::of(disk).port.record(cpu).start();
        cpu as Counted + 1
    }

    #[inline(never)]
    fn end(disk: &'static Disk, counted: Counted) {
        let path = Device::of(disk);
        let now = TICK.0.load(Relaxed);

        // `mpath_request_done()`, of a request that ends where it began
        path.port.record(u32::from(counted) - 1).done();
        CPU.with(|cpu| cpu.done.set(path.place.load(Relaxed)));
        if CPU.with(|cpu| cpu.tick.get()) != now {
            // SAFETY: `new()` made the disk, so it names its head, which stays.
            unsafe { &*disk.head.cast::<Head>() }.catch_up(now);
        }
    }

    fn depth(disk: &'static Disk) -> i32 {
        in_flight(&*Device::of(disk).port) as i32
    }

    fn tick() {
        TICK.0.fetch_add(1, Relaxed);
    }
}
