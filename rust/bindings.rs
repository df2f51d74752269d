// SPDX-License-Identifier: GPL-2.0

//! The C declarations that the library uses: the kernel crate's, and those that bindgen makes of
//! `helpers.h` when the library is built, with the checks of their layouts.

#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports,
    improper_ctypes
)]

use kernel::ffi;

pub(crate) use kernel::bindings::*;

include!(env!("LIBMULTIPATH_BINDINGS"));
