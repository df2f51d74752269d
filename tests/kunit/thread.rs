// SPDX-License-Identifier: GPL-2.0

//! A function that runs at the same time as the test.

use crate::bindings;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::sync::{
    Arc,
    Completion,
    Mutex, //
};
use kernel::workqueue::Queue;

/// The kernel's queue for work that may take long.
fn queue() -> &'static Queue {
    // SAFETY: It is there from early in boot on, and stays.
    unsafe { Queue::from_raw(bindings::system_dfl_long_wq) }
}

/// A function that runs in a worker of the kernel's. Dropping it waits for its end.
pub(super) struct Thread<T: Send + 'static>(Arc<Outcome<T>>);

#[pin_data]
struct Outcome<T> {
    #[pin]
    completion: Completion,
    #[pin]
    value: Mutex<Option<T>>,
    done: Atomic<bool>,
}

impl<T: Send + Unpin + 'static> Thread<T> {
    /// Has another thread run `f`.
    pub(super) fn spawn(f: impl FnOnce() -> T + Send + 'static) -> Result<Self> {
        let outcome = Arc::pin_init(
            pin_init!(Outcome {
                completion <- Completion::new(),
                value <- new_mutex!(None),
                done: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        let theirs = outcome.clone();

        queue().try_spawn(GFP_KERNEL, move || {
            // All that `f` owns is gone when `f` is done.
            let value = f();

            *theirs.value.lock() = Some(value);
            theirs.done.store(true, Release);
            theirs.completion.complete_all();
        })?;
        Ok(Self(outcome))
    }

    /// Is it done?
    pub(super) fn is_done(&self) -> bool {
        self.0.done.load(Acquire)
    }

    /// Waits for the result of the function.
    pub(super) fn join(self) -> Result<T> {
        self.0.completion.wait_for_completion();
        self.0.value.lock().take().ok_or(EINVAL)
    }
}

impl<T: Send + 'static> Drop for Thread<T> {
    fn drop(&mut self) {
        self.0.completion.wait_for_completion();
    }
}
