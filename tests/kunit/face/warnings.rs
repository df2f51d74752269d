// SPDX-License-Identifier: GPL-2.0

//! Warnings that a test expects: KUnit counts them, and keeps them out of the log.

use crate::bindings;
use kernel::prelude::*;

/// Calls `f`, and returns the number of the kernel's warnings that this thread caused meanwhile.
pub(super) fn count<R>(f: impl FnOnce() -> R) -> Result<(R, i32)> {
    // SAFETY: May be called anywhere.
    let test = unsafe { bindings::kunit_get_current_test() };

    if test.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: A test is running, and it is this thread's.
    let handle = unsafe { bindings::kunit_start_suppress_warning(test) };

    if handle.is_null() {
        return Err(ENOMEM);
    }
    let result = f();
    // SAFETY: Begun above, and not ended yet; the test frees the handle.
    let count = unsafe {
        let count = bindings::kunit_suppressed_warning_count(handle);

        bindings::kunit_end_suppress_warning(test, handle);
        count
    };
    Ok((result, count))
}
