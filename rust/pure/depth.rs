// SPDX-License-Identifier: GPL-2.0

//! How many requests are in flight through a port, as each CPU knows it.
//!
//! A port has a record for each CPU. A request is counted in the record of the CPU that it began
//! on, until it ends, wherever it ends. So no request writes a line that all CPUs use.
//!
//! For a CPU the depth of a port is what its own record counts, which is exact, and what it knows
//! of the others. It looks at all ports that a head chooses from at once ([`catch_up`]), and one
//! CPU may do so in a tick.
//!
//! A CPU does not believe what it sees at once: it moves an eighth of the way from what it knows
//! to what it sees, in eighths of a request. For a request that has ended makes no room. Its
//! submitter replaces it as soon as it runs, and CPUs look when they begin the first request of a
//! tick, so when some have just ended. And other CPUs see the same difference, and answer to it as
//! well, before the requests of the first one have ended. If each believed it, all of them would
//! leave the port that is the busiest just then, and come back to it together.
//!
//! When the paths that a head chooses from have changed, what a CPU knows of the others misleads
//! it: a path that has just come back has nothing in flight, and each CPU would fill it for all of
//! them. So it forgets that then, and spreads its own requests evenly until it looks again. It does
//! the same when it has not submitted anything for long.

use crate::pure::sync::AtomicU32;

/// A CPU's record of the requests in flight through a port: `struct mpath_port_cpu`.
#[repr(C)]
pub struct Record {
    /// How many that began on this CPU are in flight.
    active: AtomicU32,
    /// How many others had in flight when this CPU looked, on average, as a depth; 0 when it has
    /// not looked yet.
    others: AtomicU32,
    /// The tick from which on this CPU may look again.
    next_look: AtomicU32,
}

#[cfg(not(CONFIG_RUST))]
impl Default for Record {
    fn default() -> Self {
        Self {
            active: AtomicU32::new(0),
            others: AtomicU32::new(0),
            next_look: AtomicU32::new(0),
        }
    }
}

impl Record {
    /// How many requests of this CPU are in flight.
    fn own(&self) -> u32 {
        self.active.load()
    }

    /// How many are in flight as far as this CPU knows, in fractions of a request.
    pub fn depth(&self) -> u32 {
        (self.own() << FRACTION_BITS).wrapping_add(self.others.load())
    }

    /// Others have been seen to have so many requests in flight.
    fn learn(&self, requests: u32) {
        let seen = requests << FRACTION_BITS;
        let known = self.others.load();
        let step = known.abs_diff(seen).div_ceil(WEIGHT);

        self.others.store(match known {
            0 => seen,
            _ if known < seen => known + step,
            _ => known - step,
        });
    }

    /// A request begins: what `mpath_request_start()` counts.
    #[cfg(not(CONFIG_RUST))]
    pub fn start(&self) {
        self.active.add(1);
    }

    /// It ends: what `mpath_request_done()` counts.
    #[cfg(not(CONFIG_RUST))]
    pub fn done(&self) {
        self.active.sub(1);
    }
}

/// A port, and what CPUs know of it.
pub trait Port {
    /// All CPUs that there can be, also those that are offline.
    fn cpus(&self) -> impl Iterator<Item = u32>;

    /// How many these are.
    fn cpu_count(&self) -> u32;

    /// The record of one of them.
    fn record(&self, cpu: u32) -> &Record;

    /// The tick in which some CPU has looked last.
    fn last_look(&self) -> &AtomicU32;
}

/// How many requests are in flight through a port. Exact while none begins or ends. Any context.
pub fn in_flight(port: &impl Port) -> u32 {
    InFlight::on(port, |_| true).requests
}

/// The requests that some CPUs have in flight through a port.
#[derive(Clone, Copy, Default)]
struct InFlight {
    /// How many these are.
    requests: u32,
    /// How many of the CPUs have any.
    cpus: u32,
}

impl InFlight {
    /// Those of the CPUs that are meant. Reads the record of each.
    fn on(port: &impl Port, is_meant: impl Fn(u32) -> bool) -> Self {
        port.cpus()
            .filter(|cpu| is_meant(*cpu))
            .map(|cpu| port.record(cpu).own())
            .fold(Self::default(), |all, requests| Self {
                requests: all.requests.wrapping_add(requests),
                cpus: all.cpus + u32::from(requests > 0),
            })
    }
}

/// A depth is a number of requests in fractions: its unit is one of these to the power of two.
pub const FRACTION_BITS: u32 = 3;
/// One in so many parts of the way to what it sees is what a CPU moves.
const WEIGHT: u32 = 8;
/// How many records are read in a tick, on average. More ports and CPUs are looked at less often.
const RECORDS_PER_TICK: usize = 256;
/// After how many ticks without a request a CPU forgets what it knew.
const LONG: u32 = 64;

/// A CPU's chance to learn what other CPUs have in flight through the ports that a head chooses
/// from. It takes the chance if no other CPU has, and all that were busy when it looked last can
/// have looked since. Called at most once in a tick, numbered `now`; ticks may wrap around. Any
/// context.
///
/// `has_changed` says that these are not the ports of the CPU's last call, which was so many ticks
/// ago.
pub fn catch_up<'a, P: Port + 'a>(
    ports: impl Iterator<Item = &'a P> + Clone,
    cpu: u32,
    has_changed: bool,
    ago: u32,
    now: u32,
) {
    let records = || ports.clone().map(|port| port.record(cpu));
    // Heads with the same ports take turns with each other as well.
    let Some(first) = ports.clone().next() else {
        return;
    };
    let own = first.record(cpu);

    if has_changed || ago > LONG {
        own.next_look.store(now.wrapping_add(1));
        return records().for_each(|record| record.others.store(0));
    }
    if (now.wrapping_sub(own.next_look.load()) as i32) < 0 {
        return;
    }

    let looked_at = records().count() * first.cpu_count() as usize;
    let interval = looked_at.div_ceil(RECORDS_PER_TICK).max(1) as u32;

    if claim(first.last_look(), now, interval) {
        let busy = ports.clone().fold(0, |most: u32, port| {
            let elsewhere = InFlight::on(port, |other| other != cpu);

            port.record(cpu).learn(elsewhere.requests);
            most.max(elsewhere.cpus)
        });

        own.next_look.store(now.wrapping_add(interval * (busy + 1)));
    }
}

/// May the caller look now? One of those who ask in the same interval may.
fn claim(last: &AtomicU32, now: u32, interval: u32) -> bool {
    let tick = last.load();

    now.wrapping_sub(tick) >= interval && last.cmpxchg(tick, now).is_ok()
}
