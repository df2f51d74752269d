// SPDX-License-Identifier: GPL-2.0

//! A kernel without `blk_submit_lower()`, or without `CONFIG_LIBMULTIPATH_ONE_PASS`: the library
//! submits bios to paths as to any other disk, and a removal waits for those on their way to the
//! path.

use super::check::{
    eventually,
    skip, //
};
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::Behaviour;
use super::io::OK;
use super::remove::dawdling_write;
use super::thread::Thread;
use crate::ffi;
use crate::wrap::tasks;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

#[kunit_tests(mpath_around)]
mod tests {
    use super::*;

    #[test]
    fn a_bio_on_its_way_to_a_path_is_waited_for() -> Result {
        for _ in 0..20 {
            let head = Arc::new(TestHead::new(Setup::default())?, GFP_KERNEL)?;
            let path = head.path()?;
            let submission = dawdling_write(&head, &path)?;

            path.quiesce();
            let begin = Instant::<Monotonic>::now();
            // SAFETY: May sleep.
            let wait = Thread::spawn(|| unsafe { ffi::mpath_synchronize_submitters() })?;
            fsleep(Delta::from_millis(200));
            let neither_is_done = !wait.is_done() && !submission.is_done();
            // A wait that got all the time that it may take has ended rightly.
            let is_early = begin.elapsed() < tasks::LIMIT;

            path.behave(Behaviour::Complete);
            check!(eventually(|| wait.is_done()));
            check_eq!(submission.join()??, OK);
            if is_early {
                check!(neither_is_done);
                return Ok(());
            }
        }
        skip(c"the machine does not sleep for as short as it is told to")
    }
}
