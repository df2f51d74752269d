// SPDX-License-Identifier: GPL-2.0

//! Paths are published and removed while others choose: nobody touches one that has been freed, and
//! nobody fails to see one that can be used.
//!
//! The library's own: the policies, the state words and how they are changed, the list, adding and
//! deleting paths, and making shortlists and choosing the nearest path. After `rust/engine`: the
//! places of a shortlist, and that a bio asks whether it is current. After the driver's contract:
//! the order of its calls. SRCU is made by hand (`kernel.rs`).

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
use libmultipath::parking::Kick;
use libmultipath::policy::{
    Candidates,
    IoPolicy,
    Path, //
};
use libmultipath::removal::{
    self,
    Control,
    Controlled, //
};
use libmultipath::shortlist::{
    self,
    change,
    change_port,
    nearest,
    note,
    Changes,
    Keeper,
    Stamp, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicHeadWord,
    PathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::AtomicPtr;
use loom::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use loom::sync::Mutex;
use loom::thread;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Arc;

const PATHS: usize = 3;

/// A head on a machine with one node, and the drivers' memory for its paths.
struct Head<const READERS: usize> {
    devices: [Device; PATHS],
    paths: List,
    stamp: Stamp,
    len: AtomicU32,
    places: [AtomicPtr<Device>; PATHS],
    slot: AtomicPtr<Device>,
    /// The changes of ports.
    port_changes: Changes,
    /// The shortlist's lock.
    lock: Mutex<()>,
    srcu: Srcu<READERS>,
    word: AtomicHeadWord,
    control: Mutex<Control>,
    mutant: Mutant,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    Nothing,
    /// A shortlist is current whatever has changed.
    IsAlwaysCurrent,
    /// The counts are read before the stamp.
    SumsBeforeTheStamp,
    /// The stamp is loaded without acquire.
    LoadsTheStampRelaxed,
    /// A change is counted by the one of several who has made it.
    CountsWhatIsNew,
    /// Slots survive that a shortlist is made anew.
    KeepsSlots,
    /// The nearest path is found and remembered without the lock.
    ElectsWithoutTheLock,
    /// Shortlists are made without the lock.
    RenewsWithoutTheLock,
}

/// A step of taking a path away. What is right is [`RIGHT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `MpathHead::quiesce()`.
    Quiesce,
    /// `MpathHead::delete_path()`.
    Delete,
    /// What the two do, step by step.
    Disable,
    Count,
    Synchronize,
    Unlink,
    /// As if readers did not stand on what is unlinked.
    UnlinkAndPoison,
    /// As if the list were nobody else's to change.
    UnlinkWithoutTheMutex,
    Free,
}

use Step::*;

/// After the last step but one the memory is the driver's.
const RIGHT: &[Step] = &[Quiesce, Delete, Synchronize, Free];

impl<const READERS: usize> Kick for Head<READERS> {
    fn kick(&self) {}
}

impl<const READERS: usize> Controlled for Head<READERS> {
    fn word(&self) -> &AtomicHeadWord {
        &self.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        f(&mut self.control.lock().unwrap())
    }
}

crate::kernel::without_timer!(Head<READERS>, const READERS: usize);

impl<const READERS: usize> Head<READERS> {
    /// A head with the first `paths` paths, which somebody has chosen from if `chosen`.
    fn new(paths: usize, chosen: bool, mutant: Mutant) -> Arc<Self> {
        let head = Arc::new(Self {
            devices: core::array::from_fn(|_| Device::new()),
            paths: List::new(),
            stamp: Stamp::new(),
            len: AtomicU32::new(0),
            places: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
            slot: AtomicPtr::new(null_mut()),
            port_changes: Changes::new(),
            lock: Mutex::new(()),
            srcu: Srcu::new(),
            word: AtomicHeadWord::new(),
            control: Mutex::new(Control::default()),
            mutant,
        });

        for device in &head.devices[..paths] {
            head.add(device);
        }
        if chosen {
            head.submit(0, IoPolicy::Numa);
        }
        head
    }

    fn add(&self, device: &Device) {
        self.add_with(device, List::push_back);
    }

    fn add_with(&self, device: &Device, push_back: fn(&List, &Device)) {
        removal::add_path(self, (), |_| {
            device.init(AccessState::Optimized);
            push_back(&self.paths, device);
            Ok(())
        })
        .unwrap();
        // It is enabled.
        self.stamp.changes().add();
    }

    fn change(&self, device: &Device, f: impl Fn(PathState) -> PathState) {
        if self.mutant == Mutant::CountsWhatIsNew {
            note(&device.state, self.stamp.changes(), f);
        } else {
            change(&device.state, self.stamp.changes(), f);
        }
    }

    fn change_port(&self, device: &Device, state: PortState) {
        if self.mutant != Mutant::CountsWhatIsNew {
            change_port(&device.port, &self.port_changes, state);
        } else if device.port.update(|_| state as u32) != state as u32 {
            self.port_changes.add();
        }
    }

    fn take_away(&self, device: &Device, steps: &[Step]) {
        for step in steps {
            match step {
                Quiesce => self.change(device, |state| state.disabled(Reasons::REMOVING)),
                Delete => {
                    removal::delete_path(self, self.stamp.changes(), || {
                        self.paths.remove(device);
                        true
                    });
                }
                Disable => {
                    device
                        .state
                        .update(|state| state.disabled(Reasons::REMOVING));
                }
                Count => self.stamp.changes().add(),
                Synchronize => self.srcu.synchronize(),
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
            turn: Cell::new(0),
            steps: Cell::new(0),
        }
    }

    /// Sends a bio: `MpathHead::submit()`. Returns whether there was a path to send it to.
    fn submit(&self, reader: usize, policy: IoPolicy) -> bool {
        let section = self.read(reader);
        let path = section.choose(policy);

        if let Some(path) = path {
            path.device().touch();
        }
        path.is_some()
    }
}

struct Section<'a, const READERS: usize> {
    head: &'a Head<READERS>,
    _guard: Guard<'a>,
    turn: Cell<usize>,
    /// How many steps walks have taken.
    steps: Cell<usize>,
}

impl<const READERS: usize> Section<'_, READERS> {
    fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.head
            .paths
            .iter()
            .inspect(|_| self.steps.set(self.steps.get() + 1))
            .map(Seen::of)
    }

    fn choose(&self, policy: IoPolicy) -> Option<&Seen> {
        if !self.is_current() {
            shortlist::renew(self, || ());
        }
        policy.choose(self, || Node(0))
    }

    fn is_current(&self) -> bool {
        let head = self.head;
        let sum = || head.stamp.changes().count() + head.port_changes.count();
        // SAFETY: A stamp begins with what it is of, which is one `AtomicU64` on the host.
        let of: &AtomicU64 = unsafe { &*core::ptr::from_ref(&head.stamp).cast() };

        match head.mutant {
            Mutant::IsAlwaysCurrent => head.len.load(Ordering::Acquire) != 0,
            Mutant::SumsBeforeTheStamp => sum() == of.load(Ordering::Acquire),
            Mutant::LoadsTheStampRelaxed => of.load(Ordering::Relaxed) == sum(),
            _ => head.stamp.is_current(&head.port_changes),
        }
    }

    /// `Inside::elect()`.
    fn elect(&self, node: Node) -> Option<&Seen> {
        if self.head.mutant != Mutant::ElectsWithoutTheLock {
            return shortlist::elect(self, node);
        }

        let path = nearest(self.listed(), node)?;
        self.remember(node, path);
        Some(path)
    }
}

impl<'a, const READERS: usize> Keeper<'a> for &'a Section<'_, READERS> {
    type Path = Seen;

    fn stamp(self) -> &'a Stamp {
        &self.head.stamp
    }

    fn of_ports(self) -> &'a Changes {
        &self.head.port_changes
    }

    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R {
        let needs_lock = self.head.mutant != Mutant::RenewsWithoutTheLock;
        let _lock = needs_lock.then(|| self.head.lock.lock().unwrap());

        f()
    }

    fn paths(self) -> impl Iterator<Item = &'a Seen> {
        self.iter()
    }

    fn put(self, place: usize, path: &'a Seen) -> bool {
        self.head.places[place].store(core::ptr::from_ref(path.device()).cast_mut());
        true
    }

    fn is_trusted(path: &Seen) -> bool {
        path.0.state.load().is_trusted()
    }

    fn complete(self, paths: usize, _is_trusted: bool) {
        if self.head.mutant != Mutant::KeepsSlots {
            self.head.slot.store(null_mut());
        }
        self.head.len.store(paths as u32, Ordering::Release);
    }

    fn listed(self) -> impl Iterator<Item = &'a Seen> {
        (0..self.len()).filter_map(|place| self.at(place))
    }

    fn remember(self, _node: Node, path: &'a Seen) {
        self.head
            .slot
            .store(core::ptr::from_ref(path.device()).cast_mut());
    }
}

/// A path as it is seen in a section.
#[repr(transparent)]
struct Seen(Device);

impl Seen {
    fn of(device: &Device) -> &Self {
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
        self.0
            .state
            .load()
            .access_through(|| PortState::from_raw(self.0.port.load()))
    }

    fn distance(&self, _node: Node) -> u32 {
        self.0.touch();
        10
    }

    fn depth(&self) -> i32 {
        self.0.touch();
        1
    }
}

impl<'a, const READERS: usize> Candidates<'a> for &'a Section<'_, READERS> {
    type Path = Seen;

    fn len(self) -> usize {
        self.head.len.load(Ordering::Acquire) as usize
    }

    fn at(self, place: usize) -> Option<&'a Seen> {
        // SAFETY: The models keep the memory of devices; loom finds out if they may not be touched.
        unsafe { self.head.places[place].load().as_ref() }.map(Seen::of)
    }

    fn nearest(self, node: Node) -> Option<&'a Seen> {
        // SAFETY: As above.
        match unsafe { self.head.slot.load().as_ref() } {
            Some(device) => Some(Seen::of(device)),
            None => self.elect(node),
        }
    }

    fn turn(self) -> usize {
        self.turn.get()
    }

    fn set_turn(self, place: usize) {
        self.turn.set(place);
    }

    fn last_done(self) -> usize {
        0
    }
}

/// The first of two paths is taken away, while two readers choose.
fn one_goes(
    policy: IoPolicy,
    chosen: bool,
    steps: &'static [Step],
    mutant: Mutant,
) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, chosen, mutant);
        let readers = [0, 1].map(|reader| {
            let head = head.clone();
            thread::spawn(move || head.submit(reader, policy))
        });

        head.take_away(&head.devices[0], steps);
        for reader in readers {
            assert!(reader.join().unwrap(), "the other path was not found");
        }
        // The memory is somebody else's now.
        assert!(head.submit(0, policy), "the other path was not found");
    }
}

/// loom's words for a reader that touches memory which is being freed.
const TOUCHED: &str = "Causality violation";

/// Shows L-7, L-12.
#[test]
fn nobody_touches_a_path_that_was_chosen_before_it_was_freed() {
    for (policy, chosen) in [
        (IoPolicy::Numa, false),
        (IoPolicy::Numa, true),
        (IoPolicy::RoundRobin, true),
    ] {
        holds(AtMost(2), one_goes(policy, chosen, RIGHT, Mutant::Nothing));
    }
}

/// One reader, with one more preemption.
///
/// Shows L-7, L-9, L-12.
#[test]
fn a_path_that_has_been_disabled_is_not_chosen_any_more() {
    fn disabled(counted: bool) -> impl Fn() + Send + Sync {
        move || {
            let head = Head::<2>::new(2, false, Mutant::Nothing);
            let reader = {
                let head = head.clone();
                thread::spawn(move || head.submit(0, IoPolicy::Numa))
            };

            if counted {
                head.change(&head.devices[0], |state| state.disabled(Reasons::NOT_READY));
            } else {
                head.take_away(&head.devices[0], &[Disable]);
            }
            let section = head.read(1);
            let path = section.choose(IoPolicy::Numa).unwrap();
            assert!(
                core::ptr::eq(path.device(), &head.devices[1]),
                "a disabled path was chosen"
            );
            drop(section);
            assert!(reader.join().unwrap());
        }
    }

    holds(AtMost(3), disabled(true));
    is_caught(
        "a change is not counted",
        "a disabled path was chosen",
        AtMost(3),
        disabled(false),
    );
}

/// What two callers say of the first of two paths at the same time.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// `mpath_quiesce_device()`.
    Goes,
    /// `mpath_disable_device()`.
    Disabled,
    /// `mpath_device_set_access_state()`.
    Inaccessible,
    /// `mpath_port_set_state()`.
    PortGone,
    /// `mpath_enable_device()`.
    Enabled,
}

impl Said {
    fn is_bad(self) -> bool {
        !matches!(self, Self::Enabled)
    }

    fn say(self, head: &Head<2>) {
        let device = &head.devices[0];

        match self {
            Self::Goes => head.change(device, |state| state.disabled(Reasons::REMOVING)),
            Self::Disabled => head.change(device, |state| state.disabled(Reasons::NOT_READY)),
            Self::Inaccessible => head.change(device, |state| state.reaching(AccessState::Other)),
            Self::PortGone => head.change_port(device, PortState::Dead),
            Self::Enabled => head.change(device, |state| state.enabled(Reasons::NOT_READY)),
        }
    }

    /// Two say so. A bio that is submitted after the call of one of them has returned must know.
    fn by_two(self, mutant: Mutant) -> impl Fn() + Send + Sync {
        move || {
            let head = Head::<2>::new(2, self.is_bad(), mutant);
            if !self.is_bad() {
                Self::Disabled.say(&head);
                head.submit(0, IoPolicy::Numa);
            }
            let other = {
                let head = head.clone();
                thread::spawn(move || self.say(&head))
            };

            self.say(&head);
            let section = head.read(1);
            let path = section.choose(IoPolicy::Numa).unwrap();
            assert!(
                core::ptr::eq(path.device(), &head.devices[usize::from(self.is_bad())]),
                "a call has returned and a bio does not know"
            );
            drop(section);
            other.join().unwrap();
        }
    }
}

/// Shows A-12.
#[test]
fn a_change_is_known_when_the_call_returns_although_another_makes_the_same() {
    for said in [
        Said::Goes,
        Said::Disabled,
        Said::Inaccessible,
        Said::PortGone,
        Said::Enabled,
    ] {
        holds(AtMost(3), said.by_two(Mutant::Nothing));
        is_caught(
            (said, Mutant::CountsWhatIsNew),
            "a call has returned and a bio does not know",
            AtMost(3),
            said.by_two(Mutant::CountsWhatIsNew),
        );
    }
}

/// Shows L-9, L-12.
#[test]
fn a_path_whose_port_takes_no_io_any_more_is_not_chosen() {
    fn stopped(before: bool) -> impl Fn() + Send + Sync {
        move || {
            let head = Head::<2>::new(1, false, Mutant::Nothing);
            let reader = {
                let head = head.clone();
                thread::spawn(move || head.submit(0, IoPolicy::RoundRobin))
            };

            if before {
                head.port_changes.add();
                head.devices[0].port.update(|_| PortState::Dead as u32);
            } else {
                head.change_port(&head.devices[0], PortState::Dead);
            }
            assert!(!head.submit(1, IoPolicy::RoundRobin), "its path was chosen");
            reader.join().unwrap();
        }
    }

    holds(AtMost(3), stopped(false));
    is_caught(
        "a change is counted before it is made",
        "its path was chosen",
        AtMost(3),
        stopped(true),
    );
}

/// Shows L-7, L-12.
#[test]
fn a_path_that_is_freed_without_a_grace_period_is_touched() {
    const STEPS: &[Step] = &[Disable, Count, Unlink, Count, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(2),
            one_goes(policy, false, STEPS, Mutant::Nothing),
        );
    }
}

/// Shows L-7, L-12.
#[test]
fn a_path_that_goes_without_being_counted_is_touched() {
    const STEPS: &[Step] = &[Disable, Unlink, Synchronize, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(2),
            one_goes(policy, true, STEPS, Mutant::Nothing),
        );
    }
}

/// Whoever makes a shortlist in between lists the path once more.
///
/// Shows L-7, L-9, L-12.
#[test]
fn a_path_that_is_counted_before_it_goes_is_touched() {
    const STEPS: &[Step] = &[Count, Disable, Unlink, Synchronize, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(2),
            one_goes(policy, false, STEPS, Mutant::Nothing),
        );
    }
}

/// Shows L-7, L-12.
#[test]
fn a_path_that_is_counted_after_the_grace_period_is_touched() {
    const STEPS: &[Step] = &[Disable, Unlink, Synchronize, Count, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            TOUCHED,
            AtMost(2),
            one_goes(policy, true, STEPS, Mutant::Nothing),
        );
    }
}

/// Shows L-7, L-12.
#[test]
fn a_shortlist_that_nobody_looks_at_the_age_of_is_caught() {
    for policy in IoPolicy::ALL {
        is_caught(
            (Mutant::IsAlwaysCurrent, policy),
            TOUCHED,
            AtMost(2),
            one_goes(policy, true, RIGHT, Mutant::IsAlwaysCurrent),
        );
    }
}

/// The first of two paths is taken away, while a reader chooses. Another one sees two changes of a
/// port of another head, and makes the shortlist anew for that reason. Of these changes the first
/// reader knows only if the stamp tells it.
fn one_goes_and_ports_change(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, true, mutant);
        let readers = [false, true].map(|sees_changes| {
            let head = head.clone();
            thread::spawn(move || {
                if sees_changes {
                    head.port_changes.add();
                    head.port_changes.add();
                }
                head.submit(sees_changes.into(), IoPolicy::RoundRobin)
            })
        });

        head.take_away(&head.devices[0], RIGHT);
        for reader in readers {
            assert!(reader.join().unwrap(), "the other path was not found");
        }
    }
}

/// A sum that is read first may be an old one of one counter and a new one of the other, which is
/// the sum of a stamp that was given meanwhile.
///
/// Shows L-7, L-12.
#[test]
fn a_sum_that_is_older_than_the_stamp_is_caught() {
    holds(AtMost(2), one_goes_and_ports_change(Mutant::Nothing));
    for mutant in [Mutant::SumsBeforeTheStamp, Mutant::LoadsTheStampRelaxed] {
        is_caught(
            mutant,
            TOUCHED,
            AtMost(2),
            one_goes_and_ports_change(mutant),
        );
    }
}

/// Shows L-7, L-12.
#[test]
fn a_slot_that_outlives_its_shortlist_is_caught() {
    is_caught(
        Mutant::KeepsSlots,
        TOUCHED,
        AtMost(2),
        one_goes(IoPolicy::Numa, true, RIGHT, Mutant::KeepsSlots),
    );
}

/// A reader remembers a path that others know to be gone.
///
/// Shows L-7, L-12.
#[test]
fn a_slot_that_is_filled_without_the_lock_is_caught() {
    is_caught(
        Mutant::ElectsWithoutTheLock,
        TOUCHED,
        AtMost(3),
        one_goes(IoPolicy::Numa, false, RIGHT, Mutant::ElectsWithoutTheLock),
    );
}

/// Shows L-7, L-12.
#[test]
fn a_shortlist_that_is_made_without_the_lock_is_caught() {
    is_caught(
        Mutant::RenewsWithoutTheLock,
        TOUCHED,
        AtMost(3),
        one_goes(
            IoPolicy::RoundRobin,
            false,
            RIGHT,
            Mutant::RenewsWithoutTheLock,
        ),
    );
}

/// Shows L-7.
#[test]
fn a_walk_that_stands_on_an_unlinked_path_ends_too_early_if_its_next_is_poisoned() {
    const STEPS: &[Step] = &[Disable, Count, UnlinkAndPoison, Count, Synchronize, Free];

    for policy in IoPolicy::ALL {
        is_caught(
            (STEPS, policy),
            "the other path was not found",
            AtMost(2),
            one_goes(policy, false, STEPS, Mutant::Nothing),
        );
    }
}

const UNLINKED_AT_ONCE: &[Step] = &[
    Disable,
    Count,
    UnlinkWithoutTheMutex,
    Count,
    Synchronize,
    Free,
];

/// Two neighbours are taken away at the same time, while a reader may stand on one of them.
fn two_go(policy: IoPolicy, steps: &'static [Step]) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(PATHS, true, Mutant::Nothing);
        let other = {
            let head = head.clone();
            thread::spawn(move || head.take_away(&head.devices[1], steps))
        };
        let reader = {
            let head = head.clone();
            thread::spawn(move || head.submit(0, policy))
        };

        head.take_away(&head.devices[0], steps);
        other.join().unwrap();
        assert!(reader.join().unwrap(), "the third path was not found");
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_touches_two_neighbours_that_go_at_the_same_time() {
    let policy = IoPolicy::RoundRobin;

    holds(AtMost(2), two_go(policy, RIGHT));
    is_caught(
        (UNLINKED_AT_ONCE, policy),
        TOUCHED,
        AtMost(2),
        two_go(policy, UNLINKED_AT_ONCE),
    );
}

/// A path is added while two readers choose; one may list it for the other.
fn one_comes(policy: IoPolicy, push_back: fn(&List, &Device)) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(0, false, Mutant::Nothing);
        let readers = [0, 1].map(|reader| {
            let head = head.clone();
            thread::spawn(move || head.submit(reader, policy))
        });

        head.add_with(&head.devices[0], push_back);
        assert!(head.submit(0, policy), "the new path was not found");
        for reader in readers {
            reader.join().unwrap();
        }
    }
}

/// Shows L-12.
#[test]
fn a_path_is_initialised_when_a_reader_finds_it_on_a_list() {
    for policy in IoPolicy::ALL {
        holds(AtMost(2), one_comes(policy, List::push_back));
        is_caught(
            ("published relaxed", policy),
            TOUCHED,
            AtMost(2),
            one_comes(policy, List::push_back_relaxed),
        );
    }
}

/// How the round-robin walk of the C series goes on from the last choice: until it meets it again.
fn walk_until_met<const READERS: usize>(section: &Section<'_, READERS>) {
    let last = section.choose(IoPolicy::RoundRobin).unwrap().device();
    let mut at = last;

    loop {
        at = section.head.paths.next_in_the_circle(at);
        at.touch();
        if core::ptr::eq(at, last) {
            return;
        }
    }
}

/// A reader chooses while the path that was chosen last is unlinked and another one is added.
fn walking(walk: fn(&Section<'_, 2>)) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, true, Mutant::Nothing);
        let walker = {
            let head = head.clone();
            thread::spawn(move || {
                let section = head.read(0);

                walk(&section);
                section.steps.get()
            })
        };

        head.take_away(&head.devices[0], RIGHT);
        head.add(&head.devices[2]);
        let steps = walker.join().unwrap();
        // A shortlist is made at most three times, each in two walks.
        assert!(steps <= 3 * 2 * PATHS, "{steps} steps");
    }
}

/// Shows L-7.
#[test]
fn choosing_ends_although_the_last_choice_is_unlinked() {
    holds(
        AtMost(3),
        walking(|section| {
            section.choose(IoPolicy::RoundRobin);
        }),
    );
    is_caught(
        "walks until it meets the last choice",
        "exceeded maximum number of branches",
        AtMost(3),
        walking(walk_until_met),
    );
}

/// A reader asks whether a path is the only one, while another one goes.
fn asking(ask: fn(&List) -> bool) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(2, false, Mutant::Nothing);
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
    holds(AtMost(3), asking(|paths| paths.iter().nth(1).is_none()));
    is_caught("reads prev", TOUCHED, AtMost(3), asking(List::is_singular));
}
