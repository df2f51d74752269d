// SPDX-License-Identifier: GPL-2.0

//! A bio that we own, and submit, park or end exactly once.
//!
//! C headers: [`include/linux/bio.h`](srctree/include/linux/bio.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::disk::{
    Abilities,
    Disk, //
};
use crate::bindings;
use crate::compat::bvec_offset;
use crate::pure::parking::{
    self,
    Chain,
    LocklessList,
    Parkable, //
};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::prelude::*;

/// The reason for which a bio ends without having been carried out.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::prelude::*;
///
/// struct Broken;
///
/// #[vtable]
/// impl MpathDriver for Broken {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         match bio.op() {
///             // No path mends that.
///             BioOp::Read(_) => bio.fail(Failure::Medium),
///             _ => bio.fail(Failure::NotSupported),
///         }
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Broken>()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// `BLK_STS_NOTSUPP`: the storage cannot do it.
    NotSupported = 1,
    /// `BLK_STS_TIMEOUT`: it took too long.
    Timeout = 2,
    /// `BLK_STS_NOSPC`: there is no room.
    NoSpace = 3,
    /// `BLK_STS_TARGET`: the storage is broken in a way that no path mends.
    Target = 5,
    /// `BLK_STS_MEDIUM`: the storage cannot read its data.
    Medium = 7,
    /// `BLK_STS_RESOURCE`: there is no memory for it.
    Resource = 9,
    /// `BLK_STS_IOERR`: anything else.
    IoError = 10,
    /// `BLK_STS_AGAIN`: it would have had to wait.
    Again = 12,
    /// `BLK_STS_ZONE_OPEN_RESOURCE`: as many zones are open as may be.
    ZoneOpenResource = 14,
    /// `BLK_STS_ZONE_ACTIVE_RESOURCE`: as many zones are active as may be.
    ZoneActiveResource = 15,
    /// `BLK_STS_INVAL`: it makes no sense.
    Invalid = 19,
}

/// A bio that has not been completed.
///
/// Dropping it ends it with an I/O error, so no bio can be lost.
///
/// # Invariants
///
/// `0` points to a valid bio that is ours until we submit or end it.
pub(crate) struct Bio(NonNull<bindings::bio>);

impl Bio {
    pub(super) const OP: u32 = (1 << bindings::REQ_OP_BITS) - 1;
    const WRITE: u32 = bindings::req_op_REQ_OP_WRITE;
    const NOWAIT: u32 = 1 << bindings::req_flag_bits___REQ_NOWAIT;
    const POLLED: u32 = 1 << bindings::req_flag_bits___REQ_POLLED;
    const PREFLUSH: u32 = 1 << bindings::req_flag_bits___REQ_PREFLUSH;
    const FUA: u32 = 1 << bindings::req_flag_bits___REQ_FUA;
    pub(super) const DRIVER: u32 = 1 << bindings::req_flag_bits___REQ_DRV;
    const ATOMIC: u32 = 1 << bindings::req_flag_bits___REQ_ATOMIC;
    const CARE: u32 = Self::PREFLUSH | Self::FUA | Self::POLLED | Self::DRIVER;
    /// `BLK_QC_T_NONE`.
    const NO_COOKIE: u32 = u32::MAX;
    const CHAIN: u16 = 1 << bindings::BIO_CHAIN;
    const CLONED: u16 = 1 << bindings::BIO_CLONED;
    pub(super) const REMAPPED: u16 = 1 << bindings::BIO_REMAPPED;
    const BPS_THROTTLED: u16 = 1 << bindings::BIO_BPS_THROTTLED;

    /// Takes a bio over.
    ///
    /// # Safety
    ///
    /// `raw` is valid, not completed, and the caller gives up its ownership.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: *mut bindings::bio) -> Self {
        // SAFETY: A valid pointer is not null.
        Self(unsafe { NonNull::new_unchecked(raw) })
    }

    /// The C bio, which stays ours.
    #[inline(always)]
    pub(crate) fn as_raw(&self) -> *mut bindings::bio {
        self.0.as_ptr()
    }

    /// Gives the bio up.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> *mut bindings::bio {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The piece of the bio that its disk's limits allow; the block layer has submitted the rest
    /// again. `None` when the bio failed and has ended.
    #[inline]
    pub(crate) fn split_to_limits(self) -> Option<Self> {
        // SAFETY: By the type invariant; the bio that comes back is ours, or null.
        NonNull::new(unsafe { bindings::bio_split_to_limits(self.into_raw()) }).map(Self)
    }

    /// The same for a bio that [`Bio::is_ordinary`]. Saves most bios the call that looks for parts
    /// to split off.
    #[inline(always)]
    pub(crate) fn split_ordinary(self) -> Option<Self> {
        // SAFETY: By the type invariant; the bio is in its disk's queue, which has the limits.
        let limits = unsafe { &(*(*(*self.0.as_ptr()).bi_bdev).bd_queue).limits };

        if self.fits(limits) {
            Some(self)
        } else {
            self.split_to_limits()
        }
    }

    /// Does a glance show that a read or a write is within all limits?
    #[inline(always)]
    pub(crate) fn fits(&self, limits: &bindings::queue_limits) -> bool {
        let bio = self.0.as_ptr();

        // SAFETY: By the type invariant, with data or without; a bio that has data has it in the
        // segment that its iterator is at.
        unsafe {
            if (*bio).bi_io_vec.is_null() || limits.chunk_sectors != 0 {
                return false;
            }
            let iter = (*bio).bi_iter;
            let segment = (*bio).bi_io_vec.add(iter.bi_idx as usize);
            let (begin, len) = ((*segment).bv_offset, (*segment).bv_len);

            // A bio without data may have segments that nobody has filled in. The block layer
            // splits nothing off it, so their contents do not matter.
            if iter.bi_size <= len.wrapping_sub(bvec_offset(&iter))
                && begin.wrapping_add(len) <= limits.max_fast_segment_size
            {
                return (begin | len) & limits.dma_alignment == 0;
            }
            Self::fits_as_a_whole(bio, limits)
        }
    }

    /// The same for a bio of whole pages.
    ///
    /// Each of its segments counts as two, since it may lie across a boundary of
    /// `seg_boundary_mask` once. The block layer cuts a bio that is too long where a physical block
    /// ends.
    ///
    /// # Safety
    ///
    /// `bio` is valid.
    #[inline(never)]
    unsafe fn fits_as_a_whole(bio: *mut bindings::bio, limits: &bindings::queue_limits) -> bool {
        // SAFETY: By this function's contract; a bio that is no clone has `bi_vcnt` segments of its
        // own.
        unsafe {
            let iter = (*bio).bi_iter;
            let segments = u32::from((*bio).bi_vcnt);
            let block = (limits.physical_block_size >> 9).wrapping_sub(1);
            let begin = iter.bi_sector as u32 & block;
            let end = begin.wrapping_add(limits.max_sectors) & !block;

            if begin + (iter.bi_size >> 9) > end
                || (*bio).bi_flags & Self::CLONED != 0
                || (*bio).bi_opf & Self::ATOMIC != 0
                || iter.bi_idx >= segments
                || segments * 2 > u32::from(limits.max_segments)
                || iter.bi_size > limits.max_segment_size
                || limits.seg_boundary_mask < u32::MAX as usize
                || bvec_offset(&iter) & limits.dma_alignment != 0
            {
                return false;
            }
            let mask = limits.dma_alignment | limits.virt_boundary_mask as u32;

            (iter.bi_idx..segments).all(|index| {
                let segment = (*bio).bi_io_vec.add(index as usize);

                ((*segment).bv_offset | (*segment).bv_len) & mask == 0
            })
        }
    }

    /// Is it a read or a write that needs no care: that asks for no flush, is not polled, and was
    /// not sent before?
    #[inline(always)]
    pub(crate) fn is_ordinary(&self) -> bool {
        // One test for all of it, since every bio pays for it.
        const SPECIAL: u32 = Bio::OP & !Bio::WRITE | Bio::CARE;

        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf & SPECIAL == 0 }
    }

    /// Has it been sent to a path before?
    pub(crate) fn is_back(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf & Self::DRIVER != 0 }
    }

    /// The operation.
    pub(super) fn op(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf & Self::OP }
    }

    /// Does it have flags that `path` carries out by a request without a bio, or would lose?
    pub(crate) fn asks_to_flush(&self, path: &Abilities) -> bool {
        // SAFETY: By the type invariant.
        let opf = unsafe { (*self.0.as_ptr()).bi_opf };

        opf & Self::PREFLUSH != 0 || opf & Self::FUA != 0 && !path.writes_through
    }

    /// Takes away the flags that ask for a flush, for a path that has no use for them. Returns
    /// whether there is nothing else to do.
    pub(super) fn strip_flush(&mut self) -> bool {
        const FLUSH: u32 = Bio::PREFLUSH | Bio::FUA;
        let bio = self.0.as_ptr();

        // SAFETY: By the type invariant.
        unsafe {
            let was_flush = (*bio).bi_opf & FLUSH != 0;

            (*bio).bi_opf &= !FLUSH;
            was_flush && (*bio).bi_iter.bi_size == 0
        }
    }

    /// Does a bio ask for a flush, or for a write through the cache?
    ///
    /// # Safety
    ///
    /// `bio` is valid.
    pub(crate) unsafe fn is_flush(bio: *mut bindings::bio) -> bool {
        // SAFETY: By this function's contract.
        unsafe { (*bio).bi_opf & (Self::PREFLUSH | Self::FUA) != 0 }
    }

    /// Advances a bio over the part of it that its clone has carried out, if that is known.
    ///
    /// It leaves a bio whole that asks for a flush, or to be written through the cache, or not to
    /// be torn. So it does when the block layer has split the clone, which it has advanced over
    /// parts that may have failed.
    ///
    /// # Safety
    ///
    /// Both are valid, only the caller uses them, and the clone has ended.
    pub(super) unsafe fn advance_as(bio: *mut bindings::bio, clone: *mut bindings::bio) {
        const WHOLE: u32 = Bio::PREFLUSH | Bio::FUA | Bio::ATOMIC;

        // SAFETY: By this function's contract. The advance is less than the rest of the bio.
        unsafe {
            let (size, left) = ((*bio).bi_iter.bi_size, (*clone).bi_iter.bi_size);
            // Only the count of a bio with others chained to it goes down to 0.
            let was_split = (*clone).__bi_remaining.counter == 0;

            if (*bio).bi_opf & WHOLE == 0 && !was_split && 0 < left && left < size {
                bindings::__bio_advance(bio, size - left);
            }
        }
    }

    /// Does its submitter poll for it?
    pub(crate) fn is_polled(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf & Self::POLLED != 0 }
    }

    /// Has it completed by an interrupt. A task that polls for it finds nothing to poll until it is
    /// done.
    pub(crate) fn do_not_poll(&mut self) {
        let bio = self.0.as_ptr();

        // SAFETY: By the type invariant. The submitter may be looking at the cookie, in one piece.
        unsafe {
            if (*bio).bi_opf & Self::POLLED != 0 {
                (*bio).bi_opf &= !Self::POLLED;
                (&raw mut (*bio).__bindgen_anon_1.bi_cookie).write_volatile(Self::NO_COOKIE);
            }
        }
    }

    /// Lets it wait: only its submitter must not, and has gone on.
    pub(crate) fn may_wait(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf &= !Self::NOWAIT }
    }

    /// The status.
    pub(crate) fn status(&self) -> u8 {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_status }
    }

    /// Does it change stored data, so that the time when it is carried out matters? A bio that only
    /// asks for a flush does not.
    pub(crate) fn changes_data(&self) -> bool {
        /// The bit that the block layer takes for the direction of an operation.
        const OUT: u32 = 1;
        let bio = self.0.as_ptr();

        // SAFETY: By the type invariant.
        let (opf, size) = unsafe { ((*bio).bi_opf, (*bio).bi_iter.bi_size) };
        let is_empty = opf & Self::OP == Self::WRITE && size == 0;

        opf & OUT != 0 && !is_empty
    }

    /// Must it not wait?
    pub(crate) fn is_nowait(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).bi_opf & Self::NOWAIT != 0 }
    }

    /// `bio_set_dev()` for another disk than the bio's. Also sets whether the block layer has
    /// checked the bio against the disk's end; if so, the disk that it had is still there.
    #[inline(always)]
    fn set_dev(&mut self, part0: *mut bindings::block_device, is_remapped: bool) {
        let bio = self.0.as_ptr();
        let remapped = if is_remapped { Self::REMAPPED } else { 0 };

        // SAFETY: By the type invariant; `part0` lives as long as the disk, which senders of bios
        // keep.
        unsafe {
            let had = (*bio).bi_bdev;

            (*bio).bi_flags = (*bio).bi_flags & !(Self::REMAPPED | Self::BPS_THROTTLED) | remapped;
            (*bio).bi_bdev = part0;
            // A bio that has been submitted to one disk has a cgroup already. Null is the root
            // cgroup, which most bios are in: their old disk knows that without a call.
            #[cfg(CONFIG_BLK_CGROUP)]
            bindings::bio_associate_blkg_from_css(
                bio,
                match is_remapped && (*bio).bi_blkg == (*(*had).bd_queue).root_blkg {
                    true => core::ptr::null_mut(),
                    false => bindings::bio_blkcg_css(bio),
                },
            );
        }
    }

    /// Turns a bio of the disk of `head` into one of a path's. Sets its block device, marks it as
    /// ours, and says that it has been checked against the end of the device.
    #[cfg(not(CONFIG_LIBMULTIPATH_ONE_PASS))]
    #[inline(always)]
    pub(crate) fn remap(
        &mut self,
        head: *mut bindings::mpath_head,
        path: *mut bindings::block_device,
    ) {
        let bio = self.0.as_ptr();

        self.set_dev(path, true);
        // SAFETY: By the type invariant. The disk of a bio that has not completed is there, and so
        // is its head.
        unsafe {
            (*bio).bi_opf |= Self::DRIVER;
            bindings::mpath_helper_trace_bio_remap(bio, head);
        }
    }

    /// Takes the bio back to the head's disk after it failed on a path, as if nobody had submitted
    /// it yet, except that it [`Bio::is_back`]. From here on it may wait, and is not polled.
    ///
    /// The status of a bio is also that of the bios chained to it: it may be the error of one that
    /// has ended, which must not get lost.
    pub(crate) fn take_back(&mut self, head: &Disk) {
        let bio = self.0.as_ptr();

        self.wait_for(head);
        self.may_wait();
        // SAFETY: By the type invariant.
        unsafe {
            if (*bio).bi_flags & Self::CHAIN == 0 {
                (*bio).bi_status = 0;
            }
        }
    }

    /// Prepares the bio for waiting. On the next submission the block layer checks it against the
    /// end of the head's disk again, which may have changed, and nobody polls for it. A bio of a
    /// partition became one of the whole disk on its first submission.
    pub(crate) fn wait_for(&mut self, head: &Disk) {
        self.set_dev(head.part0(), false);
        self.do_not_poll();
    }

    /// Submits the bio to the disk that it is set to.
    #[inline(always)]
    pub(crate) fn submit(self) {
        // SAFETY: By the type invariant; the bio is the block layer's from here on.
        unsafe { bindings::submit_bio_noacct(self.into_raw()) }
    }

    /// Ends the bio, which has been carried out.
    #[inline]
    pub(crate) fn end(self) {
        // SAFETY: By the type invariant; nobody touches the bio after its end.
        unsafe { bindings::bio_endio(self.into_raw()) }
    }

    /// Ends the bio with the status that comes nearest to `result`.
    #[inline]
    pub(crate) fn end_with(self, result: Result) {
        let bio = self.into_raw();

        // SAFETY: By the type invariant; nobody touches the bio after its end.
        unsafe {
            if let Err(error) = result {
                (*bio).bi_status = bindings::errno_to_blk_status(error.to_errno());
            }
            bindings::bio_endio(bio);
        }
    }

    /// Ends the bio with a status.
    pub(crate) fn end_with_status(self, status: u8) {
        let bio = self.into_raw();

        // SAFETY: By the type invariant; nobody touches the bio after its end.
        unsafe {
            (*bio).bi_status = status;
            bindings::bio_endio(bio);
        }
    }

    /// Ends the bio.
    #[inline]
    pub(crate) fn fail(self, failure: Failure) {
        let bio = self.into_raw();

        // SAFETY: By the type invariant; nobody touches the bio after its end.
        unsafe {
            (*bio).bi_status = failure as u8;
            bindings::bio_endio(bio);
        }
    }
}

impl Drop for Bio {
    #[inline]
    fn drop(&mut self) {
        Self(self.0).fail(Failure::IoError);
    }
}

/// Bios in order.
pub(crate) struct Bios(Chain<bindings::bio>);

/// A list of bios that a driver gives back.
///
/// # Invariants
///
/// The list is valid, and so are its bios. Those that came to a path through its head have not
/// completed, and are the caller's to give up.
pub(crate) struct Returned(NonNull<bindings::bio_list>);

impl Returned {
    /// The list behind a C pointer.
    ///
    /// # Safety
    ///
    /// The list fulfils the type invariant for as long as the result is used.
    pub(crate) unsafe fn from_raw(list: *mut bindings::bio_list) -> Self {
        // SAFETY: A valid pointer is not null.
        // INVARIANT: By this function's contract.
        Self(unsafe { NonNull::new_unchecked(list) })
    }

    /// Did a bio come to `path` through the head? One that did has the mark, and is a bio of the
    /// path's disk until the head takes it back.
    ///
    /// # Safety
    ///
    /// `bio` is valid.
    unsafe fn is_of(bio: *mut bindings::bio, path: &Disk) -> bool {
        // SAFETY: By this function's contract.
        unsafe { (*bio).bi_opf & Bio::DRIVER != 0 && (*bio).bi_bdev == path.part0() }
    }

    /// Have all bios from `bio` on come to `path` through the head?
    ///
    /// # Safety
    ///
    /// `bio` is null or the first of a list of valid bios that ends with null.
    pub(crate) unsafe fn are_all_of(mut bio: *mut bindings::bio, path: &Disk) -> bool {
        // SAFETY: By this function's contract.
        unsafe {
            while !bio.is_null() {
                if !Self::is_of(bio, path) {
                    return false;
                }
                bio = (*bio).bi_next;
            }
        }
        true
    }

    /// Takes the first bio from the list if it came to `path` through the head.
    pub(crate) fn next_of(&mut self, path: &Disk) -> Option<Bio> {
        // SAFETY: By the type invariant.
        unsafe {
            let list = self.0.as_mut();
            let bio = NonNull::new(list.head)?.as_ptr();

            if !Self::is_of(bio, path) {
                return None;
            }
            list.head = core::mem::replace(&mut (*bio).bi_next, core::ptr::null_mut());
            if list.head.is_null() {
                list.tail = core::ptr::null_mut();
            }
            Some(Bio::from_raw(bio))
        }
    }

    /// Is the list empty?
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref() }.head.is_null()
    }
}

impl Iterator for Bios {
    type Item = Bio;

    fn next(&mut self) -> Option<Bio> {
        // SAFETY: The chain owned the bio; now we own it.
        self.0.next().map(|bio| unsafe { Bio::from_raw(bio) })
    }
}

impl Drop for Bios {
    fn drop(&mut self) {
        // Dropping a bio ends it.
        self.for_each(drop);
    }
}

/// A list in which bios wait.
pub(crate) struct BioList(LocklessList<bindings::bio>);

impl BioList {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self(LocklessList::new())
    }

    /// Puts a bio in, as the newest. Any context.
    pub(crate) fn push(&self, bio: Bio) {
        // SAFETY: A valid bio that is ours to give up.
        unsafe { self.0.push(bio.into_raw()) }
    }

    /// Takes everything out, oldest first. Any context.
    pub(crate) fn take(&self) -> Bios {
        Bios(self.0.take())
    }

    /// The list itself, for protocols.
    pub(crate) fn as_list(&self) -> &LocklessList<bindings::bio> {
        &self.0
    }

    /// Parks a bio, by the protocol that leaves none for ever: [`parking::park`]. Any context.
    pub(crate) fn park(
        &self,
        bio: Bio,
        is_worth_another_try: impl FnOnce() -> bool,
        kick: impl FnOnce(),
    ) {
        // SAFETY: A valid bio that is ours to give up.
        unsafe { parking::park(&self.0, bio.into_raw(), is_worth_another_try, kick) }
    }
}

// SAFETY: Both functions access `bi_next`, which is for the owner's use.
unsafe impl Parkable for bindings::bio {
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: By the caller's contract.
        unsafe { (*this).bi_next }
    }

    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: By the caller's contract.
        unsafe { (*this).bi_next = next }
    }
}
