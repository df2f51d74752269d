// SPDX-License-Identifier: GPL-2.0

//! The choice of the path that a bio goes to.

use super::check::{
    eventually,
    skip,
    without_warnings, //
};
use super::driver::{
    Counter,
    FakePolicy,
    Setup,
    TestHead,
    ALL_POLICIES, //
};
use super::fake::{
    Behaviour,
    FakePath,
    FakePort,
    Options,
    NOT_READY,
    STATE_PENDING, //
};
use super::io::OK;
use super::thread::Thread;
use crate::bindings;
use crate::engine::cache::CurrentPath;
use crate::engine::head::MpathHead;
use crate::engine::path::MpathDevice;
use crate::ffi;
use crate::pure::nodes::{
    Node,
    NodeMap, //
};
use crate::pure::policy::{
    Candidates,
    IoPolicy, //
};
use crate::pure::state::{
    AccessState,
    PortState,
    Reasons, //
};
use crate::wrap::node_slots;
use core::alloc::Layout;
use kernel::alloc::allocator::Kmalloc;
use kernel::alloc::{
    Allocator,
    NumaNode, //
};
use kernel::ffi::{
    c_int,
    c_void, //
};
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    SetOnce, //
};
use kernel::task::Task;

/// Are both counts those of a fair share of `of`, within one?
fn is_fair(first: u32, second: u32, of: u32) -> bool {
    first + second == of && first.abs_diff(second) <= 1
}

/// Runs the rest of the test on a CPU of `node`. Returns false when there is none.
fn move_to(node: u32) -> bool {
    let cpus = bindings::cpumask::default().bits.len() * usize::BITS as usize;

    (0..cpus).any(|cpu| move_to_cpu(cpu) && node_slots::current() == Node(node))
}

/// Runs the rest of the test on a CPU. Returns false when there is no such CPU.
pub(super) fn move_to_cpu(cpu: usize) -> bool {
    let mut mask = bindings::cpumask::default();

    mask.bits[cpu / usize::BITS as usize] = 1 << (cpu % usize::BITS as usize);
    // SAFETY: A test is a thread of its own, which may be moved; the mask is valid.
    unsafe { bindings::set_cpus_allowed_ptr(Task::current_raw(), &mask) == 0 }
}

/// Two paths: readers choose the first, and the test unlinks it inside the section.
struct Pair<'a> {
    chosen: &'a FakePath,
    other: &'a FakePath,
    chosen_after: Counter,
    head: &'a TestHead,
}

/// Unlinks the path that was chosen, and chooses again.
///
/// # Safety
///
/// `data` is a [`Pair`].
unsafe extern "C" fn unlink_and_choose(
    dev: *mut bindings::mpath_device,
    data: *mut c_void,
) -> c_int {
    // SAFETY: By this function's contract.
    let pair = unsafe { &*data.cast::<Pair<'_>>() };

    if dev != pair.chosen.dev() {
        return 1;
    }
    // A removal disables the path first, and then waits for readers like this one.
    let path = pair.chosen.engine();
    path.change(|state| state.disabled(Reasons::REMOVING));
    pair.chosen.unlink();
    // SAFETY: The head is there; the callback expects the pair.
    unsafe { ffi::mpath_call_for_device(pair.head.as_raw(), Some(count_other), data) }
}

/// Counts how often the other path was chosen.
///
/// # Safety
///
/// `data` is a [`Pair`].
unsafe extern "C" fn count_other(dev: *mut bindings::mpath_device, data: *mut c_void) -> c_int {
    // SAFETY: By this function's contract.
    let pair = unsafe { &*data.cast::<Pair<'_>>() };

    if dev != pair.other.dev() {
        return 2;
    }
    pair.chosen_after.count();
    0
}

/// As many ids as this kernel can have, but no more than a machine with 256 nodes needs.
const IDS: u32 = if bindings::MAX_NUMNODES < 256 {
    bindings::MAX_NUMNODES
} else {
    256
};

/// The ids of a machine with gaps between them: where the kernel can have them, 0, 8, and 252 to
/// 255.
const SPARSE_IDS: [u32; 6] = [0, 8, IDS - 4, IDS - 3, IDS - 2, IDS - 1];

/// A machine: its possible nodes, and the map made from them.
struct Machine {
    is_possible: fn(Node) -> bool,
    map: SetOnce<node_slots::Map>,
}

impl Machine {
    const fn new(is_possible: fn(Node) -> bool) -> Self {
        Self {
            is_possible,
            map: SetOnce::new(),
        }
    }

    fn map(&self) -> Result<&node_slots::Map> {
        self.map.populate(NodeMap::new(self.is_possible));
        self.map.as_ref().ok_or(EINVAL)
    }

    fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        (0..bindings::MAX_NUMNODES)
            .map(Node)
            .filter(|node| (self.is_possible)(*node))
    }
}

static SPARSE: Machine = Machine::new(|node| SPARSE_IDS.contains(&node.0));

/// Gaps; one node, whatever its id; as many as there can be; none, as far as the kernel knows.
static MACHINES: [Machine; 5] = [
    Machine::new(|node| SPARSE_IDS.contains(&node.0)),
    Machine::new(|node| node.0 == 0),
    Machine::new(|node| node.0 == IDS - 1),
    Machine::new(|_| true),
    Machine::new(|_| false),
];

/// Chooses for every id that there can be in the kernel, on a head for `machine`. Each possible
/// node remembers its own choice; then the head forgets the choices.
fn use_every_slot(machine: &'static Machine, policy: IoPolicy) -> Result {
    let map = machine.map()?;
    let head = TestHead::new(Setup {
        policy: Some(FakePolicy::new(policy, ALL_POLICIES)?),
        map: Some(map),
        ..Setup::default()
    })?;
    let engine = head.engine();
    let slots = &engine.current_path;
    let path = head.path()?;

    check_eq!(slots.all().len(), machine.nodes().count().max(1));
    // SAFETY: The head is an allocation of its own.
    check!(
        unsafe { bindings::ksize(head.as_raw().cast()) }
            >= size_of::<MpathHead>() + size_of_val(slots.all())
    );

    let chooses = |id, path: Option<&FakePath>| {
        let section = engine.read();
        let shortlist = section.inside().shortlist();
        let chosen = policy
            .choose(shortlist, || Node(id))
            .map(core::ptr::from_ref);

        chosen == path.map(|path| core::ptr::from_ref(path.engine()))
    };

    for id in 0..bindings::MAX_NUMNODES {
        check!(chooses(id, Some(&path)));
    }
    for node in machine.nodes() {
        slots.clear();
        check!(engine.read().inside().shortlist().nearest(node).is_some());
        let others = machine
            .nodes()
            .filter(|other| !slots.slot(*other).load().is_null());
        check!(others.eq([node]));
    }
    check_eq!(head.write_many(10)?, 10);
    check!(path.remove());
    for id in 0..bindings::MAX_NUMNODES {
        check!(chooses(id, None));
    }
    check!(slots.all().iter().all(|slot| slot.load().is_null()));
    Ok(())
}

type Slots = CurrentPath<MpathDevice>;

/// The memory of a cache, and a guard behind it.
struct Guarded {
    cache: core::ptr::NonNull<u8>,
    layout: Layout,
}

impl Guarded {
    const GUARD: usize = 64;
    const PATTERN: u8 = 0xa5;

    fn new(map: &'static node_slots::Map) -> Result<Self> {
        let inner = Slots::layout(Layout::new::<Slots>(), map).ok_or(EINVAL)?;
        let layout = Layout::from_size_align(inner.size() + Self::GUARD, inner.align())
            .map_err(|_| EINVAL)?;
        let cache = Kmalloc::alloc(layout, GFP_KERNEL, NumaNode::NO_NODE)?.cast::<u8>();

        // SAFETY: The allocation is as large as the cache and its guard.
        unsafe {
            core::ptr::write_bytes(cache.as_ptr(), Self::PATTERN, layout.size());
            Slots::init(cache.as_ptr().cast(), map);
        }
        Ok(Self { cache, layout })
    }

    fn cache(&self) -> &Slots {
        // SAFETY: Initialised above.
        unsafe { self.cache.cast::<Slots>().as_ref() }
    }

    fn is_intact(&self) -> bool {
        let from = self.layout.size() - Self::GUARD;

        // SAFETY: The guard is in the allocation.
        (from..self.layout.size()).all(|at| unsafe { self.cache.add(at).read() } == Self::PATTERN)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: Allocated with this layout; a cache needs no destructor.
        unsafe { Kmalloc::free(self.cache, self.layout) }
    }
}

#[kunit_tests(mpath_select)]
mod tests {
    use super::*;

    /// Shows L-13.
    #[test]
    fn numa_chooses_the_path_of_the_submitting_node() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let near = |node| Options {
            node,
            ..Options::default()
        };
        let paths = [head.path_with(near(0))?, head.path_with(near(1))?];

        if node_slots::online().count() < 2 {
            return skip(c"needs two NUMA nodes");
        }
        for node in [0, 1] {
            check!(move_to(node));
            let before = paths[node as usize].bios();
            check_eq!(head.write_many(10)?, 10);
            check_eq!(paths[node as usize].bios(), before + 10);
        }
        Ok(())
    }

    #[test]
    fn numa_stays_with_its_choice() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let (a, b) = (head.path()?, head.path()?);

        check_eq!(head.write_many(10)?, 10);
        check!(a.bios() == 10 && b.bios() == 0);
        Ok(())
    }

    #[test]
    fn round_robin_takes_turns() -> Result {
        let head = TestHead::following(IoPolicy::RoundRobin)?;
        let (a, b) = (head.path()?, head.path()?);

        check!(move_to(0));
        check_eq!(head.write_many(21)?, 21);
        check!(is_fair(a.bios(), b.bios(), 21));
        Ok(())
    }

    #[test]
    fn round_robin_takes_turns_when_no_path_is_optimized() -> Result {
        let head = TestHead::following(IoPolicy::RoundRobin)?;
        let slow = || Options {
            access: AccessState::NonOptimized,
            ..Options::default()
        };
        let (a, b) = (head.path_with(slow())?, head.path_with(slow())?);

        check!(move_to(0));
        check_eq!(head.write_many(21)?, 21);
        check!(is_fair(a.bios(), b.bios(), 21));
        Ok(())
    }

    /// Shows L-10.
    #[test]
    fn queue_depth_evens_out_what_is_in_flight() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let (a, b) = (head.path()?, head.path()?);

        // Another CPU would learn a tick later that the path is done.
        check!(move_to(0));
        a.behave(Behaviour::Hold);
        b.behave(Behaviour::Hold);
        for sector in 0..11 {
            head.write(sector)?;
        }
        check!(is_fair(a.bios(), b.bios(), 11));

        // A path that is done gets all bios until it has as much to do as the other.
        a.complete_held();
        let before = a.bios();
        for sector in 0..5 {
            head.write(sector)?;
        }
        check_eq!(a.bios(), before + 5);
        Ok(())
    }

    /// Shows L-13.
    #[test]
    fn queue_depth_is_that_of_the_port() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let busy = FakePort::new(PortState::Live)?;
        let through = |port: &Arc<FakePort>| Options {
            port: Some(port.clone()),
            ..Options::default()
        };
        let other_head = TestHead::following(IoPolicy::QueueDepth)?;
        let elsewhere = other_head.path_with(through(&busy))?;
        let a = head.path_with(through(&busy))?;
        let b = head.path()?;

        // A request that another head has in flight through the port counts.
        check!(move_to(0));
        elsewhere.behave(Behaviour::Hold);
        other_head.write(0)?;
        check_eq!(head.write_many(6)?, 6);
        check!(a.bios() == 0 && b.bios() == 6);
        Ok(())
    }

    /// Shows A-15.
    #[test]
    fn a_path_that_comes_near_to_another_node_serves_that() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let (a, b) = (
            head.path_with(Options {
                node: 0,
                ..Options::default()
            })?,
            head.path_with(Options {
                node: 1,
                ..Options::default()
            })?,
        );

        if node_slots::possible().count() != 2 || !move_to(0) {
            return skip(c"there are not two nodes");
        }
        check_eq!(head.write_many(4)?, 4);
        check!(a.bios() == 4 && b.bios() == 0);
        // SAFETY: The paths are on the head.
        unsafe {
            ffi::mpath_device_set_numa_node(a.dev(), 1);
            ffi::mpath_device_set_numa_node(b.dev(), 0);
        }
        check_eq!(head.write_many(4)?, 4);
        check!(a.bios() == 4 && b.bios() == 4);

        // A number that is no node changes nothing.
        let ((), warnings) = without_warnings(|| {
            // SAFETY: As above.
            unsafe { ffi::mpath_device_set_numa_node(b.dev(), -2) }
        });
        check_eq!(warnings, 1);
        check_eq!(head.write_many(4)?, 4);
        check_eq!(b.bios(), 8);
        Ok(())
    }

    /// Shows A-16.
    #[test]
    fn cpus_begin_their_turns_at_different_paths() -> Result {
        // Neighbours, and every second one.
        const STEPS: [usize; 2] = [1, 2];

        for step in STEPS {
            let head = TestHead::following(IoPolicy::RoundRobin)?;
            let (a, b) = (head.path()?, head.path()?);
            let mut cpus = 0;

            for cpu in (0..16).step_by(step) {
                if move_to_cpu(cpu) {
                    check_eq!(head.write_many(1)?, 1);
                    cpus += 1;
                }
            }
            if cpus < 2 {
                return skip(c"there are too few CPUs");
            }
            check!(is_fair(a.bios(), b.bios(), cpus));
        }
        Ok(())
    }

    /// Shows L-9.
    #[test]
    fn a_disabled_path_is_never_chosen() -> Result {
        for policy in IoPolicy::ALL {
            for reason in [NOT_READY, STATE_PENDING, NOT_READY | STATE_PENDING] {
                let head = TestHead::following(policy)?;
                let (a, b) = (head.path()?, head.path()?);

                for (disabled, other) in [(&a, &b), (&b, &a)] {
                    head.write_many(4)?;
                    disabled.disable(reason);
                    let before = (disabled.bios(), other.bios());
                    check_eq!(head.write_many(8)?, 8);
                    check_eq!(disabled.bios(), before.0);
                    check_eq!(other.bios(), before.1 + 8);
                    disabled.enable(reason);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_path_is_chosen_when_no_reason_against_it_is_left() -> Result {
        let head = TestHead::new(Default::default())?;
        let path = head.path()?;
        let other = head.path()?;

        path.disable(NOT_READY | STATE_PENDING);
        other.disable(NOT_READY);
        path.enable(NOT_READY);
        let waits = head.write(0)?;
        head.kick();
        check_eq!(path.bios(), 0);
        path.enable(STATE_PENDING);
        check_eq!(waits.wait(), OK);
        check_eq!(path.bios(), 1);
        Ok(())
    }

    /// Shows L-9.
    #[test]
    fn a_path_whose_port_takes_no_io_is_never_chosen() -> Result {
        for policy in IoPolicy::ALL {
            for state in [PortState::Dead, PortState::Recovering] {
                let head = TestHead::following(policy)?;
                let (a, b) = (head.path()?, head.path()?);

                head.write_many(4)?;
                a.port().set(state);
                let before = a.bios();
                check_eq!(head.write_many(8)?, 8);
                check_eq!(a.bios(), before);
                b.port().set(state);
                a.port().set(PortState::Draining);
                check_eq!(head.write_many(4)?, 4);
                check_eq!(a.bios(), before + 4);
            }
        }
        Ok(())
    }

    #[test]
    fn optimized_paths_are_preferred_and_others_never_used() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let (a, b, c) = (head.path()?, head.path()?, head.path()?);

            a.set_access(AccessState::Other);
            b.set_access(AccessState::NonOptimized);
            check_eq!(head.write_many(6)?, 6);
            check!(a.bios() == 0 && b.bios() == 0 && c.bios() == 6);

            c.set_access(AccessState::Other);
            check_eq!(head.write_many(6)?, 6);
            check!(a.bios() == 0 && b.bios() == 6 && c.bios() == 6);
        }
        Ok(())
    }

    #[test]
    fn a_better_path_replaces_the_one_that_was_chosen() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let slow = head.path_with(Options {
                access: AccessState::NonOptimized,
                ..Options::default()
            })?;

            check_eq!(head.write_many(4)?, 4);
            check_eq!(slow.bios(), 4);
            let fast = head.path()?;
            check_eq!(head.write_many(4)?, 4);
            check!(slow.bios() == 4 && fast.bios() == 4);

            fast.set_access(AccessState::NonOptimized);
            slow.set_access(AccessState::Optimized);
            check_eq!(head.write_many(4)?, 4);
            check!(slow.bios() == 8 && fast.bios() == 4);
        }
        Ok(())
    }

    #[test]
    fn a_nearer_path_replaces_the_one_that_was_chosen() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let near = |node| Options {
            node,
            ..Options::default()
        };
        let far = head.path_with(near(1))?;

        if node_slots::online().count() < 2 {
            return skip(c"needs two NUMA nodes");
        }
        check!(move_to(0));
        check_eq!(head.write_many(4)?, 4);
        let local = head.path_with(near(0))?;
        check_eq!(head.write_many(4)?, 4);
        check!(far.bios() == 4 && local.bios() == 4);
        Ok(())
    }

    #[test]
    fn a_choice_can_be_dropped() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let path = head.path()?;

        check_eq!(head.write_many(1)?, 1);
        // SAFETY: Path and head are there.
        unsafe {
            check!(ffi::mpath_clear_current_path(path.dev()));
            check!(!ffi::mpath_clear_current_path(path.dev()));
            check_eq!(head.write_many(1)?, 1);
            ffi::mpath_clear_paths(head.as_raw());
            check!(!ffi::mpath_clear_current_path(path.dev()));
        }
        check_eq!(head.write_many(1)?, 1);
        Ok(())
    }

    /// Shows L-1.
    #[test]
    fn a_head_ends_with_a_slot_for_every_possible_node() -> Result {
        let head = TestHead::new(Default::default())?;
        let engine = head.engine();
        let possible = node_slots::possible().count();
        let begin = core::ptr::from_ref(&*engine) as usize;
        let size = size_of::<MpathHead>() + possible * size_of::<usize>();
        let mut seen = KVec::with_capacity(possible, GFP_KERNEL)?;

        check_eq!(node_slots::map().slots(), possible);
        for node in node_slots::possible() {
            let slot = core::ptr::from_ref(engine.current_path.slot(node)) as usize;
            check!(slot >= begin + core::mem::offset_of!(MpathHead, current_path));
            check!(slot + size_of::<usize>() <= begin + size);
            check!(!seen.contains(&slot));
            seen.push_within_capacity(slot)?;
        }
        // SAFETY: The head is an allocation of its own.
        check!(unsafe { bindings::ksize(head.as_raw().cast()) } >= size);
        Ok(())
    }

    /// Shows L-1.
    #[test]
    fn node_ids_with_gaps_stay_within_the_cache() -> Result {
        let map = SPARSE.map()?;
        let memory = Guarded::new(map)?;
        let head = TestHead::new(Default::default())?;
        let path = head.path()?;

        check_eq!(map.slots(), SPARSE_IDS.len());
        for id in SPARSE_IDS {
            let slot = memory.cache().slot(Node(id));

            check!(slot.load().is_null());
            slot.store(core::ptr::from_ref(path.engine()).cast_mut());
        }
        // Ids that are not possible are within, too, where all slots lead to the same path.
        for id in 0..2 * bindings::MAX_NUMNODES {
            let found = memory.cache().slot(Node(id)).load();

            check!(core::ptr::eq(found, path.engine()));
        }
        check!(memory.is_intact());
        memory.cache().clear();
        for id in SPARSE_IDS {
            check!(memory.cache().slot(Node(id)).load().is_null());
        }
        check!(memory.is_intact());
        Ok(())
    }

    /// Shows L-1.
    #[test]
    fn a_head_is_used_from_every_node_whatever_the_ids_are() -> Result {
        for machine in &MACHINES {
            for policy in IoPolicy::ALL {
                use_every_slot(machine, policy)?;
            }
        }
        Ok(())
    }

    /// Shows L-7.
    #[test]
    fn choosing_ends_although_the_last_choice_was_unlinked() -> Result {
        for policy in IoPolicy::ALL {
            let head = TestHead::following(policy)?;
            let a = head.path()?;
            let b = head.path_with(Options {
                access: AccessState::NonOptimized,
                ..Options::default()
            })?;
            let pair = Pair {
                chosen: &a,
                other: &b,
                chosen_after: Counter::new(),
                head: &head,
            };
            let data = (&raw const pair).cast_mut().cast();

            check!(move_to(0));
            check_eq!(head.write_many(1)?, 1);
            // SAFETY: The head is there; the callback expects the pair.
            let result =
                unsafe { ffi::mpath_call_for_device(head.as_raw(), Some(unlink_and_choose), data) };
            check_eq!(result, 0);
            check_eq!(pair.chosen_after.get(), 1);
            check_eq!(head.write_many(4)?, 4);
            check!(a.bios() == 1 && b.bios() == 4);
            head.synchronize();
            a.relink(&head)?;
        }
        Ok(())
    }

    /// Shows L-7.
    #[test]
    fn walks_end_while_paths_come_and_go() -> Result {
        for policy in [IoPolicy::RoundRobin, IoPolicy::QueueDepth] {
            let head = Arc::new(TestHead::following(policy)?, GFP_KERNEL)?;
            let stays = head.path()?;
            let goes = head.path()?;
            let submitter = {
                let head = head.clone();
                Thread::spawn(move || head.write_many(400))?
            };

            while !submitter.is_done() {
                goes.remove();
                goes.add(&head)?;
                goes.go_live();
            }
            check!(eventually(|| submitter.is_done()));
            check_eq!(submitter.join()??, 400);
            check!(stays.bios() > 0);
        }
        Ok(())
    }
}
