// SPDX-License-Identifier: GPL-2.0

//! The pure parts of libmultipath, as a crate for the host: what they decide is tested here, where
//! a test takes microseconds and threads can be interleaved on purpose.

pub mod alarm;
pub mod care;
pub mod departure;
pub mod depth;
pub mod fence;
pub mod life;
pub mod list;
pub mod nodes;
pub mod parking;
pub mod policy;
pub mod removal;
pub mod shortlist;
pub mod state;
pub mod submission;
pub mod sync;
pub mod trust;
pub mod waiting;
