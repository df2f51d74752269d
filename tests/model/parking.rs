// SPDX-License-Identifier: GPL-2.0

//! Parking: whatever happens while a head parks a bio, no bio stays for ever.
//!
//! The library's own: [`park`], the lot, the words of head, path and port, how a shortlist is found
//! current or made anew, failing over and the retry. Also the fate of a bio that finds no path, and
//! when the head would not park it any more. After `rust/engine/submit.rs`: the order of these in
//! `submit()`. There is no SRCU in these models: the protocol must do without.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        self,
        Any,
        AtMost, //
    }, //
};
use crate::kernel::Work;
use libmultipath::nodes::Node;
use libmultipath::parking::{
    fail_over,
    kick,
    park,
    retry,
    succeed,
    take,
    FailOver,
    Kick,
    LocklessList,
    Parkable, //
};
use libmultipath::policy::Path;
use libmultipath::shortlist::{
    change,
    change_port,
    current,
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
    HeadState,
    HeadWord,
    PathState,
    PortState,
    Reasons,
    WithoutPath, //
};
use libmultipath::sync::AtomicU32;
use libmultipath::trust::{
    Attempt,
    Trust, //
};
use libmultipath::waiting::{
    is_worth_another_try,
    without_path,
    Submission, //
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    AtomicPtr,
    AtomicUsize,
    Ordering, //
};
use loom::thread;
use std::ptr::null_mut;
use std::sync::{
    Arc,
    Mutex, //
};

/// A bio: a link, and a number to know it by.
pub struct Bio {
    next: UnsafeCell<*mut Bio>,
    number: usize,
}

impl Bio {
    /// A bio, owned by the holder of the pointer.
    pub fn new(number: usize) -> *mut Self {
        Box::into_raw(Box::new(Self {
            next: UnsafeCell::new(null_mut()),
            number,
        }))
    }

    /// Frees the bio and returns its number.
    pub fn end(this: *mut Self) -> usize {
        // SAFETY: Made by `new()`, and owned by the thread that ends it.
        unsafe { Box::from_raw(this) }.number
    }
}

// SAFETY: Both access `next`.
unsafe impl Parkable for Bio {
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: By this function's contract.
        unsafe { (*this).next.with(|next| *next) }
    }

    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: By this function's contract.
        unsafe { (*this).next.with_mut(|field| *field = next) }
    }
}

/// A path through a port of its own.
pub struct FakePath {
    state: AtomicPathState,
    port: AtomicU32,
    changes_of_port: Generation,
}

impl FakePath {
    fn new(port: PortState) -> Self {
        Self {
            state: AtomicPathState::new(),
            port: AtomicU32::new(port as u32),
            changes_of_port: Generation::new(),
        }
    }

    fn port(&self) -> PortState {
        PortState::from_raw(self.port.load())
    }
}

impl Path for FakePath {
    fn access(&self) -> Access {
        self.state.load().access_through(|| self.port())
    }

    fn distance(&self, _node: Node) -> u32 {
        10
    }

    fn depth(&self) -> u32 {
        0
    }
}

/// A head with one path.
pub struct Head {
    /// Its state.
    pub word: AtomicHeadWord,
    path: FakePath,
    version: Version,
    port_changes: Generation,
    /// How many paths are on the shortlist, if all are trusted, and if not.
    len: AtomicUsize,
    careful: AtomicUsize,
    /// The shortlist's lock.
    lock: loom::sync::Mutex<()>,
    /// Where bios wait.
    pub list: LocklessList<Bio>,
    /// The worker.
    pub requeue: Work,
    retry: Work,
    /// The numbers of the bios that came to an end.
    ended: Mutex<Vec<usize>>,
    mutant: Mutant,
}

/// A mistake in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    Nothing,
    /// The thread parks a bio, and does no more.
    DoesNotLookAgain,
    /// The second look comes before the bio is in the lot.
    LooksBeforeParking,
    /// The thread kicks the worker before it makes the change.
    KicksBeforeTheChange,
    /// A kick looks into the lot without a barrier after the change.
    LooksIntoTheLotTooEarly,
    /// The second look may come before others see the bio in the lot.
    LooksAgainTooEarly,
}

impl Submission for Head {
    type Path = FakePath;

    fn paths(&self) -> impl Iterator<Item = &FakePath> {
        core::iter::once(&self.path)
    }

    fn word(&self) -> HeadWord {
        self.word.load()
    }

    fn state_of(path: &FakePath) -> PathState {
        path.state.load()
    }

    fn port_of(path: &FakePath) -> PortState {
        path.port()
    }

    fn choose(&self) -> Option<&FakePath> {
        current(self);
        let [len, careful] = [&self.len, &self.careful].map(|paths| paths.load(Ordering::Acquire));

        (len.max(careful) != 0).then_some(&self.path)
    }
}

/// One path needs no places, and has no policy.
impl<'a> Keeper<'a> for &'a Head {
    type Path = FakePath;

    fn version(self) -> &'a Version {
        &self.version
    }

    fn of_ports(self) -> &'a Generation {
        &self.port_changes
    }

    fn with_lock<R>(self, f: impl FnOnce() -> R) -> R {
        let _lock = self.lock.lock().unwrap();

        f()
    }

    fn try_with_lock(self, f: impl FnOnce()) -> bool {
        let lock = self.lock.try_lock();

        lock.is_ok().then(f).is_some()
    }

    fn paths(self) -> impl Iterator<Item = &'a FakePath> {
        core::iter::once(&self.path)
    }

    fn port_changes(path: &FakePath) -> u64 {
        path.changes_of_port.count()
    }

    fn put(self, _place: usize, _path: &'a FakePath) -> bool {
        true
    }

    fn is_trusted(path: &FakePath) -> bool {
        path.state.load().is_trusted()
    }

    fn follow_policy(self) {}

    fn forget(self) {}

    fn set_careful(self, paths: usize) {
        self.careful.store(paths, Ordering::Release);
    }

    fn set_len(self, paths: usize) {
        self.len.store(paths, Ordering::Release);
    }

    fn listed(self) -> impl Iterator<Item = &'a FakePath> {
        core::iter::empty()
    }

    fn remember(self, _node: Node, _path: &'a FakePath) {}

    fn remembered(self, _node: Node) -> Option<&'a FakePath> {
        None
    }
}

impl Kick for Head {
    fn kick(&self) {
        let schedule = || {
            self.requeue.queue();
        };

        if self.mutant != Mutant::LooksIntoTheLotTooEarly {
            kick(&self.list, schedule);
        } else if !self.list.is_empty() {
            schedule();
        }
    }
}

impl FailOver for Head {
    type Path = FakePath;

    fn note(&self, path: &FakePath, f: impl Fn(PathState) -> PathState) -> PathState {
        note(&path.state, self.version.generation(), f)
    }

    /// The retry is a work like any other.
    fn retry_later(&self, _path: &FakePath, _msecs: u32) {
        self.retry.queue();
    }
}

impl Head {
    /// A Live head whose only path is optimized, and not ready.
    pub fn new(port: PortState, mutant: Mutant) -> Self {
        let head = Self {
            word: AtomicHeadWord::new(),
            path: FakePath::new(port),
            version: Version::new(),
            port_changes: Generation::new(),
            len: AtomicUsize::new(0),
            careful: AtomicUsize::new(0),
            lock: loom::sync::Mutex::new(()),
            list: LocklessList::new(),
            requeue: Work::new(),
            retry: Work::new(),
            ended: Mutex::new(Vec::new()),
            mutant,
        };

        head.word.advance(HeadState::Live);
        head.change_path(|state| state.reaching(AccessState::Optimized));
        head
    }

    /// Changes the state of the path.
    pub fn change_path(&self, f: impl Fn(PathState) -> PathState) {
        change(&self.path.state, self.version.generation(), f);
    }

    /// `MpathPort::set_state()`.
    fn set_port(&self, state: PortState) {
        change_port(
            &self.path.port,
            &self.path.changes_of_port,
            &self.port_changes,
            state,
        );
    }

    /// Sends a bio to the path, or parks it, or fails it.
    pub fn submit(&self, bio: *mut Bio) {
        match self.choose().and_then(|path| self.take(path)) {
            Some(attempt) => {
                self.end(bio);
                if attempt != Attempt::Plain {
                    succeed(self, &self.path);
                }
            }
            None if without_path(self, false) == WithoutPath::Park => self.park(bio),
            None => self.end(bio),
        }
    }

    /// `Inside::take()`.
    fn take(&self, path: &FakePath) -> Option<Attempt> {
        match path.state.load().trust() {
            Trust::Trusted => Some(Attempt::Plain),
            _ => take(self, path),
        }
    }

    fn end(&self, bio: *mut Bio) {
        self.ended.lock().unwrap().push(Bio::end(bio));
    }

    fn park(&self, bio: *mut Bio) {
        if self.mutant == Mutant::LooksBeforeParking && is_worth_another_try(self) {
            self.kick();
        }
        match self.mutant {
            Mutant::DoesNotLookAgain | Mutant::LooksBeforeParking | Mutant::LooksAgainTooEarly => {
                // SAFETY: The bio is valid, and ours to give up.
                unsafe { self.list.push(bio) }
            }
            // SAFETY: As above.
            _ => unsafe {
                park(
                    &self.list,
                    bio,
                    || is_worth_another_try(self),
                    || self.kick(),
                )
            },
        }
        if self.mutant == Mutant::LooksAgainTooEarly && is_worth_another_try(self) {
            self.kick();
        }
    }

    /// Makes a change that bios wait for.
    fn change(&self, change: impl FnOnce(&Self)) {
        if self.mutant == Mutant::KicksBeforeTheChange {
            self.kick();
            change(self);
        } else {
            change(self);
            self.kick();
        }
    }

    /// The path fails a bio.
    pub fn failover(&self, bio: *mut Bio) {
        if self.mutant == Mutant::KicksBeforeTheChange {
            fail_over(self, &self.path, Attempt::Watched, || {});
        }
        let park = || {
            // SAFETY: The bio is valid, and ours to give up.
            unsafe { self.list.push(bio) }
        };
        match self.mutant {
            Mutant::KicksBeforeTheChange => park(),
            _ => fail_over(self, &self.path, Attempt::Watched, park),
        }
    }

    /// Runs the worker if a thread has asked for it.
    pub fn run_requeue(&self) -> bool {
        self.requeue.run(|| {
            for bio in self.list.take() {
                self.submit(bio);
            }
        })
    }

    fn run_retry(&self) -> bool {
        self.retry.run(|| {
            retry(self, Submission::paths(self));
        })
    }

    /// Has the works run as often as threads asked for them, when all threads are done.
    pub fn settle(&self) {
        while self.run_retry() | self.run_requeue() {}
    }

    /// Has the bio with this number come to an end?
    pub fn has_ended(&self, number: usize) -> bool {
        self.ended.lock().unwrap().contains(&number)
    }

    /// Asserts that no bio is parked, and that `bios` bios have come to an end once.
    pub fn assert_all_ended(&self, bios: usize) {
        let mut ended = self.ended.lock().unwrap().clone();
        let parked: Vec<_> = self.list.take().map(Bio::end).collect();

        ended.sort_unstable();
        assert!(parked.is_empty(), "bios {parked:?} stayed");
        assert_eq!(ended, (0..bios).collect::<Vec<_>>());
    }
}

/// One thread each submits a bio while another one makes a change after which none may wait any
/// more, and the worker runs whenever it likes.
fn nothing_stays<const BIOS: usize>(
    port: PortState,
    mutant: Mutant,
    before: fn(&Head),
    change: fn(&Head),
) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(port, mutant));
        before(&head);

        let submitters: [_; BIOS] = core::array::from_fn(|number| {
            let head = head.clone();
            thread::spawn(move || head.submit(Bio::new(number)))
        });
        let changer = {
            let head = head.clone();
            thread::spawn(move || head.change(change))
        };

        head.run_requeue();
        for thread in submitters.into_iter().chain([changer]) {
            thread.join().unwrap();
        }
        head.settle();
        head.assert_all_ended(BIOS);
    }
}

/// Tries `change` on a head without a mistake, with so many preemptions while one thread submits a
/// bio, and on all heads with one.
fn nothing_stays_unless_there_is_a_mistake(
    preemptions: Preemptions,
    port: PortState,
    before: fn(&Head),
    change: fn(&Head),
) {
    holds(
        preemptions,
        nothing_stays::<1>(port, Mutant::Nothing, before, change),
    );
    holds(
        AtMost(1),
        nothing_stays::<2>(port, Mutant::Nothing, before, change),
    );
    for mutant in [
        Mutant::DoesNotLookAgain,
        Mutant::LooksBeforeParking,
        Mutant::KicksBeforeTheChange,
        Mutant::LooksIntoTheLotTooEarly,
        Mutant::LooksAgainTooEarly,
    ] {
        is_caught(
            mutant,
            "stayed",
            AtMost(3),
            nothing_stays::<1>(port, mutant, before, change),
        );
    }
}

/// Shows L-19.
#[test]
fn nothing_stays_parked_when_the_head_leaves_live() {
    nothing_stays_unless_there_is_a_mistake(
        Any,
        PortState::Recovering,
        |_| {},
        |head| {
            head.word.advance(HeadState::Dying);
        },
    );
}

/// Shows L-19.
#[test]
fn nothing_stays_parked_when_a_path_becomes_ready() {
    nothing_stays_unless_there_is_a_mistake(
        Any,
        PortState::Live,
        |_| {},
        |head| {
            head.change_path(|state| state.enabled(Reasons::NOT_READY));
        },
    );
}

/// Shows L-19.
#[test]
fn nothing_stays_parked_when_a_port_comes_back() {
    nothing_stays_unless_there_is_a_mistake(
        AtMost(3),
        PortState::Recovering,
        |head| {
            head.change_path(|state| state.enabled(Reasons::NOT_READY));
        },
        |head| head.set_port(PortState::Live),
    );
}

/// Shows L-19b.
#[test]
fn nothing_stays_parked_when_the_removal_delay_becomes_0() {
    nothing_stays_unless_there_is_a_mistake(
        Any,
        PortState::Dead,
        |head| head.word.set_queue_if_no_path(true),
        |head| head.word.set_queue_if_no_path(false),
    );
}

/// Shows L-19b.
#[test]
fn nothing_stays_parked_when_the_last_port_dies() {
    nothing_stays_unless_there_is_a_mistake(
        AtMost(3),
        PortState::Recovering,
        |_| {},
        |head| head.set_port(PortState::Dead),
    );
}

/// Two changes at the same time, each of which alone would let the bio wait: the port dies, and
/// the removal delay becomes 0.
fn two_changes(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(PortState::Recovering, mutant));
        head.word.set_queue_if_no_path(true);

        let threads = [
            |head: &Head| head.submit(Bio::new(0)),
            |head: &Head| head.change(|head| head.word.set_queue_if_no_path(false)),
            |head: &Head| head.change(|head| head.set_port(PortState::Dead)),
        ]
        .map(|act| {
            let head = head.clone();
            thread::spawn(move || act(&head))
        });

        head.run_requeue();
        for thread in threads {
            thread.join().unwrap();
        }
        head.settle();
        head.assert_all_ended(1);
    }
}

/// Shows L-19, L-19b.
#[test]
fn nothing_stays_parked_when_two_reasons_to_wait_go_at_the_same_time() {
    holds(AtMost(3), two_changes(Mutant::Nothing));
    for mutant in [Mutant::DoesNotLookAgain, Mutant::KicksBeforeTheChange] {
        is_caught(mutant, "stayed", AtMost(3), two_changes(mutant));
    }
}

/// A path that works fails two bios more than it may in a row, while the retry and the worker run
/// whenever they like.
fn failing_over(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Arc::new(Head::new(PortState::Live, mutant));
        head.change_path(|state| state.enabled(Reasons::NOT_READY));
        for attempt in [Attempt::Plain, Attempt::Watched, Attempt::Watched] {
            head.change_path(|state| state.failed(attempt));
        }

        let failures = [0, 1].map(|number| {
            let head = head.clone();
            thread::spawn(move || head.failover(Bio::new(number)))
        });
        let retry = {
            let head = head.clone();
            thread::spawn(move || {
                head.run_retry();
            })
        };

        head.run_requeue();
        for thread in failures.into_iter().chain([retry]) {
            thread.join().unwrap();
        }
        head.settle();
        head.assert_all_ended(2);
        assert!(head.path.state.load().is_trusted());
        assert_eq!(head.path.access(), Access::Optimized);
    }
}

/// Shows L-19, X-1.
#[test]
fn bios_that_failed_are_tried_again_and_so_is_the_path() {
    holds(AtMost(2), failing_over(Mutant::Nothing));
    is_caught(
        Mutant::KicksBeforeTheChange,
        "stayed",
        AtMost(2),
        failing_over(Mutant::KicksBeforeTheChange),
    );
}

/// A place where threads put and take bios, for a mutant of it.
trait Lot {
    fn push(&self, bio: *mut Bio);
    fn take(&self) -> Vec<usize>;
}

impl Lot for LocklessList<Bio> {
    fn push(&self, bio: *mut Bio) {
        // SAFETY: The bio is valid, and ours to give up.
        unsafe { self.push(bio) }
    }

    fn take(&self) -> Vec<usize> {
        self.take().map(Bio::end).collect()
    }
}

/// A lot with a load and a store in place of the exchange that pushes, or of the one that takes.
struct Torn {
    newest: AtomicPtr<Bio>,
    in_push: bool,
}

impl Torn {
    fn new(in_push: bool) -> Self {
        Self {
            newest: AtomicPtr::new(null_mut()),
            in_push,
        }
    }
}

impl Lot for Torn {
    fn push(&self, bio: *mut Bio) {
        let newest = self.newest.load(Ordering::Acquire);

        // SAFETY: Nobody else has the bio.
        unsafe { Bio::set_next(bio, newest) };
        if self.in_push {
            self.newest.store(bio, Ordering::Release);
        } else if self
            .newest
            .compare_exchange(newest, bio, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            self.push(bio);
        }
    }

    fn take(&self) -> Vec<usize> {
        let mut taken = Vec::new();
        let mut bio = if self.in_push {
            self.newest.swap(null_mut(), Ordering::AcqRel)
        } else {
            let newest = self.newest.load(Ordering::Acquire);
            self.newest.store(null_mut(), Ordering::Release);
            newest
        };

        while !bio.is_null() {
            // SAFETY: It was in the lot, and is freed by nobody: the mutant may take it twice.
            unsafe {
                taken.insert(0, (*bio).number);
                bio = Bio::next(bio);
            }
        }
        taken
    }
}

/// One thread pushes 0, 1 and 2, another one 10 and 11, and a third takes whenever it likes.
fn in_order<L: Lot + Send + Sync + 'static>(
    list: impl Fn() -> L + Send + Sync,
) -> impl Fn() + Send + Sync {
    move || {
        let list = Arc::new(list());
        let pushers = [vec![0, 1, 2], vec![10, 11]].map(|numbers| {
            let list = list.clone();
            thread::spawn(move || {
                for number in numbers {
                    list.push(Bio::new(number));
                }
            })
        });

        let mut taken = list.take();
        taken.extend(list.take());
        for pusher in pushers {
            pusher.join().unwrap();
        }
        taken.extend(list.take());

        let (first, second): (Vec<_>, Vec<_>) = taken.into_iter().partition(|number| *number < 10);
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(second, [10, 11]);
    }
}

/// Shows S-8.
#[test]
fn bios_leave_the_lot_once_and_in_the_order_in_which_each_thread_parked_them() {
    holds(AtMost(3), in_order(LocklessList::new));
    is_caught(
        "PushesInTwoSteps",
        "left == right",
        AtMost(3),
        in_order(|| Torn::new(true)),
    );
    is_caught(
        "TakesInTwoSteps",
        "left == right",
        AtMost(3),
        in_order(|| Torn::new(false)),
    );
}
