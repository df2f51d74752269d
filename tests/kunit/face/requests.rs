// SPDX-License-Identifier: GPL-2.0

//! Drivers whose paths take requests.

#[kernel::macros::kunit_tests(mpath_requests)]
mod suite {
    use super::super::asked::{
        Asked,
        Mode, //
    };
    use super::super::bios::Io;
    use super::super::example::Ram;
    use crate::{
        AccessState,
        IoPolicy,
        MpathDevice,
        MpathDriver,
        MpathFence,
        MpathHead,
        MpathIoPolicy,
        MpathPort,
        MpathRequest,
        MpathRequestDriver,
        MpathTagSet,
        PortState,
        TagParams, //
    };
    use kernel::page::PAGE_SIZE;
    use kernel::prelude::*;
    use kernel::sync::Arc;

    /// The sectors of a page.
    const PAGE: u64 = 8;
    const NEVER: TagParams = TagParams::new(16);

    fn live_port() -> Result<Arc<MpathPort>> {
        Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)
    }

    fn policy(policy: IoPolicy) -> Result<Arc<MpathIoPolicy>> {
        Arc::pin_init(MpathIoPolicy::new(policy), GFP_KERNEL)
    }

    #[test]
    fn a_request_that_fails_on_one_path_is_carried_out_on_another() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::RoundRobin)?)?;
        let bad = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let good = Asked::path(&head, &port, &tags, 1, AccessState::Optimized)?;

        bad.data().set(Mode::FailOver);
        for _ in 0..8 {
            check!(Io::write(&head, 0, 0)?.wait() == 0);
        }
        check!(good.data().arrived() == 8 && bad.data().arrived() > 0);

        // While every path fails, bios wait, until one path works again.
        good.data().set(Mode::FailOver);
        let io = Io::write(&head, 0, 0)?;
        check!(good.data().eventually(|good| good.arrived() >= 12));
        check!(!io.is_done());
        good.data().set(Mode::End);
        good.try_again();
        check!(io.wait() == 0);
        check!(head.fail_count() == 0);
        Ok(())
    }

    #[test]
    fn bios_that_a_part_of_their_request_has_carried_out_do_not_go_elsewhere() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let first = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let second = Asked::path(&head, &port, &tags, 1, AccessState::NonOptimized)?;
        let write = |page: u64| Io::write(&head, page * PAGE, 0);

        first.data().set(Mode::Part);
        let ios = Io::together(|| Ok::<_, Error>([write(2)?, write(3)?, write(4)?]))?;
        check!(ios.iter().all(|io| io.wait() == 0));
        // One request of three bios came; the last two of them went on.
        check!(first.data().longest() == (2 * PAGE_SIZE..5 * PAGE_SIZE));
        check!(second.data().lowest() == 3 * PAGE_SIZE);
        check!((1..=2).contains(&second.data().arrived()));
        Ok(())
    }

    #[test]
    fn a_part_is_a_number_of_blocks_less_than_what_is_left() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let path = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;

        path.data().set(Mode::NoPart);
        check!(Io::write(&head, 0, 0)?.wait() == 0);
        check!(path.data().arrived() == 1);
        Ok(())
    }

    #[test]
    fn a_request_that_is_put_off_stays_on_its_path() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::QueueDepth)?)?;
        let first = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let second = Asked::path(&head, &port, &tags, 1, AccessState::NonOptimized)?;

        first.data().set(Mode::Again);
        check!(Io::write(&head, 0, 0)?.wait() == 0);
        check!(first.data().arrived() == 4 && second.data().arrived() == 0);
        check!(port.in_flight() == 0);
        Ok(())
    }

    #[test]
    fn a_request_ends_once_whether_it_is_late_or_not() -> Result {
        let (port, tags) = (
            live_port()?,
            Asked::tags(TagParams::new(16).timeout_msecs(100))?,
        );
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let first = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let second = Asked::path(&head, &port, &tags, 1, AccessState::NonOptimized)?;

        // The request is not in the table where `timeout()` looks: it is not late.
        first.data().set(Mode::Queue);
        let io = Io::write(&head, 0, 0)?;
        check!(first.data().eventually(|first| first.arrived() == 1));
        check!(!first.data().knows(0) && !first.data().knows(u32::MAX));
        kernel::time::delay::fsleep(kernel::time::Delta::from_millis(300));
        check!(!io.is_done() && first.data().timeouts() == 0);
        check!(first.data().end_queued()?.len() == 1);
        check!(io.wait() == 0);

        first.data().set(Mode::Keep);
        check!(Io::write(&head, 0, 0)?.wait() == 0);
        // The request has come twice to the first path, which is preferred, and then to the other
        // one.
        check!(first.data().timeouts() == 2 && second.data().arrived() == 1);
        Ok(())
    }

    #[test]
    fn requests_leave_a_queue_in_the_order_in_which_they_came() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER.without_scheduler())?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let path = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let pages = [9, 1, 5, 3];
        let mut ios = KVec::new();

        path.data().set(Mode::Queue);
        for (count, page) in pages.into_iter().enumerate() {
            ios.push(Io::write(&head, page * PAGE, 0)?, GFP_KERNEL)?;
            check!(path
                .data()
                .eventually(|path| path.arrived() as usize > count));
        }
        let ended = path.data().end_queued()?;
        check!(ended.iter().map(|page| *page as u64).eq(pages));
        check!(ios.iter().all(|io| io.wait() == 0));
        Ok(())
    }

    #[test]
    fn a_request_may_end_in_soft_interrupt_context() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::QueueDepth)?)?;
        let path = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;

        path.data().set(Mode::Complete);
        for _ in 0..4 {
            check!(Io::write(&head, 0, 0)?.wait() == 0);
        }
        check!(path.data().completed() == 4 && port.in_flight() == 0);
        Ok(())
    }

    /// Shows F-1.
    #[test]
    fn a_request_that_may_still_be_carried_out_waits_for_its_fence() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let lost = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let other = Asked::path(&head, &port, &tags, 1, AccessState::NonOptimized)?;
        let fence = MpathFence::new()?;

        lost.data().set(Mode::Keep);
        let io = Io::write(&head, 0, 0)?;
        check!(lost.data().eventually(|lost| lost.arrived() == 1));
        lost.data().fail_kept_over(&fence);
        check!(fence.held() == 1);
        drop(lost);
        check!(!io.is_done() && other.data().arrived() == 0);

        fence.open();
        check!(io.wait() == 0 && other.data().arrived() == 1);
        Ok(())
    }

    #[test]
    fn a_request_that_is_forgotten_ends_with_an_error() -> Result {
        const IOERR: u32 = 10;
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let path = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;

        path.data().set(Mode::Drop);
        check!(Io::write(&head, 0, 0)?.wait() == IOERR);
        Ok(())
    }

    #[test]
    fn a_path_that_goes_waits_for_the_requests_that_it_has() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::QueueDepth)?)?;
        let path = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;

        path.data().set(Mode::Keep);
        let ios = [Io::write(&head, 0, 0)?, Io::write(&head, 16, 0)?];
        check!(path.data().eventually(|path| path.arrived() == 2));
        check!(ios.iter().all(|io| !io.is_done()) && port.in_flight() == 2);

        // `stop()` ends them.
        drop(path);
        check!(ios.iter().all(|io| io.is_done() && io.wait() == 0));
        check!(port.in_flight() == 0);
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_flush_that_a_path_fails_is_carried_out_on_another() -> Result {
        let (port, tags) = (live_port()?, Asked::tags(NEVER)?);
        let head = Asked::head(&policy(IoPolicy::Numa)?)?;
        let first = Asked::path(&head, &port, &tags, 0, AccessState::Optimized)?;
        let second = Asked::path(&head, &port, &tags, 1, AccessState::NonOptimized)?;

        check!(Io::flush(&head) == 0);
        check!((first.data().flushes(), second.data().flushes()) == (1, 0));
        first.data().set(Mode::FailOver);
        check!(Io::flush(&head) == 0);
        check!((first.data().flushes(), second.data().flushes()) == (1, 1));
        Ok(())
    }

    /// A driver that cannot flush.
    struct Blind;

    #[vtable]
    impl MpathDriver for Blind {
        type HeadData = ();
        type PathData = ();
    }

    #[vtable]
    impl MpathRequestDriver for Blind {
        type RequestData = ();

        fn queue_rq(_path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
            rq.end();
        }
    }

    #[test]
    fn a_disk_with_a_cache_needs_a_driver_that_flushes() -> Result {
        let port = live_port()?;
        let tags = Arc::pin_init(MpathTagSet::<Blind>::new(NEVER), GFP_KERNEL)?;
        let policy = policy(IoPolicy::Numa)?;
        let head = MpathHead::<Blind>::new(&policy, fmt!("mpblind"), Asked::params(), ())?;
        let path = head.add_request_path(&port, &tags, fmt!("mpblindc0"), None, ());

        check!(matches!(path, Err(error) if error == EINVAL));
        Ok(())
    }

    #[test]
    fn a_tag_set_without_requests_is_refused() -> Result {
        let none = |params| Arc::pin_init(MpathTagSet::<Blind>::new(params), GFP_KERNEL);

        check!(matches!(none(TagParams::new(0)), Err(error) if error == EINVAL));
        check!(matches!(none(NEVER.queues(0)), Err(error) if error == EINVAL));
        Ok(())
    }

    #[test]
    fn drivers_whose_paths_take_bios_say_so() -> Result {
        check!(<Ram as MpathDriver>::HAS_SUBMIT && !<Asked as MpathDriver>::HAS_SUBMIT);
        Ok(())
    }
}
