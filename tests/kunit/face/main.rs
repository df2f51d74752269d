// SPDX-License-Identifier: GPL-2.0

//! The Rust face, as a driver sees it. The driver in `example` is the README's.

/// Ends the test unless a condition holds.
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            ::kernel::prelude::pr_err!("{}:{}: {}\n", file!(), line!(), stringify!($condition));
            return Err(EINVAL);
        }
    };
}

mod answers;
mod asked;
mod bios;
mod cached;
mod example;
mod inside;
mod kept;
mod lower;
mod requests;
mod warnings;
#[cfg(CONFIG_BLK_DEV_ZONED)]
mod zoned;

#[kernel::macros::kunit_tests(mpath_driver)]
mod suite {
    use super::bios::{
        Io,
        FUA,
        PREFLUSH, //
    };
    use super::cached::Cached;
    use super::inside::Inside;
    use super::kept::{
        Counts,
        Kept,
        Mode, //
    };
    use super::warnings;
    use crate::compat::{
        EDEADLK,
        ENOLINK, //
    };
    use crate::{
        AccessState,
        DisableReason,
        DiskParams,
        IdKind,
        IoPolicy,
        Live,
        MpathFence,
        MpathHead,
        MpathIoPolicy,
        MpathPort,
        PortState,
        Registration, //
    };
    use kernel::prelude::*;
    use kernel::sync::aref::ARef;
    use kernel::sync::Arc;

    fn live_port() -> Result<Arc<MpathPort>> {
        Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)
    }

    fn numa() -> Result<Arc<MpathIoPolicy>> {
        Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)
    }

    fn head(policy: IoPolicy, counts: &Arc<Counts>) -> Result<ARef<MpathHead<Kept>>> {
        let policy = Arc::pin_init(MpathIoPolicy::new(policy), GFP_KERNEL)?;

        MpathHead::new(
            &policy,
            fmt!("mpkept"),
            DiskParams::new(2048),
            counts.clone(),
        )
    }

    fn path(
        head: &MpathHead<Kept>,
        port: &Arc<MpathPort>,
        number: u32,
    ) -> Result<Registration<Kept, Live>> {
        head.add_path(port, fmt!("mpkeptc{number}"), None, Kept::path())?
            .set_live(AccessState::Optimized)
    }

    #[test]
    fn the_example_keeps_what_is_written() -> Result {
        let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
        let path = super::example::bring_up(ram, DiskParams::new(2048))?;
        let head = ARef::from(path.head());

        check!(head.is_live());
        check!(Io::write(&head, 8, 0x5a)?.wait() == 0);
        let io = Io::read(&head, 8)?;
        check!(io.wait() == 0);
        check!(io.holds(0x5a)?);
        let io = Io::read(&head, 0)?;
        check!(io.wait() == 0);
        check!(io.holds(0)?);

        drop(path);
        check!(!head.is_live());
        check!(Io::read(&head, 0)?.wait() != 0);
        Ok(())
    }

    #[test]
    fn a_bio_that_fails_on_one_path_is_carried_out_on_another() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::RoundRobin, &counts)?;
        let bad = path(&head, &port, 0)?;
        let good = path(&head, &port, 1)?;

        bad.data().set(Mode::FailOver);
        for _ in 0..8 {
            check!(Io::write(&head, 0, 0)?.wait() == 0);
        }
        check!(good.data().arrived() >= 8);

        // While every path fails, bios wait, until one path works again.
        good.data().set(Mode::FailOver);
        let arrived = good.data().arrived();
        let io = Io::write(&head, 0, 0)?;
        check!(good.data().eventually(|good| good.arrived() >= arrived + 4));
        check!(!io.is_done());
        good.data().set(Mode::End);
        good.try_again();
        check!(io.wait() == 0);
        check!(head.fail_count() == 0);
        Ok(())
    }

    /// Shows F-1.
    #[test]
    fn a_bio_that_may_still_be_carried_out_waits_for_its_fence() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::RoundRobin, &counts)?;
        let lost = path(&head, &port, 0)?;
        let fence = MpathFence::new()?;

        lost.data().set(Mode::Keep);
        let io = Io::write(&head, 0, 0)?;
        check!(lost.data().eventually(|lost| lost.arrived() == 1));
        let other = path(&head, &port, 1)?;
        lost.data().fail_kept_over(&fence.clone());
        check!(fence.held() == 1);
        drop(lost);
        check!(Io::write(&head, 0, 0)?.wait() == 0);
        check!(!io.is_done());

        fence.open();
        check!(io.wait() == 0);
        check!(other.data().arrived() == 2);
        check!(head.fail_count() == 0);
        Ok(())
    }

    #[test]
    fn a_bio_that_is_forgotten_ends_with_an_error() -> Result {
        const IOERR: u32 = 10;
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;
        let path = path(&head, &port, 0)?;

        path.data().set(Mode::Drop);
        check!(Io::write(&head, 0, 0)?.wait() == IOERR);
        Ok(())
    }

    #[test]
    fn a_path_that_goes_waits_for_the_bios_that_it_has() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;
        let path = path(&head, &port, 0)?;

        path.data().set(Mode::Keep);
        let ios = [
            Io::write(&head, 0, 0)?,
            Io::write(&head, 8, 0)?,
            Io::write(&head, 16, 0)?,
        ];
        check!(path.data().eventually(|path| path.arrived() == 3));
        check!(ios.iter().all(|io| !io.is_done()));

        // `stop()` ends them.
        drop(path);
        check!(ios.iter().all(|io| io.is_done() && io.wait() == 0));
        check!(counts.stopped() == 1);
        Ok(())
    }

    #[test]
    fn bios_are_counted_while_the_policy_is_queue_depth() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::QueueDepth, &counts)?;
        let path = path(&head, &port, 0)?;

        path.data().set(Mode::Keep);
        let counted = Io::write(&head, 0, 0)?;
        check!(path.data().eventually(|path| path.arrived() == 1));
        check!(port.in_flight() == 1);

        check!(head.policy().set(IoPolicy::Numa)? == IoPolicy::QueueDepth);
        let uncounted = Io::write(&head, 8, 0)?;
        check!(path.data().eventually(|path| path.arrived() == 2));
        check!(port.in_flight() == 1);

        path.data().end_kept();
        check!(counted.wait() == 0 && uncounted.wait() == 0);
        check!(port.in_flight() == 0);
        Ok(())
    }

    #[test]
    fn a_head_goes_with_its_last_path_and_takes_no_other() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;
        let first = path(&head, &port, 0)?;
        let second = path(&head, &port, 1)?;

        drop(first);
        check!(head.is_live() && counts.unlinked() == 0);
        drop(second);
        check!(!head.is_live() && counts.unlinked() == 1);

        let late = head.add_path(&port, fmt!("mpkeptc2"), None, Kept::path());
        check!(matches!(late, Err(error) if error == ENXIO));

        check!(Arc::into_unique_or_drop(counts.clone()).is_none());
        drop(head);
        // The head's data went with it.
        check!(Arc::into_unique_or_drop(counts).is_some());
        Ok(())
    }

    #[test]
    fn a_path_that_never_went_live_goes_too() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;

        drop(head.add_path(&port, fmt!("mpkeptc0"), None, Kept::path())?);
        check!(counts.stopped() == 1 && counts.unlinked() == 1);
        check!(head
            .add_path(&port, fmt!("mpkeptc0"), None, Kept::path())
            .is_err());
        Ok(())
    }

    #[test]
    fn a_head_with_a_removal_delay_waits_for_a_path() -> Result {
        const SECONDS: u32 = 3600;
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;
        let first = path(&head, &port, 0)?;

        head.set_removal_delay(SECONDS);
        drop(first);
        check!(head.is_live() && counts.unlinked() == 0);
        let io = Io::write(&head, 0, 0)?;
        check!(!io.is_done());
        let second = path(&head, &port, 0)?;
        check!(io.wait() == 0);

        head.set_removal_delay(0);
        drop(second);
        check!(!head.is_live() && counts.unlinked() == 1);
        Ok(())
    }

    #[test]
    fn a_disabled_path_takes_no_bio() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::RoundRobin, &counts)?;
        let first = path(&head, &port, 0)?;
        let second = path(&head, &port, 1)?;

        first.disable(DisableReason::StatePending);
        let before = first.data().arrived();
        for _ in 0..4 {
            check!(Io::write(&head, 0, 0)?.wait() == 0);
        }
        check!(first.data().arrived() == before);

        // `on_path()` sees the path that a bio would get.
        check!(head.on_path(|path| core::ptr::eq(path, &*second))?);
        second.disable(DisableReason::StatePending);
        check!(head.on_path(|_| ()) == Err(EAGAIN));
        first.enable(DisableReason::StatePending);
        check!(head.on_path(|path| core::ptr::eq(path, &*first))?);
        Ok(())
    }

    #[test]
    fn the_identifier_is_asked_of_a_path() -> Result {
        let (port, counts) = (live_port()?, Counts::new()?);
        let head = head(IoPolicy::Numa, &counts)?;
        let _path = path(&head, &port, 0)?;

        let (length, id) = Io::unique_id(&head, IdKind::Eui64);
        check!(length == 8 && id[..8] == *b"multipat");
        check!(Io::unique_id(&head, IdKind::Naa).0 == EINVAL.to_errno());
        Ok(())
    }

    #[test]
    fn impossible_parameters_are_refused() -> Result {
        let counts = Counts::new()?;
        let policy = Arc::pin_init(
            MpathIoPolicy::with_supported(IoPolicy::Numa, &[IoPolicy::Numa]),
            GFP_KERNEL,
        )?;
        let params = DiskParams::new(2048);

        check!(policy.set(IoPolicy::RoundRobin) == Err(EINVAL));
        check!(Arc::pin_init(
            MpathIoPolicy::with_supported(IoPolicy::QueueDepth, &[IoPolicy::Numa]),
            GFP_KERNEL,
        )
        .is_err());
        check!(params.logical_block_size(513).is_err());

        let long = fmt!("a-name-that-is-longer-than-what-a-disk-may-have");
        let head = MpathHead::<Kept>::new(&policy, long, params, counts.clone());
        check!(matches!(head, Err(error) if error == EINVAL));
        // Nothing was left behind.
        check!(Arc::into_unique_or_drop(counts).is_some());
        Ok(())
    }

    /// Shows A-10.
    #[test]
    fn a_flush_makes_stable_what_has_been_written() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Cached::head(&policy)?;
        let _path = Cached::path(&head, &port, 0, AccessState::Optimized)?;

        check!(Io::write(&head, 8, 0x5a)?.wait() == 0);
        check!(Cached::is_stable(&head, 8, 0));
        check!(Io::flush(&head) == 0);
        check!(Cached::is_stable(&head, 8, 0x5a));
        check!(Cached::flushes(&head) == 1);
        Ok(())
    }

    /// Shows A-10.
    #[test]
    fn a_flush_that_fails_on_one_path_is_carried_out_on_another() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Cached::head(&policy)?;
        let first = Cached::path(&head, &port, 0, AccessState::Optimized)?;
        let _second = Cached::path(&head, &port, 1, AccessState::NonOptimized)?;

        check!(Io::write(&head, 8, 0x5a)?.wait() == 0);
        first.data().set_failing(true);
        check!(Io::flush(&head) == 0);
        check!(Cached::is_stable(&head, 8, 0x5a) && Cached::flushes(&head) == 1);
        Ok(())
    }

    /// Shows A-17.
    #[test]
    fn a_bio_that_every_path_fails_ends() -> Result {
        const TRANSPORT: u32 = 4;
        let (policy, port) = (numa()?, live_port()?);
        let head = Cached::head(&policy)?;
        let first = Cached::path(&head, &port, 0, AccessState::Optimized)?;
        let second = Cached::path(&head, &port, 1, AccessState::Optimized)?;

        first.data().set_failing(true);
        second.data().set_failing(true);
        // The bio fails three times for each of two paths, and the head counts each move before the
        // next.
        check!(Io::write(&head, 0, 1)?.wait() == TRANSPORT);
        check!(first.data().moves().max(second.data().moves()) == 5);
        check!(Io::flush(&head) == ENOLINK.to_errno());
        check!(first.data().moves().max(second.data().moves()) == 5);

        // A path that carries the bio out ends it well, whatever the other path does.
        second.data().set_failing(false);
        check!(Io::write(&head, 0, 2)?.wait() == 0);
        check!(Io::flush(&head) == 0 && Cached::is_stable(&head, 0, 2));
        Ok(())
    }

    #[test]
    fn a_write_says_what_is_to_be_stable_before_and_after_it() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Cached::head(&policy)?;
        let _path = Cached::path(&head, &port, 0, AccessState::Optimized)?;

        check!(Io::write(&head, 0, 1)?.wait() == 0);
        check!(Io::write_with(&head, 8, 2, PREFLUSH)?.wait() == 0);
        check!(Cached::is_stable(&head, 0, 1) && Cached::is_stable(&head, 8, 0));
        check!(Io::write_with(&head, 16, 3, FUA)?.wait() == 0);
        check!(Cached::is_stable(&head, 8, 0) && Cached::is_stable(&head, 16, 3));
        check!(Io::write_with(&head, 24, 4, PREFLUSH | FUA)?.wait() == 0);
        check!(Cached::is_stable(&head, 8, 2) && Cached::is_stable(&head, 24, 4));
        Ok(())
    }

    /// Shows A-7.
    #[test]
    fn a_path_that_is_dropped_in_a_section_stays() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Inside::head(&policy)?;
        let path = Inside::path(&head, &port, 0)?;
        let raw = &raw const *path;

        let (result, warned) = warnings::count(|| Inside::drop_in_section(&head, path))?;
        check!(result.is_ok() && warned == 1);
        check!(head.is_live() && Io::write(&head, 0, 0)?.wait() == 0);
        check!(head.on_path(|used| core::ptr::eq(used, raw))?);

        // SAFETY: The path has stayed, and nobody else takes it back.
        drop(unsafe { Registration::<Inside>::take_back(raw) });
        check!(!head.is_live());
        Ok(())
    }

    /// Shows A-7.
    #[test]
    fn a_path_that_would_go_live_in_a_section_stays() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Inside::head(&policy)?;
        let used = Inside::path(&head, &port, 0)?;
        let path = Inside::add(&head, &port, 1)?;
        let raw = &raw const *path;

        let (result, warned) = warnings::count(|| Inside::set_live_in_section(&head, path))?;
        check!(result == Err(EDEADLK) && warned == 2);
        drop(used);
        check!(head.is_live());

        // SAFETY: The path has stayed, and nobody else takes it back.
        drop(unsafe { Registration::<Inside>::take_back(raw) });
        check!(!head.is_live());
        Ok(())
    }

    /// Shows A-7.
    #[test]
    fn a_path_that_is_dropped_by_unique_id_stays() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Inside::head(&policy)?;
        let path = Inside::path(&head, &port, 0)?;
        let raw = &raw const *path;

        *head.data().lock() = Some(path);
        let ((length, _), warned) = warnings::count(|| Io::unique_id(&head, IdKind::Eui64))?;
        check!(length == 0 && warned == 1);
        check!(head.is_live() && Io::write(&head, 0, 0)?.wait() == 0);

        // SAFETY: The path has stayed, and nobody else takes it back.
        drop(unsafe { Registration::<Inside>::take_back(raw) });
        check!(!head.is_live());
        Ok(())
    }

    #[test]
    fn a_path_that_stops_may_take_another_along() -> Result {
        let (policy, port) = (numa()?, live_port()?);
        let head = Inside::head(&policy)?;
        let first = Inside::path(&head, &port, 0)?;
        let second = Inside::path(&head, &port, 1)?;

        *first.data().lock() = Some(second);
        drop(first);
        check!(!head.is_live());
        Ok(())
    }
}
