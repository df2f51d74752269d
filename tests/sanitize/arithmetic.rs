// SPDX-License-Identifier: GPL-2.0

//! Faults that only Rust's own checks notice.

#![allow(missing_docs)]

/// Adds beyond the range of an integer.
#[no_mangle]
pub extern "C" fn provoke_overflow(operand: u32) {
    core::hint::black_box(core::hint::black_box(operand) + 1);
}

/// Asserts a condition that does not hold.
#[no_mangle]
pub extern "C" fn provoke_assertion(operand: u32) {
    debug_assert_eq!(core::hint::black_box(operand), 0);
}
