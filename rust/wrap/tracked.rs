// SPDX-License-Identifier: GPL-2.0

//! A bio that the head keeps while a clone of it is on its way through a path.
//!
//! A path that is given a bio may change it, and the block layer below it does: it strips flags
//! that a queue has no use for, advances what has been transferred, and ends a flush whose request
//! has none of the bio in it. Where that would lose something, the path gets a clone, and the bio
//! stays as it was submitted, so that it can be sent again. A part that a path has carried out, as
//! it says, is not sent again, except where the flags of the bio are about the whole of it.
//!
//! While a bio is tracked its `bi_end_io` and `bi_private` are the record's. However it ends, by
//! `bio_endio()`, the record is freed and they are its submitter's again.
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

/// What is known of a bio's attempts.
#[derive(Clone, Copy)]
pub(crate) struct Journey {
    /// How often it has failed for a reason of a path, as far as that counts.
    pub(crate) failures: u16,
    /// How often it has failed over.
    pub(crate) moves: u16,
    /// Has it failed so often that it pauses?
    pub(crate) pauses: bool,
    /// Not before this tick it is sent again then, unless there is news for the head. The lower
    /// half.
    pub(crate) ready_at: u32,
    /// How much news there was when it failed last. The lower half.
    pub(crate) news: u16,
    /// How it was sent last.
    pub(crate) attempt: Attempt,
    /// Has the path given it back?
    pub(crate) given_back: bool,
    /// Does whoever ends its clone hold it then?
    pub(crate) held: bool,
    /// How its last attempt has ended, while it is held.
    pub(crate) status: u8,
    /// Is its record the head's, kept in reserve?
    reserved: bool,
    /// The path that it was sent to last, which may be gone.
    pub(crate) path: *mut bindings::mpath_device,
}

// A head has one in reserve, and no room to waste.
const _: () = assert!(size_of::<Journey>() == 24);

/// What is kept for a tracked bio.
#[repr(C)]
struct Record {
    /// What the path gets.
    clone: MaybeUninit<bindings::bio>,
    /// The bio itself.
    bio: *mut bindings::bio,
    /// What the submitter has put there.
    end_io: bindings::bio_end_io_t,
    private: *mut c_void,
    journey: Journey,
}

/// Memory for one record, so that one bio at least can always go on.
#[repr(C)]
pub(crate) struct Reserve {
    /// The first member, by which a record in it leads to it.
    record: UnsafeCell<MaybeUninit<Record>>,
    taken: Atomic<u32>,
    /// For tests: there is no other memory.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    starving: Atomic<bool>,
}

impl Reserve {
    /// Nobody uses it.
    pub(crate) const fn new() -> Self {
        Self {
            record: UnsafeCell::new(MaybeUninit::uninit()),
            taken: Atomic::new(0),
            #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
            starving: Atomic::new(false),
        }
    }

    /// Has it that there is no other memory, or that there is again.
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

// SAFETY: Whoever has set `taken` has the record.
unsafe impl Send for Reserve {}
// SAFETY: As above.
unsafe impl Sync for Reserve {}

/// A bio that is tracked, and ours: it is sent, parked or ended.
///
/// # Invariants
///
/// `0` points to a valid record whose bio is ours, and of which no clone is on its way.
pub(crate) struct TrackedBio(NonNull<Record>);

/// The function that ends a clone.
pub(crate) type EndIo = unsafe extern "C" fn(*mut bindings::bio);

impl TrackedBio {
    /// Tracks a bio. Without memory it is given back. Any context.
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
            // So that it takes the way of those that need care when it is submitted again.
            (*raw).bi_opf |= Bio::DRIVER;
        }
        // INVARIANT: Just filled in.
        Ok(Self(record))
    }

    /// Memory for a record, and whether it is that in reserve.
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
        // SAFETY: By this function's contract; the owner of a reserve, whose first member the
        // record is, stays until the bio has ended, which is after this.
        unsafe {
            if record.as_ref().journey.reserved {
                record.cast::<Reserve>().as_ref().taken.store(0, Release);
            } else {
                Kmalloc::free(record.cast(), Layout::new::<Record>());
            }
        }
    }

    /// The tracked bio behind a bio, if it is one that is submitted again.
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

    /// How a bio that waits was sent last, if it is tracked.
    pub(crate) fn last_attempt(bio: &Bio) -> Option<Attempt> {
        // SAFETY: The bio is valid and its owner's, who has it; `track()` alone sets that function,
        // and a record with it.
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
    /// `clone` is valid, and whoever calls has it from its path.
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

    /// What is known of its attempts.
    pub(crate) fn journey(&mut self) -> &mut Journey {
        // SAFETY: By the type invariant.
        unsafe { &mut self.0.as_mut().journey }
    }

    /// Must its submitter not wait?
    pub(crate) fn is_nowait(&self) -> bool {
        // SAFETY: By the type invariant the bio is ours; it stays so, and tracked.
        ManuallyDrop::new(unsafe { Bio::from_raw(self.as_raw()) }).is_nowait()
    }

    /// The bio is not in its submitter's hands any more, who must not wait.
    pub(crate) fn may_wait(&mut self) {
        // SAFETY: By the type invariant the bio is ours; it stays so, and tracked.
        ManuallyDrop::new(unsafe { Bio::from_raw(self.as_raw()) }).may_wait();
    }

    /// The bio, which stays ours and tracked.
    pub(crate) fn as_raw(&self) -> *mut bindings::bio {
        // SAFETY: By the type invariant.
        unsafe { self.0.as_ref().bio }
    }

    /// The bio, still tracked: to be parked, or to be ended.
    pub(crate) fn into_bio(self) -> Bio {
        let raw = ManuallyDrop::new(self).as_raw();

        // SAFETY: By the type invariant.
        unsafe { Bio::from_raw(raw) }
    }

    /// Sends a clone of the bio to a path. When it has ended, `end_io` is called with it, in any
    /// context, and calls [`TrackedBio::returned`]. Without memory for what belongs to the bio's
    /// data, the bio is given back. Process context.
    ///
    /// What exceeds the limits of the path goes to the head again, as any other bio.
    pub(crate) fn send(
        self,
        way: Way,
        abilities: &Abilities,
        head: *mut bindings::mpath_head,
        end_io: EndIo,
    ) -> Result<(), Self> {
        // What has been counted or traced for the bio is not counted again for its clone.
        const KEPT: u16 = 1 << bindings::BIO_TRACE_COMPLETION | 1 << bindings::BIO_CGROUP_ACCT;
        let record = self.0.as_ptr();

        // SAFETY: By the type invariant; the clone's memory is nobody's now.
        unsafe {
            let (bio, clone) = ((*record).bio, (*record).clone.as_mut_ptr());
            let gfp = bindings::GFP_NOWAIT | bindings::__GFP_NOWARN;

            if bindings::bio_init_clone((*bio).bi_bdev, clone, bio, gfp) != 0 {
                return Err(self);
            }
            (*clone).bi_flags |= (*bio).bi_flags & KEPT;
            let mut sent = Bio::from_raw(clone);
            sent.do_not_poll();
            // Its way marks what the path gets.
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

        // SAFETY: By this function's contract; nobody but us has the clone.
        unsafe {
            let record: *mut Record = (*clone).bi_private.cast();
            let bio = (*record).bio;
            let status = (*clone).bi_status;

            // Its completion is traced once, whoever does so.
            (*bio).bi_flags &= (*clone).bi_flags | !TRACED;
            if status == 0 && (*clone).bi_opf & Bio::OP == bindings::req_op_REQ_OP_ZONE_APPEND {
                (*bio).bi_iter.bi_sector = (*clone).bi_iter.bi_sector;
            }
            if status != 0 {
                Bio::advance_as(bio, clone);
            }
            bindings::bio_uninit(clone);
            // INVARIANT: A record, whose clone is gone.
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
/// Called by the block layer, once, with such a bio.
unsafe extern "C" fn end_tracked(bio: *mut bindings::bio) {
    // SAFETY: By this function's contract its private data is its record, which is freed before
    // the submitter's function is called: after that, nothing of the head's may be touched.
    unsafe {
        let record: NonNull<Record> = NonNull::new_unchecked((*bio).bi_private.cast());
        let (end_io, private) = (record.as_ref().end_io, record.as_ref().private);

        TrackedBio::free(record);
        (*bio).bi_end_io = end_io;
        (*bio).bi_private = private;
        // Not by calling the function: that of a piece of another bio is a mark for the block
        // layer, and must not be called.
        bindings::bio_endio(bio);
    }
}
