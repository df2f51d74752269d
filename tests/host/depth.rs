// SPDX-License-Identifier: GPL-2.0

//! Queue-depth on a simulated machine: CPUs that know little of each other, beside a reference that
//! looks at everything.
//!
//! Time is virtual, and chance follows from a seed, so a run is the same each time. Each CPU has a
//! submitter that keeps so many requests in flight. [`Rule::Ours`] is the very code that the kernel
//! runs, the policy and the sweeps; [`Rule::Reference`] counts exactly and takes the first of the
//! least busy paths, as the kernel's own driver does.

use core::cell::{
    Cell,
    RefCell, //
};
use libmultipath::depth::{
    forget,
    in_flight,
    sweep,
    Records,
    Swept, //
};
use libmultipath::nodes::Node;
use libmultipath::policy::{
    Candidates,
    IoPolicy,
    Path, //
};
use libmultipath::state::Access;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds.
type Time = u64;

const US: Time = 1_000;
const MS: Time = 1_000_000;
/// `CONFIG_HZ=250`.
const TICK: Time = 4 * MS;

/// Who chooses paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Ours,
    Reference,
}

/// How a path carries requests out.
#[derive(Clone, Copy, Debug)]
enum Service {
    /// All at the same time.
    Parallel(Time),
    /// One after the other.
    Serial(Time),
}

/// What a CPU has of a path's port.
#[derive(Default)]
struct Record {
    active: Cell<u32>,
    before: Cell<u32>,
}

struct Port {
    records: Vec<Record>,
    swept: Swept,
    service: Service,
    free_at: Cell<Time>,
    ended: Cell<u64>,
}

impl Port {
    fn new(cpus: usize, service: Service) -> Self {
        Self {
            records: (0..cpus).map(|_| Record::default()).collect(),
            swept: Swept::new(0),
            service,
            free_at: Cell::new(0),
            ended: Cell::new(0),
        }
    }
}

impl Records for &Port {
    fn cpus(self) -> impl Iterator<Item = u32> {
        0..self.records.len() as u32
    }

    fn active(self, cpu: u32) -> u32 {
        self.records[cpu as usize].active.get()
    }

    fn before(self, cpu: u32) -> u32 {
        self.records[cpu as usize].before.get()
    }

    fn set_before(self, cpu: u32, requests: u32) {
        self.records[cpu as usize].before.set(requests);
    }
}

/// A path as one CPU sees it.
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
        self.port.active(self.cpu) + self.port.before(self.cpu)
    }
}

struct Cpu<'m> {
    paths: Vec<Seen<'m>>,
    turn: Cell<usize>,
    done: Cell<usize>,
    tick: Cell<u32>,
    /// How many requests its submitter keeps in flight.
    depth: Cell<u32>,
    /// How many it has in flight.
    active: Cell<u32>,
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

    fn turn(self) -> usize {
        self.cpu.turn.get()
    }

    fn set_turn(self, place: usize) {
        self.cpu.turn.set(place);
    }

    fn last_done(self) -> usize {
        self.cpu.done.get()
    }
}

/// What becomes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request of a CPU ends on a path.
    Ends { cpu: usize, path: usize },
    /// A submitter keeps another number of requests in flight.
    Depth { cpu: usize, depth: u32 },
    /// A path is not to be used any more.
    Goes(usize),
    /// It is again.
    Comes(usize),
    /// The load is looked at.
    Look,
}

/// What was seen of a run.
#[derive(Debug, Default)]
struct Outcome {
    /// The most less the least in flight on a path, each time somebody looked.
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

/// A machine, and what happens to it.
#[derive(Clone, Debug)]
struct Scenario {
    services: Vec<Service>,
    /// Of each CPU's submitter.
    depths: Vec<u32>,
    changes: Vec<(Time, Event)>,
    /// From when on the load is looked at.
    from: Time,
    until: Time,
    seed: u64,
}

struct Run<'m> {
    rule: Rule,
    ports: &'m [Port],
    cpus: Vec<Cpu<'m>>,
    listed: RefCell<Vec<usize>>,
    /// The number of changes of the list, and that of the last sweep.
    stamp: Cell<u32>,
    swept: Cell<u32>,
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

    fn choose(&self, cpu: usize) -> usize {
        let listed = self.listed.borrow();

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

    /// What the library does when a request begins in another tick than the last one.
    fn sweep(&self, cpu: &Cpu<'_>) {
        let now = (self.now.get() / TICK) as u32;

        if cpu.tick.replace(now) == now {
            return;
        }
        let is_new = self.swept.replace(self.stamp.get()) != self.stamp.get();
        for path in self.listed.borrow().iter() {
            let port = &self.ports[*path];

            if is_new {
                port.swept.put_off(now);
                forget(port);
            } else if port.swept.is_due(now, self.cpus.len() as u32) {
                sweep(port);
            }
        }
    }

    fn submit(&self, number: usize) {
        let cpu = &self.cpus[number];
        let path = self.choose(number);
        let port = &self.ports[path];
        let active = &port.records[number].active;

        active.set(active.get() + 1);
        cpu.active.set(cpu.active.get() + 1);
        self.sweep(cpu);
        let ends = match port.service {
            Service::Parallel(time) => self.now.get() + self.about(time),
            Service::Serial(time) => {
                port.free_at
                    .set(port.free_at.get().max(self.now.get()) + self.about(time));
                port.free_at.get()
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
        let active = &self.ports[path].records[number].active;
        let ended = &self.ports[path].ended;

        active.set(active.get() - 1);
        cpu.active.set(cpu.active.get() - 1);
        ended.set(ended.get() + 1);
        if let Some(place) = self.listed.borrow().iter().position(|other| *other == path) {
            cpu.done.set(place);
        }
        self.fill(number);
    }

    fn spread(&self) -> u32 {
        let listed = self.listed.borrow();
        let depths = || listed.iter().map(|path| in_flight(&self.ports[*path]));

        depths().max().unwrap() - depths().min().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<usize>)) {
        change(&mut self.listed.borrow_mut());
        self.listed.borrow_mut().sort_unstable();
        self.stamp.set(self.stamp.get() + 1);
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
                    turn: Cell::new(cpu + cpu / 2),
                    done: Cell::new(0),
                    tick: Cell::new(0),
                    depth: Cell::new(self.depths[cpu]),
                    active: Cell::new(0),
                })
                .collect(),
            listed: RefCell::new((0..ports.len()).collect()),
            stamp: Cell::new(0),
            swept: Cell::new(0),
            events: RefCell::default(),
            count: Cell::new(0),
            random: Cell::new(self.seed),
            now: Cell::new(0),
        };

        for (time, event) in &self.changes {
            run.at(*time, *event);
        }
        run.at(self.from, Event::Look);
        run.run(self.until)
    }
}

#[test]
fn explore() {
    let equal = |n, us: Time| vec![Service::Parallel(us * US); n];
    let mut slow = equal(4, 50);
    slow[0] = Service::Parallel(500 * US);
    let mut slow_serial = vec![Service::Serial(10 * US); 4];
    slow_serial[0] = Service::Serial(100 * US);
    let mut slow_last = vec![Service::Serial(10 * US); 4];
    slow_last[3] = Service::Serial(100 * US);

    for (name, services) in [
        ("2 equal", equal(2, 50)),
        ("4 equal", equal(4, 50)),
        ("4 serial", vec![Service::Serial(10 * US); 4]),
        ("32 equal", equal(32, 50)),
        ("slow", slow),
        ("slow serial", slow_serial),
        ("slow last", slow_last),
    ] {
        for depths in [
            vec![1],
            vec![7],
            vec![32],
            vec![1, 128],
            vec![128, 1],
            vec![0, 5, 0, 5],
            vec![1; 16],
            vec![8; 16],
            vec![31; 16],
            vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3],
        ] {
            for (what, changes, from) in [
                ("steady", vec![], 20 * MS),
                ("begin", vec![], 0),
                (
                    "reset",
                    vec![(20 * MS, Event::Goes(1)), (40 * MS, Event::Comes(1))],
                    41 * MS,
                ),
            ] {
                let scenario = Scenario {
                    services: services.clone(),
                    depths: depths.clone(),
                    changes,
                    from,
                    until: if what == "begin" { 20 * MS } else { from + 60 * MS },
                    seed: 1,
                };
                let [ours, reference] = [Rule::Ours, Rule::Reference].map(|rule| scenario.run(rule));
                println!(
                    "{name:12} {what:8} {:>5.2}/{:>5.2} worst {:>4}/{:>4} ended {:>5.3}  {depths:?}",
                    ours.mean(),
                    reference.mean(),
                    ours.worst(),
                    reference.worst(),
                    ours.ended as f64 / reference.ended as f64
                );
            }
        }
    }
}
