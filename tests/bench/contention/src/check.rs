// SPDX-License-Identifier: GPL-2.0

//! Checks that each side chooses paths at all: sensibly before it is measured, and in fair shares
//! meanwhile.

use super::measure::Run;
use super::side::{
    Side,
    HERE,
    MOST,
    NEAR, //
};
use core::cell::RefCell;
use libmultipath::policy::IoPolicy;

/// Checks on one CPU that each policy does what it is for.
pub fn is_sensible<S: Side>() -> Result<(), String> {
    S::be_cpu(0, HERE);
    for paths in [2, MOST as u32] {
        numa_takes_the_near_path::<S>(paths)?;
        round_robin_takes_all_in_turn::<S>(paths)?;
    }
    queue_depth_takes_the_path_with_less_in_flight::<S>()
}

fn numa_takes_the_near_path<S: Side>(paths: u32) -> Result<(), String> {
    let chosen = choose(S::new(IoPolicy::Numa, paths), 4)?;

    if chosen.iter().any(|chosen| *chosen != NEAR) {
        return Err(format!("numa takes paths {chosen:?} of {paths}"));
    }
    Ok(())
}

fn round_robin_takes_all_in_turn<S: Side>(paths: u32) -> Result<(), String> {
    let chosen = choose(S::new(IoPolicy::RoundRobin, paths), 4 * paths)?;

    if !chosen
        .windows(2)
        .all(|pair| pair[1] == (pair[0] + 1) % paths)
    {
        return Err(format!("round-robin takes paths {chosen:?} of {paths}"));
    }
    Ok(())
}

fn queue_depth_takes_the_path_with_less_in_flight<S: Side>() -> Result<(), String> {
    let head = S::new(IoPolicy::QueueDepth, 2);
    let counted = RefCell::new(Vec::new());
    let load = |path, requests| {
        (0..requests).for_each(|_| counted.borrow_mut().push(S::begin(head.disk(path))));
    };
    let expect = |path: u32| {
        let chosen = choose(head, 4)?;

        if chosen.iter().any(|chosen| *chosen != path) {
            return Err(format!(
                "queue-depth takes paths {chosen:?} with {} and {} requests in flight",
                S::depth(head.disk(0)),
                S::depth(head.disk(1))
            ));
        }
        Ok(())
    };

    load(0, 3);
    load(1, 1);
    expect(1)?;
    load(1, 4);
    expect(0)?;
    // All of them began on this CPU, and count alike.
    counted.take()[..5]
        .iter()
        .for_each(|counted| S::end(head.disk(1), *counted));
    expect(1)
}

fn choose<S: Side>(head: S, times: u32) -> Result<Vec<u32>, String> {
    (0..times)
        .map(|_| head.choose().map(|disk| disk.id))
        .collect::<Option<_>>()
        .ok_or(format!("{}: there is no path to choose", S::NAME))
}

/// How often each path of one head was chosen, in all runs.
#[derive(Default)]
pub struct Shares {
    chosen: [u64; MOST],
}

impl Shares {
    /// Takes a run on one head note. When a CPU has its own turn, or is alone, round-robin gives
    /// each path as much as the others, on each CPU.
    pub fn add<S: Side>(&mut self, run: &Run, policy: IoPolicy, paths: u32) -> Result<(), String> {
        for on_cpu in &run.chosen {
            let used = &on_cpu[..paths as usize];
            let spread = used.iter().max().unwrap_or(&0) - used.iter().min().unwrap_or(&0);
            let exact = S::OWN_TURNS || run.chosen.len() == 1;

            if policy == IoPolicy::RoundRobin && exact && spread > 1 {
                return Err(format!("round-robin gives paths {used:?} on one CPU"));
            }
            for (sum, count) in self.chosen.iter_mut().zip(on_cpu) {
                *sum += count;
            }
        }
        Ok(())
    }

    /// Checks that each path that should get bios got half of an equal share, and no other any.
    pub fn check(&self, policy: IoPolicy, paths: u32, busy: bool) -> Result<(), String> {
        let used = &self.chosen[..paths as usize];
        let total: u64 = used.iter().sum();
        let is_right = |id: usize| match policy {
            IoPolicy::Numa => (id == NEAR as usize) == (used[id] > 0),
            IoPolicy::QueueDepth if !busy => true,
            _ => used[id] >= total / u64::from(paths) / 2,
        };

        if total > 0 && (0..used.len()).all(is_right) {
            return Ok(());
        }
        Err(format!("{} chose paths {used:?} times", policy.name()))
    }
}

/// Checks that no request is in flight any more.
pub fn is_idle<S: Side>(head: S, paths: u32) -> Result<(), String> {
    let depths: Vec<_> = (0..paths).map(|id| S::depth(head.disk(id))).collect();

    if depths.iter().all(|depth| *depth == 0) {
        return Ok(());
    }
    Err(format!("at the end {depths:?} requests are in flight"))
}
