// SPDX-License-Identifier: GPL-2.0

//! The checks of a test, and their reports to KUnit.

use crate::bindings;
use kernel::prelude::*;
use kernel::time::delay::fsleep;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// How long an event may take that a test expects. Guests are slow, and share their host.
const DEADLINE_MSECS: i64 = 20_000;

/// Ends the test unless a condition holds.
macro_rules! check {
    ($condition:expr $(,)?) => {
        if !$condition {
            return Err($crate::kunit::check::failed(
                ::kernel::c_str!(file!()),
                line!(),
                ::kernel::c_str!(stringify!($condition)),
            ));
        }
    };
}

/// Ends the test unless two integers are the same.
macro_rules! check_eq {
    ($left:expr, $right:expr $(,)?) => {
        let (left, right) = ($left as i64, $right as i64);
        if left != right {
            return Err($crate::kunit::check::failed_eq(
                ::kernel::c_str!(file!()),
                line!(),
                (::kernel::c_str!(stringify!($left)), left),
                (::kernel::c_str!(stringify!($right)), right),
            ));
        }
    };
}

/// Waits until a condition holds. Returns whether it does, in time.
pub(super) fn eventually(condition: impl Fn() -> bool) -> bool {
    let begin = Instant::<Monotonic>::now();

    while !condition() {
        if begin.elapsed() > Delta::from_millis(DEADLINE_MSECS) {
            return condition();
        }
        fsleep(Delta::from_micros(200));
    }
    true
}

/// Tells KUnit of a condition that does not hold.
pub(super) fn failed(file: &'static CStr, line: u32, condition: &'static CStr) -> Error {
    let assertion = bindings::kunit_unary_assert {
        assert: bindings::kunit_assert::default(),
        condition: condition.as_char_ptr(),
        expected_true: true,
    };

    // SAFETY: The format is the one for this assertion.
    unsafe {
        report(
            file,
            line,
            (&raw const assertion).cast(),
            Some(bindings::kunit_unary_assert_format),
        )
    }
}

/// Tells KUnit, from a destructor, of a condition that does not hold.
pub(super) fn complain(condition: &'static CStr) {
    failed(c"tests/kunit", 0, condition);
}

/// Tells KUnit of two integers that are not the same.
pub(super) fn failed_eq(
    file: &'static CStr,
    line: u32,
    left: (&'static CStr, i64),
    right: (&'static CStr, i64),
) -> Error {
    let text = bindings::kunit_binary_assert_text {
        operation: c"==".as_char_ptr(),
        left_text: left.0.as_char_ptr(),
        right_text: right.0.as_char_ptr(),
    };
    let assertion = bindings::kunit_binary_assert {
        assert: bindings::kunit_assert::default(),
        text: &text,
        left_value: left.1,
        right_value: right.1,
    };

    // SAFETY: The format is the one for this assertion.
    unsafe {
        report(
            file,
            line,
            (&raw const assertion).cast(),
            Some(bindings::kunit_binary_assert_format),
        )
    }
}

/// Tells KUnit that an expectation was not met; the test goes on, to its end and its destructors.
///
/// # Safety
///
/// `assertion` is the first member of the structure that `format` expects.
unsafe fn report(
    file: &'static CStr,
    line: u32,
    assertion: *const bindings::kunit_assert,
    format: bindings::assert_format_t,
) -> Error {
    let location = bindings::kunit_loc {
        line: line as i32,
        file: file.as_char_ptr(),
    };

    // SAFETY: May always be called.
    let test = unsafe { bindings::kunit_get_current_test() };
    if test.is_null() {
        pr_err!("a check outside of a test failed in line {line}\n");
        return EINVAL;
    }
    // SAFETY: `test` is the current one; the assertion by contract; there is no message.
    unsafe {
        bindings::__kunit_do_failed_assertion(
            test,
            &location,
            bindings::kunit_assert_type_KUNIT_EXPECTATION,
            assertion,
            format,
            core::ptr::null(),
        );
    }
    EINVAL
}

/// Marks the test as skipped, since this machine lacks something that it needs.
pub(super) fn skip(reason: &'static CStr) -> Result {
    // SAFETY: May always be called.
    let test = unsafe { bindings::kunit_get_current_test() };

    if !test.is_null() {
        // SAFETY: `test` is the current one, which only we and threads that fail it write to.
        unsafe {
            for (to, from) in (*test)
                .status_comment
                .iter_mut()
                .zip(reason.to_bytes_with_nul())
            {
                *to = *from as _;
            }
            (*test).status = bindings::kunit_status_KUNIT_SKIPPED;
        }
    }
    Ok(())
}

/// Runs `f` without printing its warnings. Returns its result and how many there were.
pub(super) fn without_warnings<R>(f: impl FnOnce() -> R) -> (R, i32) {
    // SAFETY: May always be called.
    let test = unsafe { bindings::kunit_get_current_test() };
    // SAFETY: `test` is the current one.
    let suppressed = unsafe { bindings::kunit_start_suppress_warning(test) };
    let result = f();

    // SAFETY: The suppression that began above ends here.
    unsafe {
        let count = bindings::kunit_suppressed_warning_count(suppressed);

        bindings::kunit_end_suppress_warning(test, suppressed);
        (result, count)
    }
}
