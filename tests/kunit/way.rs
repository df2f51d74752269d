// SPDX-License-Identifier: GPL-2.0

//! A bio enters the queue of its path where the path is chosen, or does not enter it.
//!
//! Without `CONFIG_LIBMULTIPATH_ONE_PASS` the block layer takes the steps that these tests try.

use super::check::eventually;
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    FakePath,
    NOWAIT_FEATURE, //
};
use super::io::{
    Io,
    AGAIN,
    NOWAIT,
    OK,
    PAGE_SECTORS,
    WRITE, //
};
use super::select::move_to_cpu;
use super::thread::Thread;
use crate::bindings;
use crate::pure::policy::IoPolicy;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// A path whose queue is frozen until this is dropped. As if by another thread: this one takes
/// locks meanwhile that a driver does not take while it has frozen a queue.
struct Frozen(Arc<FakePath>);

impl Frozen {
    fn new(path: &Arc<FakePath>) -> Self {
        // SAFETY: The disk is there as long as the path.
        unsafe {
            bindings::blk_freeze_queue_start_non_owner((*path.disk()).queue);
            bindings::blk_mq_freeze_queue_wait((*path.disk()).queue);
        }
        Self(path.clone())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: Frozen by `new()`.
        unsafe { bindings::blk_mq_unfreeze_queue_non_owner((*self.0.disk()).queue) };
    }
}

/// A head that prefers its first path, and its paths.
fn head_with_two_paths() -> Result<(Arc<TestHead>, Arc<FakePath>, Arc<FakePath>)> {
    let head = Arc::new(TestHead::following(IoPolicy::Numa)?, GFP_KERNEL)?;
    let (first, second) = (head.path()?, head.path()?);

    check_eq!(head.write_many(1)?, 1);
    match first.bios() {
        0 => Ok((head, second, first)),
        _ => Ok((head, first, second)),
    }
}

/// Writes in a thread of its own, which waits when this returns.
fn waiting_write(head: &Arc<TestHead>, path: &FakePath) -> Result<Thread<Result<u32>>> {
    let before = path.bios();
    let writer = {
        let head = head.clone();

        Thread::spawn(move || head.write(0).map(|io| io.wait()))?
    };

    fsleep(Delta::from_millis(100));
    check!(!writer.is_done());
    check_eq!(path.bios(), before);
    Ok(writer)
}

/// A bio waits for the queue of its path; `happen` changes the path, and then the queue opens.
/// Another path gets the bio.
fn goes_to_the_other_path(happen: impl FnOnce(&FakePath)) -> Result {
    let (head, path, other) = head_with_two_paths()?;
    let frozen = Frozen::new(&path);
    let writer = waiting_write(&head, &path)?;

    happen(&path);
    drop(frozen);
    check_eq!(writer.join()??, OK);
    check_eq!(path.bios(), 1);
    check_eq!(other.bios(), 1);
    Ok(())
}

#[kunit_tests(mpath_way)]
mod tests {
    use super::*;

    #[test]
    fn a_bio_waits_for_a_frozen_queue() -> Result {
        let (head, path, other) = head_with_two_paths()?;
        let frozen = Frozen::new(&path);
        let writer = waiting_write(&head, &path)?;

        drop(frozen);
        check_eq!(writer.join()??, OK);
        check_eq!(path.bios(), 2);
        check_eq!(other.bios(), 0);
        Ok(())
    }

    #[test]
    fn one_that_must_not_wait_does_not() -> Result {
        let head = TestHead::new(Setup {
            limits: |limits| limits.features |= NOWAIT_FEATURE,
            ..Setup::default()
        })?;
        let path = head.path()?;
        let _frozen = Frozen::new(&path);

        check_eq!(Io::submit(head.bdev(), WRITE | NOWAIT, 0)?.wait(), AGAIN);
        check_eq!(path.bios(), 0);
        Ok(())
    }

    /// Shows L-3.
    #[test]
    fn readers_are_not_kept_by_a_bio_that_waits_for_a_queue() -> Result {
        let (head, path, _other) = head_with_two_paths()?;
        let frozen = Frozen::new(&path);
        let writer = waiting_write(&head, &path)?;

        let wait = {
            let head = head.clone();

            Thread::spawn(move || head.synchronize())?
        };
        check!(eventually(|| wait.is_done()));
        check!(!writer.is_done());
        drop(frozen);
        check_eq!(writer.join()??, OK);
        Ok(())
    }

    #[test]
    fn a_path_that_has_gone_gets_nothing_when_its_queue_opens() -> Result {
        goes_to_the_other_path(|path| {
            path.remove();
        })
    }

    #[test]
    fn a_path_that_is_to_go_gets_nothing_when_its_queue_opens() -> Result {
        goes_to_the_other_path(|path| {
            path.quiesce();
        })
    }

    #[test]
    fn a_dead_disk_of_which_nobody_has_told_costs_no_bio() -> Result {
        let (head, path, other) = head_with_two_paths()?;

        // SAFETY: The disk has been added.
        unsafe { bindings::blk_mark_disk_dead(path.disk()) };
        for written in 1..=8 {
            check_eq!(head.write(0)?.wait(), OK);
            check_eq!(other.bios(), written);
        }
        check_eq!(path.bios(), 1);
        Ok(())
    }

    #[test]
    fn a_bio_that_waits_for_a_queue_goes_on_when_the_disk_dies() -> Result {
        let (head, path, other) = head_with_two_paths()?;
        let frozen = Frozen::new(&path);
        let writer = waiting_write(&head, &path)?;

        // SAFETY: The disk has been added.
        unsafe { bindings::blk_mark_disk_dead(path.disk()) };
        check_eq!(writer.join()??, OK);
        check_eq!(path.bios(), 1);
        check_eq!(other.bios(), 1);
        drop(frozen);
        Ok(())
    }

    #[test]
    fn the_rest_of_what_a_path_does_not_take_may_take_another() -> Result {
        let head = TestHead::following(IoPolicy::RoundRobin)?;
        let paths = [head.path()?, head.path()?];

        for path in &paths {
            // SAFETY: The disk is there as long as the path. Nobody else changes its limits, and
            // the head keeps its own.
            unsafe {
                (*(*path.disk()).queue).limits.max_sectors = PAGE_SECTORS as u32;
            }
        }
        // Each CPU takes turns of its own.
        check!(move_to_cpu(0));
        check!(Io::submit_pages(head.bdev(), WRITE, 0, 4)?.ended_well());
        for path in &paths {
            let seen = path.seen()?;

            check_eq!(seen.len(), 2);
            check!(seen
                .iter()
                .all(|bio| u64::from(bio.bytes) == PAGE_SECTORS * 512));
        }
        Ok(())
    }

    #[test]
    fn only_a_policy_of_the_path_s_queue_changes_who_accounts() -> Result {
        for has_policy in [false, true] {
            let head = TestHead::new(Setup::default())?;
            let path = head.path()?;

            // SAFETY: The disk is there as long as the path; nobody looks at a policy that has no
            // data.
            #[cfg(CONFIG_BLK_CGROUP)]
            unsafe {
                (*(*path.disk()).queue).blkcg_pols[0] |= usize::from(has_policy);
            }
            check_eq!(head.write(0)?.wait(), OK);
            #[cfg(CONFIG_BLK_CGROUP)]
            // SAFETY: As above.
            unsafe {
                (*(*path.disk()).queue).blkcg_pols[0] &= !usize::from(has_policy);
            }
            check!(path.seen()?.iter().all(|seen| seen.of_queue == has_policy));
        }
        Ok(())
    }
}
