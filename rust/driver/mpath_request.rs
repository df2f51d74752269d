// SPDX-License-Identifier: GPL-2.0

//! A request on its way through a path, and its end.

use super::mpath_bio::{
    BioOp,
    Counted,
    Segments, //
};
use super::mpath_device::MpathDevice;
use super::mpath_fence::MpathFence;
use super::mpath_request_driver::MpathRequestDriver;
use super::zones;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::wrap::bio::Failure;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::block::SECTOR_SHIFT;
use kernel::prelude::*;

const OP: u32 = (1 << bindings::REQ_OP_BITS) - 1;

/// The library's and the driver's part of a request, behind the block layer's part.
#[repr(C)]
pub(super) struct Private<T: MpathRequestDriver> {
    /// The next request, while this one is in a queue of the driver's.
    pub(super) next: *mut bindings::request,
    counted: Counted,
    data: T::RequestData,
}

impl<T: MpathRequestDriver> Private<T> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            next: null_mut(),
            counted: Counted::NOT,
            data: T::RequestData::default(),
        }
    }

    /// This part of a request.
    ///
    /// # Safety
    ///
    /// `rq` is a request of a tag set of `T`.
    #[inline]
    pub(super) unsafe fn of(rq: *mut bindings::request) -> *mut Self {
        // SAFETY: By this function's contract there is room for it.
        unsafe { bindings::blk_mq_rq_to_pdu(rq) }.cast()
    }
}

/// The kind of a request that has data, or is a discard: all but a flush.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// use libmultipath::Data;
/// # use crate::shared::RequestRam;
///
/// /// The same as `MpathRequest<RequestRam>`.
/// fn end(rq: MpathRequest<RequestRam, Data>) {
///     rq.end();
/// }
/// # let _ = end;
/// ```
pub enum Data {}

/// The kind of a request that asks for a flush.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// use libmultipath::Flush;
/// # use crate::shared::RequestRam;
///
/// /// The same as `MpathFlush<RequestRam>`.
/// fn end(rq: MpathRequest<RequestRam, Flush>) {
///     rq.flushed();
/// }
/// # let _ = end;
/// ```
pub enum Flush {}

/// A request that a path has, and that its driver has not ended.
///
/// It ends exactly once: each method that ends it consumes it, and a request that is dropped ends
/// with an I/O error. Until then its path stays: a path that goes waits for it. While the policy is
/// queue-depth, the request counts as in flight through the path's port.
///
/// A driver may keep it, in an [`MpathRequestTable`](super::MpathRequestTable) say, send it to
/// other contexts and end it in any, hard interrupt included.
///
/// # Invariants
///
/// `rq` is a request of the disk of a path of `T`, which the block layer has given to the driver.
/// It is a flush if `K` is [`Flush`], and none if `K` is [`Data`].
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
/// }
///
/// #[vtable]
/// impl MpathRequestDriver for Null {
///     /// How often a request with this tag was asked to come again.
///     type RequestData = u32;
///
///     fn queue_rq(path: &MpathDevice<Self>, mut rq: MpathRequest<Self>, _is_last: bool) {
///         // `path` is what `rq.path()` is.
///         if rq.path().port().state() != PortState::Live {
///             return rq.failover();
///         }
///         if rq.failovers() > 8 {
///             // Another path would not do it either.
///             return rq.fail(Failure::IoError);
///         }
///         if *rq.data() == 0 {
///             // As if there were no room now: it comes again, to this path.
///             *rq.data_mut() += 1;
///             return rq.requeue(1);
///         }
///         pr_debug!("{} bytes at sector {}, tag {}\n", rq.len(), rq.sector(), rq.tag());
///         assert_eq!(rq.range().len(), rq.len());
///
///         if let BioOp::Read(all) = rq.op() {
///             all.for_each(|part| part.zero());
///         }
///         // The first block is done. The rest is, too, or goes to another path.
///         if rq.len() > 512 {
///             assert!(rq.end_part(512).is_ok());
///         }
///         assert_eq!(rq.end_part(rq.len()), Err(EINVAL));
///         if rq.is_fua() {
///             rq.end_with(Err(EIO)); // nothing is stored, so nothing is stable
///         } else {
///             rq.end();
///         }
///         path.head().data().complete_all();
///     }
/// }
/// # crate::shared::carry_a_request_out::<Null>()?;
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a request that is dropped ends with an I/O error"]
pub struct MpathRequest<T: MpathRequestDriver, K = Data> {
    rq: NonNull<bindings::request>,
    _of: PhantomData<fn() -> (T, K)>,
}

/// A flush that a path has, and that its driver has not ended. Before it ends well, all writes that
/// have ended, through any path, are to be on stable storage.
///
/// The driver says so by [`MpathRequest::flushed`]. The `end()` of a request with data does not end
/// it, so that no driver reports a flush as done that it takes for something else. When it [fails
/// over](MpathRequest::failover) it ends with an error here, and the head has another path carry it
/// out.
///
/// # Examples
///
/// ```
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
///
/// struct Null;
///
/// #[vtable]
/// impl MpathDriver for Null {
///     type HeadData = ();
///     /// Does the path fail flushes?
///     type PathData = bool;
/// }
///
/// #[vtable]
/// impl MpathRequestDriver for Null {
///     type RequestData = ();
///
///     fn queue_rq(_path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
///         rq.end();
///     }
///
///     fn flush(path: &MpathDevice<Self>, rq: MpathFlush<Self>, _is_last: bool) {
///         match path.data() {
///             true => rq.failover(),
///             false => rq.flushed(),
///         }
///     }
/// }
///
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let tags = Arc::pin_init(MpathTagSet::new(TagParams::new(16)), GFP_KERNEL)?;
/// let params = DiskParams::new(2048).write_cache();
/// let head = MpathHead::<Null>::new(&policy, fmt!("mpdoc"), params, ())?;
/// let bad = Ok::<_, Error>(true);
/// let bad = head.add_request_path(&port, &tags, fmt!("mpdocc0"), None, bad)?;
/// let _bad = bad.set_live(AccessState::Optimized)?;
/// let good = Ok::<_, Error>(false);
/// let good = head.add_request_path(&port, &tags, fmt!("mpdocc1"), None, good)?;
/// let _good = good.set_live(AccessState::Optimized)?;
/// # crate::shared::flush(&head)?;
/// # Ok::<(), Error>(())
/// ```
pub type MpathFlush<T> = MpathRequest<T, Flush>;

impl<T: MpathRequestDriver, K> MpathRequest<T, K> {
    /// The request behind a pointer.
    ///
    /// # Safety
    ///
    /// `raw` fulfils the type invariant, and the caller gives it up.
    #[inline]
    unsafe fn from_raw(raw: *mut bindings::request) -> Self {
        // INVARIANT: By this function's contract.
        Self {
            // SAFETY: A valid pointer is not null.
            rq: unsafe { NonNull::new_unchecked(raw) },
            _of: PhantomData,
        }
    }

    /// Gives the request up without ending it.
    #[inline]
    fn into_raw(self) -> *mut bindings::request {
        ManuallyDrop::new(self).as_raw()
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::request {
        self.rq.as_ptr()
    }

    #[inline]
    fn private(&self) -> *mut Private<T> {
        // SAFETY: By the type invariant.
        unsafe { Private::of(self.as_raw()) }
    }

    /// The path that the request came to.
    #[inline]
    pub fn path(&self) -> &MpathDevice<T> {
        // SAFETY: By the type invariant. A request keeps its queue entered until it has ended, and
        // a path that goes waits for that.
        unsafe { MpathDevice::of_queue((*self.as_raw()).q) }
    }

    /// A number that no other request of its tag set has at this moment. It has the number of the
    /// queue in the upper 16 bits, and the number within the queue in the lower.
    #[inline]
    pub fn tag(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::blk_mq_unique_tag(self.as_raw()) }
    }

    /// The driver's data of the request, as the last request with the same place in the tag set has
    /// left it.
    #[inline]
    pub fn data(&self) -> &T::RequestData {
        // SAFETY: By the type invariant; it is ours while the request is.
        unsafe { &(*self.private()).data }
    }

    /// The same, to change it.
    #[inline]
    pub fn data_mut(&mut self) -> &mut T::RequestData {
        // SAFETY: By the type invariant; it is ours while the request is.
        unsafe { &mut (*self.private()).data }
    }

    /// Ends the request, of either kind, with a result.
    #[inline]
    fn end_with_result(self, result: Result) {
        let status = match result {
            Ok(()) => 0,
            // SAFETY: Always safe.
            Err(error) => unsafe { bindings::errno_to_blk_status(error.to_errno()) },
        };

        self.end_with_status(status);
    }

    /// Fails the request: the driver could not carry it out, and no other path could. Any context.
    #[inline]
    pub fn fail(self, failure: Failure) {
        self.end_with_status(failure as u8);
    }

    /// Gives the request's bios back to the head: the driver could not carry the request out for a
    /// reason of the path. Each bio goes back as it was, or, after [`MpathRequest::end_part`], with
    /// the part of it that is left. The head sends the bios again, or parks them while no path is
    /// usable. A flush has no bio: it ends with an error, and the head has another path carry it
    /// out. Any context.
    ///
    /// The head sends clones of a bio that has failed before, and of the bios of a path that has
    /// failed one lately. When a clone fails, the head sends the bio again as it was sent last,
    /// whatever part of the clone the path has carried out.
    ///
    /// [`MpathBio::failover`](super::MpathBio::failover) tells the cost of an error for the path,
    /// and when the head gives a bio up.
    #[inline]
    pub fn failover(self) {
        self.give_back(null_mut());
    }

    /// As [`MpathRequest::failover`], for a request that the controller may still carry out.
    /// `fence` is that of the association in which the driver sent the request. It holds the bios
    /// that change stored data until it opens. Any context.
    #[inline]
    pub fn failover_fenced(self, fence: &MpathFence) {
        self.give_back(fence.as_raw());
    }

    /// Puts the request off: the driver cannot carry it out now. It comes to the same path again,
    /// in `msecs` milliseconds or soon after. Its bios stay with it. Any context.
    #[inline]
    pub fn requeue(self, msecs: u32) {
        let rq = self.depart();

        // SAFETY: By the type invariant; it is the block layer's from here on.
        unsafe { bindings::mpath_helper_request_requeue(rq, msecs) }
    }

    /// Has [`MpathRequestDriver::complete`] called on the CPU that the request was submitted on, or
    /// near to it: for interrupts. From here on the request does not time out. Any context.
    #[inline]
    pub fn complete(self) {
        let rq = self.into_raw();

        // SAFETY: By the type invariant. A request that the block layer does not pass on is still
        // ours.
        unsafe {
            if !bindings::blk_mq_complete_request_remote(rq) {
                T::complete(AnyRequest::from_raw(rq));
            }
        }
    }

    /// Ends the request with `status`. An append does not end well by this, but by
    /// [`MpathRequest::appended_at`].
    #[inline]
    fn end_with_status(self, mut status: u8) {
        if status == 0 && self.is_append() {
            // SAFETY: By the type invariant the request is ours.
            zones::say_nowhere(unsafe { (*self.as_raw()).__sector });
            status = Failure::IoError as u8;
        }
        let rq = self.depart();

        // SAFETY: By the type invariant; it is the block layer's from here on.
        unsafe { bindings::blk_mq_end_request(rq, status) }
    }

    #[inline]
    fn give_back(self, fence: *mut bindings::mpath_fence) {
        let path = self.path().as_raw();
        let rq = self.depart();

        // SAFETY: By the type invariant; the path stays until the request has ended. The fence is
        // null, or our caller is a user of it. The status that the engine returns keeps a request
        // without a bio from ending well.
        unsafe {
            let status = ffi::mpath_failover_request_fenced(path, rq, 0, fence);

            bindings::blk_mq_end_request(rq, status);
        }
    }

    /// Is it an append? Drivers without zones pay nothing for the question.
    #[inline]
    fn is_append(&self) -> bool {
        // SAFETY: By the type invariant the request is ours.
        let op = unsafe { (*self.as_raw()).cmd_flags } & OP;

        T::HAS_REPORT_ZONES && op == bindings::req_op_REQ_OP_ZONE_APPEND
    }

    /// Takes the request out of the count of those in flight, for a caller that gives it up.
    #[inline]
    fn depart(self) -> *mut bindings::request {
        // SAFETY: By the type invariant; nobody else uses the request's private part.
        let counted =
            unsafe { core::mem::replace(&mut *(&raw mut (*self.private()).counted), Counted::NOT) };

        counted.end(self.path());
        self.into_raw()
    }
}

impl<T: MpathRequestDriver> MpathRequest<T, Data> {
    /// The operation that the request asks for: no [`BioOp::Flush`].
    #[inline]
    pub fn op(&self) -> BioOp<'_> {
        let rq = self.as_raw();

        // SAFETY: By the type invariant the request is ours, and so are its bios, which stay for as
        // long as it is borrowed.
        unsafe {
            match (*rq).cmd_flags & OP {
                bindings::req_op_REQ_OP_READ => BioOp::Read(Segments::of_bios((*rq).bio)),
                bindings::req_op_REQ_OP_WRITE => BioOp::Write(Segments::of_bios((*rq).bio)),
                bindings::req_op_REQ_OP_ZONE_APPEND => {
                    BioOp::ZoneAppend(Segments::of_bios((*rq).bio))
                }
                op => BioOp::without_data(op),
            }
        }
    }

    /// The first sector, of 512 bytes, of the part that is left; for an operation on a zone, the
    /// first one of the zone.
    #[inline]
    pub fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the request is ours.
        unsafe { (*self.as_raw()).__sector }
    }

    /// How many bytes are left, a multiple of the logical block size; 0 for operations on zones
    /// without data.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant the request is ours.
        unsafe { (*self.as_raw()).__data_len as usize }
    }

    /// The bytes of the disk that are left. They are within the disk's capacity.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        let begin = (self.sector() as usize) << SECTOR_SHIFT;

        begin..begin + self.len()
    }

    /// Must the request's own data be on stable storage before it ends? The block layer asks this
    /// only of disks that [say](super::DiskParams::fua) that they can, and others for a flush
    /// afterwards.
    #[inline]
    pub fn is_fua(&self) -> bool {
        // SAFETY: By the type invariant the request is ours.
        unsafe { (*self.as_raw()).cmd_flags & (1 << bindings::req_flag_bits___REQ_FUA) != 0 }
    }

    /// How often the head has taken a bio of the request back from a path, this or another, as far
    /// as there was memory to count. Of several bios the most counts. Any context.
    pub fn failovers(&self) -> u32 {
        let mut most = 0;

        // SAFETY: By the type invariant the path has the bios, which have not ended.
        unsafe {
            let mut bio = (*self.as_raw()).bio;

            while !bio.is_null() {
                most = most.max(ffi::mpath_bio_failovers(bio));
                bio = (*bio).bi_next;
            }
        }
        most
    }

    /// Ends the request: the driver has carried it out. Any context.
    ///
    /// An append ends by [`MpathRequest::appended_at`]; here, and by all else that ends a request
    /// well, it fails, with a line in the log.
    #[inline]
    pub fn end(self) {
        self.end_with_status(0);
    }

    /// Ends an append: the driver has carried it out, and its data begins at `sector` of the disk.
    /// Any context.
    ///
    /// The request fails, with a line in the log, when that place is not in its zone, or when it is
    /// no [`BioOp::ZoneAppend`].
    #[inline]
    pub fn appended_at(self, sector: u64) {
        let (disk, start) = (self.path().disk.as_raw(), self.sector());

        // SAFETY: The disk stays with the path.
        if !unsafe { zones::can_be_at(self.is_append(), disk, start, sector, self.len()) } {
            return self.fail(Failure::IoError);
        }
        let rq = self.depart();

        // SAFETY: By the type invariant; it is the block layer's from here on.
        unsafe {
            (*rq).__sector = sector;
            bindings::blk_mq_end_request(rq, 0);
        }
    }

    /// Ends the first `bytes` of the request, which the driver has carried out: the bios that are
    /// wholly within them end. The rest is still the driver's, which carries it out, fails it or
    /// fails it over. Any context.
    ///
    /// Fails with `EINVAL`, and does nothing, when `bytes` is not a multiple of the logical block
    /// size, or leaves nothing of the request: for that there is [`MpathRequest::end`]. Also fails
    /// with `EINVAL` for a zone append, which is carried out whole or not.
    #[inline]
    pub fn end_part(&mut self, bytes: usize) -> Result {
        let rq = self.as_raw();

        // SAFETY: By the type invariant the request, and its queue with it, is valid.
        let (op, block) = unsafe {
            (
                (*rq).cmd_flags & OP,
                (*(*rq).q).limits.logical_block_size as usize,
            )
        };
        let is_append = op == bindings::req_op_REQ_OP_ZONE_APPEND;

        if bytes % block != 0 || bytes >= self.len() || is_append {
            return Err(EINVAL);
        }
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: By the type invariant. Something is left of it, so it has not ended.
        unsafe { bindings::blk_update_request(rq, 0, bytes as u32) };
        Ok(())
    }
}

impl<T: MpathRequestDriver> MpathRequest<T, Data> {
    /// Ends the request: the driver has carried it out, or could not, and no other path could. An
    /// error becomes the status of the block layer that comes nearest to it. Any context.
    #[inline]
    pub fn end_with(self, result: Result) {
        self.end_with_result(result);
    }
}

impl<T: MpathRequestDriver> MpathRequest<T, Flush> {
    /// Exists for the compiler's message to a driver that calls it.
    #[doc(hidden)]
    pub fn end_with(self, _result: Result)
    where
        Self: HasData,
    {
    }

    /// Ends the flush: all writes that had ended before it came are on stable storage. Any context.
    #[inline]
    pub fn flushed(self) {
        self.end_with_status(0);
    }

    /// Exists for the compiler's message to a driver that calls it.
    #[doc(hidden)]
    pub fn end(self)
    where
        Self: HasData,
    {
    }
}

/// A trait that no flush has: by it the compiler says how to end a flush.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a flush does not end like a request with data",
    label = "nothing says that writes that have ended are on stable storage",
    note = "`flushed()` says so, and `failover()` has another path flush"
)]
pub trait HasData {}

impl<T: MpathRequestDriver, K> Drop for MpathRequest<T, K> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is not used afterwards.
        unsafe { Self::from_raw(self.as_raw()) }.fail(Failure::IoError);
    }
}

// SAFETY: Any thread may end a request, the path is `Sync`, and the driver's data of the request is
// `Send`.
unsafe impl<T: MpathRequestDriver, K> Send for MpathRequest<T, K> {}
// SAFETY: Through a shared reference it is only read; the path and the driver's data are `Sync`.
unsafe impl<T: MpathRequestDriver, K> Sync for MpathRequest<T, K> {}

/// A request of either kind, as a table or a queue gives it back that keeps both.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// /// Ends a request as the hardware says.
/// fn answered(rq: AnyRequest<RequestRam>, is_lost: bool, is_busy: bool, result: Result) {
///     match (is_lost, is_busy) {
///         (true, _) if rq.path().port().state() == PortState::Dead => rq.fail(Failure::IoError),
///         (true, _) => rq.failover(),
///         (_, true) => rq.requeue(3),
///         _ => rq.end_with(result),
///     }
/// }
///
/// /// The hardware is not heard of any more.
/// fn lost(sent: &MpathRequestTable<RequestRam>, fence: &MpathFence) {
///     sent.take_all().for_each(|rq| {
///         pr_info!("{} was not answered, {:?}\n", rq.tag(), rq.data());
///         rq.failover_fenced(fence);
///     });
///     fence.start(1000);
/// }
///
/// # let tags = crate::shared::request_tags()?;
/// # let _ = answered;
/// let fence = MpathFence::new()?;
/// lost(&MpathRequestTable::new(&tags)?, &fence);
/// assert_eq!(fence.held(), 0);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a request that is dropped ends with an I/O error"]
pub enum AnyRequest<T: MpathRequestDriver> {
    /// It has data, or is a discard.
    Data(MpathRequest<T>),
    /// It asks for a flush.
    Flush(MpathFlush<T>),
}

/// Does the same with a request of either kind.
macro_rules! either {
    ($this:ident, $rq:ident => $do:expr) => {
        match $this {
            Self::Data($rq) => $do,
            Self::Flush($rq) => $do,
        }
    };
}

impl<T: MpathRequestDriver> AnyRequest<T> {
    /// See [`MpathRequest::path`].
    #[inline]
    pub fn path(&self) -> &MpathDevice<T> {
        either!(self, rq => rq.path())
    }

    /// See [`MpathRequest::tag`].
    #[inline]
    pub fn tag(&self) -> u32 {
        either!(self, rq => rq.tag())
    }

    /// See [`MpathRequest::data`].
    #[inline]
    pub fn data(&self) -> &T::RequestData {
        either!(self, rq => rq.data())
    }

    /// Ends the request as its controller answered. By `Ok` the driver says of a flush what
    /// [`MpathRequest::flushed`] says: all writes that had ended before it came are on stable
    /// storage. An error becomes the status of the block layer that comes nearest to it. Any
    /// context.
    #[inline]
    pub fn end_with(self, result: Result) {
        either!(self, rq => rq.end_with_result(result))
    }

    /// See [`MpathRequest::fail`].
    #[inline]
    pub fn fail(self, failure: Failure) {
        either!(self, rq => rq.fail(failure))
    }

    /// See [`MpathRequest::failover`].
    #[inline]
    pub fn failover(self) {
        either!(self, rq => rq.failover())
    }

    /// See [`MpathRequest::failover_fenced`].
    #[inline]
    pub fn failover_fenced(self, fence: &MpathFence) {
        either!(self, rq => rq.failover_fenced(fence))
    }

    /// See [`MpathRequest::requeue`].
    #[inline]
    pub fn requeue(self, msecs: u32) {
        either!(self, rq => rq.requeue(msecs))
    }

    /// See [`MpathRequest::complete`].
    #[inline]
    pub fn complete(self) {
        either!(self, rq => rq.complete())
    }

    /// The request behind a pointer.
    ///
    /// # Safety
    ///
    /// `raw` is a request of the disk of a path of `T`, which the block layer has given to the
    /// driver, and the caller gives it up.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::request) -> Self {
        // SAFETY: By this function's contract, and by the operation.
        unsafe {
            match (*raw).cmd_flags & OP {
                bindings::req_op_REQ_OP_FLUSH => Self::Flush(MpathRequest::from_raw(raw)),
                _ => Self::Data(MpathRequest::from_raw(raw)),
            }
        }
    }

    /// The request that the block layer gives to `path`.
    ///
    /// # Safety
    ///
    /// As for [`AnyRequest::from_raw`]; it has been given to the driver just now.
    #[inline]
    pub(super) unsafe fn arrive(raw: *mut bindings::request, path: &MpathDevice<T>) -> Self {
        if path.head().io_policy() == IoPolicy::QueueDepth {
            // SAFETY: By this function's contract.
            unsafe { (*Private::<T>::of(raw)).counted = Counted::start(path) }
        }
        // SAFETY: By this function's contract.
        unsafe { Self::from_raw(raw) }
    }

    /// Gives the request up without ending it.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::request {
        either!(self, rq => rq.into_raw())
    }
}

impl<T: MpathRequestDriver> From<MpathRequest<T>> for AnyRequest<T> {
    #[inline]
    fn from(rq: MpathRequest<T>) -> Self {
        Self::Data(rq)
    }
}

impl<T: MpathRequestDriver> From<MpathFlush<T>> for AnyRequest<T> {
    #[inline]
    fn from(rq: MpathFlush<T>) -> Self {
        Self::Flush(rq)
    }
}

/// Requests that the driver has carried out, and that end together when the batch is dropped. The
/// block layer accounts for them, and gives their tags back, in one go.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// /// An interrupt, which finds these tags in the hardware's queue.
/// fn answered(sent: &MpathRequestTable<RequestRam>, tags: &[u32]) {
///     let mut batch = MpathBatch::new();
///
///     for tag in tags {
///         match sent.take(*tag) {
///             Some(AnyRequest::Data(rq)) => batch.end(rq),
///             Some(AnyRequest::Flush(rq)) => rq.flushed(),
///             None => pr_err!("tag {tag} has not been sent\n"),
///         }
///     }
/// }
///
/// # let tags = crate::shared::request_tags()?;
/// answered(&MpathRequestTable::new(&tags)?, &[]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `batch` has requests of paths of `T` that their driver has carried out, and given up.
#[must_use = "the requests end when the batch is dropped"]
pub struct MpathBatch<T: MpathDriver> {
    batch: bindings::io_comp_batch,
    _of: PhantomData<fn() -> T>,
}

impl<T: MpathRequestDriver> MpathBatch<T> {
    /// An empty batch.
    #[inline]
    pub fn new() -> Self {
        // INVARIANT: It has no request.
        Self {
            batch: pin_init::zeroed(),
            _of: PhantomData,
        }
    }

    /// Adds a request that the driver has carried out. A request ends at once if it cannot end with
    /// others, because a scheduler or the block layer's flushing has to know. Any context.
    #[inline]
    pub fn end(&mut self, rq: MpathRequest<T>) {
        if rq.is_append() {
            return rq.end();
        }
        let rq = rq.depart();

        // SAFETY: The request is ours, has been carried out, and is given up here.
        // INVARIANT: As above.
        unsafe {
            if !bindings::mpath_helper_batch_add(&mut self.batch, rq) {
                bindings::blk_mq_end_request(rq, 0);
            }
        }
    }
}

impl<T: MpathRequestDriver> Default for MpathBatch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: MpathDriver> Drop for MpathBatch<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant; it is empty afterwards. An empty batch ends no request.
        unsafe { bindings::blk_mq_end_request_batch(&mut self.batch) }
    }
}
