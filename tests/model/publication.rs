// SPDX-License-Identifier: GPL-2.0

//! Paths are published and removed while others choose: nobody touches one that has been freed.
//!
//! The library's own: the policies, the state words, the list, the slots, and `quiesce()`. After
//! `rust/engine`: what `Section` hands to the policies (`select.rs`), and the order of the driver's
//! calls in `nvme_unlink_ns()`. SRCU is made by hand (`kernel.rs`).

use crate::explore::{
    holds,
    is_caught,
    Preemptions::AtMost, //
};
use crate::kernel::{
    Guard,
    Srcu, //
};
use crate::list::{
    Device,
    List, //
};
use libmultipath::nodes::Node;
use libmultipath::policy::{
    IoPolicy,
    Path,
    Paths, //
};
use libmultipath::slots;
use libmultipath::state::{
    Access,
    AccessState,
    Reasons, //
};
use libmultipath::sync::AtomicPtr;
use loom::sync::Mutex;
use loom::thread;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Arc;

const PATHS: usize = 3;

/// A head with one slot, and the drivers' memory for its paths.
struct Head<const READERS: usize> {
    devices: [Device; PATHS],
    paths: List,
    slots: [AtomicPtr<Device>; 1],
    srcu: Srcu<READERS>,
    control: Mutex<()>,
}

/// A step of taking a path away. What is right is [`RIGHT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What `quiesce()` does; and its parts, for those who do it wrong.
    Quiesce,
    Disable,
    Synchronize,
    Forget,
    Unlink,
    /// As if readers did not stand on what is unlinked.
    UnlinkAndPoison,
    /// As if the list were nobody else's to change.
    UnlinkWithoutTheMutex,
    Free,
}

use Step::*;

/// `quiesce()`, `delete_path()`, `synchronize()`, and then the memory is the driver's.
const RIGHT: &[Step] = &[Quiesce, Unlink, Synchronize, Free];

impl<const READERS: usize> Head<READERS> {
    /// A head with the first `paths` paths, one of which may be cached.
    fn new(paths: usize, cached: Option<usize>) -> Arc<Self> {
        let head = Arc::new(Self {
            devices: core::array::from_fn(|_| Device::new()),
            paths: List::new(),
            slots: [AtomicPtr::new(null_mut())],
            srcu: Srcu::new(),
            control: Mutex::new(()),
        });

        for device in &head.devices[..paths] {
            head.add(device);
        }
        if let Some(index) = cached {
            head.slots[0].store((&raw const head.devices[index]).cast_mut());
        }
        head
    }

    fn add(&self, device: &Device) {
        self.add_with(device, List::push_back);
    }

    fn add_with(&self, device: &Device, push_back: fn(&List, &Device)) {
        let _control = self.control.lock().unwrap();

        device.init(AccessState::Optimized);
        push_back(&self.paths, device);
    }

    fn take_away(&self, device: &Device, steps: &[Step]) {
        for step in steps {
            match step {
                Quiesce => slots::quiesce(&self.slots, device, &device.state, || {
                    self.srcu.synchronize()
                }),
                Disable => {
                    device
                        .state
                        .update(|state| state.disabled(Reasons::REMOVING));
                }
                Synchronize => self.srcu.synchronize(),
                Forget => {
                    slots::forget(&self.slots, device);
                }
                Unlink => {
                    let _control = self.control.lock().unwrap();

                    self.paths.remove(device);
                }
                UnlinkAndPoison => {
                    let _control = self.control.lock().unwrap();

                    self.paths.remove_and_poison(device);
                }
                UnlinkWithoutTheMutex => self.paths.remove(device),
                Free => device.free(),
            }
        }
    }

    fn read(&self, reader: usize) -> Section<'_, READERS> {
        Section {
            head: self,
            _guard: self.srcu.read_lock(reader),
            steps: Cell::new(0),
        }
    }

    /// Sends a bio: `MpathHead::submit()`. Returns whether there was a path to send it to.
    fn submit(&self, reader: usize, policy: IoPolicy) -> bool {
        let section = self.read(reader);
        let path = policy.choose(&section, Node(0));

        if let Some(path) = path {
            path.device().touch();
        }
        path.is_some()
    }
}

struct Section<'a, const READERS: usize> {
    head: &'a Head<READERS>,
    _guard: Guard<'a>,
    /// How many steps walks have taken.
    steps: Cell<usize>,
}

impl<const READERS: usize> Section<'_, READERS> {
    fn walk<'b>(&'b self, after: Option<&'b Device>) -> impl Iterator<Item = &'b Seen> {
        self.head
            .paths
            .iter_after(after)
            .inspect(|_| self.steps.set(self.steps.get() + 1))
            .map(Seen::new)
    }
}

/// A path as it is seen in a section.
#[repr(transparent)]
struct Seen(Device);

impl Seen {
    fn new(device: &Device) -> &Self {
        // SAFETY: Transparent.
        unsafe { &*core::ptr::from_ref(device).cast() }
    }

    fn device(&self) -> &Device {
        &self.0
    }
}

impl Path for Seen {
    fn access(&self) -> Access {
        self.0.touch();
        self.0.state.load().access()
    }

    fn distance(&self, _node: Node) -> u32 {
        10
    }

    fn depth(&self) -> u32 {
        1
    }
}

impl<const READERS: usize> Paths for Section<'_, READERS> {
    type Path = Seen;

    fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.walk(None)
    }

    fn iter_after<'a>(&'a self, path: &'a Seen) -> impl Iterator<Item = &'a Seen> {
        self.walk(Some(path.device()))
    }

    fn cached(&self, _node: Node) -> Option<&Seen> {
        // SAFETY: The models keep the memory of devices; loom finds out if they may not be touched.
        unsafe { self.head.slots[0].load().as_ref() }.map(Seen::new)
    }

    fn cache(&self, _node: Node, path: &Seen) {
        self.head.slots[0].store(core::ptr::from_ref(path.device()).cast_mut());
    }
}

/// The first of two paths is taken away, while two readers choose, one of them twice.
fn one_goes(
    policy: IoPolicy,
    cached: Option<usize>,
    steps: &'static [Step],
) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, cached);
        let readers = [(0, 2), (1, 1)].map(|(reader, times)| {
            let head = head.clone();
            thread::spawn(move || (0..times).all(|_| head.submit(reader, policy)))
        });

        head.take_away(&head.devices[0], steps);
        for reader in readers {
            assert!(reader.join().unwrap(), "the other path was not found");
        }
    }
}

/// loom's words for a reader that touches memory which is being freed.
const TOUCHED: &str = "Causality violation";

/// Shows L-7, L-12.
#[test]
fn nobody_touches_a_path_that_numa_chose_before_it_was_freed() {
    for cached in [None, Some(0), Some(1)] {
        holds(AtMost(3), one_goes(IoPolicy::Numa, cached, RIGHT));
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_touches_a_path_that_round_robin_chose_before_it_was_freed() {
    for cached in [None, Some(0), Some(1)] {
        holds(AtMost(3), one_goes(IoPolicy::RoundRobin, cached, RIGHT));
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_touches_a_path_that_queue_depth_chose_before_it_was_freed() {
    holds(AtMost(3), one_goes(IoPolicy::QueueDepth, None, RIGHT));
}

/// Shows L-7, L-12.
#[test]
fn a_path_that_is_freed_without_a_grace_period_is_touched() {
    const STEPS: &[Step] = &[Quiesce, Unlink, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(3),
            one_goes(policy, None, STEPS),
        );
    }
}

/// A reader that saw the path usable puts it back into the slot.
///
/// Shows L-7, L-12.
#[test]
fn a_path_that_is_forgotten_before_the_grace_period_is_touched() {
    const STEPS: &[Step] = &[Disable, Forget, Synchronize, Unlink, Synchronize, Free];

    is_caught(
        (STEPS, IoPolicy::Numa),
        TOUCHED,
        AtMost(3),
        one_goes(IoPolicy::Numa, None, STEPS),
    );
    is_caught(
        (STEPS, IoPolicy::RoundRobin),
        TOUCHED,
        AtMost(3),
        one_goes(IoPolicy::RoundRobin, Some(1), STEPS),
    );
}

/// Shows L-7, L-12.
#[test]
fn a_path_that_stays_in_a_slot_is_touched() {
    const STEPS: &[Step] = &[Disable, Synchronize, Unlink, Synchronize, Free];

    for policy in [IoPolicy::Numa, IoPolicy::RoundRobin] {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(3),
            one_goes(policy, Some(0), STEPS),
        );
    }
}

/// Shows L-9, L-12.
#[test]
fn a_path_that_is_not_disabled_first_is_touched() {
    const STEPS: &[Step] = &[Synchronize, Forget, Disable, Unlink, Synchronize, Free];

    is_caught(
        (STEPS, IoPolicy::Numa),
        TOUCHED,
        AtMost(3),
        one_goes(IoPolicy::Numa, None, STEPS),
    );
    is_caught(
        (STEPS, IoPolicy::RoundRobin),
        TOUCHED,
        AtMost(3),
        one_goes(IoPolicy::RoundRobin, Some(1), STEPS),
    );
}

const FORGOTTEN_TOO_LATE: &[Step] = &[Disable, Synchronize, Unlink, Synchronize, Forget, Free];

/// Shows L-7, L-12.
#[test]
fn a_path_that_is_forgotten_after_the_last_grace_period_is_touched() {
    for policy in [IoPolicy::Numa, IoPolicy::RoundRobin] {
        is_caught(
            (FORGOTTEN_TOO_LATE, policy),
            TOUCHED,
            AtMost(3),
            one_goes(policy, Some(0), FORGOTTEN_TOO_LATE),
        );
    }
}

/// Shows L-7.
#[test]
fn a_walk_that_stands_on_an_unlinked_path_ends_too_early_if_its_next_is_poisoned() {
    const STEPS: &[Step] = &[Quiesce, UnlinkAndPoison, Synchronize, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            "the other path was not found",
            AtMost(3),
            one_goes(policy, None, STEPS),
        );
    }
}

const UNLINKED_AT_ONCE: &[Step] = &[Quiesce, UnlinkWithoutTheMutex, Synchronize, Free];

/// Two neighbours are taken away at the same time, while a reader stands on one of them.
fn two_go(policy: IoPolicy, steps: &'static [Step]) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(PATHS, Some(0));
        let other = {
            let head = head.clone();
            thread::spawn(move || head.take_away(&head.devices[1], steps))
        };
        let reader = {
            let head = head.clone();
            thread::spawn(move || head.submit(0, policy) && head.submit(0, policy))
        };

        head.take_away(&head.devices[0], steps);
        other.join().unwrap();
        assert!(reader.join().unwrap(), "the third path was not found");
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_touches_two_neighbours_that_go_at_the_same_time() {
    for policy in [IoPolicy::Numa, IoPolicy::RoundRobin] {
        holds(AtMost(3), two_go(policy, RIGHT));
        is_caught(
            (FORGOTTEN_TOO_LATE, policy),
            TOUCHED,
            AtMost(3),
            two_go(policy, FORGOTTEN_TOO_LATE),
        );
        is_caught(
            (UNLINKED_AT_ONCE, policy),
            TOUCHED,
            AtMost(3),
            two_go(policy, UNLINKED_AT_ONCE),
        );
    }
}

/// A path is added while two readers choose; one may cache it for the other.
fn one_comes(policy: IoPolicy, push_back: fn(&List, &Device)) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(0, None);
        let readers = [0, 1].map(|reader| {
            let head = head.clone();
            thread::spawn(move || head.submit(reader, policy))
        });

        head.add_with(&head.devices[0], push_back);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}

/// Shows L-12.
#[test]
fn a_path_is_initialised_when_a_reader_finds_it_on_the_list_or_in_a_slot() {
    for policy in IoPolicy::ALL {
        holds(AtMost(3), one_comes(policy, List::push_back));
        is_caught(
            ("PublishesWithoutRelease", policy),
            TOUCHED,
            AtMost(3),
            one_comes(policy, List::push_back_relaxed),
        );
    }
}

/// How the round-robin walk of the C series goes on from the last choice: until it meets it again.
fn walk_until_met<const READERS: usize>(section: &Section<'_, READERS>, last: &Seen) {
    let mut at = last.device();

    loop {
        at = section
            .head
            .paths
            .iter_after(Some(at))
            .next()
            .or_else(|| section.head.paths.iter_after(None).next())
            .unwrap_or(at);
        if core::ptr::eq(at, last.device()) {
            return;
        }
    }
}

/// A reader walks from the cached path while that one is unlinked and another one is added. Since a
/// second reader may put another path into the slot, nobody waits for the first. No path is optimized
/// at first: a walk ends where it finds one that is.
fn walking(walk: fn(&Section<'_, 2>)) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, Some(0));
        for device in &head.devices[..2] {
            device
                .state
                .update(|state| state.reaching(AccessState::NonOptimized));
        }
        let walker = {
            let head = head.clone();
            thread::spawn(move || {
                let section = head.read(0);

                walk(&section);
                section.steps.get()
            })
        };
        let other = {
            let head = head.clone();
            thread::spawn(move || head.submit(1, IoPolicy::RoundRobin))
        };

        head.take_away(&head.devices[0], RIGHT);
        head.add(&head.devices[2]);
        other.join().unwrap();
        let steps = walker.join().unwrap();
        assert!(steps <= 2 * PATHS, "{steps} steps");
    }
}

/// Shows L-7.
#[test]
fn a_round_robin_walk_ends_although_the_last_choice_is_unlinked() {
    holds(
        AtMost(3),
        walking(|section| {
            IoPolicy::RoundRobin.choose(section, Node(0));
        }),
    );
    is_caught(
        "WalksUntilTheLastChoiceIsMet",
        "exceeded maximum number of branches",
        AtMost(3),
        walking(|section| {
            if let Some(last) = section.cached(Node(0)) {
                walk_until_met(section, last);
            }
        }),
    );
}

/// A reader asks whether a path is the only one, while another one goes.
fn asking(ask: fn(&List) -> bool) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(2, None);
        let reader = {
            let head = head.clone();
            thread::spawn(move || {
                let section = head.read(0);

                ask(&section.head.paths)
            })
        };

        head.take_away(&head.devices[1], RIGHT);
        reader.join().unwrap();
    }
}

/// Shows L-8.
#[test]
fn only_the_links_that_lead_forward_are_read_by_those_who_walk() {
    holds(
        AtMost(3),
        asking(|paths| paths.iter_after(None).nth(1).is_none()),
    );
    is_caught("ReadsPrev", TOUCHED, AtMost(3), asking(List::is_singular));
}
