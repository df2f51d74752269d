// SPDX-License-Identifier: GPL-2.0

//! A driver whose paths send clones on to lower devices: heads of other drivers.

use crate::bindings;
use crate::{
    AccessState,
    DiskParams,
    IoPolicy,
    Live,
    LowerDevice,
    MpathBio,
    MpathDevice,
    MpathDriver,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    PortState,
    Registration, //
};
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// The disk of a head, opened for a path of another head. The test opens it by its number: a
/// kernel thread has no file system to find a name in.
struct Opened {
    file: *mut bindings::file,
    clones: Pin<KBox<Opaque<bindings::bio_set>>>,
}

impl Opened {
    fn new<T: MpathDriver>(head: &MpathHead<T>) -> Result<Self> {
        let clones = KBox::pin(Opaque::<bindings::bio_set>::zeroed(), GFP_KERNEL)?;
        let holder = clones.get();

        // SAFETY: The head's disk stays with the head; the holder is an address that no other has.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_dev(
                (*(*(*head.as_raw()).disk).part0).bd_dev,
                1 << 0 | 1 << 1,
                holder.cast(),
                core::ptr::null(),
            )
        })?;
        // From here on a drop closes the file and gives the bio_set up.
        let opened = Self { file, clones };

        // SAFETY: The memory is zeroed and pinned.
        to_result(unsafe { bindings::bioset_init(holder, 4, 0, 0) })?;
        Ok(opened)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: The device is open; the bio_set is initialised, or zeroed.
        unsafe {
            bindings::bdev_fput(self.file);
            bindings::bioset_exit(self.clones.get());
        }
    }
}

// SAFETY: The device is open, and the bio_set initialised, until this is dropped.
unsafe impl LowerDevice for Opened {
    fn device(&self) -> *mut bindings::block_device {
        // SAFETY: It is open.
        unsafe { bindings::file_bdev(self.file) }
    }

    fn clones(&self) -> *mut bindings::bio_set {
        self.clones.get()
    }
}

// SAFETY: Any thread may close a file and give a bio_set up.
unsafe impl Send for Opened {}
// SAFETY: Any number of threads may do with them at once all that a shared reference allows.
unsafe impl Sync for Opened {}

struct Below;

#[vtable]
impl MpathDriver for Below {
    type HeadData = ();
    type PathData = Opened;

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.submit_clone(|lower| lower);
    }
}

fn live_port() -> Result<Arc<MpathPort>> {
    Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)
}

fn policy() -> Result<Arc<MpathIoPolicy>> {
    Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)
}

/// A head whose disk has the parameters `params`.
fn head(params: DiskParams) -> Result<ARef<MpathHead<Below>>> {
    MpathHead::new(&policy()?, fmt!("mpupper"), params, ())
}

fn add(head: &MpathHead<Below>, number: u32, lower: Opened) -> Result<Registration<Below, Live>> {
    head.add_path(&live_port()?, fmt!("mpupperc{number}"), None, lower)?
        .set_live(AccessState::Optimized)
}

#[kernel::macros::kunit_tests(mpath_lower)]
mod suite {
    use super::super::bios::{
        Io,
        FUA, //
    };
    use super::super::cached::Cached;
    use super::super::kept::{
        Counts,
        Kept,
        Mode, //
    };
    use super::*;
    use crate::DisableReason;
    use kernel::sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    };
    use kernel::sync::Completion;
    use kernel::time::delay::fsleep;
    use kernel::time::Delta;

    const NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
    const MEDIUM: u32 = 7;
    const AGAIN: u32 = 12;

    /// A lower device called mpbelow and `number`. Its path handles writes by the mode that is set.
    fn below(number: u32, params: DiskParams) -> Result<Registration<Kept, Live>> {
        MpathHead::new(&policy()?, fmt!("mpbelow{number}"), params, Counts::new()?)?
            .add_path(&live_port()?, fmt!("mpbelow{number}c0"), None, Kept::path())?
            .set_live(AccessState::Optimized)
    }

    #[test]
    fn a_clone_asks_for_what_its_bio_does() -> Result {
        let storage = Cached::head(&policy()?)?;
        let _below = Cached::path(&storage, &live_port()?, 0, AccessState::Optimized)?;
        let lower = Opened::new(&storage)?;
        let head = head(DiskParams::stacked(2048, &lower)?)?;
        let _path = add(&head, 0, lower)?;

        check!(head.capacity() == storage.capacity());
        check!(Io::write(&head, 8, 0x5a)?.wait() == 0);
        check!(Cached::is_stable(&storage, 8, 0));
        let io = Io::read(&head, 8)?;
        check!(io.wait() == 0 && io.holds(0x5a)?);
        let io = Io::read(&storage, 8)?;
        check!(io.wait() == 0 && io.holds(0x5a)?);

        check!(Io::flush(&head) == 0);
        check!(Cached::is_stable(&storage, 8, 0x5a) && Cached::flushes(&storage) == 1);
        check!(Io::write_with(&head, 16, 0x5a, FUA)?.wait() == 0);
        check!(Cached::is_stable(&storage, 16, 0x5a) && Cached::flushes(&storage) == 1);
        Ok(())
    }

    #[test]
    fn a_bio_that_the_path_may_have_failed_goes_elsewhere_and_others_end() -> Result {
        let params = DiskParams::new(2048);
        let (bad, good) = (below(0, params)?, below(1, params)?);
        let head = head(params)?;
        let _first = add(&head, 0, Opened::new(bad.head())?)?;
        let second = add(&head, 1, Opened::new(good.head())?)?;

        // The clone ends with an I/O error that says no more.
        bad.data().set(Mode::Drop);
        for _ in 0..8 {
            check!(Io::write(&head, 0, 0)?.wait() == 0);
        }
        check!(bad.data().arrived() != 0 && good.data().arrived() == 8);

        bad.data().set(Mode::Medium);
        second.disable(DisableReason::StatePending);
        check!(Io::write(&head, 0, 0)?.wait() == MEDIUM);
        check!(good.data().arrived() == 8);
        Ok(())
    }

    #[test]
    fn a_path_that_goes_waits_for_its_clones() -> Result {
        let below = Arc::new(below(0, DiskParams::new(2048))?, GFP_KERNEL)?;
        let head = head(DiskParams::new(2048))?;
        let path = add(&head, 0, Opened::new(below.head())?)?;
        let ended = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        let begun = Arc::new(Atomic::new(false), GFP_KERNEL)?;

        below.data().set(Mode::Keep);
        let io = Io::write(&head, 0, 0)?;
        check!(below.data().eventually(|below| below.arrived() == 1));
        let theirs = (below.clone(), begun.clone(), ended.clone());
        kernel::workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            let (below, begun, ended) = theirs;

            fsleep(Delta::from_millis(100));
            begun.store(true, Release);
            below.data().end_kept();
            drop(below);
            ended.complete_all();
        })?;
        drop(path);
        let has_waited = begun.load(Acquire);
        ended.wait_for_completion();
        check!(has_waited && io.is_done() && io.wait() == 0);
        // Nobody has the lower device open any more.
        drop(Opened::new(below.head())?);
        Ok(())
    }

    #[test]
    fn a_clone_never_has_its_submitter_wait_who_must_not() -> Result {
        let below = below(0, DiskParams::new(2048))?;
        let lower = Opened::new(below.head())?;
        let head = head(DiskParams::stacked(2048, &lower)?.nowait())?;
        let _path = add(&head, 0, lower)?;

        check!(Io::write_with(&head, 0, 0, NOWAIT)?.wait() == AGAIN);
        check!(below.data().arrived() == 0);
        Ok(())
    }

    #[test]
    fn a_head_is_as_limited_as_each_of_its_lower_devices() -> Result {
        let params = DiskParams::new(2048);
        let first = below(0, params.chunk_sectors(64).max_sectors(256))?;
        let second = below(1, params.chunk_sectors(48).max_sectors(128))?;
        let coarse = below(2, params.logical_block_size(4096)?)?;
        let lower = Opened::new(first.head())?;
        let head = head(DiskParams::stacked(2048, &lower)?)?;
        // SAFETY: The head's disk stays with the head.
        let limits = || unsafe { (*(*(*head.as_raw()).disk).queue).limits };

        check!(limits().chunk_sectors == 64 && limits().max_hw_sectors == 256);
        head.stack_limits(&lower)?;
        check!(limits().chunk_sectors == 64 && limits().max_hw_sectors == 256);
        head.stack_limits(&Opened::new(second.head())?)?;
        check!(limits().chunk_sectors == 16 && limits().max_hw_sectors == 128);

        check!(head.stack_limits(&Opened::new(coarse.head())?) == Err(EINVAL));
        check!(limits().logical_block_size == 512);
        Ok(())
    }
}
