// SPDX-License-Identifier: GPL-2.0

//! The pure modules of libmultipath, as a crate for the host. Tests of their decisions run here,
//! where a test takes microseconds and can interleave threads on purpose.

mod pure;

pub use pure::*;
