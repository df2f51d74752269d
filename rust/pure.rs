// SPDX-License-Identifier: GPL-2.0

//! The pure modules, which know nothing of the kernel but its atomics.
//!
//! They decide: which path a bio takes, whether it waits or fails, whether a head may be removed.
//! The engine carries their decisions out. They are a part of the kernel's crate, and a crate of
//! their own on the host (`rust/host.rs`), whose tests interleave threads on purpose.

pub mod alarm;
pub mod bring_up;
pub mod care;
pub mod depth;
pub mod fencing;
pub mod list;
pub mod nodes;
pub mod parking;
pub mod policy;
pub mod removal;
pub mod shortlist;
pub mod state;
pub mod sync;
pub mod trust;
pub mod waiting;
