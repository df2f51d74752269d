// SPDX-License-Identifier: GPL-2.0

//! The parsers of input from outside, in any form.
//!
//! A parser gets its input at the end of a page behind which nothing may be accessed, so that
//! reading one byte too many faults. The parsers in C are the driver's own text: `build.rs` takes
//! it out of the driver and has the compiler instrument it against undefined behaviour. Both faults
//! end the call with a signal, and that is a failure of the case like any other. The tests here
//! work out the right result once more.
//!
//! `CASES=` says how many cases each parser gets.

#![cfg(all(test, not(loom)))]

mod ana;
mod names;

use proptest::test_runner::Config;

/// How many cases each parser gets without `CASES=`.
const CASES: u32 = 20_000;

/// The configuration of a parser's test; the lab reads its line.
fn config(parser: &str) -> Config {
    // make passes on an empty one when the user sets none.
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
