// SPDX-License-Identifier: GPL-2.0

//! Queue-depth on a simulated machine: CPUs that know little of each other, beside a reference that
//! looks at everything.
//!
//! Time is virtual, and chance follows from a seed, so a run is the same each time. Each CPU has a
//! submitter that keeps so many requests in flight. [`Rule::Ours`] is the very code that the kernel
//! runs: the policy and its view of other CPUs. [`Rule::Reference`] counts exactly and takes the
//! first of the least busy paths, as the kernel's own driver does.

use core::cell::{
    Cell,
    RefCell, //
};
use libmultipath::depth::{
    self,
    catch_up,
    in_flight,
    Port as _,
    Record,
    FRACTION_BITS, //
};
use libmultipath::nodes::Node;
use libmultipath::policy::{
    Candidates,
    IoPolicy,
    Path, //
};
use libmultipath::state::Access;
use proptest::prelude::*;
use proptest::sample::select;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds.
type Time = u64;

const US: Time = 1_000;
const MS: Time = 1_000_000;
/// `CONFIG_HZ=1000`.
const TICK: Time = MS;

/// How long a request takes, and ten times as long.
const FAST: Time = 160 * US;
const SLOW: Time = 10 * FAST;

/// The rule that chooses paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Ours,
    Reference,
}

/// How a path carries requests out.
#[derive(Clone, Copy, Debug)]
enum Service {
    /// All requests at the same time.
    Parallel(Time),
    /// One request after the other, each in an eighth of the time.
    Serial(Time),
    /// All requests at the same time, and those that end in the same quarter of the time end
    /// together.
    Batches(Time),
}

/// The CPU whose looks the test counts.
const LOOKER: u32 = 1;

struct Port {
    records: Vec<Record>,
    service: Service,
    free_at: Cell<Time>,
    ended: Cell<u64>,
    /// How often a record of another CPU than [`LOOKER`] has been read or written.
    accesses: Cell<usize>,
}

impl Port {
    fn new(cpus: usize, service: Service) -> Self {
        Self {
            records: (0..cpus).map(|_| Record::default()).collect(),
            service,
            free_at: Cell::new(0),
            ended: Cell::new(0),
            accesses: Cell::new(0),
        }
    }
}

impl depth::Port for Port {
    fn cpus(&self, first: u32) -> impl Iterator<Item = u32> {
        first..self.records.len() as u32
    }

    fn record(&self, cpu: u32) -> &Record {
        self.accesses
            .set(self.accesses.get() + usize::from(cpu != LOOKER));
        &self.records[cpu as usize]
    }
}

/// A path, as one CPU sees it.
struct Seen<'m> {
    port: &'m Port,
    cpu: u32,
}

impl Path for Seen<'_> {
    fn access(&self) -> Access {
        Access::Optimized
    }

    fn distance(&self, _node: Node) -> u32 {
        10
    }

    fn depth(&self) -> u32 {
        self.port.record(self.cpu).depth()
    }
}

struct Cpu<'m> {
    paths: Vec<Seen<'m>>,
    cursor: Cell<usize>,
    done: Cell<usize>,
    tick: Cell<u32>,
    list: Cell<u32>,
    /// How many requests its submitter keeps in flight.
    depth: Cell<u32>,
    /// How many it has in flight.
    active: Cell<u32>,
    /// Whether it has been woken and has not run yet.
    woken: Cell<bool>,
}

/// The paths that a CPU may choose from.
#[derive(Clone, Copy)]
struct Listed<'a> {
    cpu: &'a Cpu<'a>,
    listed: &'a [usize],
}

impl<'a> Candidates<'a> for Listed<'a> {
    type Path = Seen<'a>;

    fn len(self) -> usize {
        self.listed.len()
    }

    fn at(self, place: usize) -> Option<&'a Seen<'a>> {
        Some(&self.cpu.paths[self.listed[place]])
    }

    fn nearest(self, _node: Node) -> Option<&'a Seen<'a>> {
        None
    }

    fn cursor(self) -> usize {
        self.cpu.cursor.get()
    }

    fn set_cursor(self, place: usize) {
        self.cpu.cursor.set(place);
    }

    fn last_done(self) -> usize {
        self.cpu.done.get()
    }
}

/// An event of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request of a CPU ends on a path.
    Ends { cpu: usize, path: usize },
    /// A submitter submits its remaining requests.
    Wakes(usize),
    /// A submitter keeps another number of requests in flight.
    Depth { cpu: usize, depth: u32 },
    /// A path becomes unusable.
    Goes(usize),
    /// A path becomes usable again.
    Comes(usize),
    /// The test looks at the load.
    Look,
}

/// The figures of a run.
#[derive(Debug, Default)]
struct Outcome {
    /// The most less the least in flight on a path, at each look.
    spreads: Vec<u32>,
    ended: u64,
}

impl Outcome {
    fn mean(&self) -> f64 {
        self.spreads.iter().copied().map(f64::from).sum::<f64>() / self.spreads.len() as f64
    }

    fn worst(&self) -> u32 {
        self.spreads.iter().copied().max().unwrap_or(0)
    }
}

/// A machine, and its events.
#[derive(Clone, Debug)]
struct Scenario {
    services: Vec<Service>,
    /// The depth of each CPU's submitter.
    depths: Vec<u32>,
    /// How many of the paths each CPU's submitter has a head over, the first ones; all where there
    /// is no number.
    reach: Vec<usize>,
    /// How long a submitter takes at most, after a request of its own has ended, to run again.
    wake: Time,
    generation: Vec<(Time, Event)>,
    /// From when on the test looks at the load.
    from: Time,
    until: Time,
    seed: u64,
}

struct Run<'m> {
    rule: Rule,
    ports: &'m [Port],
    cpus: Vec<Cpu<'m>>,
    listed: RefCell<Vec<usize>>,
    reach: &'m [usize],
    wake: Time,
    /// The number of changes of the list.
    generation: Cell<u32>,
    events: RefCell<BinaryHeap<Reverse<(Time, u64, Event)>>>,
    count: Cell<u64>,
    random: Cell<u64>,
    now: Cell<Time>,
}

impl Run<'_> {
    fn at(&self, time: Time, event: Event) {
        self.count.set(self.count.get() + 1);
        self.events
            .borrow_mut()
            .push(Reverse((time, self.count.get(), event)));
    }

    /// Any number less than `n`.
    fn any(&self, n: u64) -> u64 {
        let next = self
            .random
            .get()
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);

        self.random.set(next);
        (next >> 33) % n
    }

    /// About as much.
    fn about(&self, time: Time) -> Time {
        time * 3 / 4 + self.any(time / 2)
    }

    /// The paths that a CPU's submitter may use.
    fn listed_for(&self, cpu: usize) -> Vec<usize> {
        let reach = self.reach.get(cpu).copied().unwrap_or(usize::MAX);
        let listed = self.listed.borrow();

        listed
            .iter()
            .copied()
            .filter(|path| *path < reach)
            .collect()
    }

    fn choose(&self, cpu: usize) -> usize {
        let listed = self.listed_for(cpu);

        match self.rule {
            Rule::Reference => *listed
                .iter()
                .min_by_key(|path| in_flight(&self.ports[**path]))
                .unwrap(),
            Rule::Ours => {
                let chosen = IoPolicy::QueueDepth
                    .choose(
                        Listed {
                            cpu: &self.cpus[cpu],
                            listed: &listed,
                        },
                        || Node(0),
                    )
                    .unwrap();

                self.cpus[cpu]
                    .paths
                    .iter()
                    .position(|path| core::ptr::eq(path, chosen))
                    .unwrap()
            }
        }
    }

    /// Does what the library does when a request ends in another tick than the last one.
    fn catch_up(&self, number: usize) {
        let cpu = &self.cpus[number];
        let now = (self.now.get() / TICK) as u32;
        let listed = self.listed_for(number);

        let before = cpu.tick.replace(now);

        if before != now {
            let has_changed = cpu.list.replace(self.generation.get()) != self.generation.get();

            catch_up(
                listed.iter().map(|path| &self.ports[*path]),
                number as u32,
                has_changed,
                now - before,
                now,
            );
        }
    }

    fn submit(&self, number: usize) {
        let cpu = &self.cpus[number];
        let path = self.choose(number);
        let port = &self.ports[path];

        port.records[number].start();
        cpu.active.set(cpu.active.get() + 1);
        let ends = match port.service {
            Service::Parallel(time) => self.now.get() + self.about(time),
            Service::Serial(time) => {
                port.free_at
                    .set(port.free_at.get().max(self.now.get()) + self.about(time / 8));
                port.free_at.get()
            }
            Service::Batches(time) => {
                (self.now.get() + self.about(time)).next_multiple_of(time / 4)
            }
        };
        self.at(ends, Event::Ends { cpu: number, path });
    }

    fn fill(&self, cpu: usize) {
        while self.cpus[cpu].active.get() < self.cpus[cpu].depth.get() {
            self.submit(cpu);
        }
    }

    fn end(&self, number: usize, path: usize) {
        let cpu = &self.cpus[number];
        let port = &self.ports[path];

        port.records[number].done();
        cpu.active.set(cpu.active.get() - 1);
        port.ended.set(port.ended.get() + 1);
        self.catch_up(number);
        if let Some(place) = self
            .listed_for(number)
            .iter()
            .position(|other| *other == path)
        {
            cpu.done.set(place);
        }
        self.wake(number);
    }

    /// The submitter runs at once, or soon.
    fn wake(&self, number: usize) {
        if self.wake == 0 {
            self.fill(number);
        } else if !self.cpus[number].woken.replace(true) {
            self.at(self.now.get() + self.any(self.wake), Event::Wakes(number));
        }
    }

    fn spread(&self) -> u32 {
        let listed = self.listed.borrow();
        let depths = || listed.iter().map(|path| in_flight(&self.ports[*path]));

        depths().max().unwrap() - depths().min().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<usize>)) {
        change(&mut self.listed.borrow_mut());
        self.listed.borrow_mut().sort_unstable();
        self.generation.set(self.generation.get() + 1);
    }

    fn run(&self, until: Time) -> Outcome {
        let mut seen = Outcome::default();
        let mut before = 0;

        (0..self.cpus.len()).for_each(|cpu| self.fill(cpu));
        loop {
            let Some(Reverse((time, _, event))) = self.events.borrow_mut().pop() else {
                break;
            };
            if time > until {
                break;
            }
            self.now.set(time);
            match event {
                Event::Ends { cpu, path } => self.end(cpu, path),
                Event::Wakes(cpu) => {
                    self.cpus[cpu].woken.set(false);
                    self.fill(cpu);
                }
                Event::Depth { cpu, depth } => {
                    self.cpus[cpu].depth.set(depth);
                    self.fill(cpu);
                }
                Event::Goes(path) => self.change(|listed| listed.retain(|other| *other != path)),
                Event::Comes(path) => self.change(|listed| listed.push(path)),
                Event::Look => {
                    if seen.spreads.is_empty() {
                        before = self.ports.iter().map(|port| port.ended.get()).sum();
                    }
                    seen.spreads.push(self.spread());
                    self.at(time + 37 * US, Event::Look);
                }
            }
        }
        seen.ended = self.ports.iter().map(|port| port.ended.get()).sum::<u64>() - before;
        seen
    }
}

impl Scenario {
    fn run(&self, rule: Rule) -> Outcome {
        let cpus = self.depths.len();
        let ports: Vec<_> = self
            .services
            .iter()
            .map(|service| Port::new(cpus, *service))
            .collect();
        let run = Run {
            rule,
            ports: &ports,
            cpus: (0..cpus)
                .map(|cpu| Cpu {
                    paths: ports
                        .iter()
                        .map(|port| Seen {
                            port,
                            cpu: cpu as u32,
                        })
                        .collect(),
                    cursor: Cell::new(cpu + cpu / 2),
                    done: Cell::new(cpu + cpu / 2),
                    tick: Cell::new(0),
                    list: Cell::new(0),
                    depth: Cell::new(self.depths[cpu]),
                    active: Cell::new(0),
                    woken: Cell::new(false),
                })
                .collect(),
            listed: RefCell::new((0..ports.len()).collect()),
            reach: &self.reach,
            wake: self.wake,
            generation: Cell::new(0),
            events: RefCell::default(),
            count: Cell::new(0),
            random: Cell::new(self.seed),
            now: Cell::new(0),
        };

        for (time, event) in &self.generation {
            run.at(*time, *event);
        }
        run.at(self.from, Event::Look);
        run.run(self.until)
    }
}

/// Paths that take as long as each other.
fn equal(paths: usize, service: Service) -> Vec<Service> {
    vec![service; paths]
}

/// Paths of which one takes ten times as long.
fn one_slow(paths: usize, slow: usize, service: fn(Time) -> Service) -> Vec<Service> {
    (0..paths)
        .map(|path| service(if path == slow { SLOW } else { FAST }))
        .collect()
}

/// The numbers of requests that submitters keep in flight: on 1, 2 and 16 CPUs.
fn any_depths() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        prop::collection::vec(1u32..200, 1),
        prop::collection::vec(1u32..200, 2),
        Just(vec![1, 128]),
        Just(vec![128, 1]),
        prop::collection::vec(0u32..40, 16).prop_filter("somebody submits", |depths| {
            depths.iter().any(|depth| *depth > 0)
        }),
        (1u32..40).prop_map(|depth| vec![depth; 16]),
    ]
}

fn any_service() -> impl Strategy<Value = fn(Time) -> Service> {
    select(vec![
        Service::Parallel as fn(Time) -> Service,
        Service::Serial,
    ])
}

/// For how many ticks a CPU may have to wait until it looks.
fn ticks_to_settle(cpus: usize) -> Time {
    20 + 8 * cpus as Time
}

impl Scenario {
    fn steady(services: Vec<Service>, depths: Vec<u32>, seed: u64) -> Self {
        let from = ticks_to_settle(depths.len()) * TICK;

        Self {
            services,
            depths,
            reach: Vec::new(),
            wake: 0,
            generation: Vec::new(),
            from,
            until: from + 10 * TICK,
            seed,
        }
    }

    /// The same with an event that happens before the test looks at the load.
    fn after(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        for event in events {
            self.generation.push((self.from, event));
            self.from += 8 * TICK;
        }
        self.from += ticks_to_settle(self.depths.len()) * TICK;
        self.until = self.from + 10 * TICK;
        self
    }

    /// The same with submitters that take a while until they run again.
    fn late(mut self, wake: Time) -> Self {
        self.wake = wake;
        self
    }

    /// The same with an event that happens, so often, while the test looks at the load.
    fn again_and_again<const N: usize>(
        mut self,
        every: Time,
        mut events: impl FnMut() -> [Event; N],
    ) -> Self {
        self.until = self.from + 10 * every;
        for number in 0..10 {
            let at = self.from + number * every;

            self.generation.extend(events().map(|event| (at, event)));
        }
        self
    }

    /// Runs it both ways. Checks that the numbers of requests in flight differ by at most `more`
    /// more than in the reference, on average.
    fn differs_by_at_most(&self, more: f64) {
        let [ours, reference] = [Rule::Ours, Rule::Reference].map(|rule| self.run(rule).mean());

        assert!(
            ours <= reference + more,
            "{ours:.2} in flight between paths, {reference:.2} in the reference"
        );
    }

    /// Runs it both ways. Checks that the numbers of requests in flight differ by no more than two
    /// requests more than in the reference on average, and by five more at any moment.
    fn is_as_even_as_the_reference(&self) -> Result<[Outcome; 2], TestCaseError> {
        let [ours, reference] = [Rule::Ours, Rule::Reference].map(|rule| self.run(rule));

        prop_assert!(
            ours.mean() <= reference.mean() + 2.0 && ours.worst() <= reference.worst() + 5,
            "{:.2} on average and {} at most, {:.2} and {} in the reference",
            ours.mean(),
            ours.worst(),
            reference.mean(),
            reference.worst()
        );
        Ok([ours, reference])
    }
}

/// A controller is reset again and again. The CPUs have little time to hear of each other.
///
/// Shows L-13.
#[test]
fn cpus_that_have_forgotten_each_other_soon_know_again() {
    for (cpus, most) in [(4, 0.4), (16, 1.5), (64, 5.0)] {
        let mut is_there = true;

        Scenario::steady(equal(4, Service::Parallel(MS)), vec![10; cpus], 1)
            .late(MS / 10)
            .again_and_again(50 * TICK, || {
                is_there = !is_there;
                [if is_there {
                    Event::Comes(0)
                } else {
                    Event::Goes(0)
                }]
            })
            .differs_by_at_most(most);
    }
}

/// A CPU goes offline, and another one goes on with its submitter, until it comes back.
///
/// Shows L-13.
#[test]
fn a_cpu_that_comes_and_goes_leaves_an_even_load() {
    let depths = [[10, 10, 10, 10], [20, 10, 10, 0]];
    let mut number = 0;

    Scenario::steady(equal(4, Service::Parallel(MS)), depths[0].to_vec(), 1)
        .late(MS / 10)
        .again_and_again(20 * TICK, || {
            number += 1;
            [0, 3].map(|cpu| Event::Depth {
                cpu,
                depth: depths[number % 2][cpu],
            })
        })
        .differs_by_at_most(0.2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, ..Default::default() })]

    /// Shows L-13.
    #[test]
    fn requests_are_spread_over_equal_paths_as_evenly_as_by_the_reference(
        paths in 2usize..=6, depths in any_depths(), service in any_service(), seed in any::<u64>()
    ) {
        Scenario::steady(equal(paths, service(FAST)), depths, seed)
            .is_as_even_as_the_reference()?;
    }

    /// Shows L-13.
    #[test]
    fn with_one_slow_path_requests_are_spread_as_evenly_and_no_throughput_is_lost(
        slow in 0usize..4, depths in any_depths(), service in any_service(), seed in any::<u64>()
    ) {
        let [ours, reference] = Scenario::steady(one_slow(4, slow, service), depths.clone(), seed)
            .is_as_even_as_the_reference()?;

        // A few requests in flight are either on the slow path or not, by chance.
        let in_flight: u32 = depths.iter().sum();
        if in_flight >= 16 {
            prop_assert!(
                ours.ended as f64 >= 0.97 * reference.ended as f64,
                "{} requests, {} in the reference", ours.ended, reference.ended
            );
        }
    }

    /// One head has two paths, the other one has two more through other controllers.
    ///
    /// Shows L-13.
    #[test]
    fn heads_that_share_some_ports_even_them_out_together(
        few in 1u32..100, more in 1u32..100, swap in any::<bool>(), seed in any::<u64>()
    ) {
        let (depths, reach) = if swap { ([more, few], [4, 2]) } else { ([few, more], [2, 4]) };
        let scenario = Scenario::steady(equal(4, Service::Parallel(FAST)), depths.to_vec(), seed);

        Scenario { reach: reach.to_vec(), ..scenario }.is_as_even_as_the_reference()?;
    }

    /// A controller is reset.
    ///
    /// Shows L-13.
    #[test]
    fn a_path_that_comes_back_gets_its_share_and_no_more(
        paths in 2usize..=4, depths in any_depths(), service in any_service(), seed in any::<u64>()
    ) {
        Scenario::steady(equal(paths, service(FAST)), depths, seed)
            .after([Event::Goes(1), Event::Comes(1)])
            .is_as_even_as_the_reference()?;
    }

    /// CPUs go offline, and their requests end elsewhere; others take over.
    ///
    /// Shows L-13.
    #[test]
    fn cpus_that_stop_leave_an_even_load(
        paths in 2usize..=4, depths in any_depths(), stop in any::<prop::sample::Index>(),
        seed in any::<u64>()
    ) {
        prop_assume!(depths.len() > 1);

        let cpu = stop.index(depths.len());
        let other = (cpu + 1) % depths.len();
        let both = depths[cpu] + depths[other];
        prop_assume!(both > 0);

        Scenario::steady(equal(paths, Service::Parallel(FAST)), depths, seed)
            .after([
                Event::Depth { cpu, depth: 0 },
                Event::Depth { cpu: other, depth: both },
            ])
            .is_as_even_as_the_reference()?;
    }
}

/// Requests take longer than many ticks, so a CPU needs long to even out a difference. Others
/// look meanwhile, and see the same difference.
///
/// Shows L-13.
#[test]
fn cpus_that_see_the_same_difference_do_not_all_make_up_for_it() {
    for seed in 0..4 {
        let mut slow = Scenario::steady(equal(2, Service::Parallel(100 * MS)), vec![39; 16], seed);

        slow.wake = 10 * MS;
        slow.from += 1000 * MS;
        slow.until = slow.from + 1000 * MS;

        slow.differs_by_at_most(4.0);
    }
}

/// While a path is away, each CPU learns that nothing is in flight there.
///
/// Shows L-13.
#[test]
fn cpus_do_not_fill_a_path_that_has_come_back_for_all_of_them() {
    let back = Event::Comes(1);
    let mut reset = Scenario::steady(equal(4, Service::Parallel(FAST)), vec![39; 16], 1)
        .after([Event::Goes(1)])
        .after([back]);

    // From two ticks after it has come back.
    reset.from = reset.generation[1].0 + 2 * TICK;
    reset.until = reset.from + 10 * TICK;

    reset.differs_by_at_most(4.0);
}

/// When a request has ended, its submitter has to run before it begins the next one. CPUs that look
/// meanwhile do not take all missing requests for room.
///
/// Shows L-13.
#[test]
fn a_request_that_is_about_to_be_replaced_makes_no_room() {
    for (service, cpus, most) in [
        (Service::Parallel(SLOW), 4, 0.4),
        (Service::Batches(SLOW), 4, 1.2),
        (Service::Batches(SLOW), 16, 3.3),
    ] {
        let means = [Rule::Ours, Rule::Reference].map(|rule| {
            let runs = (0..8).map(|seed| {
                let mut late = Scenario::steady(equal(4, service), vec![10; cpus], seed);

                late.wake = SLOW / 10;
                late.until += 40 * TICK;
                late.run(rule).mean()
            });
            runs.sum::<f64>() / 8.0
        });

        assert!(
            means[0] <= means[1] + most,
            "{:.2} in flight between paths of {cpus} CPUs, {:.2} in the reference",
            means[0],
            means[1]
        );
    }
}

/// Of two heads, one uses two of four paths. That head gets no more reads.
///
/// Shows L-13.
#[test]
fn a_cpu_that_has_stopped_is_not_taken_to_go_on() {
    let mut stop = Scenario::steady(equal(4, Service::Parallel(FAST)), vec![80, 38], 1)
        .after([Event::Depth { cpu: 0, depth: 0 }]);

    stop.reach = vec![2, 4];
    stop.differs_by_at_most(2.0);
}

/// A CPU looks at the requests of others in flight when a request of its own ends, so in an
/// interrupt.
///
/// Shows L-13.
#[test]
fn a_cpu_looks_at_few_records_in_a_tick_on_any_machine() {
    const TICKS: u32 = 20_000;

    for (paths, cpus, most) in [
        (1, 4, 3),
        (4, 16, 60),
        (4, 512, 64),
        (16, 512, 64),
        (128, 512, 128),
    ] {
        let ports: Vec<_> = (0..paths)
            .map(|_| Port::new(cpus, Service::Parallel(FAST)))
            .collect();
        let busy = 300 % cpus;

        (0..7).for_each(|_| ports[0].records[busy].start());
        for now in 0..TICKS {
            ports.iter().for_each(|port| port.accesses.set(0));
            catch_up(ports.iter(), LOOKER, now == 0, 1, now);

            let accesses: usize = ports.iter().map(|port| port.accesses.get()).sum();
            assert!(
                accesses <= most,
                "{accesses} records of {paths} paths on {cpus} CPUs in a tick"
            );
        }

        // All the same the CPU gets to know.
        let knows = |port: &Port| {
            port.records[LOOKER as usize].depth() as f64 / f64::from(1 << FRACTION_BITS)
        };
        let differs = knows(&ports[0]) - ports.get(1).map_or(0.0, knows);
        assert!(
            (differs - 7.0).abs() < 0.5,
            "{differs:.2} requests of 7 known with {paths} paths on {cpus} CPUs"
        );
    }
}

/// A port that counts with others.
struct Sharing<'a>(&'a [Record]);

impl depth::Port for Sharing<'_> {
    fn cpus(&self, first: u32) -> impl Iterator<Item = u32> {
        first..self.0.len() as u32
    }

    fn record(&self, cpu: u32) -> &Record {
        &self.0[cpu as usize]
    }
}

/// Shows L-13.
#[test]
fn ports_that_count_together_are_known_as_well_as_others() {
    for cpus in [1, 4, 16, 512] {
        let records: Vec<_> = (0..cpus).map(|_| Record::default()).collect();
        let ports: Vec<_> = (0..3).map(|_| Sharing(&records)).collect();
        let busy = if cpus == 1 { 0 } else { 6 };

        (0..busy).for_each(|_| records[cpus - 1].start());
        for now in 0..2000 {
            catch_up(ports.iter(), 0, now == 0, 1, now);
        }
        let known = f64::from(records[0].depth()) / f64::from(1 << FRACTION_BITS);
        assert!(
            (known - f64::from(busy)).abs() < 0.1,
            "{known:.2} requests of {busy} known on {cpus} CPUs"
        );
    }
}
