// SPDX-License-Identifier: GPL-2.0

//! The cost of errors of paths: the rule of `rust/pure/trust.rs` in a machine whose time is made by
//! hand.
//!
//! The library's own: the states of paths and their changes ([`parking::take`] and others), which
//! path a bio goes to that needs care ([`care::choose`]). Also when that bio is tried again, which
//! waiting bios come last, and when a bio ends. After `rust/engine/submit.rs`: the fate of a bio
//! that its path has failed. Paths fail as each test says.

use libmultipath::care::{
    self,
    Chooser, //
};
use libmultipath::parking::{
    self,
    FailOver,
    Kick, //
};
use libmultipath::state::{
    Access,
    AccessState,
    AtomicPathState,
    PathState,
    Reasons, //
};
use libmultipath::trust::{
    is_over,
    retry_msecs,
    Attempt,
    Trust,
    MAX_FAILOVERS, //
};
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::{
    Cell,
    RefCell, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};

/// Microseconds.
type Time = u64;

const MSEC: Time = 1000;
const SECOND: Time = 1000 * MSEC;

/// The fate of a bio on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// The path carries it out.
    Work,
    Fail,
    /// The path fails it before the submitter goes on.
    FailAtOnce,
    /// The path never ends it.
    Hang,
}

#[derive(Clone, Copy, Debug)]
struct Bio {
    number: usize,
    failures: u32,
    /// The path that has failed it last.
    last: usize,
    /// How it was sent last, unless it has found all paths resting since.
    attempt: Attempt,
    /// The time before which the bio is not tried again, unless there is news for the head.
    ready_at: Time,
    /// How much news there was when it failed.
    news: usize,
}

/// A bio that was sent to a path.
#[derive(Clone, Copy, Debug)]
struct Try {
    at: Time,
    path: usize,
    attempt: Attempt,
    bio: usize,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A path has ended a bio, well or not.
    Ended(Bio, usize, bool),
    /// The retry work runs.
    Retry,
}

struct FakePath {
    number: usize,
    state: AtomicPathState,
    pause_end: Cell<Time>,
    /// For how long the path has been left alone, up to the last look.
    rested: Cell<Time>,
}

/// A head, and all its events. `does` gives the fate of a bio on a path.
struct Machine<F> {
    paths: Vec<FakePath>,
    does: F,
    /// How long a path takes for a bio.
    latency: Time,
    max_failovers: u32,
    now: Cell<Time>,
    /// By time, and by the order in which they were made.
    events: RefCell<BTreeMap<(Time, usize), Event>>,
    made: Cell<usize>,
    /// When the retry work runs.
    retry_at: Cell<Time>,
    list: RefCell<Vec<Bio>>,
    is_kicked: Cell<bool>,
    /// How often a change for the better has come.
    news: Cell<usize>,
    cursor: Cell<usize>,
    tries: RefCell<Vec<Try>>,
    /// How often a bio was carried out, and when for the last time.
    done: RefCell<Vec<(Time, usize)>>,
    /// Bios that ended with an error, and how often they had failed.
    over: RefCell<Vec<Bio>>,
}

impl<F: Fn(Try) -> Does> Kick for Machine<F> {
    fn kick(&self) {
        self.news.set(self.news.get() + 1);
        self.kick_others();
    }

    fn kick_others(&self) {
        if !self.list.borrow().is_empty() {
            self.is_kicked.set(true);
        }
    }
}

impl<F: Fn(Try) -> Does> FailOver for Machine<F> {
    type Path = FakePath;

    fn note(&self, path: &FakePath, f: impl Fn(PathState) -> PathState) -> PathState {
        path.state.update(f)
    }

    fn retry_later(&self, path: &FakePath, msecs: u32) {
        let msecs = Time::from(msecs);

        path.pause_end.set(self.now.get() + msecs * MSEC);
        path.rested.set(path.rested.get() + msecs * MSEC);
        self.look_again_at(path.pause_end.get());
    }
}

impl<F: Fn(Try) -> Does> Machine<F> {
    fn new(access: &[AccessState], latency: Time, does: F) -> Self {
        let paths = access.iter().enumerate().map(|(number, access)| FakePath {
            number,
            state: {
                let word = AtomicPathState::new();

                word.update(|state| state.enabled(Reasons::NOT_READY).reaching(*access));
                word
            },
            pause_end: Cell::new(0),
            rested: Cell::new(0),
        });

        Self {
            paths: paths.collect(),
            does,
            latency,
            max_failovers: 0,
            now: Cell::new(0),
            events: RefCell::default(),
            made: Cell::new(0),
            retry_at: Cell::new(Time::MAX),
            list: RefCell::default(),
            is_kicked: Cell::new(false),
            news: Cell::new(0),
            cursor: Cell::new(0),
            tries: RefCell::default(),
            done: RefCell::default(),
            over: RefCell::default(),
        }
    }

    fn happens_in(&self, after: Time, event: Event) {
        let key = (self.now.get() + after, self.made.get());

        self.made.set(self.made.get() + 1);
        self.events.borrow_mut().insert(key, event);
    }

    /// Has the retry work run at this time, or before.
    fn look_again_at(&self, at: Time) {
        if at < self.retry_at.get() {
            self.retry_at.set(at);
            self.happens_in(at - self.now.get(), Event::Retry);
        }
    }

    /// Does nothing if the work was asked for at an earlier time since.
    fn retry(&self) {
        let now = self.now.get();

        if self.retry_at.get() != now {
            return;
        }
        self.retry_at.set(Time::MAX);
        let has_rested = |path: &&FakePath| path.pause_end.get() <= now;
        let is_resting = |path: &&FakePath| path.state.load().has(Reasons::FAILED);
        let resting = || self.paths.iter().filter(is_resting);
        let next = resting()
            .map(|path| path.pause_end.get())
            .filter(|end| *end > now)
            .min();

        parking::retry(self, self.paths.iter().filter(has_rested));
        next.into_iter().for_each(|at| self.look_again_at(at));
    }

    fn submit(&self, mut bio: Bio) {
        if bio.ready_at > self.now.get() && bio.news == self.news.get() {
            self.list.borrow_mut().push(bio);
            return self.look_again_at(bio.ready_at);
        }
        let is_last = |path: &FakePath| path.number == bio.last;
        let Some((path, attempt)) = care::choose(self, bio.failures, is_last) else {
            bio.attempt = Attempt::Plain;
            return self.list.borrow_mut().push(bio);
        };
        let this = Try {
            at: self.now.get(),
            path: path.number,
            attempt,
            bio: bio.number,
        };

        bio.attempt = attempt;
        self.tries.borrow_mut().push(this);
        match (self.does)(this) {
            Does::Hang => (),
            Does::FailAtOnce => self.failed(bio, path),
            does => {
                let ended = Event::Ended(bio, path.number, does == Does::Work);

                self.happens_in(self.latency, ended);
            }
        }
    }

    /// A new bio.
    fn submit_new(&self, number: usize) {
        self.submit(Bio {
            number,
            failures: 0,
            last: 0,
            attempt: Attempt::Plain,
            ready_at: 0,
            news: 0,
        });
    }

    fn failed(&self, mut bio: Bio, path: &FakePath) {
        parking::fail_over(self, path, bio.attempt, || {});
        bio.failures += 1;
        bio.last = path.number;

        if is_over(bio.failures, self.max_failovers, self.paths.len()) {
            return self.over.borrow_mut().push(bio);
        }
        bio.ready_at = self.now.get() + Time::from(retry_msecs(bio.failures)) * MSEC;
        bio.news = self.news.get();
        self.list.borrow_mut().push(bio);
        self.kick_others();
    }

    /// Lets time pass until `end`. `next` says which bio, if any, the machine submits when one has
    /// ended.
    fn run(&self, end: Time, next: impl Fn(usize) -> Option<usize>) {
        loop {
            let first = self.events.borrow_mut().pop_first();
            let Some(((at, _), event)) = first.filter(|((at, _), _)| *at <= end) else {
                break;
            };

            self.now.set(at);
            match event {
                Event::Retry => self.retry(),
                Event::Ended(bio, path, true) => {
                    if bio.attempt != Attempt::Plain {
                        parking::succeed(self, &self.paths[path]);
                    }
                    self.done.borrow_mut().push((at, bio.number));
                    if let Some(number) = next(bio.number) {
                        self.submit_new(number);
                    }
                }
                Event::Ended(bio, path, false) => {
                    let over = self.over.borrow().len();

                    self.failed(bio, &self.paths[path]);
                    if self.over.borrow().len() > over {
                        next(bio.number)
                            .into_iter()
                            .for_each(|number| self.submit_new(number));
                    }
                }
            }
            while self.is_kicked.take() {
                let (behind, first): (Vec<_>, Vec<_>) = self
                    .list
                    .take()
                    .into_iter()
                    .partition(|bio| bio.attempt.lets_others_go_first());

                for bio in first.into_iter().chain(behind) {
                    self.submit(bio);
                }
            }
        }
        self.now.set(end);
    }

    /// Keeps `depth` bios under way until `end`.
    fn keep_busy(&self, depth: usize, end: Time) {
        let count = Cell::new(depth);

        (0..depth).for_each(|number| self.submit_new(number));
        self.run(end, |_| {
            count.set(count.get() + 1);
            Some(count.get() - 1)
        });
    }

    fn tries_of(&self, path: usize) -> usize {
        let tries = self.tries.borrow();

        tries.iter().filter(|this| this.path == path).count()
    }
}

impl<'a, F: Fn(Try) -> Does> Chooser<'a> for &'a Machine<F> {
    type Path = FakePath;

    fn paths(self) -> impl Iterator<Item = &'a FakePath> {
        self.paths.iter()
    }

    fn candidates(self) -> impl Iterator<Item = &'a FakePath> {
        let access = |path: &FakePath| path.state.load().access();
        let best = self.paths.iter().map(access).max();
        let is_best = move |path: &&FakePath| Some(access(path)) == best && Self::is_usable(path);

        self.paths.iter().filter(is_best)
    }

    fn choose(self) -> Option<&'a FakePath> {
        self.cursor.set(self.cursor.get() + 1);
        let count = self.candidates().count();

        self.candidates().nth(self.cursor.get() % count.max(1))
    }

    fn state_of(path: &FakePath) -> PathState {
        path.state.load()
    }

    fn is_usable(path: &FakePath) -> bool {
        path.state.load().access() != Access::Unusable
    }

    fn take(self, path: &'a FakePath) -> Option<Attempt> {
        parking::take(self, path)
    }
}

/// The most bios that may try a path that fails, or hangs, in this time. They are the bios under
/// way when it began, and those watched until the library leaves the path alone. Then come those
/// under way at that moment, and one after each pause.
fn few(depth: usize, time: Time) -> usize {
    let growing = usize::from(Trust::LAST_PAUSE);
    let longest = Time::from(Trust::LONGEST_MSECS) * MSEC;

    2 * depth + usize::from(Trust::FAILURES) - 1 + growing + (time / longest) as usize
}

/// A number that follows from the one before.
struct Chance(Cell<u64>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    fn one_in(&self, count: u64) -> bool {
        // Knuth's MMIX.
        let next = self
            .0
            .get()
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);

        self.0.set(next);
        (next >> 33).is_multiple_of(count)
    }
}

/// The changes of a path's trust, step by step.
fn any_trust() -> impl Strategy<Value = Vec<fn(PathState) -> PathState>> {
    let steps: Vec<fn(PathState) -> PathState> = vec![
        |state| state.failed(Attempt::Plain),
        |state| state.failed(Attempt::Watched),
        |state| state.failed(Attempt::Probe),
        PathState::taken,
        PathState::rested,
    ];

    prop::collection::vec(select(steps), 0..60)
}

const OPTIMIZED: AccessState = AccessState::Optimized;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Shows.
    #[test]
    fn paths_that_fail_everything_cost_no_cpu(
        depth in 1usize..32,
        latency in 0..20 * MSEC,
        count in 1usize..4,
        time in 1..10u64
    ) {
        let machine = Machine::new(&vec![OPTIMIZED; count], latency, |_| Does::Fail);

        machine.keep_busy(depth, time * SECOND);
        for path in 0..count {
            let tries = machine.tries_of(path);

            prop_assert!(tries <= few(depth, time * SECOND), "path {path} is tried {tries} times");
        }
    }

    /// A probe that has not ended yet does not make the next one come sooner.
    ///
    /// Shows A-6.
    #[test]
    fn a_path_that_fails_for_a_while_and_hangs_then_is_tried_seldom(
        depth in 1usize..32,
        latency in 0..20 * MSEC,
        fails in 0usize..80,
        time in 1..10u64
    ) {
        let count = Cell::new(0);
        let machine = Machine::new(&[OPTIMIZED], latency, |_| {
            count.set(count.get() + 1);
            if count.get() <= depth + usize::from(Trust::FAILURES) + fails { Does::Fail } else { Does::Hang }
        });

        machine.keep_busy(depth, time * SECOND);
        let tries = machine.tries_of(0);
        prop_assert!(tries <= few(depth, time * SECOND), "it is tried {tries} times");
    }

    /// Bios wait while a path fails everything. When it works again, it soon carries out all of
    /// them, and is trusted.
    ///
    /// Shows.
    #[test]
    fn a_path_that_works_again_is_used_again_after_one_pause(
        depth in 1usize..32,
        latency in 0..20 * MSEC,
        outage in 0..3 * SECOND
    ) {
        let longest = Time::from(Trust::LONGEST_MSECS) * MSEC;
        let mut machine = Machine::new(&[OPTIMIZED], latency, |this| {
            if this.at < outage { Does::Fail } else { Does::Work }
        });
        machine.max_failovers = u32::MAX;

        (0..depth).for_each(|number| machine.submit_new(number));
        // A bio that was sent before the end may fail, and then the pause ends. A bio that has
        // failed waits for a pause of its own.
        machine.run(outage + 2 * (latency + longest), |_| None);
        prop_assert_eq!(machine.done.borrow().len(), depth);
        prop_assert!(machine.paths[0].state.load().is_trusted());

        machine.submit_new(depth);
        prop_assert_eq!(machine.tries.borrow().last().unwrap().attempt, Attempt::Plain);
    }

    /// While bios wait, no path is left alone for longer than the longest pause.
    ///
    /// Shows A-6.
    #[test]
    fn a_path_that_fails_everything_is_tried_all_the_same(
        depth in 1usize..32,
        latency in 0..20 * MSEC,
        time in 1..10u64
    ) {
        let mut machine = Machine::new(&[OPTIMIZED], latency, |_| Does::Fail);
        machine.max_failovers = u32::MAX;

        machine.keep_busy(depth, time * SECOND);
        let tries = machine.tries.borrow();
        let gaps = tries.windows(2).map(|two| two[1].at - two[0].at);
        let longest = Time::from(Trust::LONGEST_MSECS) * MSEC;

        prop_assert!(gaps.max().unwrap() <= latency + longest);
        prop_assert!(time * SECOND - tries.last().unwrap().at <= latency + longest);
    }

    /// Failures that come one by one: a bio that has failed is carried out when it is sent again.
    /// So no bio goes to the path that is worse.
    ///
    /// Shows A-6.
    #[test]
    fn a_first_failure_moves_no_io_to_a_worse_path(
        depth in 1usize..32,
        latency in 0..MSEC,
        one_in in 2u64..50,
        seed in any::<u64>()
    ) {
        let chance = Chance::new(seed);
        let failed = RefCell::new(BTreeSet::new());
        let access = [AccessState::NonOptimized, OPTIMIZED, AccessState::NonOptimized];
        let machine = Machine::new(&access, latency.max(1), |this| {
            match chance.one_in(one_in) && this.attempt == Attempt::Plain && failed.borrow_mut().insert(this.bio) {
                true => Does::Fail,
                false => Does::Work,
            }
        });

        machine.keep_busy(depth, 200 * latency.max(1));
        prop_assert!(machine.tries_of(1) > depth);
        prop_assert_eq!(machine.tries_of(0) + machine.tries_of(2), 0);
        prop_assert_eq!(machine.paths[1].rested.get(), 0);
    }

    /// A path that fails one bio in a hundred, or in ten, is as good as one that carries out as
    /// many bios as this one does. The library sends a failed bio again at once.
    ///
    /// Shows A-6.
    #[test]
    fn an_error_costs_its_retry(
        depth in 1usize..32,
        one_in in select(vec![1000u64, 100, 10]),
        count in 1usize..3,
        seed in any::<u64>()
    ) {
        const LATENCY: Time = 100;
        const TIME: Time = SECOND / 2;
        let chance = Chance::new(seed);
        let machine = Machine::new(&vec![OPTIMIZED; count], LATENCY, |_| {
            if chance.one_in(one_in) { Does::Fail } else { Does::Work }
        });

        machine.keep_busy(depth, TIME);
        let rested: Time = machine.paths.iter().map(|path| path.rested.get()).sum();
        let possible = depth as u64 * TIME / LATENCY;
        let done = machine.done.borrow().len() as u64;

        prop_assert!(rested / count as u64 <= TIME / 250, "it rested for {rested} us");
        prop_assert!(
            done * one_in * 100 >= possible * (one_in - 1) * 99,
            "{done} of {possible} bios were carried out"
        );
        prop_assert!(machine.over.borrow().is_empty());
    }

    /// A bio that every path fails ends after its share of failures for each path, and in time. The
    /// library has tried each path.
    ///
    /// Shows A-17.
    #[test]
    fn a_bio_that_every_path_fails_ends(
        count in 1usize..6,
        limit in 0u32..100,
        latency in 0..20 * MSEC,
        access in prop::collection::vec(select(vec![OPTIMIZED, AccessState::NonOptimized]), 6)
    ) {
        let mut machine = Machine::new(&access[..count], latency, |_| Does::Fail);
        machine.max_failovers = limit;
        let share = if limit == 0 { MAX_FAILOVERS } else { limit } as usize;
        let longest = Time::from(Trust::LONGEST_MSECS) * MSEC;

        machine.submit_new(0);
        machine.run((share * count) as Time * (latency + longest), |_| None);
        prop_assert_eq!(machine.over.borrow().len(), 1, "it has not ended");
        prop_assert_eq!(machine.over.borrow()[0].failures as usize, share * count);
        prop_assert_eq!(machine.tries.borrow().len(), share * count);
        for path in 0..count {
            // The first two failures are of the best path.
            prop_assert!(share < 3 || machine.tries_of(path) >= share / 3, "path {path} is tried too seldom");
        }
    }

    /// One bio fails wherever it goes, and the path carries out all others. The library does not
    /// try it in a loop, it ends, and the path stays in use.
    ///
    /// Shows.
    #[test]
    fn a_bio_that_cannot_be_carried_out_disturbs_no_other(
        depth in 1usize..32,
        bad in 1usize..8,
        count in 1usize..4
    ) {
        const LATENCY: Time = 100;
        let machine = Machine::new(&vec![OPTIMIZED; count], LATENCY, |this| {
            if this.bio < bad { Does::Fail } else { Does::Work }
        });
        let others = 1000 * depth;

        machine.keep_busy(depth + bad, 1000 * LATENCY);
        for bio in 0..bad {
            let tries = machine.tries.borrow().iter().filter(|this| this.bio == bio).count();

            prop_assert!(
                tries <= 2 + usize::from(Trust::FAILURES + Trust::LAST_PAUSE),
                "it is tried {tries} times in 100 ms"
            );
        }
        // As far as the library can know, that many bad bios in a row are the path's fault.
        prop_assert!(machine.done.borrow().len() * 100 >= others * 90);

        machine.run(100 * SECOND, |_| None);
        prop_assert_eq!(machine.over.borrow().len(), bad);
        prop_assert_eq!(machine.list.borrow().len(), 0);
    }

    /// The path gives back some bios before their submitters go on. So they come back before the
    /// bios that wait behind them. All the others are carried out soon after the path works for
    /// them.
    ///
    /// Shows A-6.
    #[test]
    fn bios_that_cannot_be_carried_out_do_not_take_every_probe(
        depth in 1usize..32,
        bad in 1usize..8,
        latency in 0..20 * MSEC,
        outage in 0..SECOND
    ) {
        let longest = Time::from(Trust::LONGEST_MSECS) * MSEC;
        let mut machine = Machine::new(&[OPTIMIZED], latency, |this| match this.bio < bad {
            true => Does::FailAtOnce,
            false if this.at < outage => Does::Fail,
            false => Does::Work,
        });
        machine.max_failovers = u32::MAX;

        (0..bad + depth).for_each(|number| machine.submit_new(number));
        // Each of the bad ones may have a probe before.
        machine.run(outage + (bad as Time + 3) * (latency + longest), |_| None);
        prop_assert_eq!(machine.done.borrow().len(), depth);
    }

    /// The driver has looked at the path.
    ///
    /// Shows A-6.
    #[test]
    fn the_driver_s_word_restores_trust(trust in any_trust()) {
        let state = PathState::new().enabled(Reasons::NOT_READY).reaching(OPTIMIZED);
        let mistrusted = trust.iter().fold(state, |state, step| step(state));

        prop_assert_eq!(mistrusted.restored(), state);
        prop_assert_eq!(mistrusted.reaching(OPTIMIZED), state);
        prop_assert_eq!(mistrusted.succeeded(), state);
        prop_assert_eq!(Trust::from_raw(mistrusted.trust().to_raw()), mistrusted.trust());
        prop_assert!(mistrusted.is_meant_for_io());
    }
}

/// Shows A-17.
#[test]
fn a_driver_that_names_no_limit_has_the_default() {
    for paths in 1..10 {
        let default = MAX_FAILOVERS * paths as u32;

        assert!(!is_over(default - 1, 0, paths));
        assert!(is_over(default, 0, paths));
        assert!(!is_over(7 * paths as u32 - 1, 7, paths));
        assert!(is_over(7 * paths as u32, 7, paths));
    }
    // All paths have gone meanwhile.
    assert!(!is_over(MAX_FAILOVERS - 1, 0, 0));
    assert!(is_over(MAX_FAILOVERS, 0, 0));
    assert!(!is_over(u32::MAX - 1, u32::MAX, usize::MAX));
}
