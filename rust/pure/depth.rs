// SPDX-License-Identifier: GPL-2.0

//! How many requests are in flight through a port, as each CPU knows it.
//!
//! A port has a record for each CPU. A request is counted in the record of the CPU that it began
//! on, until it ends, wherever it ends. So no request writes a line that all CPUs use.
//!
//! For a CPU the depth of a port is what its own record counts, which is exact, and what it knows
//! of the others. Once in a tick it looks at what they have in flight through all ports that a head
//! chooses from ([`catch_up`]).
//!
//! A CPU looks when the first of its requests in a tick ends, not when one begins. For a request
//! that has ended makes no room: its submitter replaces it as soon as it runs. Requests of a port
//! often end together, and a submitter runs when some have. It would see just that port short of
//! them. Before the first of them ends, none is missing.
//!
//! All CPUs see the same difference between two ports, and each can make up for it. If each did,
//! all of them would leave the port that is the busiest just then, and come back to it together. So
//! a CPU moves only a part of the way from what it knows to what it sees: its share, one in as many
//! as there are busy CPUs, when it looks for the first time. Then it moves half of that, a third,
//! and so on, down to an eighth: what it knows becomes an average, in which chance counts for
//! little.
//!
//! When the paths that a head chooses from have changed, what a CPU knows of the others misleads
//! it: a path that has just come back has nothing in flight, and each CPU would fill it for all of
//! them. So it forgets that then, and spreads its own requests evenly until it looks again. It does
//! the same when none of its requests has ended for long. To forget is to take all ports for equal,
//! but for a part of a request that differs from CPU to CPU. Otherwise all of them would have the
//! same path for their first request too many, and come to prefer another one at the same moment.

use crate::pure::sync::AtomicU32;

/// A CPU's record of the requests in flight through a port: `struct mpath_port_cpu`.
#[repr(C)]
pub struct Record {
    /// How many that began on this CPU are in flight.
    active: AtomicU32,
    /// How many others had in flight when this CPU looked, on average, as a depth.
    others: AtomicU32,
    /// The tick from which on this CPU may look again.
    next_look: AtomicU32,
    /// How often it has looked since it forgot; no more than [`PATIENCE`].
    looks: AtomicU32,
}

#[cfg(not(CONFIG_RUST))]
impl Default for Record {
    fn default() -> Self {
        Self {
            active: AtomicU32::new(0),
            others: AtomicU32::new(0),
            next_look: AtomicU32::new(0),
            looks: AtomicU32::new(0),
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

    /// Moves one in `weight` parts of the way to how many requests others were seen to have in
    /// flight.
    fn learn(&self, seen: u32, weight: u32) {
        let seen = seen << FRACTION_BITS;
        let known = self.others.load();
        let step = known.abs_diff(seen).div_ceil(weight);

        self.others.store(if known < seen {
            known + step
        } else {
            known - step
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
pub const FRACTION_BITS: u32 = 8;
/// After so many looks what a CPU sees does not count for less any more.
const PATIENCE: u32 = 8;
/// How many records a CPU reads in a tick, on average. More ports and CPUs are looked at less
/// often.
const RECORDS_PER_TICK: usize = 64;
/// After how many ticks without a request a CPU forgets what it knew.
const LONG: u32 = 64;

/// A CPU's chance to learn what other CPUs have in flight through the ports that a head chooses
/// from. Called at most once in a tick, numbered `now`; ticks may wrap around. Any context.
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
    // Heads with the same ports look for each other as well.
    let Some(first) = ports.clone().next() else {
        return;
    };
    let own = first.record(cpu);
    let must_forget = has_changed || ago > LONG;

    if !must_forget && (now.wrapping_sub(own.next_look.load()) as i32) < 0 {
        return;
    }

    let elsewhere = |port| InFlight::on(port, |other| other != cpu);
    let all = ports
        .clone()
        .map(elsewhere)
        .fold(InFlight::default(), |all, one| InFlight {
            requests: all.requests.wrapping_add(one.requests),
            cpus: all.cpus.max(one.cpus),
        });
    let len = ports.clone().count();

    if must_forget {
        let mean = (all.requests << FRACTION_BITS) / len as u32;

        for (place, port) in ports.enumerate() {
            port.record(cpu)
                .others
                .store(mean.wrapping_add(part(cpu, place as u32)));
        }
        own.looks.store(0);
        own.next_look.store(now.wrapping_add(1));
        return;
    }

    let looks = own.looks.load().saturating_add(1).min(PATIENCE);
    let interval = (len * first.cpu_count() as usize).div_ceil(RECORDS_PER_TICK);

    for port in ports {
        port.record(cpu)
            .learn(elsewhere(port).requests, looks * (all.cpus + 1));
    }
    own.looks.store(looks);
    own.next_look.store(now.wrapping_add(interval as u32));
}

/// A part of a request, another one for each CPU and place of a port.
fn part(cpu: u32, place: u32) -> u32 {
    /// A whole, divided by the golden ratio: its multiples are spread evenly over the whole.
    const GOLDEN: u32 = 0x9E37_79B9;

    // Odd multiples, so that two ports do not differ by the same for all CPUs.
    (cpu + 1).wrapping_mul(2 * place + 1).wrapping_mul(GOLDEN) >> (u32::BITS - FRACTION_BITS)
}
