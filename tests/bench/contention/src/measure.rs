// SPDX-License-Identifier: GPL-2.0

//! Measures how long a choice takes on some CPUs at once.

use super::cpus;
use super::side::{
    Counted,
    Disk,
    Side,
    HERE,
    MOST, //
};
use core::hint::spin_loop;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Instant;

/// How many choices a run times. They take a millisecond or two, so that most runs are over before
/// anybody else wants the CPU.
const CHOICES: u32 = 20_000;

/// How many ticks the clock makes meanwhile, which is more than in a kernel.
const TICKS: u32 = 4;

/// How often a run is made again at once, because another task was on one of the CPUs.
const TRIES: u32 = 4;

/// How many choices a thread makes before and after those that are timed.
const AROUND: u32 = 1_000;

/// How many requests each CPU has in flight when paths are busy.
const FLIGHT: usize = 16;

/// The result of a run.
pub struct Run {
    /// Nanoseconds of a choice, on average over the CPUs.
    pub nanoseconds: f64,
    /// How often each path was chosen, by CPU.
    pub chosen: Vec<[u64; MOST]>,
    is_disturbed: bool,
}

/// The part of one thread in it.
struct Part {
    nanoseconds: f64,
    chosen: [u64; MOST],
    is_disturbed: bool,
}

/// Chooses from each head on the CPU at the same place, on all of them at once. If need be, it does
/// so several times, until nobody else has been on the CPUs meanwhile.
pub fn run<S: Side>(heads: &[S], cpus: &[usize], busy: bool) -> Run {
    let mut run = try_to_run(heads, cpus, busy);

    for _ in 1..TRIES {
        if !run.is_disturbed {
            break;
        }
        run = try_to_run(heads, cpus, busy);
    }
    run
}

fn try_to_run<S: Side>(heads: &[S], cpus: &[usize], busy: bool) -> Run {
    let together = Together::new(heads.len());
    let parts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = heads
            .iter()
            .zip(cpus)
            .enumerate()
            .map(|(number, (head, cpu))| {
                let together = &together;

                scope.spawn(move || {
                    cpus::pin(*cpu).unwrap_or_else(|error| super::stop(&error));
                    S::be_cpu(number as u32, HERE);
                    Chooser::new(*head, busy, number == 0).run(together)
                })
            })
            .collect();

        threads
            .into_iter()
            .map(|thread| thread.join().expect("threads stop the program instead"))
            .collect()
    });

    Run {
        nanoseconds: parts.iter().map(|part| part.nanoseconds).sum::<f64>() / parts.len() as f64,
        chosen: parts.iter().map(|part| part.chosen).collect(),
        is_disturbed: parts.iter().any(|part| part.is_disturbed),
    }
}

/// A barrier at which threads begin together; they go on until the last one has been timed.
#[repr(align(128))]
struct Together {
    threads: usize,
    ready: AtomicUsize,
    timed: AtomicUsize,
}

impl Together {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            ready: AtomicUsize::new(0),
            timed: AtomicUsize::new(0),
        }
    }

    fn begin(&self) {
        self.ready.fetch_add(1, SeqCst);
        while self.ready.load(SeqCst) < self.threads {
            spin_loop();
        }
    }

    fn is_over(&self) -> bool {
        self.timed.load(SeqCst) == self.threads
    }
}

/// A CPU that submits bios.
struct Chooser<S> {
    head: S,
    busy: bool,
    keeps_time: bool,
    chosen: [u64; MOST],
    flight: [Option<(&'static Disk, Counted)>; FLIGHT],
    next: usize,
}

impl<S: Side> Chooser<S> {
    fn new(head: S, busy: bool, keeps_time: bool) -> Self {
        Self {
            head,
            busy,
            keeps_time,
            chosen: [0; MOST],
            flight: [None; FLIGHT],
            next: 0,
        }
    }

    fn run(mut self, together: &Together) -> Part {
        self.choose(AROUND);

        let before = cpus::preemptions();
        together.begin();

        let begun = Instant::now();
        for _ in 0..TICKS {
            self.choose(CHOICES / TICKS);
            if self.keeps_time {
                S::tick();
            }
        }
        let nanoseconds = begun.elapsed().as_nanos() as f64 / f64::from(CHOICES);

        together.timed.fetch_add(1, SeqCst);
        while !together.is_over() {
            self.choose(AROUND);
        }

        let is_disturbed = cpus::preemptions() != before;
        for (disk, counted) in self.flight.into_iter().flatten() {
            S::end(disk, counted);
        }
        Part {
            nanoseconds,
            chosen: self.chosen,
            is_disturbed,
        }
    }

    #[inline(never)]
    fn choose(&mut self, choices: u32) {
        for _ in 0..choices {
            let Some(disk) = self.head.choose() else {
                super::stop("there is no path to choose");
            };

            self.chosen[disk.id as usize] += 1;
            if self.busy {
                let begun = (disk, S::begin(disk));

                if let Some((ended, counted)) = self.flight[self.next].replace(begun) {
                    S::end(ended, counted);
                }
                self.next = (self.next + 1) % FLIGHT;
            }
        }
    }
}
