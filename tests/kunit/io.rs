// SPDX-License-Identifier: GPL-2.0

//! Bios that tests submit, and how they ended.

use super::check::eventually;
use super::driver::Counter;
use crate::bindings;
use kernel::page::Page;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::sync::Arc;
use kernel::types::Opaque;

pub(super) const READ: u32 = bindings::req_op_REQ_OP_READ;
pub(super) const WRITE: u32 = bindings::req_op_REQ_OP_WRITE;
pub(super) const ZONE_APPEND: u32 = bindings::req_op_REQ_OP_ZONE_APPEND;
/// The bits of the operation among those of `bi_opf`.
pub(super) const OPERATION: u32 = (1 << bindings::req_flag_bits___REQ_FAILFAST_DEV) - 1;
pub(super) const NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
pub(super) const POLLED: u32 = 1 << bindings::req_flag_bits___REQ_POLLED;
pub(super) const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
pub(super) const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;
pub(super) const SYNC: u32 = 1 << bindings::req_flag_bits___REQ_SYNC;
pub(super) const META: u32 = 1 << bindings::req_flag_bits___REQ_META;
pub(super) const PRIO: u32 = 1 << bindings::req_flag_bits___REQ_PRIO;
pub(super) const IDLE: u32 = 1 << bindings::req_flag_bits___REQ_IDLE;
pub(super) const INTEGRITY: u32 = 1 << bindings::req_flag_bits___REQ_INTEGRITY;
/// `REQ_MPATH`.
pub(super) const MARK: u32 = 1 << bindings::req_flag_bits___REQ_DRV;
/// `BLK_QC_T_NONE`.
pub(super) const NO_COOKIE: u32 = u32::MAX;

/// `BLK_STS_OK`.
pub(super) const OK: u32 = 0;
/// `BLK_STS_TIMEOUT`.
pub(super) const TIMEOUT: u32 = 2;
/// `BLK_STS_TRANSPORT`.
pub(super) const TRANSPORT: u32 = 4;
/// `BLK_STS_MEDIUM`.
pub(super) const MEDIUM: u32 = 7;
/// `BLK_STS_IOERR`.
pub(super) const IOERR: u32 = 10;
/// `BLK_STS_AGAIN`.
pub(super) const AGAIN: u32 = 12;
/// The bio has not ended.
pub(super) const PENDING: u32 = u32::MAX;

/// The sectors of a page.
pub(super) const PAGE_SECTORS: u64 = PAGE_BYTES as u64 / 512;
const PAGE_BYTES: u32 = bindings::PAGE_SIZE as u32;
const MOST_PAGES: usize = 4;

/// A bio.
#[pin_data]
pub(super) struct Io {
    #[pin]
    bio: Opaque<bindings::bio>,
    #[pin]
    vecs: Opaque<[bindings::bio_vec; MOST_PAGES]>,
    page: Page,
    status: Atomic<u32>,
    /// How often it has ended.
    ends: Counter,
}

impl Io {
    /// Submits a bio of a page.
    pub(super) fn submit(
        bdev: *mut bindings::block_device,
        opf: u32,
        sector: u64,
    ) -> Result<Arc<Self>> {
        Self::submit_pages(bdev, opf, sector, 1)
    }

    /// Submits a bio of several pages.
    pub(super) fn submit_pages(
        bdev: *mut bindings::block_device,
        opf: u32,
        sector: u64,
        pages: usize,
    ) -> Result<Arc<Self>> {
        Self::submit_with(bdev, opf, sector, pages, |_| Ok(()))
    }

    /// Submits a bio of several pages, or none, that `prepare` has changed.
    pub(super) fn submit_with(
        bdev: *mut bindings::block_device,
        opf: u32,
        sector: u64,
        pages: usize,
        prepare: impl FnOnce(&mut bindings::bio) -> Result,
    ) -> Result<Arc<Self>> {
        let page = Page::alloc_page(GFP_KERNEL)?;
        let io = Arc::pin_init(
            try_pin_init!(Self {
                bio <- Opaque::uninit(),
                vecs <- Opaque::uninit(),
                page,
                status: Atomic::new(PENDING),
                ends: Counter::new(),
            }),
            GFP_KERNEL,
        )?;
        let bio = io.bio.get();

        // SAFETY: The bio and its vectors are pinned in `io`, which the reference in `bi_private`
        // keeps until the bio has ended.
        unsafe {
            bindings::bio_init(bio, bdev, io.vecs.get().cast(), MOST_PAGES as _, opf);
            for _ in 0..pages {
                if bindings::bio_add_page(bio, io.page.as_ptr(), PAGE_BYTES, 0) == 0 {
                    return Err(EINVAL);
                }
            }
            (*bio).bi_iter.bi_sector = sector;
            if let Err(error) = prepare(&mut *bio) {
                bindings::bio_uninit(bio);
                return Err(error);
            }
            (*bio).bi_end_io = Some(end_io);
            (*bio).bi_private = Arc::into_raw(io.clone()).cast_mut().cast();
            bindings::submit_bio(bio);
        }
        Ok(io)
    }

    /// How the bio has ended, or [`PENDING`].
    pub(super) fn status(&self) -> u32 {
        self.status.load(Acquire)
    }

    /// Its flags, when it has ended.
    pub(super) fn opf(&self) -> u32 {
        // SAFETY: Nobody writes to a bio that has ended; the memory is ours.
        unsafe { (*self.bio.get()).bi_opf }
    }

    /// Its sector, when it has ended.
    pub(super) fn sector(&self) -> u64 {
        // SAFETY: As above.
        unsafe { (*self.bio.get()).bi_iter.bi_sector }
    }

    /// The cookie that its submitter would poll for.
    pub(super) fn cookie(&self) -> u32 {
        // SAFETY: The memory is ours; the submitter may look at any time.
        unsafe { (&raw const (*self.bio.get()).__bindgen_anon_1.bi_cookie).read_volatile() }
    }

    /// Has it ended well, once?
    pub(super) fn ended_well(&self) -> bool {
        self.wait() == OK && self.ends.get() == 1
    }

    /// Waits until the bio has ended, or for a long time, and says how.
    pub(super) fn wait(&self) -> u32 {
        eventually(|| self.status() != PENDING);
        self.status()
    }
}

// SAFETY: The bio is the block layer's until it has ended; the status is atomic.
unsafe impl Send for Io {}
// SAFETY: As above.
unsafe impl Sync for Io {}

/// The end of a bio.
///
/// # Safety
///
/// `bio` is one of [`Io::submit_pages`] that has ended.
unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
    // SAFETY: The submission put the reference there; nobody uses the bio any more.
    unsafe {
        let io = Arc::<Io>::from_raw((*bio).bi_private.cast());
        let status = (*bio).bi_status;

        bindings::bio_uninit(bio);
        io.ends.count();
        io.status.store(status.into(), Release);
    }
}
