// SPDX-License-Identifier: GPL-2.0

//! A bio on its way through a path.

use super::mpath_device::MpathDevice;
use super::mpath_fence::MpathFence;
use super::zones;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::wrap::bio::{
    Bio,
    Failure, //
};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::block::SECTOR_SHIFT;
use kernel::page::BorrowedPage;
use kernel::prelude::*;

/// A bio that a path has, and that its driver has not ended.
///
/// It ends exactly once: each method that ends it consumes it, and a bio that is dropped ends with
/// an I/O error. Until then its path stays: a path that goes waits for it. While the policy is
/// queue-depth, the bio counts as in flight through the path's port.
///
/// A driver may keep it, send it to other contexts and end it in any, hard interrupt included. It
/// never goes on to another device: a driver sends a [clone](MpathBio::submit_clone), or copies
/// the contents of its [segments](BioOp). So the mark that the head has set on it
/// (`REQ_MPATH` in C) reaches no other driver, for which the same bit means something else.
///
/// # Invariants
///
/// `bio` is a bio of the disk of `path`, whose queue has been entered for it.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::prelude::*;
///
/// struct Null;
///
/// #[vtable]
/// impl MpathDriver for Null {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         // `path` is what `bio.path()` is.
///         if bio.path().port().state() != PortState::Live {
///             return bio.failover();
///         }
///         if bio.is_nowait() {
///             return bio.fail(Failure::Again);
///         }
///         if bio.failovers() > 8 {
///             // Another path would not do it either.
///             return bio.fail(Failure::IoError);
///         }
///         pr_debug!("{} bytes at sector {}\n", bio.len(), bio.sector());
///         assert_eq!(bio.range().len(), bio.len());
///
///         let result = match bio.op() {
///             BioOp::Read(mut all) => all.try_for_each(|part| Ok(part.zero())),
///             // Nothing is stored, so nothing is ever on stable storage.
///             _ if bio.is_fua() || bio.is_preflush() => Err(EIO),
///             _ => Ok(()),
///         };
///         bio.end_with(result);
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Null>()?;
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a bio that is dropped ends with an I/O error"]
pub struct MpathBio<T: MpathDriver> {
    bio: ManuallyDrop<Bio>,
    path: NonNull<MpathDevice<T>>,
    counted: Counted,
}

/// Whether a bio or a request counts as in flight through its path's port, and on which CPU: the
/// value that `mpath_request_start()` returned. The count ends with the bio or the request, once.
pub(super) struct Counted(u16);

impl Counted {
    pub(super) const NOT: Self = Self(bindings::MPATH_NOT_COUNTED as u16);

    /// Counts a bio or a request as in flight through a path.
    #[inline]
    pub(super) fn start<T: MpathDriver>(path: &MpathDevice<T>) -> Self {
        // SAFETY: The path has been added; a bio or a request has come to it, so it is on its head.
        Self(unsafe { bindings::mpath_helper_request_start(path.as_raw()) })
    }

    /// Ends the count, with the bio or the request.
    #[inline]
    pub(super) fn end<T: MpathDriver>(self, path: &MpathDevice<T>) {
        // SAFETY: The path has been added; the head has stayed until here.
        unsafe { bindings::mpath_helper_request_done(path.as_raw(), self.0) }
    }

    /// A number for the count, for [`Counted::from_raw`].
    #[inline]
    pub(super) fn into_raw(self) -> u32 {
        self.0.into()
    }

    /// The count that a number stands for. Called once for each number.
    #[inline]
    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw as u16)
    }
}

impl<T: MpathDriver> MpathBio<T> {
    /// The bio that the block layer hands to a path's disk.
    ///
    /// # Safety
    ///
    /// `raw` is a bio of a path's disk, whose queue has been entered; the caller gives it up.
    #[inline]
    pub(super) unsafe fn arrive(raw: *mut bindings::bio) -> Self {
        // SAFETY: By this function's contract; the queue has been entered, so it can be once more.
        let mut bio = unsafe {
            bindings::mpath_helper_bio_enter_again(raw);
            Self::from_raw(raw, Counted::NOT)
        };

        if bio.path().head().io_policy() == IoPolicy::QueueDepth {
            bio.counted = Counted::start(bio.path());
        }
        bio
    }

    /// The bio behind a pointer.
    ///
    /// # Safety
    ///
    /// `raw` came from [`MpathBio::into_raw`], or fulfils the type invariant.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::bio, counted: Counted) -> Self {
        // SAFETY: By this function's contract.
        // INVARIANT: As above.
        unsafe {
            Self {
                bio: ManuallyDrop::new(Bio::from_raw(raw)),
                path: NonNull::from(MpathDevice::of_bio(raw)),
                counted,
            }
        }
    }

    /// Gives the bio up without ending it; the queue stays entered.
    #[inline]
    pub(super) fn into_raw(self) -> (*mut bindings::bio, Counted) {
        let mut this = ManuallyDrop::new(self);

        (
            this.bio.as_raw(),
            core::mem::replace(&mut this.counted, Counted::NOT),
        )
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::bio {
        self.bio.as_raw()
    }

    /// The path that the bio came to.
    #[inline]
    pub fn path(&self) -> &MpathDevice<T> {
        // SAFETY: By the type invariant the queue has been entered, and a path that goes waits
        // until its queue has been left.
        unsafe { self.path.as_ref() }
    }

    /// The operation that the bio asks for.
    #[inline]
    pub fn op(&self) -> BioOp<'_> {
        // SAFETY: By the type invariant the bio is ours.
        let op = unsafe { (*self.as_raw()).bi_opf } & ((1 << bindings::REQ_OP_BITS) - 1);

        match op {
            bindings::req_op_REQ_OP_READ => BioOp::Read(Segments::new(&self.bio)),
            // This is how the block layer asks a disk that takes bios for a flush.
            bindings::req_op_REQ_OP_WRITE if self.len() == 0 && self.is_preflush() => BioOp::Flush,
            bindings::req_op_REQ_OP_WRITE => BioOp::Write(Segments::new(&self.bio)),
            bindings::req_op_REQ_OP_FLUSH => BioOp::Flush,
            bindings::req_op_REQ_OP_ZONE_APPEND => BioOp::ZoneAppend(Segments::new(&self.bio)),
            _ => BioOp::without_data(op),
        }
    }

    /// The first sector, of 512 bytes; for an operation on a zone, the first one of the zone.
    #[inline]
    pub fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the bio is ours.
        unsafe { (*self.as_raw()).bi_iter.bi_sector }
    }

    /// The bytes of the disk that the bio is for; none for a flush, nor for operations on zones
    /// without data. They are within the disk's capacity. An append counts as if its data went to
    /// the beginning of its zone.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        let begin = (self.sector() as usize) << SECTOR_SHIFT;

        begin..begin + self.len()
    }

    /// The length in bytes, a multiple of the logical block size; 0 for a flush, and for operations
    /// on zones without data.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant the bio is ours.
        unsafe { (*self.as_raw()).bi_iter.bi_size as usize }
    }

    /// Must the bio's own data be on stable storage before the bio ends? True of writes only, and
    /// only on disks with a [write cache](super::DiskParams::write_cache).
    #[inline]
    pub fn is_fua(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_FUA)
    }

    /// Must all writes that have ended be on stable storage before the driver carries the bio out?
    /// True of each [`BioOp::Flush`], which asks for nothing else, and of some writes; only on
    /// disks with a [write cache](super::DiskParams::write_cache).
    #[inline]
    pub fn is_preflush(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_PREFLUSH)
    }

    /// Must [`MpathDriver::submit`] not sleep? Where it would have to, it then fails the bio with
    /// [`Failure::Again`]. The submitter deals with that, and a path never loses trust by it. A bio
    /// that has failed over is not its submitter's any more, and may wait.
    #[inline]
    pub fn is_nowait(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_NOWAIT)
    }

    /// How often the head has taken the bio back from a path, this or another, as far as there was
    /// memory to count. Any context.
    #[inline]
    pub fn failovers(&self) -> u32 {
        // SAFETY: By the type invariant the path has the bio, which has not ended.
        unsafe { ffi::mpath_bio_failovers(self.as_raw()) }
    }

    #[inline]
    fn has_flag(&self, bit: bindings::req_flag_bits) -> bool {
        // SAFETY: By the type invariant the bio is ours.
        unsafe { (*self.as_raw()).bi_opf & (1 << bit) != 0 }
    }

    /// Ends the bio: the driver has carried it out. Any context.
    ///
    /// An append ends by [`MpathBio::appended_at`]; here it fails, with a line in the log.
    #[inline]
    pub fn end(self) {
        if self.is_append() {
            zones::say_nowhere(self.sector());
            return self.fail(Failure::IoError);
        }
        self.leave(|bio, _| bio.end());
    }

    /// Ends the bio: the driver has carried it out, or could not, and no other path could. An error
    /// becomes the status that the block layer has for it, such as `EBADE` for a conflict of
    /// reservations, or `EILSEQ` for data that does not match its protection. An error for which it
    /// has none becomes [`Failure::IoError`]. Any context.
    ///
    /// An append that has been carried out ends by [`MpathBio::appended_at`]; here it fails, with a
    /// line in the log.
    #[inline]
    pub fn end_with(self, result: Result) {
        if result.is_ok() {
            return self.end();
        }
        self.leave(|bio, _| bio.end_with(result));
    }

    /// Ends an append: the driver has carried it out, and its data begins at `sector` of the disk.
    /// Any context.
    ///
    /// The bio fails, with a line in the log, when that place is not in its zone, or when it is no
    /// [`BioOp::ZoneAppend`].
    #[inline]
    pub fn appended_at(self, sector: u64) {
        let (disk, start) = (self.path().disk.as_raw(), self.sector());

        // SAFETY: The disk stays with the path.
        if !unsafe { zones::can_be_at(self.is_append(), disk, start, sector, self.len()) } {
            return self.fail(Failure::IoError);
        }
        // SAFETY: By the type invariant the bio is ours.
        unsafe { (*self.as_raw()).bi_iter.bi_sector = sector };
        self.leave(|bio, _| bio.end());
    }

    /// Is it an append? Drivers without zones pay nothing for the question.
    #[inline]
    fn is_append(&self) -> bool {
        T::HAS_REPORT_ZONES && matches!(self.op(), BioOp::ZoneAppend(_))
    }

    /// Fails the bio: the driver could not carry it out, and no other path could. Any context.
    #[inline]
    pub fn fail(self, failure: Failure) {
        self.leave(|bio, _| bio.fail(failure));
    }

    /// Gives the bio back to the head: the driver could not carry it out for a reason of the path.
    /// The head sends it again, as it was, or parks it while no path is usable. Any context.
    ///
    /// An error costs a retry, and not the path, which the head uses as before in its access class.
    /// The head looks at how bios end there until one succeeds. When six of them have failed and
    /// none has succeeded in between, it leaves the path alone. The pause is 1 ms at first, twice
    /// as long each time, 100 ms at most; then one bio tries the path. A driver that has looked at
    /// the path itself says so, and the head trusts the path at once:
    /// [`MpathDevice::set_access_state`], [`MpathDevice::enable`], [`MpathDevice::try_again`].
    ///
    /// A bio that fails everywhere ends with an error of the transport (`ENOLINK`) when it has
    /// failed [`MpathDriver::MAX_FAILOVERS`] times for each path that the head has.
    #[inline]
    pub fn failover(self) {
        self.give_back(null_mut());
    }

    /// As [`MpathBio::failover`], for a bio that the controller may still carry out. `fence` is
    /// that of the association in which the driver sent the bio. It holds a bio that changes stored
    /// data until it opens. A read, and a bio that only asks for a flush, goes on at once. Any
    /// context.
    ///
    /// For a bio that was never sent, and for one that the storage has answered,
    /// [`MpathBio::failover`] is right.
    #[inline]
    pub fn failover_fenced(self, fence: &MpathFence) {
        self.give_back(fence.as_raw());
    }

    #[inline]
    fn give_back(self, fence: *mut bindings::mpath_fence) {
        self.leave(|bio, path| {
            let raw = bio.into_raw();
            let mut bios = bindings::bio_list {
                head: raw,
                tail: raw,
            };

            // SAFETY: A list of one bio, which is the head's from here on. The path has been added.
            // The fence is null, or our caller is a user of it.
            unsafe {
                (*raw).bi_next = null_mut();
                ffi::mpath_failover_fenced(path.as_raw(), &mut bios, fence)
            }
        });
    }

    /// Hands the bio over to `f`, and leaves the queue that was entered for it.
    #[inline]
    fn leave(self, f: impl FnOnce(Bio, &MpathDevice<T>)) {
        let mut this = ManuallyDrop::new(self);

        this.leave_by_ref(f);
    }

    /// As [`MpathBio::leave`]; the bio is not used afterwards.
    #[inline]
    fn leave_by_ref(&mut self, f: impl FnOnce(Bio, &MpathDevice<T>)) {
        // SAFETY: The bio is not used afterwards.
        let bio = unsafe { ManuallyDrop::take(&mut self.bio) };
        let disk = self.path().disk.as_raw();

        core::mem::replace(&mut self.counted, Counted::NOT).end(self.path());
        f(bio, self.path());
        // SAFETY: `arrive()` has entered the queue. Nothing of the path's is touched afterwards.
        unsafe { bindings::mpath_helper_disk_leave(disk) };
    }
}

impl<T: MpathDriver> Drop for MpathBio<T> {
    #[inline]
    fn drop(&mut self) {
        self.leave_by_ref(|bio, _| bio.fail(Failure::IoError));
    }
}

// SAFETY: Any thread may end a bio, and the path is `Sync`.
unsafe impl<T: MpathDriver> Send for MpathBio<T> {}
// SAFETY: Through a shared reference the bio is only read; the path is `Sync`.
unsafe impl<T: MpathDriver> Sync for MpathBio<T> {}

/// The operation that a bio or a request asks for.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::prelude::*;
///
/// struct Null;
///
/// #[vtable]
/// impl MpathDriver for Null {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         match bio.op() {
///             BioOp::Read(all) => all.for_each(|part| part.zero()),
///             BioOp::Write(_) | BioOp::Discard | BioOp::WriteZeroes => {}
///             // Nothing is stored, so there is nothing that could be made stable.
///             BioOp::Flush => return bio.fail(Failure::IoError),
///             // The disk has no zones.
///             _ => return bio.fail(Failure::NotSupported),
///         }
///         bio.end();
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Null>()?;
/// # Ok::<(), Error>(())
/// ```
pub enum BioOp<'a> {
    /// Fill these segments with the stored data.
    Read(Segments<'a, Fill>),
    /// Store the data of these segments. [`MpathBio::is_preflush`] may ask for a flush before that,
    /// and [`MpathBio::is_fua`] for stable storage.
    Write(Segments<'a, Store>),
    /// Bring all writes that have ended, through any path, to stable storage. This is the operation
    /// that fsync() sends to a disk with a [write cache](super::DiskParams::write_cache), and to no
    /// other. The bio has no data.
    Flush,
    /// Forget the stored data, or not.
    Discard,
    /// Store zeroes.
    WriteZeroes,
    /// Store the data of these segments at the write pointer of the zone that begins at
    /// [`MpathBio::sector`]: [`MpathBio::appended_at`] says where that was. The ranges of the
    /// segments count as if the data went to the beginning of the zone. This and the following
    /// operations come to [zoned](super::DiskParams::zones) disks only.
    ZoneAppend(Segments<'a, Store>),
    /// Open the zone that begins at [`MpathBio::sector`].
    ZoneOpen,
    /// Close it.
    ZoneClose,
    /// Make it full.
    ZoneFinish,
    /// Make it empty.
    ZoneReset,
    /// Make all zones empty that can be.
    ZoneResetAll,
    /// Another operation, which a driver does not get unless its [`DiskParams`](super::DiskParams)
    /// ask for it: [`Failure::NotSupported`].
    Other,
}

impl BioOp<'_> {
    /// An operation without data.
    #[inline]
    pub(super) fn without_data(op: bindings::req_op) -> Self {
        match op {
            bindings::req_op_REQ_OP_DISCARD => Self::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Self::WriteZeroes,
            bindings::req_op_REQ_OP_ZONE_OPEN => Self::ZoneOpen,
            bindings::req_op_REQ_OP_ZONE_CLOSE => Self::ZoneClose,
            bindings::req_op_REQ_OP_ZONE_FINISH => Self::ZoneFinish,
            bindings::req_op_REQ_OP_ZONE_RESET => Self::ZoneReset,
            bindings::req_op_REQ_OP_ZONE_RESET_ALL => Self::ZoneResetAll,
            _ => Self::Other,
        }
    }
}

/// Memory that a read fills.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::{
///     Fill,
///     Segments, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Pattern;
///
/// /// Fills with what tells every byte's place.
/// fn fill(all: Segments<'_, Fill>) {
///     for part in all {
///         let place = part.range().start as u8;
///         let _ = part.fill(&[place; 512]).or_else(|_| Ok::<_, Error>(part.zero()));
///     }
/// }
///
/// #[vtable]
/// impl MpathDriver for Pattern {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         if let BioOp::Read(all) = bio.op() {
///             fill(all);
///         }
///         bio.end();
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Pattern>()?;
/// # Ok::<(), Error>(())
/// ```
pub enum Fill {}

/// Memory that a write stores.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::{
///     Segments,
///     Store, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Printer;
///
/// /// Takes what is written, all to the same place.
/// fn store(all: Segments<'_, Store>, line: &mut [u8; 512]) -> Result {
///     for part in all {
///         part.store(line.get_mut(..part.len()).ok_or(EINVAL)?)?;
///     }
///     Ok(())
/// }
///
/// #[vtable]
/// impl MpathDriver for Printer {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         let mut line = [0; 512];
///         let result = match bio.op() {
///             BioOp::Write(all) => store(all, &mut line),
///             _ => Err(EOPNOTSUPP),
///         };
///         bio.end_with(result);
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Printer>()?;
/// # Ok::<(), Error>(())
/// ```
pub enum Store {}

/// The memory of a bio, or of all bios of a request, piece by piece in order: an iterator of
/// [`Segment`]s.
///
/// # Invariants
///
/// `bio` is valid for `'a`, and has data. If `goes_on`, so does each bio that follows it.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::prelude::*;
///
/// struct Null;
///
/// #[vtable]
/// impl MpathDriver for Null {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         let bytes: usize = match bio.op() {
///             BioOp::Read(all) => all.inspect(|part| part.zero()).map(|part| part.len()).sum(),
///             BioOp::Write(all) => all.map(|part| part.len()).sum(),
///             _ => 0,
///         };
///         let result = if bytes == bio.len() { Ok(()) } else { Err(EIO) };
///         bio.end_with(result);
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Null>()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Segments<'a, D> {
    bio: *mut bindings::bio,
    at: bindings::bvec_iter,
    /// Where the bio ends on the disk, in bytes.
    end: usize,
    /// Do the bios that follow belong to it?
    goes_on: bool,
    _bio: PhantomData<&'a Bio>,
    _direction: PhantomData<D>,
}

impl<'a, D> Segments<'a, D> {
    #[inline]
    fn new(bio: &'a Bio) -> Self {
        // SAFETY: The bio is valid for as long as it is borrowed, and has data, by its operation.
        unsafe { Self::from_raw(bio.as_raw(), false) }
    }

    /// The memory of a request, whose first bio is `bio`.
    ///
    /// # Safety
    ///
    /// `bio`, and each bio that follows it, is valid for `'a` and has data.
    #[inline]
    pub(super) unsafe fn of_bios(bio: *mut bindings::bio) -> Self {
        // SAFETY: By this function's contract.
        unsafe { Self::from_raw(bio, true) }
    }

    /// # Safety
    ///
    /// `bio` is valid for `'a` and has data. If `goes_on`, so does each bio that follows it.
    #[inline]
    unsafe fn from_raw(bio: *mut bindings::bio, goes_on: bool) -> Self {
        // SAFETY: By this function's contract.
        let at = unsafe { (*bio).bi_iter };

        // INVARIANT: By this function's contract.
        Self {
            bio,
            at,
            end: ((at.bi_sector as usize) << SECTOR_SHIFT) + at.bi_size as usize,
            goes_on,
            _bio: PhantomData,
            _direction: PhantomData,
        }
    }
}

impl<'a, D> Iterator for Segments<'a, D> {
    type Item = Segment<'a, D>;

    #[inline]
    fn next(&mut self) -> Option<Segment<'a, D>> {
        let mut memory = bindings::bio_vec::default();
        let mut begin = self.end - self.at.bi_size as usize;

        // SAFETY: By the type invariant.
        while !unsafe { bindings::mpath_helper_bio_segment(self.bio, &mut self.at, &mut memory) } {
            // SAFETY: By the type invariant.
            let next = unsafe { (*self.bio).bi_next };

            if !self.goes_on || next.is_null() {
                return None;
            }
            // SAFETY: By the type invariant it is valid, too.
            *self = unsafe { Self::from_raw(next, true) };
            begin = self.end - self.at.bi_size as usize;
        }
        // INVARIANT: A segment of the bio, within one page.
        Some(Segment {
            memory,
            begin,
            _bio: PhantomData,
            _direction: PhantomData,
        })
    }
}

/// A piece of a bio's memory, at most one page.
///
/// A driver copies to and from it, and gets no reference to it: the submitter of the bio may read
/// it, or even write to it, at the same time.
///
/// # Invariants
///
/// `memory` is within one page, and valid for `'a`.
///
/// # Examples
///
/// ```
/// use kernel::sync::Completion;
/// use libmultipath::prelude::*;
///
/// struct Ones;
///
/// #[vtable]
/// impl MpathDriver for Ones {
///     type HeadData = Completion;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         let result = match bio.op() {
///             BioOp::Read(mut all) => all.try_for_each(|part| {
///                 // What a controller would be told that accesses it by itself.
///                 let _ = (part.page().as_ptr(), part.offset(), part.len());
///                 match part.range().start {
///                     0 => Ok(part.zero()),
///                     _ => part.fill(&KVec::from_elem(1, part.len(), GFP_NOWAIT)?),
///                 }
///             }),
///             _ => Err(EOPNOTSUPP),
///         };
///         bio.end_with(result);
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_bio_out::<Ones>()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Segment<'a, D> {
    memory: bindings::bio_vec,
    begin: usize,
    _bio: PhantomData<&'a Bio>,
    _direction: PhantomData<D>,
}

impl<'a, D> Segment<'a, D> {
    /// The bytes of the disk that the segment is for. They are within the disk's capacity. An
    /// append counts as if its data went to the beginning of its zone.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        self.begin..self.begin + self.len()
    }

    /// The length in bytes, not 0.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.memory.bv_len as usize
    }

    /// The page that it is in, for a driver whose controller accesses the memory: by
    /// [`Page::as_ptr`](kernel::page::Page::as_ptr), the segment's offset and its length. The
    /// controller must have finished before the bio or the request ends; it may write to a [`Fill`]
    /// segment only.
    #[inline]
    pub fn page(&self) -> BorrowedPage<'a> {
        // SAFETY: By the type invariant, for as long as the bio is.
        unsafe { BorrowedPage::from_raw(NonNull::new_unchecked(self.memory.bv_page)) }
    }

    /// Its offset in its page, in bytes.
    #[inline]
    pub fn offset(&self) -> usize {
        self.memory.bv_offset as usize
    }
}

impl Segment<'_, Fill> {
    /// Fills the segment with `data`.
    ///
    /// Fails with `EINVAL` when `data` is not as long as the segment. Any context.
    #[inline]
    pub fn fill(&self, data: &[u8]) -> Result {
        if data.len() != self.len() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant, and the lengths are the same.
        unsafe { bindings::mpath_helper_fill_segment(&self.memory, data.as_ptr().cast()) };
        Ok(())
    }

    /// Fills the segment with zeroes. Any context.
    #[inline]
    pub fn zero(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::mpath_helper_zero_segment(&self.memory) };
    }
}

impl Segment<'_, Store> {
    /// Copies the segment's contents to `data`.
    ///
    /// Fails with `EINVAL` when `data` is not as long as the segment. Any context.
    #[inline]
    pub fn store(&self, data: &mut [u8]) -> Result {
        if data.len() != self.len() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant, and the lengths are the same.
        unsafe { bindings::mpath_helper_store_segment(&self.memory, data.as_mut_ptr().cast()) };
        Ok(())
    }
}
