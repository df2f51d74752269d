// SPDX-License-Identifier: GPL-2.0

//! The KUnit suites: the engine, through its C face, on fake paths inside a real kernel.
//!
//! A head here is a real one: the library really adds and deletes its disk, and tests submit bios
//! to it through the block layer. Its paths are disks that complete bios at once, hold them, or
//! fail them over, as a test says, and remember them. The driver is a template that counts how
//! often the library called it.
//!
//! A test returns early when a check does not hold, so that destructors take its objects down. A
//! KUnit assertion would end the thread where it stands. No test waits for time to pass: it waits
//! until an event has happened, or a deadline has passed.

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
