// SPDX-License-Identifier: GPL-2.0

//! One side of the comparison: a head, its paths, and a way to choose one of them.

use core::ffi::c_void;
use libmultipath::nodes::Node;
use libmultipath::policy::IoPolicy;

/// The most paths that a head has here.
pub const MOST: usize = 8;

/// How many CPUs can choose at once.
pub const CPUS: usize = 256;

/// How many NUMA nodes there can be.
pub const NODES: u32 = 2;

/// The node of every CPU that chooses.
pub const HERE: Node = Node(0);

/// The first of the paths that are near to [`HERE`].
pub const NEAR: u32 = 1;

/// The node that a path is near to: every other one to [`HERE`].
pub fn node_of(id: u32) -> u32 {
    (id + NEAR) % NODES
}

/// The disk of a path, to which a bio is sent. `struct gendisk` in `stock.c`.
#[repr(C, align(128))]
pub struct Disk {
    /// Which of the head's paths it is.
    pub id: u32,
    /// The path, of a type that the side knows.
    pub path: *const c_void,
    /// The head, if the side needs it.
    pub head: *const c_void,
}

/// The counter of a request until the request ends.
pub type Counted = u16;

// SAFETY: Nobody writes to it, and paths are for all threads.
unsafe impl Sync for Disk {}

/// The kernel's algorithm or ours, with a head of its own. Heads stay until the program ends.
pub trait Side: Copy + Send + Sync {
    /// The name in the output.
    const NAME: &'static str;

    /// Has each CPU its own turn, so that round-robin is exact on each by itself?
    const OWN_TURNS: bool;

    /// A head with so many optimized paths without requests in flight.
    fn new(policy: IoPolicy, paths: u32) -> Self;

    /// Makes the calling thread the CPU of that number, on a node.
    fn be_cpu(number: u32, node: Node);

    /// The disk that a bio would be sent to now, chosen in a read-side section of its own.
    fn choose(self) -> Option<&'static Disk>;

    /// The disk of a path.
    fn disk(self, id: u32) -> &'static Disk;

    /// Begins a request on the chosen path, as NVMe counts it under queue-depth.
    fn begin(disk: &'static Disk) -> Counted;

    /// Ends that request.
    fn end(disk: &'static Disk, counted: Counted);

    /// How many requests are in flight.
    fn depth(disk: &'static Disk) -> i32;

    /// A tick of the clock, if the side minds.
    fn tick() {}
}
