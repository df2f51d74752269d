// SPDX-License-Identifier: GPL-2.0

//! Bios that ask for a flush, and paths that lose it: no flush ends well that no path has carried
//! out.

use super::check::eventually;
use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    Behaviour,
    FakePath,
    Options,
    FUA_FEATURE,
    NOWAIT_FEATURE,
    WRITE_CACHE_FEATURE, //
};
use super::io::{
    Io,
    AGAIN,
    FUA,
    NOWAIT,
    OK,
    PAGE_SECTORS,
    PENDING,
    PREFLUSH,
    TRANSPORT,
    WRITE, //
};
use crate::bindings;
use crate::ffi;
use crate::pure::state::PortState;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The kinds of bios that ask for a flush, or to be written through: their flags, and their pages.
const KINDS: [(u32, usize); 4] = [(PREFLUSH, 0), (PREFLUSH, 1), (FUA, 1), (PREFLUSH | FUA, 2)];

/// The sector that they write to.
const SECTOR: u64 = 64;

fn caching_head() -> Result<TestHead> {
    TestHead::new(Setup {
        limits: |limits| limits.features = WRITE_CACHE_FEATURE | FUA_FEATURE | NOWAIT_FEATURE,
        ..Setup::default()
    })
}

/// A path with a cache, whose disk has no FUA.
fn caching(head: &TestHead) -> Result<Arc<FakePath>> {
    head.path_with(Options {
        limits: |limits| limits.features |= WRITE_CACHE_FEATURE,
        ..Options::default()
    })
}

fn submit(head: &TestHead, (flags, pages): (u32, usize)) -> Result<Arc<Io>> {
    let sector = if pages > 0 { SECTOR } else { 0 };

    Io::submit_pages(head.bdev(), WRITE | flags, sector, pages)
}

/// Was the last bio that came to a path of this kind, and whole?
fn saw_whole(path: &FakePath, (flags, pages): (u32, usize)) -> Result<bool> {
    let seen = path.seen()?;
    let Some(last) = seen.last() else {
        return Ok(false);
    };

    Ok(last.opf & (PREFLUSH | FUA) == flags
        && u64::from(last.bytes) == pages as u64 * PAGE_SECTORS * 512
        && last.sector == if pages > 0 { SECTOR } else { 0 }
        && last.status == OK)
}

/// How a path that holds bios fails them.
const FAILURES: [fn(&FakePath); 3] = [
    // As the block layer ends the bio of a request for a flush, or after one.
    FakePath::spend_held,
    FakePath::fail_held_over,
    FakePath::fail_held_over_spent,
];

#[kunit_tests(mpath_flush)]
mod tests {
    use super::*;

    /// Shows A-1.
    #[test]
    fn a_flush_that_a_path_failed_goes_to_another_as_a_whole() -> Result {
        for kind in KINDS {
            for fail in FAILURES {
                let head = caching_head()?;
                let a = caching(&head)?;

                a.behave(Behaviour::Hold);
                let io = submit(&head, kind)?;
                check_eq!(a.held(), 1);
                check!(saw_whole(&a, kind)?);
                let b = caching(&head)?;
                a.port().set(PortState::Recovering);
                fail(&a);
                check!(io.ended_well());
                check!(saw_whole(&b, kind)?);
                check!(a.bios() == 1 && b.bios() == 1);
            }
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_flush_waits_when_there_is_no_other_path() -> Result {
        for kind in KINDS {
            for fail in FAILURES {
                let head = caching_head()?;
                let path = caching(&head)?;

                path.behave(Behaviour::Hold);
                let io = submit(&head, kind)?;
                path.port().set(PortState::Recovering);
                fail(&path);
                for _ in 0..3 {
                    head.kick();
                    check_eq!(io.status(), PENDING);
                }
                path.behave(Behaviour::Complete);
                path.port().set(PortState::Live);
                head.kick();
                check!(io.ended_well());
                check_eq!(path.bios(), 2);
                check!(saw_whole(&path, kind)?);
            }
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_flush_for_which_nobody_is_left_ends_with_an_error() -> Result {
        for kind in KINDS {
            for fail in FAILURES {
                let head = caching_head()?;
                let path = caching(&head)?;

                path.behave(Behaviour::Hold);
                let ios = [submit(&head, kind)?, submit(&head, kind)?];
                path.port().set(PortState::Dead);
                fail(&path);
                for io in &ios {
                    check!(io.wait() != OK && io.status() != PENDING);
                }
            }
            let head = caching_head()?;
            let path = caching(&head)?;

            path.behave(Behaviour::Hold);
            let io = submit(&head, kind)?;
            path.remove();
            path.spend_held();
            check!(io.wait() != OK && io.status() != PENDING);
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_path_without_a_cache_does_not_take_the_flush_from_the_next_one() -> Result {
        for kind in KINDS.into_iter().filter(|(_, pages)| *pages > 0) {
            let head = caching_head()?;
            let a = head.path()?;

            a.behave(Behaviour::Hold);
            let io = submit(&head, kind)?;
            // The block layer has no use for the flags there.
            check!(saw_whole(&a, (0, kind.1))?);
            let b = caching(&head)?;
            a.port().set(PortState::Recovering);
            a.fail_held_over();
            check!(io.ended_well());
            check!(saw_whole(&b, kind)?);
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn an_error_that_is_not_the_paths_ends_a_flush() -> Result {
        for kind in KINDS {
            let head = caching_head()?;
            let (a, b) = (caching(&head)?, caching(&head)?);

            for path in [&a, &b] {
                path.behave(Behaviour::Hold);
            }
            let io = submit(&head, kind)?;
            for path in [&a, &b] {
                path.end_held(super::super::io::MEDIUM);
            }
            check_eq!(io.wait(), super::super::io::MEDIUM);
            check_eq!(a.bios() + b.bios(), 1);
        }
        Ok(())
    }

    /// A write with FUA to a path that has it is one request, whose failure the driver sees.
    #[test]
    fn a_write_through_where_that_is_one_request_is_a_write_like_any_other() -> Result {
        let head = caching_head()?;
        let path = head.path_with(Options {
            limits: |limits| limits.features |= WRITE_CACHE_FEATURE | FUA_FEATURE,
            ..Options::default()
        })?;

        path.behave(Behaviour::Hold);
        let io = submit(&head, (FUA, 1))?;
        check!(saw_whole(&path, (FUA, 1))?);
        path.end_held(TRANSPORT);
        check_eq!(io.wait(), TRANSPORT);
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_flush_in_pieces_is_carried_out_whole() -> Result {
        let head = TestHead::new(Setup {
            limits: |limits| {
                limits.features = WRITE_CACHE_FEATURE;
                limits.max_hw_sectors = PAGE_SECTORS as u32;
            },
            ..Setup::default()
        })?;
        let a = caching(&head)?;

        a.behave(Behaviour::Hold);
        let io = Io::submit_pages(head.bdev(), WRITE | PREFLUSH | FUA, 0, 4)?;
        check_eq!(a.held(), 4);
        let b = caching(&head)?;
        a.port().set(PortState::Recovering);
        a.spend_held();
        check!(io.ended_well());
        let seen = b.seen()?;
        check_eq!(seen.len(), 4);
        for seen in seen.iter() {
            check_eq!(u64::from(seen.bytes), PAGE_SECTORS * 512);
            check!(seen.opf & FUA != 0);
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_failed_request_without_bios_tells_of_its_path() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let mut list = bindings::bio_list::default();

        check!(path.engine().state().load().is_trusted());
        // SAFETY: The path is on a head; the list is empty.
        unsafe { ffi::mpath_failover(path.dev(), &mut list) };
        check!(!path.engine().state().load().is_trusted());
        // The next bio that the path carries out ends the suspicion.
        check_eq!(head.write_many(1)?, 1);
        check!(path.engine().state().load().is_trusted());
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn a_flush_for_which_there_is_no_memory_waits() -> Result {
        for kind in KINDS {
            let head = caching_head()?;
            let path = caching(&head)?;
            let engine = head.engine();
            let reserve = &engine.busy.reserve;

            path.behave(Behaviour::Hold);
            reserve.starve(true);
            // The first flush gets the reserve, the second waits.
            let (first, second) = (submit(&head, kind)?, submit(&head, kind)?);
            check_eq!(path.held(), 1);
            head.kick();
            check_eq!(path.held(), 1);
            check!(first.status() == PENDING && second.status() == PENDING);
            // Other bios pass.
            path.behave(Behaviour::Complete);
            check_eq!(head.write_many(1)?, 1);
            path.complete_held();
            check!(first.ended_well());
            check!(second.ended_well());
            check!(saw_whole(&path, kind)?);

            // A flush that failed keeps the reserve.
            path.behave(Behaviour::Hold);
            let io = submit(&head, kind)?;
            path.spend_held();
            check!(eventually(|| path.held() == 1));
            path.complete_held();
            check!(io.ended_well());

            path.behave(Behaviour::Hold);
            let holder = submit(&head, kind)?;
            check_eq!(submit(&head, (kind.0 | NOWAIT, kind.1))?.wait(), AGAIN);
            let waits = submit(&head, kind)?;
            path.behave(Behaviour::Complete);
            reserve.starve(false);
            check!(waits.ended_well());
            path.complete_held();
            check!(holder.ended_well());
        }
        Ok(())
    }

    /// Shows A-1.
    #[test]
    fn bios_that_fail_go_on_without_memory() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let engine = head.engine();

        path.behave(Behaviour::Hold);
        engine.busy.reserve.starve(true);
        let ios = [head.write(0)?, head.write(8)?, head.write(16)?];
        for _ in 0..2 {
            path.fail_held_over();
            check!(eventually(|| path.held() == 3));
        }
        path.complete_held();
        engine.busy.reserve.starve(false);
        for io in &ios {
            check!(io.ended_well());
        }
        Ok(())
    }
}
