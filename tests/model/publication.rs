// SPDX-License-Identifier: GPL-2.0

//! Drivers publish and remove paths while readers choose: no reader touches a freed path, and none
//! fails to see a usable one.
//!
//! The library's own: the policies, the state words and their changes, the list, adding paths, how
//! a path leaves ([`removal::take_apart`]). Also how a shortlist is found current or made anew, and
//! how a reader chooses the nearest path. After `rust/engine/publish.rs`: the words from which a
//! shortlist is made; nothing replaces its array here. SRCU is made by hand (`kernel.rs`).

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::kernel::{
    Guard,
    Srcu, //
};
use crate::list::{
    Device,
    List, //
};
use libmultipath::bring_up::BringUp;
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
    Controlled,
    Departure, //
};
use libmultipath::shortlist::{
    self,
    change,
    change_port,
    nearest,
    note,
    Generation,
    Keeper,
    Version, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicHeadWord,
    AtomicPathState,
    PathState,
    PortState,
    Reasons, //
};
use libmultipath::sync::AtomicPtr;
use libmultipath::trust::Attempt;
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

/// How many paths there may be.
pub const PATHS: usize = 3;

/// A head on a machine with one node, and the drivers' memory for its paths.
pub struct Head<const READERS: usize> {
    /// The paths.
    pub devices: [Device; PATHS],
    /// The paths that are on the head.
    pub paths: List,
    version: Version,
    len: AtomicU32,
    careful: AtomicU32,
    entries: [AtomicPtr<Device>; PATHS],
    slot: AtomicPtr<Device>,
    /// The changes of ports.
    port_changes: Generation,
    /// The shortlist's lock.
    lock: Mutex<()>,
    /// The policy in force, and the one that choices follow. This orders nothing.
    policies: [AtomicU32; 2],
    srcu: Srcu<READERS>,
    word: AtomicHeadWord,
    control: Mutex<Control>,
    /// Submitters whose bios have not arrived yet: the scheduler's view of tasks.
    pub on_their_way: Srcu<READERS>,
    /// The mutex under which the links to the paths are made and removed.
    pub bring_up: Mutex<BringUp>,
    /// A counter that nobody reads.
    unseen: Generation,
    mutant: Mutant,
}

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// No mistake.
    Nothing,
    /// A shortlist is current whatever has changed.
    IsAlwaysCurrent,
    /// A reader reads the counts before the stamp.
    SumsBeforeTheStamp,
    /// A reader loads the stamp without acquire.
    LoadsTheStampRelaxed,
    /// Of several threads, only the one that has made a change counts it.
    CountsWhatIsNew,
    /// A thread counts a change of a port before it makes it.
    CountsThePortTooEarly,
    /// A port counts its changes for all ports only.
    CountsNotForThePort,
    /// A port counts its changes for all ports first.
    CountsForThePortTooLate,
    /// Slots survive when a shortlist is made anew.
    KeepsSlots,
    /// A reader finds and remembers the nearest path without the lock.
    ElectsWithoutTheLock,
    /// Readers make shortlists without the lock.
    RenewsWithoutTheLock,
    /// A reader that finds the lock taken trusts the shortlist that is being made.
    TrustsWhoeverMakes,
    /// The number of paths that need care survives that the shortlist is made anew.
    StaysCareful,
    /// A shortlist that is made anew keeps the policy.
    KeepsThePolicy,
    /// Nobody waits for readers before a path is freed.
    WithoutAGracePeriod,
    /// Nobody counts that a path goes.
    GoesUncounted,
    /// The head counts that a path goes before it becomes unusable.
    GoesCountedTooEarly,
    /// The head counts that a path goes after the grace period.
    GoesCountedTooLate,
    /// A path that goes stays on the list.
    StaysListed,
    /// Nobody waits for bios before a path is stopped.
    StopsTooEarly,
    /// The link of a path that goes is removed while the path is on the list.
    LosesItsLinkTooEarly,
    /// The link of a path that goes stays.
    KeepsItsLink,
    /// As if no reader stood on an unlinked path.
    PoisonsWhatItUnlinks,
    /// As if no other thread changed the list.
    UnlinksWithoutTheMutex,
}

impl<const READERS: usize> Kick for Head<READERS> {
    fn kick(&self) {}
}

impl<const READERS: usize> Controlled for Head<READERS> {
    type Path = Device;

    fn word(&self) -> &AtomicHeadWord {
        &self.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        if self.mutant == Mutant::UnlinksWithoutTheMutex {
            return f(&mut Control {
                paths: PATHS,
                ..Control::default()
            });
        }
        f(&mut self.control.lock().unwrap())
    }

    fn is_listed(path: &Device) -> bool {
        path.is_listed()
    }

    fn grace_period(&self) {
        if self.mutant != Mutant::WithoutAGracePeriod {
            self.srcu.synchronize();
        }
        if self.mutant == Mutant::GoesCountedTooLate {
            self.version.generation().add();
        }
    }
}

impl<const READERS: usize> Departure for Head<READERS> {
    fn may_wait(&self) -> bool {
        if self.mutant == Mutant::GoesCountedTooEarly {
            self.version.generation().add();
        }
        true
    }

    fn state(path: &Device) -> &AtomicPathState {
        &path.state
    }

    fn generation(&self) -> &Generation {
        match self.mutant {
            Mutant::GoesUncounted | Mutant::GoesCountedTooEarly | Mutant::GoesCountedTooLate => {
                &self.unseen
            }
            _ => self.version.generation(),
        }
    }

    fn unlist(&self, path: &Device) -> bool {
        path.set_listed(false);
        match self.mutant {
            Mutant::StaysListed => (),
            Mutant::PoisonsWhatItUnlinks => self.paths.remove_and_poison(path),
            _ => self.paths.remove(path),
        }
        true
    }

    fn tell_not_quiesced(&self) {
        unreachable!()
    }

    fn others_are_left(&self) {}

    fn synchronize_submitters(&self) {
        if self.mutant == Mutant::LosesItsLinkTooEarly {
            self.lose_link(&self.devices[0]);
        }
        if self.mutant != Mutant::StopsTooEarly {
            self.on_their_way.synchronize();
        }
    }

    fn unlink(&self, path: &Device) {
        if !matches!(
            self.mutant,
            Mutant::LosesItsLinkTooEarly | Mutant::KeepsItsLink
        ) {
            self.lose_link(path);
        }
    }
}

crate::kernel::without_timer!(Head<READERS>, const READERS: usize);

impl<const READERS: usize> Head<READERS> {
    /// A head with the first `paths` paths, from which a reader has chosen if `chosen`.
    pub fn new(paths: usize, chosen: bool, mutant: Mutant) -> Arc<Self> {
        let head = Arc::new(Self {
            devices: core::array::from_fn(|_| Device::new()),
            paths: List::new(),
            version: Version::new(),
            len: AtomicU32::new(0),
            careful: AtomicU32::new(0),
            entries: core::array::from_fn(|_| AtomicPtr::new(null_mut())),
            slot: AtomicPtr::new(null_mut()),
            port_changes: Generation::new(),
            lock: Mutex::new(()),
            policies: core::array::from_fn(|_| AtomicU32::new(IoPolicy::Numa as u32)),
            srcu: Srcu::new(),
            word: AtomicHeadWord::new(),
            control: Mutex::new(Control::default()),
            on_their_way: Srcu::new(),
            bring_up: Mutex::new(BringUp {
                disk_added: true,
                ..BringUp::default()
            }),
            unseen: Generation::new(),
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
            device.set_listed(true);
            push_back(&self.paths, device);
            Ok(())
        })
        .unwrap();
        // It is enabled.
        self.version.generation().add();
    }

    fn change(&self, device: &Device, f: impl Fn(PathState) -> PathState) {
        if self.mutant == Mutant::CountsWhatIsNew {
            note(&device.state, self.version.generation(), f);
        } else {
            change(&device.state, self.version.generation(), f);
        }
    }

    fn change_port(&self, device: &Device, state: PortState) {
        let (port, own, all) = (&device.port, &device.changes_of_port, &self.port_changes);
        let set = || port.update(|_| state as u32);

        match self.mutant {
            Mutant::CountsWhatIsNew => {
                if set() != state as u32 {
                    own.add();
                    all.add();
                }
            }
            Mutant::CountsThePortTooEarly => {
                own.add();
                all.add();
                set();
            }
            Mutant::CountsNotForThePort => {
                change_port(port, &self.unseen, all, state);
            }
            Mutant::CountsForThePortTooLate => {
                change_port(port, all, own, state);
            }
            _ => {
                change_port(port, own, all, state);
            }
        }
    }

    /// `Group::set()`, for one head.
    fn set_policy(&self, policy: IoPolicy) {
        self.policies[0].store(policy as u32, Ordering::Relaxed);
        self.version.generation().add();
    }

    /// The path leaves, and the driver frees its memory.
    fn take_away(&self, device: &Device) {
        assert!(removal::take_apart(self, device, || ()));
        device.free();
    }

    /// `MpathHead::unlink_path()`.
    fn lose_link(&self, device: &Device) {
        let _bring_up = self.bring_up.lock().unwrap();

        device.set_linked(false);
    }

    /// Begins a section of a reading thread.
    pub fn read(&self, reader: usize) -> Section<'_, READERS> {
        Section {
            head: self,
            _guard: self.srcu.read_lock(reader),
            cursor: Cell::new(0),
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

/// A read-side section.
pub struct Section<'a, const READERS: usize> {
    head: &'a Head<READERS>,
    _guard: Guard<'a>,
    cursor: Cell<usize>,
    /// How many steps walks have taken.
    steps: Cell<usize>,
}

impl<const READERS: usize> Section<'_, READERS> {
    /// All paths.
    pub fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.head
            .paths
            .iter()
            .inspect(|_| self.steps.set(self.steps.get() + 1))
            .map(Seen::of)
    }

    /// The path that a policy chooses.
    pub fn choose(&self, policy: IoPolicy) -> Option<&Seen> {
        self.current();
        policy.choose(self, || Node(0))
    }

    /// Looks at all listed paths, as a reader does that minds whether a path is trusted.
    fn choose_with_care(&self) -> Option<&Seen> {
        self.current();
        let listed = self
            .len()
            .max(self.head.careful.load(Ordering::Acquire) as usize);

        nearest((0..listed).filter_map(|place| self.at(place)), Node(0))
    }

    fn current(&self) {
        match self.head.mutant {
            Mutant::IsAlwaysCurrent | Mutant::SumsBeforeTheStamp | Mutant::LoadsTheStampRelaxed => {
                if !self.is_current() {
                    shortlist::renew(self, || ());
                }
            }
            _ => {
                shortlist::current(self);
            }
        }
    }

    /// Decides as a mutant does.
    fn is_current(&self) -> bool {
        let head = self.head;
        let sum = || head.version.generation().count() + head.port_changes.count();
        // SAFETY: A stamp begins with its subject, which is one `AtomicU64` on the host.
        let of: &AtomicU64 = unsafe { &*core::ptr::from_ref(&head.version).cast() };

        match head.mutant {
            Mutant::IsAlwaysCurrent => head.len.load(Ordering::Acquire) != 0,
            Mutant::SumsBeforeTheStamp => sum() == of.load(Ordering::Acquire),
            _ => of.load(Ordering::Relaxed) == sum(),
        }
    }

    /// Chooses as a mutant does.
    fn elect_without_the_lock(&self, node: Node) -> Option<&Seen> {
        let path = nearest(self.listed(), node)?;

        self.remember(node, path);
        Some(path)
    }
}

impl<'a, const READERS: usize> Keeper<'a> for &'a Section<'_, READERS> {
    type Path = Seen;

    fn version(self) -> &'a Version {
        &self.head.version
    }

    fn of_ports(self) -> &'a Generation {
        &self.head.port_changes
    }

    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R {
        let needs_lock = self.head.mutant != Mutant::RenewsWithoutTheLock;
        let _lock = needs_lock.then(|| self.head.lock.lock().unwrap());

        f()
    }

    fn try_with_lock(self, f: impl FnOnce()) -> bool {
        let needs_lock = self.head.mutant != Mutant::RenewsWithoutTheLock;
        let lock = needs_lock.then(|| self.head.lock.try_lock());

        let is_made = lock.as_ref().is_none_or(|lock| lock.is_ok());

        is_made.then(f).is_some() || self.head.mutant == Mutant::TrustsWhoeverMakes
    }

    fn paths(self) -> impl Iterator<Item = &'a Seen> {
        self.iter()
    }

    fn port_changes(path: &Seen) -> u64 {
        path.0.changes_of_port.count()
    }

    fn put(self, place: usize, path: &'a Seen) -> bool {
        self.head.entries[place].store(core::ptr::from_ref(path.device()).cast_mut());
        true
    }

    fn is_trusted(path: &Seen) -> bool {
        path.0.state.load().is_trusted()
    }

    fn follow_policy(self) {
        let [set, followed] = &self.head.policies;

        if self.head.mutant != Mutant::KeepsThePolicy {
            followed.store(set.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn forget(self) {
        if self.head.mutant != Mutant::KeepsSlots {
            self.head.slot.store(null_mut());
        }
    }

    fn set_careful(self, paths: usize) {
        if paths != 0 || self.head.mutant != Mutant::StaysCareful {
            self.head.careful.store(paths as u32, Ordering::Release);
        }
    }

    fn set_len(self, paths: usize) {
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

    fn remembered(self, _node: Node) -> Option<&'a Seen> {
        // SAFETY: The models keep the memory of devices; loom finds out if they may not be touched.
        unsafe { self.head.slot.load().as_ref() }.map(Seen::of)
    }
}

/// A path that a reader sees in a section.
#[repr(transparent)]
pub struct Seen(Device);

impl Seen {
    fn of(device: &Device) -> &Self {
        // SAFETY: Transparent.
        unsafe { &*core::ptr::from_ref(device).cast() }
    }

    /// The path.
    pub fn device(&self) -> &Device {
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

    fn depth(&self) -> u32 {
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
        // SAFETY: As above.
        let device = unsafe { self.head.entries[place].load().as_ref() };

        Some(Seen::of(device.expect("an empty place is listed")))
    }

    fn nearest(self, node: Node) -> Option<&'a Seen> {
        if self.head.mutant != Mutant::ElectsWithoutTheLock {
            return shortlist::nearest_to(self, || node);
        }
        self.remembered(node)
            .or_else(|| self.elect_without_the_lock(node))
    }

    fn cursor(self) -> usize {
        self.cursor.get()
    }

    fn set_cursor(self, place: usize) {
        self.cursor.set(place);
    }

    fn last_done(self) -> usize {
        0
    }
}

/// The driver takes the first of two paths away, while two readers choose.
fn one_goes(policy: IoPolicy, chosen: bool, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, chosen, mutant);
        let readers = [0, 1].map(|reader| {
            let head = head.clone();
            thread::spawn(move || head.submit(reader, policy))
        });

        head.take_away(&head.devices[0]);
        for reader in readers {
            assert!(reader.join().unwrap(), "the other path was not found");
        }
        // The memory belongs to another user now.
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
        holds(AtMost(2), one_goes(policy, chosen, Mutant::Nothing));
    }
}

/// One reader, with as many preemptions as it may have.
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
                head.devices[0]
                    .state
                    .update(|state| state.disabled(Reasons::NOT_READY));
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

    holds(Any, disabled(true));
    is_caught(
        "a change is not counted",
        "a disabled path was chosen",
        AtMost(3),
        disabled(false),
    );
}

/// The calls of two callers for the first of two paths at the same time.
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

    /// Two callers make the call. A bio that is submitted after one of the calls has returned must
    /// know.
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
        holds(Any, said.by_two(Mutant::Nothing));
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
    fn stopped(mutant: Mutant) -> impl Fn() + Send + Sync {
        move || {
            let head = Head::<2>::new(1, false, mutant);
            let reader = {
                let head = head.clone();
                thread::spawn(move || head.submit(0, IoPolicy::RoundRobin))
            };

            head.change_port(&head.devices[0], PortState::Dead);
            assert!(!head.submit(1, IoPolicy::RoundRobin), "its path was chosen");
            reader.join().unwrap();
        }
    }

    holds(Any, stopped(Mutant::Nothing));
    for mutant in [
        Mutant::CountsThePortTooEarly,
        Mutant::CountsNotForThePort,
        Mutant::CountsForThePortTooLate,
    ] {
        is_caught(mutant, "its path was chosen", AtMost(3), stopped(mutant));
    }
}

/// A mutant leaves out a step of [`removal::take_apart`] or does it at another time, or no reader
/// looks at the age of a shortlist. Where a reader has chosen before, a shortlist that names the
/// path is there.
#[test]
fn a_path_is_touched_if_a_step_of_its_departure_is_wrong() {
    for policy in IoPolicy::ALL {
        for (mutant, chosen) in [
            (Mutant::WithoutAGracePeriod, false),
            (Mutant::GoesUncounted, true),
            // A thread that makes a shortlist in between lists the path once more.
            (Mutant::GoesCountedTooEarly, false),
            (Mutant::GoesCountedTooLate, true),
            (Mutant::StaysListed, false),
            (Mutant::IsAlwaysCurrent, true),
        ] {
            is_caught(
                (mutant, policy),
                TOUCHED,
                AtMost(2),
                one_goes(policy, chosen, mutant),
            );
        }
    }
}

/// The driver takes the first of two paths away, while a reader chooses. Another reader sees two
/// changes of a port of another head, and makes the shortlist anew for that reason. Only the stamp
/// can tell the first reader of these changes.
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

        head.take_away(&head.devices[0]);
        for reader in readers {
            assert!(reader.join().unwrap(), "the other path was not found");
        }
    }
}

/// A sum that a reader reads first may have an old value of one counter and a new one of the other.
/// That is the sum of a stamp made meanwhile.
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

/// A slot outlives its shortlist, or a reader fills it while others know the path to be gone.
#[test]
fn a_path_is_touched_if_a_step_of_making_a_shortlist_is_wrong() {
    for (mutant, policy, chosen) in [
        (Mutant::KeepsSlots, IoPolicy::Numa, true),
        (Mutant::ElectsWithoutTheLock, IoPolicy::Numa, false),
        (Mutant::RenewsWithoutTheLock, IoPolicy::RoundRobin, false),
        (Mutant::TrustsWhoeverMakes, IoPolicy::RoundRobin, true),
    ] {
        is_caught(mutant, TOUCHED, AtMost(3), one_goes(policy, chosen, mutant));
    }
}

/// A walk that stands on an unlinked path, whose next one leads nowhere, ends too early.
#[test]
fn a_path_is_not_found_if_those_who_stand_on_another_one_are_led_nowhere() {
    let mutant = Mutant::PoisonsWhatItUnlinks;

    for policy in IoPolicy::ALL {
        is_caught(
            (mutant, policy),
            "the other path was not found",
            AtMost(2),
            one_goes(policy, false, mutant),
        );
    }
}

/// One path is not trusted, so that bios need care. The head trusts it again, and the driver takes
/// the other path away, while a reader takes care.
fn one_goes_and_one_is_trusted(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(2, false, mutant);
        head.change(&head.devices[0], |state| state.failed(Attempt::Plain));
        head.submit(0, IoPolicy::Numa);
        let reader = {
            let head = head.clone();
            thread::spawn(move || {
                let section = head.read(0);

                section.choose_with_care().is_some()
            })
        };

        head.change(&head.devices[0], PathState::restored);
        head.take_away(&head.devices[1]);
        assert!(
            head.read(1).choose_with_care().is_some(),
            "no path was found"
        );
        assert!(reader.join().unwrap(), "no path was found");
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_who_takes_care_touches_a_path_that_has_been_freed() {
    holds(AtMost(3), one_goes_and_one_is_trusted(Mutant::Nothing));
    is_caught(
        Mutant::StaysCareful,
        TOUCHED,
        AtMost(3),
        one_goes_and_one_is_trusted(Mutant::StaysCareful),
    );
}

/// Drivers take two neighbours away at the same time, while a reader may stand on one of them.
fn two_go(policy: IoPolicy, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(PATHS, true, mutant);
        let other = {
            let head = head.clone();
            thread::spawn(move || head.take_away(&head.devices[1]))
        };
        let reader = {
            let head = head.clone();
            thread::spawn(move || head.submit(0, policy))
        };

        head.take_away(&head.devices[0]);
        other.join().unwrap();
        assert!(reader.join().unwrap(), "the third path was not found");
    }
}

/// Shows L-7, L-12.
#[test]
fn nobody_touches_two_neighbours_that_go_at_the_same_time() {
    let policy = IoPolicy::RoundRobin;

    holds(AtMost(2), two_go(policy, Mutant::Nothing));
    is_caught(
        Mutant::UnlinksWithoutTheMutex,
        TOUCHED,
        AtMost(2),
        two_go(policy, Mutant::UnlinksWithoutTheMutex),
    );
}

/// The policy changes while a reader chooses.
fn the_policy_changes(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<2>::new(1, false, mutant);
        let reader = {
            let head = head.clone();
            thread::spawn(move || head.submit(0, IoPolicy::Numa))
        };

        head.set_policy(IoPolicy::QueueDepth);
        let section = head.read(1);
        section.current();
        assert_eq!(
            head.policies[1].load(Ordering::Relaxed),
            IoPolicy::QueueDepth as u32,
            "the old policy is followed"
        );
        drop(section);
        assert!(reader.join().unwrap());
    }
}

/// Shows L-16.
#[test]
fn a_choice_follows_the_policy_that_was_set_before() {
    holds(AtMost(3), the_policy_changes(Mutant::Nothing));
    is_caught(
        Mutant::KeepsThePolicy,
        "the old policy is followed",
        AtMost(3),
        the_policy_changes(Mutant::KeepsThePolicy),
    );
}

/// A driver adds a path while two readers choose; one may list it for the other.
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

/// A reader chooses while one driver unlinks the path chosen last, and another one adds a path.
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

        head.take_away(&head.devices[0]);
        head.add(&head.devices[2]);
        let steps = walker.join().unwrap();
        // The reader makes a shortlist at most three times, each in two walks.
        assert!(steps <= 3 * 2 * PATHS, "{steps} steps");
    }
}

/// Shows L-7.
#[test]
fn choosing_ends_although_the_last_choice_is_unlinked() {
    holds(
        Any,
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

        head.take_away(&head.devices[1]);
        reader.join().unwrap();
    }
}

/// Shows L-8.
#[test]
fn only_the_links_that_lead_forward_are_read_by_those_who_walk() {
    holds(Any, asking(|paths| paths.iter().nth(1).is_none()));
    is_caught("reads prev", TOUCHED, Any, asking(List::is_singular));
}
