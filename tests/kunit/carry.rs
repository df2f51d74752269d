// SPDX-License-Identifier: GPL-2.0

//! The state that a bio carries from one path to the next: the table in `docs/design.md`, row by
//! row.

use super::check::eventually;
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    Behaviour,
    FakePath,
    Options,
    Seen,
    APPENDED_AT,
    COOKIE,
    NOWAIT_FEATURE,
    POLL_FEATURE,
    WRITE_CACHE_FEATURE,
    ZONED_FEATURE, //
};
use super::io::{
    Io,
    AGAIN,
    FUA,
    IDLE,
    MARK,
    META,
    NOWAIT,
    NO_COOKIE,
    OK,
    OPERATION,
    PAGE_SECTORS,
    PENDING,
    POLLED,
    PREFLUSH,
    PRIO,
    READ,
    SYNC,
    WRITE,
    ZONE_APPEND, //
};
use crate::bindings;
use crate::pure::state::PortState;
use crate::wrap::way::IS_ONE_PASS;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A bio that the head sends as it is, and one of which a path gets a clone.
const KINDS: [u32; 2] = [0, PREFLUSH];

fn head() -> Result<TestHead> {
    TestHead::new(Setup {
        limits: |limits| limits.features = WRITE_CACHE_FEATURE | NOWAIT_FEATURE | POLL_FEATURE,
        ..Setup::default()
    })
}

/// A path with a cache, that may be polled.
fn polled(head: &TestHead) -> Result<Arc<FakePath>> {
    head.path_with(Options {
        limits: |limits| limits.features |= WRITE_CACHE_FEATURE | POLL_FEATURE,
        ..Options::default()
    })
}

/// Submits a write that fails on one path and goes to another, twice. Returns it, and how each
/// path has seen it.
fn carry(
    opf: u32,
    prepare: fn(&mut bindings::bio) -> Result,
    change: fn(&mut bindings::bio),
) -> Result<(Arc<Io>, [Seen; 3])> {
    let head = head()?;
    let a = polled(&head)?;

    a.behave(Behaviour::Hold);
    let io = Io::submit_with(head.bdev(), WRITE | opf, PAGE_SECTORS, 1, prepare)?;
    let b = polled(&head)?;
    b.behave(Behaviour::Hold);
    fail_over(&a, change);
    check!(eventually(|| b.held() == 1));
    let c = polled(&head)?;
    fail_over(&b, change);
    check!(io.ended_well());

    let seen = [a.seen()?, b.seen()?, c.seen()?];
    check!(seen.iter().all(|seen| seen.len() == 1));
    Ok((io, [seen[0][0], seen[1][0], seen[2][0]]))
}

/// Changes the one bio that a path holds, and gives it back. The path takes none from now on.
fn fail_over(path: &FakePath, change: fn(&mut bindings::bio)) {
    let list = path.take_held();

    path.port().set(PortState::Recovering);
    // SAFETY: The list has one bio, which is the path's.
    unsafe { change(&mut *list.head) };
    path.fail_over(list);
}

#[kunit_tests(mpath_carry)]
mod tests {
    use super::*;

    /// Shows A-16.
    #[test]
    fn flags_but_nowait_and_polled_and_the_mark() -> Result {
        const FLAGS: u32 = SYNC | META | PRIO | IDLE;

        for kind in KINDS {
            let (_, [a, b, c]) = carry(kind | FLAGS | NOWAIT | POLLED, |_| Ok(()), |_| ())?;
            let all = !OPERATION;

            // Nobody polls for a bio when the path has a clone of it.
            let polled = if kind == 0 { POLLED } else { 0 };
            check_eq!(a.opf & all, kind | FLAGS | MARK | NOWAIT | polled);
            for seen in [b, c] {
                check_eq!(seen.opf & all, kind | FLAGS | MARK);
                check_eq!(seen.opf & OPERATION, WRITE);
            }
        }
        Ok(())
    }

    /// Shows A-16.
    #[test]
    fn a_bio_that_must_not_wait_waits_when_its_path_has_failed() -> Result {
        for kind in KINDS {
            let head = head()?;
            let path = polled(&head)?;

            path.behave(Behaviour::Hold);
            let io = Io::submit(head.bdev(), WRITE | NOWAIT | kind, 0)?;
            fail_over(&path, |_| ());
            head.kick();
            check_eq!(io.status(), PENDING);
            check_eq!(
                Io::submit(head.bdev(), WRITE | NOWAIT | kind, 0)?.wait(),
                AGAIN
            );
            path.behave(Behaviour::Complete);
            path.port().set(PortState::Live);
            head.kick();
            check!(io.ended_well());
        }
        Ok(())
    }

    /// Shows A-16.
    #[test]
    fn the_cookie_is_taken_back() -> Result {
        for kind in KINDS {
            let (io, [a, b, c]) = carry(kind | POLLED, |_| Ok(()), |_| ())?;

            for seen in [a, b, c] {
                check_eq!(seen.cookie, NO_COOKIE);
            }
            check_eq!(io.cookie(), NO_COOKIE);
            check_eq!(io.opf() & POLLED, 0);
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn no_status() -> Result {
        for kind in KINDS {
            let (_, seen) = carry(kind, |_| Ok(()), |_| ())?;

            check!(seen.iter().all(|seen| seen.status == OK));
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn all_data_whatever_a_path_has_done_of_it() -> Result {
        let (_, seen) = carry(
            PREFLUSH | FUA,
            |_| Ok(()),
            |bio| {
                bio.bi_iter.bi_sector += PAGE_SECTORS;
                bio.bi_iter.bi_size = 0;
                bio.bi_opf &= !(PREFLUSH | FUA);
            },
        )?;

        for seen in seen {
            check_eq!(seen.sector, PAGE_SECTORS);
            check_eq!(u64::from(seen.bytes), PAGE_SECTORS * 512);
            check_eq!(seen.opf & (PREFLUSH | FUA), PREFLUSH | FUA);
        }
        Ok(())
    }

    /// Each path carries out a sector of eight, and fails. The first has the bio, others a clone.
    #[test]
    fn the_rest_of_what_paths_have_carried_out_a_part_of() -> Result {
        // SAFETY: The bio is valid, and has more than a sector.
        let advance = |bio: &mut bindings::bio| unsafe { bindings::__bio_advance(bio, 512) };

        for (flags, part) in [(0, 1), (SYNC, 1), (FUA, 0), (PREFLUSH, 0)] {
            let (_, seen) = carry(flags, |_| Ok(()), advance)?;

            for (seen, done) in seen.iter().zip([0, part, 2 * part]) {
                check_eq!(seen.sector, PAGE_SECTORS + done);
                check_eq!(u64::from(seen.bytes), (PAGE_SECTORS - done) * 512);
            }
        }
        Ok(())
    }

    /// Nobody knows how far a clone has come that the block layer has split.
    #[test]
    fn the_whole_where_a_clone_was_split() -> Result {
        let (_, [_, b, c]) = carry(
            0,
            |_| Ok(()),
            |bio| {
                bio.bi_flags |= 1 << bindings::BIO_CHAIN;
                // SAFETY: The bio is valid, and has more than a sector.
                unsafe { bindings::__bio_advance(bio, 512) }
            },
        )?;

        check_eq!(c.sector, b.sector);
        check_eq!(c.bytes, b.bytes);
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn the_mark_of_accounting_and_not_that_of_throttling() -> Result {
        const ACCOUNTED: u16 = 1 << bindings::BIO_CGROUP_ACCT;
        const TRACED: u16 = 1 << bindings::BIO_TRACE_COMPLETION;
        const THROTTLED: u16 = 1 << bindings::BIO_BPS_THROTTLED;
        const REMAPPED: u16 = 1 << bindings::BIO_REMAPPED;

        for kind in KINDS {
            let (_, seen) = carry(
                kind,
                |bio| {
                    bio.bi_flags |= ACCOUNTED;
                    Ok(())
                },
                // The path's queue sets this flag.
                |bio| bio.bi_flags |= THROTTLED,
            )?;

            for seen in seen {
                check_eq!(seen.flags & (ACCOUNTED | TRACED), ACCOUNTED | TRACED);
                check_eq!(seen.flags & (THROTTLED | REMAPPED), REMAPPED);
            }
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn it_is_accounted_for_by_the_queue_that_has_it() -> Result {
        for kind in KINDS {
            let (_, seen) = carry(kind, |_| Ok(()), |_| ())?;

            // In one pass the head's queue still accounts for the bio, where no policy of the
            // path's looks.
            check!(seen.iter().all(|seen| seen.of_queue != IS_ONE_PASS));
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn priority_and_hints() -> Result {
        /// `IOPRIO_CLASS_RT`, level 3.
        const PRIORITY: u16 = 1 << 13 | 3;
        /// `WRITE_LIFE_SHORT`.
        const SHORT: u32 = 2;

        for kind in KINDS {
            let (_, seen) = carry(
                kind,
                |bio| {
                    bio.bi_ioprio = PRIORITY;
                    bio.bi_write_hint = SHORT as _;
                    bio.bi_write_stream = 5;
                    Ok(())
                },
                |_| (),
            )?;

            for seen in seen {
                check_eq!(seen.ioprio, PRIORITY);
                check_eq!(seen.hint, SHORT);
                check_eq!(seen.stream, 5);
            }
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    #[cfg(CONFIG_BLK_DEV_INTEGRITY)]
    fn the_integrity_data() -> Result {
        for kind in KINDS {
            let (_, seen) = carry(
                kind,
                |bio| {
                    // SAFETY: The bio is valid; the integrity data that this allocates goes with
                    // it.
                    kernel::error::from_err_ptr(unsafe {
                        bindings::bio_integrity_alloc(bio, bindings::GFP_KERNEL, 1)
                    })?;
                    Ok(())
                },
                |_| (),
            )?;

            check!(seen.iter().all(|seen| seen.integrity));
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn where_a_zone_append_has_written() -> Result {
        const ZONE: u64 = 64;

        fn zoned(limits: &mut bindings::queue_limits) {
            limits.features |= ZONED_FEATURE | WRITE_CACHE_FEATURE;
            limits.chunk_sectors = ZONE as u32;
            limits.max_hw_zone_append_sectors = 16;
        }

        for failures in 0..3 {
            let head = TestHead::new(Setup {
                limits: zoned,
                ..Setup::default()
            })?;
            let path = head.path_with(Options {
                limits: zoned,
                ..Options::default()
            })?;

            path.fail_next(failures);
            let io = Io::submit(head.bdev(), ZONE_APPEND, ZONE)?;
            check!(io.ended_well());
            check_eq!(io.sector(), ZONE + APPENDED_AT);
            check_eq!(path.bios(), failures + 1);
        }
        Ok(())
    }

    /// Shows A-4.
    #[test]
    fn a_path_that_polls_is_polled_for() -> Result {
        let head = head()?;
        let path = polled(&head)?;

        path.behave(Behaviour::Hold);
        let io = Io::submit(head.bdev(), READ | POLLED, 0)?;
        check_eq!(io.cookie(), COOKIE);
        path.complete_held();
        check!(io.ended_well());
        check!(path.seen()?[0].opf & POLLED != 0);
        Ok(())
    }

    /// Shows A-4.
    #[test]
    fn a_polled_bio_that_meets_a_path_that_does_not_poll_completes() -> Result {
        let head = head()?;
        let path = head.path()?;

        for opf in [READ, WRITE, WRITE | PREFLUSH] {
            let io = Io::submit(head.bdev(), opf | POLLED, 0)?;
            check!(io.ended_well());
            check_eq!(io.cookie(), NO_COOKIE);
        }
        check!(path.seen()?.iter().all(|seen| seen.opf & POLLED == 0));
        Ok(())
    }

    /// Shows A-4.
    #[test]
    fn a_polled_bio_that_has_waited_completes_on_any_path() -> Result {
        for polls in [false, true] {
            let head = head()?;
            let path = polled(&head)?;

            path.port().set(PortState::Recovering);
            let io = Io::submit(head.bdev(), READ | POLLED, 0)?;
            check_eq!(io.status(), PENDING);
            check_eq!(io.cookie(), NO_COOKIE);
            let other = if polls { polled(&head)? } else { head.path()? };
            check!(io.ended_well());
            check_eq!(io.opf() & POLLED, 0);
            check_eq!(other.seen()?[0].opf & POLLED, 0);
        }
        Ok(())
    }
}
