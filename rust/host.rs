// SPDX-License-Identifier: GPL-2.0

//! The pure modules of libmultipath, as a crate for the host: what they decide is tested here,
//! where a test takes microseconds and threads can be interleaved on purpose.

mod pure;

pub use pure::*;
