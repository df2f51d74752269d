// SPDX-License-Identifier: GPL-2.0

//! Bios that a driver keeps until it can end them.

use super::mpath_bio::{
    Counted,
    MpathBio, //
};
use super::MpathDriver;
use crate::bindings;
use crate::pure::parking::{
    Chain,
    LocklessList, //
    Parkable,
};
use core::marker::PhantomData;

/// A bio behind one pointer: in a queue, or behind its clone. Its cookie says on which CPU it
/// counts, if at all. Cookies are for devices below a path, and nobody looks at this one: paths are
/// not polled.
///
/// Never a value, only pointed to.
pub(super) struct Queued(());

/// `BLK_QC_T_NONE`.
const NO_COOKIE: u32 = !0;

impl Queued {
    #[inline]
    pub(super) fn new<T: MpathDriver>(bio: MpathBio<T>) -> *mut Self {
        let (bio, counted) = bio.into_raw();

        // SAFETY: The bio is ours, and given up.
        unsafe { (*bio).__bindgen_anon_1.bi_cookie = counted.into_raw() };
        bio.cast()
    }

    /// # Safety
    ///
    /// `this` came from [`Queued::new`] of the same driver, and is used once.
    #[inline]
    pub(super) unsafe fn into_bio<T: MpathDriver>(this: *mut Self) -> MpathBio<T> {
        let bio = this.cast::<bindings::bio>();

        // SAFETY: By this function's contract.
        unsafe {
            let cookie = core::mem::replace(&mut (*bio).__bindgen_anon_1.bi_cookie, NO_COOKIE);

            MpathBio::from_raw(bio, Counted::from_raw(cookie))
        }
    }
}

// SAFETY: Both access `bi_next` of the bio, which is for the owner's use.
unsafe impl Parkable for Queued {
    #[inline]
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: By the caller's contract.
        unsafe { (*this.cast::<bindings::bio>()).bi_next.cast() }
    }

    #[inline]
    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: By the caller's contract.
        unsafe { (*this.cast::<bindings::bio>()).bi_next = next.cast() }
    }
}

/// Bios that wait in the driver, first in, first out, without an allocation and without a lock.
///
/// Bios that are in it when it is dropped end with an I/O error.
///
/// # Examples
///
/// A driver whose interrupt ends bios in the order in which they came.
///
/// ```
/// use libmultipath::prelude::*;
///
/// struct Slow;
///
/// /// What is kept for a path.
/// struct Pending(MpathBioQueue<Slow>);
///
/// impl Pending {
///     /// The interrupt.
///     fn end_all(&self) {
///         self.0.take().for_each(MpathBio::end);
///     }
/// }
///
/// #[vtable]
/// impl MpathDriver for Slow {
///     type HeadData = Pending;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         path.head().data().0.push(bio);
///         path.head().data().end_all();
///     }
/// }
///
/// let head = crate::shared::head::<Slow, Error>(Ok(Pending(MpathBioQueue::new())))?;
/// let path = crate::shared::add_path(&head)?.set_live(AccessState::Optimized)?;
/// # Ok::<(), Error>(())
/// ```
pub struct MpathBioQueue<T: MpathDriver> {
    list: LocklessList<Queued>,
    _bios: PhantomData<MpathBio<T>>,
}

impl<T: MpathDriver> MpathBioQueue<T> {
    /// An empty queue.
    #[inline]
    pub const fn new() -> Self {
        Self {
            list: LocklessList::new(),
            _bios: PhantomData,
        }
    }

    /// Puts a bio in, as the last. Any context, hard interrupt included.
    #[inline]
    pub fn push(&self, bio: MpathBio<T>) {
        // SAFETY: The bio is ours, and given up.
        unsafe { self.list.push(Queued::new(bio)) }
    }

    /// Takes all bios out, in the order in which they were put in. Any context, hard interrupt
    /// included.
    #[inline]
    pub fn take(&self) -> impl Iterator<Item = MpathBio<T>> {
        Taken {
            chain: self.list.take(),
            _bios: PhantomData,
        }
    }
}

impl<T: MpathDriver> Default for MpathBioQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: MpathDriver> Drop for MpathBioQueue<T> {
    #[inline]
    fn drop(&mut self) {
        self.take().for_each(drop);
    }
}

// SAFETY: The lot is a word, and any thread may end a bio.
unsafe impl<T: MpathDriver> Send for MpathBioQueue<T> {}
// SAFETY: The word is atomic.
unsafe impl<T: MpathDriver> Sync for MpathBioQueue<T> {}

/// Bios that have been taken out of a queue.
struct Taken<T: MpathDriver> {
    chain: Chain<Queued>,
    _bios: PhantomData<MpathBio<T>>,
}

impl<T: MpathDriver> Iterator for Taken<T> {
    type Item = MpathBio<T>;

    #[inline]
    fn next(&mut self) -> Option<MpathBio<T>> {
        // SAFETY: Each bio in a queue came from `Queued::new()` there, and leaves it once.
        self.chain
            .next()
            .map(|bio| unsafe { Queued::into_bio(bio) })
    }
}

impl<T: MpathDriver> Drop for Taken<T> {
    #[inline]
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
