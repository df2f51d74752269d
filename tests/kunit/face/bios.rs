// SPDX-License-Identifier: GPL-2.0

//! Bios that tests submit to heads.

use crate::bindings;
use crate::{
    IdKind,
    MpathDriver,
    MpathHead, //
};
use kernel::page::{
    Page,
    PAGE_SIZE, //
};
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::sync::{
    Arc,
    Completion, //
};
use kernel::types::Opaque;

const PENDING: u32 = u32::MAX;

/// A flag: earlier writes are to be stable before this one.
pub(super) const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
/// A flag: the data is to be stable when the write ends.
pub(super) const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;

/// A bio of one page.
#[pin_data]
pub(super) struct Io {
    #[pin]
    bio: Opaque<bindings::bio>,
    #[pin]
    memory: Opaque<bindings::bio_vec>,
    page: Page,
    status: Atomic<u32>,
    #[pin]
    done: Completion,
}

impl Io {
    /// Submits a read of the page at `sector`.
    pub(super) fn read<T: MpathDriver>(head: &MpathHead<T>, sector: u64) -> Result<Arc<Self>> {
        Self::submit(head, bindings::req_op_REQ_OP_READ, sector, 0xff)
    }

    /// Submits a write of a page full of `byte`.
    pub(super) fn write<T: MpathDriver>(
        head: &MpathHead<T>,
        sector: u64,
        byte: u8,
    ) -> Result<Arc<Self>> {
        Self::write_with(head, sector, byte, 0)
    }

    /// Submits a write of a page full of `byte` with more flags.
    pub(super) fn write_with<T: MpathDriver>(
        head: &MpathHead<T>,
        sector: u64,
        byte: u8,
        flags: u32,
    ) -> Result<Arc<Self>> {
        Self::submit(head, bindings::req_op_REQ_OP_WRITE | flags, sector, byte)
    }

    /// Submits an append of a page full of `byte` to the zone that begins at `sector`.
    #[cfg(CONFIG_BLK_DEV_ZONED)]
    pub(super) fn append<T: MpathDriver>(
        head: &MpathHead<T>,
        sector: u64,
        byte: u8,
    ) -> Result<Arc<Self>> {
        Self::submit(head, bindings::req_op_REQ_OP_ZONE_APPEND, sector, byte)
    }

    /// The sector that the bio has after its end: of an append, the place where it was written.
    #[cfg(CONFIG_BLK_DEV_ZONED)]
    pub(super) fn sector(&self) -> u64 {
        // SAFETY: The bio has ended, so it is nobody's.
        unsafe { (*self.bio.get()).bi_iter.bi_sector }
    }

    /// Has the head's disk flushed, as fsync() does. Returns 0 or an errno.
    pub(super) fn flush<T: MpathDriver>(head: &MpathHead<T>) -> i32 {
        // SAFETY: The head's disk stays with the head.
        unsafe { bindings::blkdev_issue_flush((*(*head.as_raw()).disk).part0) }
    }

    /// Submits the bios of `f` together: adjacent ones become one request.
    pub(super) fn together<R>(f: impl FnOnce() -> R) -> R {
        let mut plug = bindings::blk_plug::default();

        // SAFETY: The plug stays where it is until it is finished, by the task that has begun it.
        unsafe { bindings::blk_start_plug(&mut plug) };
        let result = f();
        // SAFETY: Begun above.
        unsafe { bindings::blk_finish_plug(&mut plug) };
        result
    }

    fn submit<T: MpathDriver>(
        head: &MpathHead<T>,
        op: u32,
        sector: u64,
        byte: u8,
    ) -> Result<Arc<Self>> {
        let bytes = KVVec::from_elem(byte, PAGE_SIZE, GFP_KERNEL)?;
        let io = Arc::pin_init(
            try_pin_init!(Self {
                bio <- Opaque::zeroed(),
                memory <- Opaque::zeroed(),
                page: Page::alloc_page(GFP_KERNEL)?,
                status: Atomic::new(PENDING),
                done <- Completion::new(),
            }? Error),
            GFP_KERNEL,
        )?;

        // SAFETY: Nobody else has the page or the bio yet; the head's disk stays with the head. The
        // bio's end takes the reference back.
        unsafe {
            let bio = io.bio.get();
            let bdev = (*(*head.as_raw()).disk).part0;

            io.page.write_raw(bytes.as_ptr(), 0, PAGE_SIZE)?;
            bindings::bio_init(bio, bdev, io.memory.get(), 1, op as _);
            bindings::__bio_add_page(bio, io.page.as_ptr(), PAGE_SIZE as u32, 0);
            (*bio).bi_iter.bi_sector = sector;
            (*bio).bi_end_io = Some(Self::ended);
            (*bio).bi_private = Arc::into_raw(io.clone()).cast_mut().cast();
            bindings::submit_bio(bio);
        }
        Ok(io)
    }

    /// # Safety
    ///
    /// Called by the block layer, once, for a bio that was submitted here.
    unsafe extern "C" fn ended(bio: *mut bindings::bio) {
        // SAFETY: By this function's contract.
        let io = unsafe { Arc::<Self>::from_raw((*bio).bi_private.cast()) };

        // SAFETY: As above.
        io.status
            .store(u32::from(unsafe { (*bio).bi_status }), Release);
        io.done.complete_all();
    }

    /// Has it ended?
    pub(super) fn is_done(&self) -> bool {
        self.status.load(Acquire) != PENDING
    }

    /// Waits for its end, and returns its status.
    pub(super) fn wait(&self) -> u32 {
        self.done.wait_for_completion();
        self.status.load(Acquire)
    }

    /// Is the page full of `byte`? The bio has ended.
    pub(super) fn holds(&self, byte: u8) -> Result<bool> {
        let mut bytes = KVVec::from_elem(!byte, PAGE_SIZE, GFP_KERNEL)?;

        // SAFETY: Nobody writes to the page any more.
        unsafe { self.page.read_raw(bytes.as_mut_ptr(), 0, PAGE_SIZE)? };
        Ok(bytes.iter().all(|is| *is == byte))
    }

    /// The identifier that the head's disk tells, and its length or an errno.
    pub(super) fn unique_id<T: MpathDriver>(head: &MpathHead<T>, kind: IdKind) -> (i32, [u8; 16]) {
        let mut id = [0; 16];

        // SAFETY: The disk stays with the head; its operations have this one.
        let length = unsafe {
            let disk = (*head.as_raw()).disk;

            (*(*disk).fops)
                .get_unique_id
                .map_or(0, |get| get(disk, id.as_mut_ptr(), kind as u32))
        };
        (length, id)
    }
}

// SAFETY: Until its end the bio is the block layer's, then nobody's; the rest is for all threads.
unsafe impl Send for Io {}
// SAFETY: As above.
unsafe impl Sync for Io {}
