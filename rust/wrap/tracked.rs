// SPDX-License-Identifier: GPL-2.0

//! A bio that the head keeps while a clone of it is on its way through a path.
//!
//! A path may change a bio, and the block layer below it does. It strips flags that a queue has no
//! use for, and advances the bio over transferred data. It also ends a flush by a request that has
//! no bio. Where that would lose something, the path gets a clone, and the bio stays as its
//! submitter made it, so that the head can send it again. The head does not send a part again that
//! a path says it has carried out, except where the flags of the bio are about the whole of it.
//!
//! While a bio is tracked its `bi_end_io` and `bi_private` are the record's. In every case
//! `bio_endio()` ends it: that frees the record, and gives both back to the submitter.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::bio::{
    Bio,
    Failure, //
};
use super::disk::Abilities;
use super::way::Way;
use crate::bindings;
use crate::pure::trust::Attempt;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::{
    ManuallyDrop,
    MaybeUninit, //
};
use core::ptr::NonNull;
use kernel::alloc::allocator::Kmalloc;
use kernel::alloc::flags::{
    __GFP_NOWARN, //
    GFP_NOWAIT,
};
use kernel::alloc::{
    Allocator,
    NumaNode, //
};
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// The history of a bio's attempts.
#[derive(Clone, Copy)]
pub(crate) struct Journey {
    /// The number of its failures for a reason of a path, as far as these count.
    pub(crate) failures: u16,
    /// The number of its failovers.
    pub(crate) moves: u16,
    /// Has it failed so often that it pauses?
    pub(crate) pauses: bool,
    /// The tick before which the head does not send it again then, unless there is news for the
    /// head. The lower half.
    pub(crate) ready_at: u32,
    /// The head's count of news when it failed last. The lower half.
    pub(crate) news: u16,
    /// The way in which the head sent it last.
    pub(crate) attempt: Attempt,
    /// Has the path given it back?
    pub(crate) given_back: bool,
    /// Does the end of its clone hold it?
    pub(crate) held: bool,
    /// The status of its last attempt, while it is held.
    pub(crate) status: u8,
    /// Is its record the head's, kept in reserve?
    reserved: bool,
    /// The path to which the head sent it last, which may be gone.
    pub(crate) path: *mut bindings::mpath_device,
}

// A head has a record in reserve, and no room to waste.
const _: () = assert!(size_of::<Journey>() == 24);

/// The library's record of a tracked bio.
#[repr(C)]
struct Record {
    /// The clone, which the path gets.
    clone: MaybeUninit<bindings::bio>,
    /// The bio itself.
    bio: *mut bindings::bio,
    /// The submitter's `bi_end_io`, and then its `bi_private`.
    end_io: bindings::bio_end_io_t,
    private: *mut c_void,
    journey: Journey,
}

/// Memory for one record, so that one bio at least can always go on.
#[repr(C)]
pub(crate) struct Reserve {
    /// The first member: a pointer to a record in a reserve is one to the reserve.
    record: UnsafeCell<MaybeUninit<Record>>,
    taken: Atomic<u32>,
    /// For tests: allocations of other records fail.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    starving: Atomic<bool>,
}

impl Reserve {
    /// A reserve that no bio uses.
    pub(crate) const fn new() -> Self {
        Self {
            record: UnsafeCell::new(MaybeUninit::uninit()),
            taken: Atomic::new(0),
            #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
            starving: Atomic::new(false),
        }
    }

    /// Makes allocations of other records fail, or succeed again.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) fn starve(&self, starving: bool) {
        self.starving.store(starving, Release);
    }

    fn alloc(&self, layout: Layout) -> Option<NonNull<Record>> {
        #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
        if self.starving.load(Acquire) {
            return None;
        }
        Kmalloc::alloc(layout, GFP_NOWAIT | __GFP_NOWARN, NumaNode::NO_NODE)
            .map(NonNull::cast)
            .ok()
    }
}

// SAFETY: The thread that has set `taken` has the record.
unsafe impl Send for Reserve {}
// SAFETY: As above.
unsafe impl Sync for Reserve {}

/// A tracked bio that is ours, to send, park or end.
///
/// # Invariants
///
/// `0` points to a valid record whose bio is ours, and whose clone is not on its way.
pub(crate) struct TrackedBio(NonNull<Record>);

/// The function that ends a clone.
pub(crate) type EndIo = unsafe extern "C" fn(*mut bindings::bio);

impl TrackedBio {
    /// Tracks a bio, or returns it without memory. Any context.
    ///
    /// # Safety
    ///
    /// `reserve` stays until the bio has ended.
    pub(crate) unsafe fn track(bio: Bio, reserve: &Reserve) -> Result<Self, Bio> {
        let Some((record, reserved)) = Self::alloc(reserve) else {
            return Err(bio);
        };
        let raw = bio.into_raw();

        // SAFETY: The memory is ours, and so is the bio.
        unsafe {
            record.write(Record {
                clone: MaybeUninit::uninit(),
                bio: raw,
                end_io: (*raw).bi_end_io,
                private: (*raw).bi_private,
                journey: Journey {
                    failures: 0,
                    moves: 0,
                    pauses: false,
                    ready_at: 0,
                    news: 0,
                    attempt: Attempt::Plain,
                    given_back: false,
                    held: false,
                    status: 0,
                    reserved,
                    path: core::ptr::null_mut(),
                },
            });
            (*raw).bi_end_io = Some(end_tracked);
            (*raw).bi_private = record.as_ptr().cast();
            // So that it takes the way of bios that need care on its next submission.
            (*raw).bi_opf |= Bio::DRIVER;
        }
        // INVARIANT: Just filled in.
        Ok(Self(record))
    }

    /// Allocates memory for a record. Also says whether it is the one in reserve.
    fn alloc(reserve: &Reserve) -> Option<(NonNull<Record>, bool)> {
        if let Some(memory) = reserve.alloc(Layout::new::<Record>()) {
            return Some((memory, false));
        }
        reserve.taken.cmpxchg(0, 1, Acquire).ok()?;
        Some((NonNull::from(reserve).cast(), true))
    }

    /// # Safety
    ///
    /// `record` came from [`TrackedBio::alloc`], and nobody uses it any more.
    unsafe fn free(record: NonNull<Record>) {
        // SAFETY: By this function's contract. The record is the first member of a reserve, whose
        // owner stays until the bio has ended; that is after this.
        unsafe {
            if record.as_ref().journey.reserved {
                record.cast::<Reserve>().as_ref().taken.store(0, Release);
            } else {
                Kmalloc::free(record.cast(), Layout::new::<Record>());
            }
        }
    }

    /// The tracked bio behind a bio that is submitted again, if it is tracked.
    pub(crate) fn of(bio: Bio) -> Result<Self, Bio> {
        // SAFETY: The bio is valid.
        let (end_io, private) = unsafe { ((*bio.as_raw()).bi_end_io, (*bio.as_raw()).bi_private) };

        if !is(end_io, end_tracked) {
            return Err(bio);
        }
        bio.into_raw();
        // SAFETY: `track()` alone sets that function, and a record with it.
        // INVARIANT: No clone is on its way, since the bio is the caller's.
        Ok(Self(unsafe { NonNull::new_unchecked(private.cast()) }))
    }

    /// The way in which the head last sent a bio that waits, if it is tracked.
    pub(crate) fn last_attempt(bio: &Bio) -> Option<Attempt> {
        // SAFETY: The bio is valid, and the caller has it from its owner; `track()` alone sets that
        // function, and a record with it.
        unsafe {
            let raw = bio.as_raw();

            is((*raw).bi_end_io, end_tracked)
                .then(|| (*(*raw).bi_private.cast::<Record>()).journey.attempt)
        }
    }

    /// The record of a clone that a path has, or `None` for another bio.
    ///
    /// # Safety
    ///
    /// `clone` is valid, and the caller has it from its path.
    pub(crate) unsafe fn journey_of<'a>(
        clone: *mut bindings::bio,
        end_io: EndIo,
    ) -> Option<&'a mut Journey> {
        // SAFETY: By this function's contract; the private data of a clone is its record.
        unsafe {
            is((*clone).bi_end_io, end_io)
                .then(|| &mut (*(*clone).bi_private.cast::<Record>()).journey)
        }
    }

    /// The bio whose clone a path has given back.
    ///
    /// # Safety
    ///
    /// [`TrackedBio::journey_of`] has found the record of `clone`, which has not ended.
    pub(crate) unsafe fn bio_of(clone: *mut bindings::bio) -> *mut bindings::bio {
        // SAFETY: By this function's contract the private data is the record.
        unsafe { (*(*clone).bi_private.cast::<Record>()).bio }
    }

    /// The history of its attempts.
    pub(crate) fn journey(&mut self) -> &mut Journey {
        // SAFETY: By the type invariant.
        unsafe { &mut self.0.as_mut().journey }
    }

    /// Must its submitter not wait?
    pub(crate) fn is_nowait(&self) -> bool {
        // SAFETY: By the type invariant the bio is ours; it stays ours and tracked.
        ManuallyDrop::new(unsafe { Bio::from_raw(self.as_raw()) }).is_nowait()
    }

    /// Lets the bio wait: only its submitter must not, and has gone on.
    pub(crate) fn may_wait(&mut self) {
        // SAFETY: By the type invariant the bio is ours; it stays ours and tracked.
        ManuallyDrop::new(unsafe { Bio::from_raw(self.as_raw()) }).may_wait();
    }

    /// The bio, which stays ours and tracked.
    pub(crate) fn as_raw(&self) -> *mut bindings::bio {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref().bio }
    }

    /// The bio, still tracked, to park it or to end it.
    pub(crate) fn into_bio(self) -> Bio {
        let raw = ManuallyDrop::new(self).as_raw();

        // SAFETY: By the type invariant.
        unsafe { Bio::from_raw(raw) }
    }

    /// Sends a clone of the bio to a path. The end of the clone calls `end_io` with it, in any
    /// context, and that calls [`TrackedBio::returned`]. Returns the bio if there is no memory for
    /// the parts that belong to its data. Process context.
    ///
    /// A part beyond the limits of the path goes to the head again, as any other bio.
    pub(crate) fn send(
        self,
        way: Way,
        abilities: &Abilities,
        head: *mut bindings::mpath_head,
        end_io: EndIo,
    ) -> Result<(), Self> {
        // A bio that has been accounted or traced is not accounted or traced again for its clone.
        const KEPT: u16 = 1 << bindings::BIO_TRACE_COMPLETION | 1 << bindings::BIO_CGROUP_ACCT;
        let record = self.0.as_ptr();

        // SAFETY: By the type invariant; nobody uses the clone's memory now.
        unsafe {
            let (bio, clone) = ((*record).bio, (*record).clone.as_mut_ptr());
            let gfp = bindings::GFP_NOWAIT | bindings::__GFP_NOWARN;

            if bindings::bio_init_clone((*bio).bi_bdev, clone, bio, gfp) != 0 {
                return Err(self);
            }
            (*clone).bi_flags |= (*bio).bi_flags & KEPT;
            let mut sent = Bio::from_raw(clone);
            sent.do_not_poll();
            // Its way to the path sets the mark.
            (*clone).bi_opf &= !Bio::DRIVER;
            (*clone).bi_end_io = Some(end_io);
            (*clone).bi_private = record.cast();
            core::mem::forget(self);
            if !abilities.caches_writes && sent.strip_flush() {
                sent.end();
            } else if !abilities.can(&sent) {
                sent.fail(Failure::NotSupported);
            } else {
                way.send(head, sent);
            }
        }
        Ok(())
    }

    /// The bio whose clone has ended, and the clone's status.
    ///
    /// # Safety
    ///
    /// `clone` was sent by [`TrackedBio::send`] and has ended. Called once.
    pub(crate) unsafe fn returned(clone: *mut bindings::bio) -> (Self, u8) {
        const TRACED: u16 = 1 << bindings::BIO_TRACE_COMPLETION;

        // SAFETY: By this function's contract; only we have the clone.
        unsafe {
            let record: *mut Record = (*clone).bi_private.cast();
            let bio = (*record).bio;
            let status = (*clone).bi_status;

            // Either of the two traces the completion, once.
            (*bio).bi_flags &= (*clone).bi_flags | !TRACED;
            if status == 0 && (*clone).bi_opf & Bio::OP == bindings::req_op_REQ_OP_ZONE_APPEND {
                (*bio).bi_iter.bi_sector = (*clone).bi_iter.bi_sector;
            }
            if status != 0 {
                Bio::advance_as(bio, clone);
            }
            bindings::bio_uninit(clone);
            // INVARIANT: A record whose clone is gone.
            (Self(NonNull::new_unchecked(record)), status)
        }
    }

    /// Ends the bio with a status.
    pub(crate) fn end_with_status(self, status: u8) {
        let bio = self.into_bio().into_raw();

        // SAFETY: The bio is ours, once. The error of a part of it that has ended stays.
        unsafe {
            if status != 0 && (*bio).bi_status == 0 {
                (*bio).bi_status = status;
            }
            bindings::bio_endio(bio);
        }
    }
}

impl Drop for TrackedBio {
    fn drop(&mut self) {
        drop(Self(self.0).into_bio());
    }
}

/// Are these the same function?
fn is(end_io: bindings::bio_end_io_t, other: EndIo) -> bool {
    end_io.map(|end_io| end_io as usize) == Some(other as usize)
}

/// The end of a bio that is tracked.
///
/// # Safety
///
/// The block layer calls it, once, with such a bio.
unsafe extern "C" fn end_tracked(bio: *mut bindings::bio) {
    // SAFETY: By this function's contract its private data is its record. It is freed before the
    // call of the submitter's function, after which we must touch nothing of the head's.
    unsafe {
        let record: NonNull<Record> = NonNull::new_unchecked((*bio).bi_private.cast());
        let (end_io, private) = (record.as_ref().end_io, record.as_ref().private);

        TrackedBio::free(record);
        (*bio).bi_end_io = end_io;
        (*bio).bi_private = private;
        // Do not call the function itself: that of a piece of another bio is a mark for the block
        // layer, and nobody may call it.
        bindings::bio_endio(bio);
    }
}
