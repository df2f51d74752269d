// SPDX-License-Identifier: GPL-2.0

//! The kernel's own algorithm, in C: `stock.c`.

use super::side::{
    node_of,
    Counted,
    Disk,
    Side, //
};
use core::ffi::{
    c_int,
    c_uint, //
};
use core::marker::PhantomData;
use core::ptr::NonNull;
use libmultipath::nodes::Node;
use libmultipath::policy::IoPolicy;

/// `struct nvme_ns_head`.
#[repr(C)]
struct NvmeNsHead {
    _members: [u8; 0],
    _only_in_c: PhantomData<*mut u8>,
}

extern "C" {
    fn stock_new(policy: c_uint, nodes: *const c_int, paths: c_uint) -> NonNull<NvmeNsHead>;
    fn stock_run_on(node: c_int);
    fn stock_choose(head: NonNull<NvmeNsHead>) -> Option<&'static Disk>;
    fn stock_begin(disk: &'static Disk);
    fn stock_end(disk: &'static Disk);
    fn stock_depth(disk: &'static Disk) -> c_int;
    fn stock_disk(head: NonNull<NvmeNsHead>, id: c_uint) -> Option<&'static Disk>;
}

/// A head of the kernel's.
///
/// # Invariants
///
/// Made by `stock_new()`, so it and its disks stay.
#[derive(Clone, Copy)]
pub struct Stock(NonNull<NvmeNsHead>);

// SAFETY: The members of a head that change are only accessed atomically.
unsafe impl Send for Stock {}
// SAFETY: As above.
unsafe impl Sync for Stock {}

impl Side for Stock {
    const NAME: &'static str = "stock";
    const OWN_TURNS: bool = false;

    fn new(policy: IoPolicy, paths: u32) -> Self {
        let nodes: Vec<_> = (0..paths).map(|id| node_of(id) as c_int).collect();

        // INVARIANT: Just made.
        // SAFETY: There are as many nodes as paths.
        Self(unsafe { stock_new(policy as c_uint, nodes.as_ptr(), paths) })
    }

    fn be_cpu(_number: u32, node: Node) {
        // SAFETY: Sets a thread-local variable to one of `NODES`, for which heads have slots.
        unsafe { stock_run_on(node.0 as c_int) }
    }

    #[inline(always)]
    fn choose(self) -> Option<&'static Disk> {
        // SAFETY: By the type invariant.
        unsafe { stock_choose(self.0) }
    }

    fn disk(self, id: u32) -> &'static Disk {
        // SAFETY: By the type invariant.
        unsafe { stock_disk(self.0, id) }.expect("there is such a path")
    }

    #[inline(always)]
    fn begin(disk: &'static Disk) -> Counted {
        // SAFETY: All disks that this side hands out are of `stock.c`.
        unsafe { stock_begin(disk) };
        0
    }

    #[inline(always)]
    fn end(disk: &'static Disk, _counted: Counted) {
        // SAFETY: As above.
        unsafe { stock_end(disk) }
    }

    fn depth(disk: &'static Disk) -> i32 {
        // SAFETY: As above.
        unsafe { stock_depth(disk) }
    }
}
