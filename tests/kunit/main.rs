// SPDX-License-Identifier: GPL-2.0

//! The KUnit suites: the engine, through its C face, on fake paths inside a real kernel.
//!
//! A head here is a real one, whose disk is really added and deleted, and bios are submitted to it
//! through the block layer. Its paths are disks that complete bios at once, hold them, or fail them
//! over, as a test says, and remember what they have seen. The driver is a template that counts how
//! often it was called.
//!
//! A test returns early when a check does not hold, so that what it has set up is taken down by
//! destructors; a KUnit assertion would end the thread where it stands. Nothing waits for time to
//! pass: what happens elsewhere is waited for until it has happened, or a deadline has passed.

#[macro_use]
mod check;
mod capacity;
mod delayed;
mod driver;
mod fake;
mod io;
mod opener;
mod thread;

#[cfg(not(CONFIG_LIBMULTIPATH_ONE_PASS))]
mod around;
mod carry;
mod debug;
mod depth;
mod failover;
mod fence;
mod flush;
mod forward;
mod live;
mod policy;
mod remove;
mod requeue;
mod select;
mod slab;
mod split;
mod sysfs;
mod trust;
#[cfg(CONFIG_LIBMULTIPATH_ONE_PASS)]
mod way;
