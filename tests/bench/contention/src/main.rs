// SPDX-License-Identifier: GPL-2.0

//! The cost to each other of CPUs that choose a path at once: with the kernel's own algorithm, from
//! its own text, and with ours, in the same harness.
//!
//! The program prints a line of JSON for each case, with nanoseconds of a choice. It measures on
//! one CPU, on 4, 8 and so on, and on all CPUs, which choose from one head. On two CPUs it measures
//! twice: with one head, and with a head each. Two CPUs with a head each share nothing of it. So
//! the machine causes the time that they take beyond that of one CPU.

mod check;
mod cpus;
mod measure;
mod ours;
mod side;
mod stock;

use check::Shares;
use libmultipath::policy::IoPolicy;
use ours::Ours;
use side::{
    Side,
    CPUS,
    MOST, //
};
use std::process::exit;
use stock::Stock;

/// How often the program measures everything. It takes the median.
const ROUNDS: usize = 51;

/// The cases: the policy, how many paths, and whether they are busy. NVMe counts requests under
/// queue-depth only, so with other policies a path that is busy is like one that is idle.
const CASES: [(IoPolicy, u32, bool); 8] = [
    (IoPolicy::Numa, 2, false),
    (IoPolicy::Numa, MOST as u32, false),
    (IoPolicy::RoundRobin, 2, false),
    (IoPolicy::RoundRobin, MOST as u32, false),
    (IoPolicy::QueueDepth, 2, false),
    (IoPolicy::QueueDepth, MOST as u32, false),
    (IoPolicy::QueueDepth, 2, true),
    (IoPolicy::QueueDepth, MOST as u32, true),
];

fn main() {
    measure_all().unwrap_or_else(|error| stop(&error));
}

/// Ends the program, from any thread.
#[cold]
fn stop(error: &str) -> ! {
    eprintln!("contention: {error}");
    exit(1)
}

fn measure_all() -> Result<(), String> {
    check::is_sensible::<Stock>().map_err(|error| of::<Stock>(&error))?;
    check::is_sensible::<Ours>().map_err(|error| of::<Ours>(&error))?;

    let mut cpus = cpus::all()?;

    cpus.truncate(CPUS);
    println!("choosing on CPUs {cpus:?}");
    for (policy, paths, busy) in CASES {
        let mut stock = Times::<Stock>::new(policy, paths, busy);
        let mut ours = Times::<Ours>::new(policy, paths, busy);

        for round in 0..ROUNDS {
            stock.measure(&cpus, round)?;
            ours.measure(&cpus, round)?;
        }
        stock.finish()?;
        ours.finish()?;
    }
    Ok(())
}

fn of<S: Side>(error: &str) -> String {
    format!("{}: {error}", S::NAME)
}

/// The times of one side in one case.
struct Times<S> {
    policy: IoPolicy,
    paths: u32,
    busy: bool,
    shared: S,
    other: S,
    shares: Shares,
    one: Vec<f64>,
    two: Vec<f64>,
    apart: Vec<f64>,
    /// Times on more CPUs, by how many they are: see [`numbers`].
    more: Vec<Vec<f64>>,
    cpus: usize,
}

impl<S: Side> Times<S> {
    fn new(policy: IoPolicy, paths: u32, busy: bool) -> Self {
        Self {
            policy,
            paths,
            busy,
            shared: S::new(policy, paths),
            other: S::new(policy, paths),
            shares: Shares::default(),
            one: Vec::new(),
            two: Vec::new(),
            apart: Vec::new(),
            more: Vec::new(),
            cpus: 0,
        }
    }

    fn measure(&mut self, cpus: &[usize], round: usize) -> Result<(), String> {
        let alone = [cpus[round % 2]];
        let one = measure::run(&[self.shared], &alone, self.busy);
        let two = measure::run(&[self.shared, self.shared], cpus, self.busy);
        let apart = measure::run(&[self.shared, self.other], cpus, self.busy);
        let more: Vec<_> = numbers(cpus.len())
            .map(|number| measure::run(&vec![self.shared; number], cpus, self.busy))
            .collect();

        for run in [&one, &two].into_iter().chain(&more) {
            self.shares
                .add::<S>(run, self.policy, self.paths)
                .map_err(|error| of::<S>(&error))?;
        }
        self.one.push(one.nanoseconds);
        self.two.push(two.nanoseconds);
        self.apart.push(apart.nanoseconds);
        self.more.resize(more.len(), Vec::new());
        for (all, run) in self.more.iter_mut().zip(&more) {
            all.push(run.nanoseconds);
        }
        self.cpus = cpus.len();
        Ok(())
    }

    fn finish(mut self) -> Result<(), String> {
        self.shares
            .check(self.policy, self.paths, self.busy)
            .and_then(|()| check::is_idle(self.shared, self.paths))
            .and_then(|()| check::is_idle(self.other, self.paths))
            .map_err(|error| of::<S>(&error))?;
        let more: Vec<_> = numbers(self.cpus)
            .zip(&mut self.more)
            .map(|(number, times)| format!("\"{number}\": {:.2}", median(times)))
            .collect();

        println!(
            "{{\"policy\": \"{}\", \"paths\": {}, \"busy\": {}, \"side\": \"{}\", \
             \"one\": {:.2}, \"two\": {:.2}, \"apart\": {:.2}, \"more\": {{{}}}}}",
            self.policy.name(),
            self.paths,
            self.busy,
            S::NAME,
            median(&mut self.one),
            median(&mut self.two),
            median(&mut self.apart),
            more.join(", ")
        );
        Ok(())
    }
}

/// The numbers of CPUs to measure with, besides one and two: powers of two, and all.
fn numbers(cpus: usize) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(4), |number| Some(2 * number))
        .take_while(move |number| *number < cpus)
        .chain((cpus > 2).then_some(cpus))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
