// SPDX-License-Identifier: GPL-2.0

//! How many requests are in flight through a port, as each CPU knows it.
//!
//! A port has a record for each CPU. A request is counted in the record of the CPU that it began
//! on, until it ends, wherever it ends. So no request writes a line that all CPUs use.
//!
//! For a CPU the depth of a port is what its own record counts, which is exact, and what it knows
//! of the others: how many requests they had in flight when it looked last. It looks at all ports
//! that a head chooses from at once ([`catch_up`]), and one CPU at a time may do so. That CPU evens
//! out what all have in flight, and the next one looks when it has done so; the others keep to what
//! they know meanwhile. If all looked at the same time, all of them would leave the port that is
//! the busiest just then, and come back to it together.
//!
//! When the paths that a head chooses from have changed, what a CPU knows of the others misleads
//! it: a path that has just come back has nothing in flight, and each CPU would fill it for all of
//! them. So it forgets that then, and spreads its own requests evenly until it looks again. It does
//! the same when it has not submitted anything for long.

use crate::pure::sync::AtomicU32;

/// What a CPU sees of the others when it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// How many requests they have in flight.
    pub requests: u32,
    /// How many of them have any.
    pub cpus: u32,
}

impl Elsewhere {
    /// One more CPU has so many requests in flight.
    pub fn and(self, requests: u32) -> Self {
        Self {
            requests: self.requests.wrapping_add(requests),
            cpus: self.cpus + u32::from(requests > 0),
        }
    }
}

/// A port and the CPU that sees it.
pub trait Port: Copy {
    /// What is in flight of other CPUs. Reads the record of each.
    fn elsewhere(self) -> Elsewhere;

    /// The CPU takes the others to have so many requests in flight from now on.
    fn set_others(self, requests: u32);

    /// The tick in which some CPU has looked last.
    fn with_last_look<R>(self, f: impl FnOnce(&AtomicU32) -> R) -> R;

    /// The tick from which on the CPU may look again.
    fn next_look(self) -> u32;

    /// Sets that tick.
    fn set_next_look(self, tick: u32);

    /// For how many ticks the CPU may still keep others from looking. 0 when it does not.
    fn patience(self) -> u32;

    /// Sets that number.
    fn set_patience(self, ticks: u32);

    /// How many requests of the CPU itself are in flight.
    fn own(self) -> u32;

    /// How many are in flight as far as the CPU knows.
    fn depth(self) -> u32;
}

/// How many records are read in a tick, on average. More ports and CPUs are looked at less often.
const RECORDS_PER_TICK: usize = 256;
/// For how many ticks at most a CPU that has looked keeps others from looking, while it evens out
/// what it has seen.
const PATIENCE: u32 = 64;
/// After how many ticks without a request a CPU forgets what it knew.
const LONG: u32 = 64;

/// A CPU's chance to learn what other CPUs have in flight through the ports that a head chooses
/// from. It takes the chance if it is its turn: those that have looked wait until all that were
/// busy then can have looked, too. Called at most once in a tick, numbered `now`; ticks may wrap
/// around. Any context.
///
/// `has_changed` says that these are not the ports of the CPU's last call, which was so many ticks
/// ago.
pub fn catch_up<P: Port>(
    ports: impl Iterator<Item = P> + Clone,
    has_changed: bool,
    ago: u32,
    now: u32,
    cpus: u32,
) {
    // Heads with the same ports take turns with each other as well.
    let Some(first) = ports.clone().next() else {
        return;
    };

    if has_changed || ago > LONG {
        first.set_patience(0);
        first.set_next_look(now.wrapping_add(1));
        return ports.for_each(|port| port.set_others(0));
    }
    let patience = first.patience();

    if patience > 0 {
        if is_even(ports) {
            return first.set_patience(0);
        }
        first.set_patience(patience - 1);
        first.with_last_look(|tick| tick.update(|_| now));
        return;
    }
    if (now.wrapping_sub(first.next_look()) as i32) < 0 {
        return;
    }

    let records = ports.clone().count() * cpus as usize;
    let interval = records.div_ceil(RECORDS_PER_TICK).max(1) as u32;

    if first.with_last_look(|tick| claim(tick, now, interval)) {
        let busy = ports.fold(0, |most: u32, port| {
            let elsewhere = port.elsewhere();

            port.set_others(elsewhere.requests);
            most.max(elsewhere.cpus)
        });

        first.set_next_look(now.wrapping_add(interval * (busy + 1)));
        first.set_patience(PATIENCE);
    }
}

/// Is there nothing left to be evened out by the CPU? It can take requests from where it has some.
fn is_even<P: Port>(ports: impl Iterator<Item = P> + Clone) -> bool {
    let used = ports.clone().filter(|port| port.own() > 0);
    let most = used.map(Port::depth).max().unwrap_or(0);
    let least = ports.map(Port::depth).min().unwrap_or(0);

    most <= least + 1
}

/// May the caller look now? One of those who ask in the same interval may.
fn claim(last: &AtomicU32, now: u32, interval: u32) -> bool {
    let tick = last.load();

    now.wrapping_sub(tick) >= interval && last.cmpxchg(tick, now).is_ok()
}
