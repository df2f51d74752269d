// SPDX-License-Identifier: GPL-2.0

//! Running a model, and running a mutant.

use loom::model::Builder;
use std::any::Any;
use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{
    catch_unwind,
    set_hook,
    take_hook,
    AssertUnwindSafe, //
};
use std::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use std::sync::{
    Arc,
    Once, //
};

/// How many preemptions an execution may have. Most mistakes need one or two.
#[derive(Clone, Copy, Debug)]
pub enum Preemptions {
    /// As many as there can be: every execution is tried.
    Any,
    /// Executions with more preemptions are not tried.
    AtMost(usize),
}

thread_local! {
    /// Whether this thread waits for a panic.
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics of a mutant out of the output.
fn without_report<R>(f: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();

    HOOK.call_once(|| {
        let report = take_hook();

        set_hook(Box::new(move |panic| {
            if !EXPECTS_PANIC.get() {
                report(panic);
            }
        }));
    });
    EXPECTS_PANIC.set(true);
    let result = f();
    EXPECTS_PANIC.set(false);
    result
}

/// Tries executions of `model` until one fails. Returns how many there were, and the failure.
fn explore(
    preemptions: Preemptions,
    model: impl Fn() + Send + Sync + 'static,
) -> (usize, Result<(), Box<dyn Any + Send>>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let mut builder = Builder::new();

    builder.preemption_bound = match preemptions {
        Preemptions::Any => None,
        Preemptions::AtMost(most) => Some(most),
    };
    // loom must not take this from the environment: a model that was cut short would count as one
    // that holds.
    builder.max_permutations = None;
    builder.max_duration = None;

    let result = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
    }));

    (count.load(Ordering::Relaxed), result)
}

/// Asserts that `model` holds in every execution that has no more preemptions than it may.
pub fn holds(preemptions: Preemptions, model: impl Fn() + Send + Sync + 'static) {
    let (executions, result) = explore(preemptions, model);

    if result.is_err() {
        panic!("execution {executions} does not hold");
    }
    // tools/lab/suites/model.py reads these lines, and the one of a mutant.
    match preemptions {
        Preemptions::Any => println!("holds in all {executions} executions"),
        Preemptions::AtMost(most) => {
            println!("holds in {executions} executions with at most {most} preemptions")
        }
    }
}

/// Asserts that `mutant`, which is wrong in the way that `mistake` names, fails in some execution
/// with a message that has `failure` in it.
pub fn is_caught(
    mistake: impl Debug,
    failure: &str,
    preemptions: Preemptions,
    mutant: impl Fn() + Send + Sync + 'static,
) {
    let mistake = format!("{mistake:?}").replace('"', "");
    let (executions, result) = without_report(|| explore(preemptions, mutant));
    let Err(panic) = result else {
        panic!("{executions} executions have not shown the mistake {mistake}");
    };
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("");

    assert!(
        message.contains(failure),
        "{mistake} fails for another reason: {message}"
    );
    println!("mutant {mistake} caught in execution {executions}");
}
