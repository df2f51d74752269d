// SPDX-License-Identifier: GPL-2.0

//! Policies that heads share, and the effect of changing them.

use super::driver::{
    FakePolicy,
    Setup,
    TestHead,
    ALL_POLICIES, //
};
use super::io::PENDING;
use super::thread::Thread;
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::pure::state::PortState;
use kernel::prelude::*;
use kernel::sync::Arc;

const NO_SUCH_POLICY: u32 = 3;

fn head_of(policy: &Arc<FakePolicy>) -> Result<TestHead> {
    TestHead::new(Setup {
        policy: Some(policy.clone()),
        ..Setup::default()
    })
}

/// How often the library has told a head to look at its paths again.
fn generation(head: &TestHead) -> u64 {
    head.engine().shortlist.generation().count()
}

fn parse(name: &CStr) -> i32 {
    // SAFETY: A string.
    unsafe { ffi::mpath_iopolicy_parse(name.as_char_ptr()) }
}

#[kunit_tests(mpath_policy)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() -> Result {
        for (policy, name, line) in [
            (IoPolicy::Numa, c"numa", c"numa\n"),
            (IoPolicy::RoundRobin, c"round-robin", c"round-robin\n"),
            (IoPolicy::QueueDepth, c"queue-depth", c"queue-depth\n"),
        ] {
            check_eq!(parse(name), policy as i32);
            check_eq!(parse(line), policy as i32);
            // SAFETY: A static string comes back.
            let printed = unsafe { CStr::from_char_ptr(ffi::mpath_iopolicy_name(policy as u32)) };
            check!(printed == name);
        }
        for wrong in [
            c"",
            c"\n",
            c"numa\n\n",
            c"numa ",
            c"NUMA",
            c"round",
            c"queue-depths",
        ] {
            check_eq!(parse(wrong), EINVAL.to_errno());
        }
        // SAFETY: A static string comes back.
        let unknown = unsafe { CStr::from_char_ptr(ffi::mpath_iopolicy_name(NO_SUCH_POLICY)) };
        check!(unknown == c"unknown");
        Ok(())
    }

    /// Shows L-14.
    #[test]
    fn a_policy_that_is_not_supported_is_refused() -> Result {
        let supported = IoPolicy::Numa.bit() | IoPolicy::RoundRobin.bit();
        let policy = FakePolicy::new(IoPolicy::RoundRobin, supported)?;

        check_eq!(policy.set(IoPolicy::QueueDepth), EINVAL.to_errno());
        // SAFETY: The policy is initialised.
        let result = unsafe { ffi::mpath_iopolicy_set(policy.as_raw(), NO_SUCH_POLICY) };
        check_eq!(result, EINVAL.to_errno());
        check!(policy.in_force() == IoPolicy::RoundRobin);
        check_eq!(policy.set(IoPolicy::Numa), IoPolicy::RoundRobin as i32);
        check!(policy.in_force() == IoPolicy::Numa);
        Ok(())
    }

    /// Shows L-14.
    #[test]
    fn a_first_policy_that_is_not_supported_becomes_numa() -> Result {
        let policy = FakePolicy::new(IoPolicy::RoundRobin, ALL_POLICIES)?;
        // SAFETY: No head follows the policy.
        unsafe {
            check_eq!(
                ffi::mpath_iopolicy_init(
                    policy.as_raw(),
                    IoPolicy::QueueDepth as u32,
                    IoPolicy::RoundRobin.bit()
                ),
                EINVAL.to_errno()
            );
        }
        check!(policy.in_force() == IoPolicy::Numa);
        Ok(())
    }

    /// Shows L-16.
    #[test]
    fn another_policy_drops_the_choices_of_all_heads_and_kicks() -> Result {
        let policy = FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?;
        let heads = [head_of(&policy)?, head_of(&policy)?];
        let paths = [heads[0].path()?, heads[1].path()?];
        let other = TestHead::following(IoPolicy::Numa)?;
        let _other_path = other.path()?;

        for head in [&heads[0], &heads[1], &other] {
            check_eq!(head.write_many(1)?, 1);
        }
        for (head, path) in heads.iter().zip(&paths) {
            path.port().set(PortState::Recovering);
            check_eq!(head.write(0)?.status(), PENDING);
            check_eq!(head.requeued(), 1);
        }

        let before = [
            generation(&heads[0]),
            generation(&heads[1]),
            generation(&other),
        ];
        check_eq!(policy.set(IoPolicy::RoundRobin), IoPolicy::Numa as i32);
        for (head, before) in heads.iter().zip(before) {
            // The requeue work has looked at the waiting bios again, and they wait again.
            head.engine().busy.requeue.flush();
            check_eq!(head.requeued(), 2);
            check!(generation(head) > before);
        }
        check_eq!(generation(&other), before[2]);
        Ok(())
    }

    /// Shows L-16, N-11.
    #[test]
    fn the_same_policy_changes_nothing() -> Result {
        let policy = FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?;
        let head = head_of(&policy)?;
        let path = head.path()?;

        check_eq!(head.write_many(1)?, 1);
        path.port().set(PortState::Recovering);
        check_eq!(head.write(0)?.status(), PENDING);
        let before = generation(&head);
        check_eq!(policy.set(IoPolicy::Numa), IoPolicy::Numa as i32);
        head.engine().busy.requeue.flush();
        check_eq!(head.requeued(), 1);
        check_eq!(generation(&head), before);
        Ok(())
    }

    /// Shows L-16.
    #[test]
    fn stores_at_the_same_time_and_io_get_on() -> Result {
        let policy = FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?;
        let head = Arc::new(head_of(&policy)?, GFP_KERNEL)?;
        let (a, b) = (head.path()?, head.path()?);
        let store = |first: IoPolicy, second: IoPolicy| {
            let policy = policy.clone();

            Thread::spawn(move || {
                (0..200).all(|_| policy.set(first) >= 0 && policy.set(second) >= 0)
            })
        };
        let first = store(IoPolicy::RoundRobin, IoPolicy::QueueDepth)?;
        let second = store(IoPolicy::QueueDepth, IoPolicy::Numa)?;
        let mut written = 0;

        while !first.is_done() || !second.is_done() {
            check_eq!(head.write_many(8)?, 8);
            written += 8;
        }
        check!(first.join()? && second.join()?);
        check_eq!(a.bios() + b.bios(), written);
        check!(policy.in_force() != IoPolicy::RoundRobin);
        Ok(())
    }

    #[test]
    fn a_head_without_paths_follows_its_policy() -> Result {
        let policy = FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?;
        let head = TestHead::new(Setup {
            policy: Some(policy.clone()),
            disk: false,
            ..Setup::default()
        })?;

        check_eq!(policy.set(IoPolicy::QueueDepth), IoPolicy::Numa as i32);
        drop(head);
        check_eq!(policy.set(IoPolicy::Numa), IoPolicy::QueueDepth as i32);
        // SAFETY: The test only looks at the list, and nobody else has the policy.
        let heads = unsafe { &raw mut (*policy.as_raw()).heads };
        // SAFETY: As above.
        check!(unsafe { (*heads).next } == heads.cast::<bindings::list_head>());
        Ok(())
    }
}
