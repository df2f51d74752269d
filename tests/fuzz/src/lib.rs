// SPDX-License-Identifier: GPL-2.0

//! What is said from outside, in any form.
//!
//! A parser gets its input at the end of a page behind which nothing may be accessed, so that
//! reading one byte too many faults. What C parses is the driver's own text, which `build.rs` takes
//! out of it and has instrumented against undefined behaviour; both end the call with a signal, and
//! the case that it was is a failure like any other. What should be in the end is worked out here
//! once more.
//!
//! `CASES=` says how many cases each parser gets.

#![cfg(all(test, not(loom)))]

mod ana;
mod names;

use proptest::test_runner::Config;

/// How many cases there are when nobody says.
const CASES: u32 = 20_000;

/// The configuration of a parser's test, which the lab reads the line of.
fn config(parser: &str) -> Config {
    // make passes on an empty one when nobody says.
    let cases = match std::env::var("CASES") {
        Ok(cases) if !cases.is_empty() => cases.parse().expect("CASES= is a number of cases"),
        _ => CASES,
    };

    println!("{parser}: {cases} cases");
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
