// SPDX-License-Identifier: GPL-2.0

//! Thin wrappers of functions for which the kernel crate has no safe interface yet. They own only
//! the rules of the C side; no code below here decides about multipath.

pub(crate) mod alone;
pub(crate) mod bio;
pub(crate) mod debugfs;
pub(crate) mod disk;
pub(crate) mod list_head;
pub(crate) mod node_slots;
pub(crate) mod slab;
pub(crate) mod srcu;
pub(crate) mod tasks;
pub(crate) mod tracked;
pub(crate) mod way;
pub(crate) mod work;
