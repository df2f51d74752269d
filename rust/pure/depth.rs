// SPDX-License-Identifier: GPL-2.0

//! The number of requests in flight through a port, as each CPU knows it.
//!
//! A port has a record for each CPU. The record of the CPU that a request began on counts it until
//! it ends, wherever it ends. So no request writes a line that all CPUs use.
//!
//! For a CPU the depth of a port is its own count, which is exact, and its estimate of the others.
//! In a tick it looks at the requests that some of them have in flight through all ports that a
//! head chooses from. In the next tick it looks at those of the next CPUs ([`catch_up`]). When it
//! has been round, it knows. It reads few records at a time, as it does so in an interrupt, and
//! there may be hundreds of CPUs. On a machine with few of them it is round at once.
//!
//! A CPU looks when the first of its requests in a tick ends, not when one begins. For a request
//! that has ended makes no room: its submitter replaces it as soon as it runs. Requests of a port
//! often end together, and a submitter runs when some of them have ended. A CPU that looked then
//! would see too few requests on that port. Before the first of them ends, none is missing.
//!
//! All CPUs see the same difference between two ports, and each can make up for it. If each did,
//! all of them would leave the port that is the busiest just then, and come back to it together. So
//! a CPU moves its estimate only a part of the way to the number that it sees. When it looks for
//! the first time, it moves its share, one in as many as there are busy CPUs. Then it moves half of
//! that, a third, and so on, down to an eighth: its estimate becomes an average, in which chance
//! counts for little.
//!
//! When the paths that a head chooses from have changed, a CPU's estimates mislead it. A path that
//! has just come back has nothing in flight, and each CPU would fill it for all of them. So the CPU
//! forgets them then, and spreads its own requests evenly until it looks again. It does the same
//! when none of its requests has ended for long. To forget is to take all ports for equal, but for
//! a part of a request that differs from CPU to CPU. Otherwise all CPUs would send their first
//! request too many to the same path, and come to prefer another one at the same moment.

use crate::pure::sync::AtomicU32;

/// A CPU's record of the requests in flight through a port: `struct mpath_port_cpu`.
#[repr(C, align(32))]
pub struct Record {
    /// The requests in flight that began on this CPU.
    active: AtomicU32,
    /// The requests that others had in flight when this CPU looked, on average, as a depth.
    others: AtomicU32,
    /// The tick in which this CPU looked last.
    tick: AtomicU32,
    /// The CPU at whose record it looks next.
    next: AtomicU32,
    /// The requests that it has seen in this round.
    seen: AtomicU32,
    /// The CPUs with requests in flight that it has seen in this round.
    busy: AtomicU32,
    /// The rounds that it has ended since it forgot; no more than [`PATIENCE`].
    rounds: AtomicU32,
}

#[cfg(not(CONFIG_RUST))]
impl Default for Record {
    fn default() -> Self {
        Self {
            active: AtomicU32::new(0),
            others: AtomicU32::new(0),
            tick: AtomicU32::new(0),
            next: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
        }
    }
}

impl Record {
    /// The requests of this CPU that are in flight.
    fn own(&self) -> u32 {
        self.active.load()
    }

    /// The requests in flight as far as this CPU knows, in fractions of a request.
    pub fn depth(&self) -> u32 {
        (self.own() << FRACTION_BITS).wrapping_add(self.others.load())
    }

    /// Moves the estimate one in `weight` parts of the way to the number that the CPU saw in the
    /// round, and begins the next round. Ports that count together have one record, which learns
    /// once.
    fn learn(&self, weight: u32) {
        if self.next.load() == 0 {
            return;
        }
        let seen = self.seen.load() << FRACTION_BITS;
        let known = self.others.load();
        let step = known.abs_diff(seen).div_ceil(weight);

        self.others.store(if known < seen {
            known + step
        } else {
            known - step
        });
        self.begin_round();
    }

    /// Takes others to have this depth in flight, and begins a round.
    fn forget(&self, others: u32) {
        self.others.store(others);
        self.begin_round();
    }

    fn begin_round(&self) {
        self.next.store(0);
        self.seen.store(0);
        self.busy.store(0);
    }

    /// Adds the requests in flight of another CPU to those of the round.
    fn see(&self, requests: u32) {
        self.seen.store(self.seen.load().wrapping_add(requests));
        self.busy.store(self.busy.load() + u32::from(requests > 0));
    }

    /// Counts a request that begins, as `mpath_request_start()` does.
    #[cfg(not(CONFIG_RUST))]
    pub fn start(&self) {
        self.active.add(1);
    }

    /// Counts a request that ends, as `mpath_request_done()` does.
    #[cfg(not(CONFIG_RUST))]
    pub fn done(&self) {
        self.active.sub(1);
    }
}

/// A port, and the records that CPUs have of it.
pub trait Port {
    /// All possible CPUs from this one on, also those that are offline.
    fn cpus(&self, first: u32) -> impl Iterator<Item = u32>;

    /// The record of one of them.
    fn record(&self, cpu: u32) -> &Record;
}

/// The number of requests in flight through a port. Exact while none begins or ends. Any context.
pub fn in_flight(port: &impl Port) -> u32 {
    port.cpus(0)
        .map(|cpu| port.record(cpu).own())
        .fold(0, u32::wrapping_add)
}

/// Has a CPU look at the next `count` records of a port. Returns whether it has been round.
fn look(port: &impl Port, cpu: u32, count: usize) -> bool {
    let own = port.record(cpu);
    let mut others = port.cpus(own.next.load()).filter(|other| *other != cpu);

    for other in others.by_ref().take(count) {
        own.see(port.record(other).own());
        own.next.store(other + 1);
    }
    // The only CPU that there is has been round, too.
    own.next.store(own.next.load().max(1));
    others.next().is_none()
}

/// The bits of a depth's fraction: a depth counts requests in units of 1 / 2^FRACTION_BITS.
pub const FRACTION_BITS: u32 = 8;
/// The rounds after which the weight of a look becomes no smaller.
const PATIENCE: u32 = 8;
/// The records of others that a CPU reads in a tick. Where there are more ports than that, it reads
/// one of each.
const RECORDS_PER_TICK: usize = 64;
/// The ticks without a request after which a CPU forgets its estimates.
const LONG: u32 = 64;

/// Lets a CPU learn how many requests other CPUs have in flight through the ports that a head
/// chooses from. Called at most once in a tick for a head, numbered `now`; ticks may wrap around.
/// Any context.
///
/// `has_changed` says that these are not the ports of the head's last call, `ago` ticks ago.
pub fn catch_up<'a, P: Port + 'a>(
    ports: impl Iterator<Item = &'a P> + Clone,
    cpu: u32,
    has_changed: bool,
    ago: u32,
    now: u32,
) {
    let records = ports.clone().map(|port| port.record(cpu));
    let len = ports.clone().count();
    let Some(first) = records.clone().next() else {
        return;
    };

    if has_changed || ago > LONG {
        let known = records.clone().map(|record| record.others.load());
        let mean = known.fold(0, u32::wrapping_add) / len as u32;

        for (index, record) in records.enumerate() {
            record.forget(mean.wrapping_add(part(cpu, index as u32)));
        }
        first.rounds.store(0);
        first.tick.store(now);
        return;
    }

    // Heads with the same ports look for each other as well, and on several CPUs at the same time.
    let last = first.tick.load();
    if last == now || first.tick.cmpxchg(last, now).is_err() {
        return;
    }

    let count = (RECORDS_PER_TICK / len).max(1);
    let been_round = ports
        .map(|port| look(port, cpu, count))
        .fold(true, |all, one| all & one);

    if been_round {
        let busy = records.clone().map(|record| record.busy.load()).max();
        let rounds = (first.rounds.load() + 1).min(PATIENCE);

        records.for_each(|record| record.learn(rounds * (busy.unwrap_or(0) + 1)));
        first.rounds.store(rounds);
    }
}

/// A part of a request that differs for each CPU and index of a port.
fn part(cpu: u32, index: u32) -> u32 {
    /// A whole, divided by the golden ratio: its multiples spread evenly over the whole.
    const GOLDEN: u32 = 0x9E37_79B9;

    // Odd multiples, so that two ports do not differ by the same for all CPUs.
    (cpu + 1).wrapping_mul(2 * index + 1).wrapping_mul(GOLDEN) >> (u32::BITS - FRACTION_BITS)
}
