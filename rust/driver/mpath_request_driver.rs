// SPDX-License-Identifier: GPL-2.0

//! Drivers whose paths take requests, and their trait as the table of functions that the block
//! layer calls.

use super::mpath_device::MpathDevice;
use super::mpath_request::{
    AnyRequest,
    MpathFlush,
    MpathRequest,
    Private, //
};
use super::MpathDriver;
use crate::bindings;
use crate::wrap::bio::Failure;
use core::marker::PhantomData;
use kernel::ffi::{
    c_int,
    c_uint, //
};
use kernel::prelude::*;

/// A block driver whose paths take requests: each path's disk has queues of its own, with tags from
/// an [`MpathTagSet`](super::MpathTagSet).
///
/// The functions are those of `kernel::block::mq::Operations`, and the block layer calls them when
/// it calls these. Three things differ. A request comes as a value that ends once, with the path
/// that it came to. A flush is a type of its own. A request has room for the driver's data.
///
/// Implement both traits with `#[vtable]`, and leave out [`MpathDriver::submit`], which is for
/// drivers whose paths take bios. Add paths with
/// [`MpathHead::add_request_path`](super::MpathHead::add_request_path).
///
/// # Examples
///
/// ```
/// use kernel::new_spinlock;
/// use kernel::sync::aref::ARef;
/// use kernel::sync::{
///     Arc,
///     SpinLock, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Ram;
///
/// #[vtable]
/// impl MpathDriver for Ram {
///     type HeadData = SpinLock<KVVec<u8>>;
///     type PathData = MpathRequestTable<Ram>;
///
///     fn stop(path: &MpathDevice<Self>) {
///         path.data().take_all().for_each(AnyRequest::failover);
///     }
/// }
///
/// #[vtable]
/// impl MpathRequestDriver for Ram {
///     type RequestData = Option<Error>;
///
///     fn queue_rq(path: &MpathDevice<Self>, mut rq: MpathRequest<Self>, _is_last: bool) {
///         let result = carry_out(&mut path.head().data().lock(), &rq);
///
///         *rq.data_mut() = result.err();
///         // Hardware would be given the tag, and would give it back when it has done the work.
///         match path.data().put(rq) {
///             Ok(tag) => answered(path, tag),
///             Err(rq) => rq.fail(Failure::IoError),
///         }
///     }
///
///     fn flush(_path: &MpathDevice<Self>, rq: MpathFlush<Self>, _is_last: bool) {
///         rq.flushed();
///     }
///
///     fn commit_rqs(_path: &MpathDevice<Self>) {
///         // Hardware that waits for the last request of several would be woken here.
///     }
///
///     fn complete(rq: AnyRequest<Self>) {
///         let result = rq.data().map_or(Ok(()), Err);
///         rq.end_with(result);
///     }
///
///     fn timeout(path: &MpathDevice<Self>, tag: u32) -> Timeout {
///         match path.data().take(tag) {
///             Some(rq) => {
///                 rq.failover();
///                 Timeout::Ended
///             }
///             // It is just ending.
///             None => Timeout::Again,
///         }
///     }
/// }
///
/// /// An interrupt: the hardware has done what it was asked for under this tag.
/// fn answered(path: &MpathDevice<Ram>, tag: u32) {
///     if let Some(rq) = path.data().take(tag) {
///         rq.complete();
///     }
/// }
///
/// fn carry_out(ram: &mut KVVec<u8>, rq: &MpathRequest<Ram>) -> Result {
///     match rq.op() {
///         BioOp::Read(mut all) => all.try_for_each(|part| part.fill(&ram[part.range()])),
///         BioOp::Write(mut all) => all.try_for_each(|part| part.store(&mut ram[part.range()])),
///         _ => Err(EOPNOTSUPP),
///     }
/// }
///
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::QueueDepth), GFP_KERNEL)?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let tags = Arc::pin_init(MpathTagSet::new(TagParams::new(16)), GFP_KERNEL)?;
/// let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
/// let params = DiskParams::new(2048).write_cache();
/// let head: ARef<MpathHead<Ram>> =
///     MpathHead::new(&policy, fmt!("mpdoc"), params, new_spinlock!(ram))?;
/// let table = MpathRequestTable::new(&tags)?;
/// let path = head.add_request_path(&port, &tags, fmt!("mpdocc0"), None, Ok::<_, Error>(table))?;
///
/// let path = path.set_live(AccessState::Optimized)?;
/// assert!(path.head().is_live());
/// # crate::shared::flush(&head)?;
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a multipath driver whose paths take requests",
    note = "implement `MpathRequestDriver` for it, with `#[vtable]` above the `impl`"
)]
#[vtable]
pub trait MpathRequestDriver: MpathDriver {
    /// The driver's data of a request: [`MpathRequest::data`]. The tag set makes it for each of its
    /// requests. One request after the other uses it, and finds it as the last one has left it.
    type RequestData: Default + Send + Sync;

    /// Carries out a request that came to `path`, now or later. `is_last` is false when another
    /// request, or [`MpathRequestDriver::commit_rqs`], is about to come.
    ///
    /// May be called after [`MpathDriver::stop`], for a request that waited in the path's queue.
    ///
    /// Any context but interrupt; may not sleep unless
    /// [`TagParams::may_sleep`](super::TagParams::may_sleep).
    fn queue_rq(path: &MpathDevice<Self>, rq: MpathRequest<Self>, is_last: bool);

    /// Brings all writes that have ended, through any path, to stable storage. The block layer asks
    /// only disks with a [write cache](super::DiskParams::write_cache) for it, and their drivers
    /// have to have it.
    ///
    /// Context: that of [`MpathRequestDriver::queue_rq`]. Optional: by default there is no cache.
    fn flush(path: &MpathDevice<Self>, rq: MpathFlush<Self>, is_last: bool) {
        let _ = (path, is_last);
        rq.fail(Failure::NotSupported);
    }

    /// Begins the requests that came with `is_last` false: the last one does not come.
    ///
    /// Context: that of [`MpathRequestDriver::queue_rq`]. Optional: by default it does nothing.
    fn commit_rqs(path: &MpathDevice<Self>) {
        let _ = path;
    }

    /// Ends a request for which the driver called [`MpathRequest::complete`], on the CPU that the
    /// request was submitted on, or near to it.
    ///
    /// Soft interrupt context, or that of the caller of [`MpathRequest::complete`]. Optional: by
    /// default the request ends with an error, since nobody has said how it went.
    fn complete(rq: AnyRequest<Self>) {
        drop(rq);
    }

    /// Says what to do about a timeout: the request of `path` that has this
    /// [tag](MpathRequest::tag) has not ended for as long as its tag set
    /// [says](super::TagParams::timeout_msecs).
    ///
    /// The driver has the request, or nobody has it any more: the first to take it out of an
    /// [`MpathRequestTable`](super::MpathRequestTable) ends it.
    ///
    /// Process context, may sleep. Optional: by default the time begins anew.
    fn timeout(path: &MpathDevice<Self>, tag: u32) -> Timeout {
        let _ = (path, tag);
        Timeout::Again
    }
}

/// The state of a request whose time is over.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// /// A [`MpathRequestDriver::timeout`] for who keeps requests in a table.
/// fn timeout(sent: &MpathRequestTable<RequestRam>, tag: u32) -> Timeout {
///     sent.take(tag).map_or(Timeout::Again, |rq| {
///         rq.failover();
///         Timeout::Ended
///     })
/// }
///
/// # let tags = crate::shared::request_tags()?;
/// let sent = MpathRequestTable::new(&tags)?;
/// assert_eq!(timeout(&sent, 0), Timeout::Again);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the block layer is to be told"]
pub enum Timeout {
    /// The driver has ended the request, or will soon: there is no further timeout.
    Ended,
    /// The request gets as much time again, or has ended meanwhile.
    Again,
}

/// The table of functions of one driver.
pub(super) struct RequestShims<T>(PhantomData<T>);

/// A reference to a queue, which keeps the path whose queue it is.
struct Entered(*mut bindings::request_queue);

impl Entered {
    /// One more reference.
    ///
    /// # Safety
    ///
    /// A request of the queue has not ended.
    #[inline]
    unsafe fn again(queue: *mut bindings::request_queue) -> Self {
        // SAFETY: By this function's contract.
        unsafe { bindings::mpath_helper_queue_enter_again(queue) };
        Self(queue)
    }

    /// A reference, unless the queue goes and has nothing in flight.
    ///
    /// # Safety
    ///
    /// The queue is valid.
    #[inline]
    unsafe fn new(queue: *mut bindings::request_queue) -> Option<Self> {
        // SAFETY: By this function's contract.
        unsafe { bindings::mpath_helper_queue_enter(queue) }.then_some(Self(queue))
    }

    /// The path whose queue it is.
    ///
    /// # Safety
    ///
    /// It is the queue of a path of `T`.
    #[inline]
    unsafe fn path<T: MpathDriver>(&self) -> &MpathDevice<T> {
        // SAFETY: By this function's contract; a path that goes waits until its queue has been
        // left.
        unsafe { MpathDevice::of_queue(self.0) }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Entered when it was made.
        unsafe { bindings::mpath_helper_queue_leave(self.0) }
    }
}

impl<T: MpathRequestDriver> RequestShims<T> {
    const OPERATIONS: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq),
        commit_rqs: if T::HAS_COMMIT_RQS {
            Some(Self::commit_rqs)
        } else {
            None
        },
        complete: Some(Self::complete),
        timeout: if T::HAS_TIMEOUT {
            Some(Self::timeout)
        } else {
            None
        },
        init_request: Some(Self::init_request),
        exit_request: Some(Self::exit_request),
        ..pin_init::zeroed()
    };

    /// How many bytes of memory a request needs beyond the block layer's.
    pub(super) const PRIVATE_SIZE: u32 = {
        // It follows a request: no more is known of its place.
        assert!(
            align_of::<Private<T>>() <= align_of::<bindings::request>(),
            "what a driver keeps for a request must not have to be aligned to more than a request",
        );
        assert!(size_of::<Private<T>>() <= u32::MAX as usize);
        size_of::<Private<T>>() as u32
    };

    /// The operations of a tag set.
    #[inline]
    pub(super) fn operations() -> &'static bindings::blk_mq_ops {
        &Self::OPERATIONS
    }

    /// # Safety
    ///
    /// Called by the block layer with a request of the queue of a path of this driver.
    unsafe extern "C" fn queue_rq(
        _hctx: *mut bindings::blk_mq_hw_ctx,
        data: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: As the block layer calls it: the driver gets the request. `entered` keeps the
        // queue for the time of the call, in which the request may end.
        unsafe {
            let (rq, is_last) = ((*data).rq, (*data).last);
            let entered = Entered::again((*rq).q);
            let path = entered.path::<T>();

            bindings::blk_mq_start_request(rq);
            match AnyRequest::arrive(rq, path) {
                AnyRequest::Data(rq) => T::queue_rq(path, rq, is_last),
                AnyRequest::Flush(rq) => T::flush(path, rq, is_last),
            }
        }
        0
    }

    /// # Safety
    ///
    /// Called by the block layer for a queue of a path of this driver.
    unsafe extern "C" fn commit_rqs(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: As the block layer calls it. The path may be going: then no request is left to
        // begin.
        unsafe {
            if let Some(entered) = Entered::new((*hctx).queue) {
                T::commit_rqs(entered.path());
            }
        }
    }

    /// # Safety
    ///
    /// Called by the block layer with a request that was given to it by
    /// [`MpathRequest::complete`].
    unsafe extern "C" fn complete(rq: *mut bindings::request) {
        // SAFETY: As the block layer calls it.
        T::complete(unsafe { AnyRequest::from_raw(rq) })
    }

    /// # Safety
    ///
    /// Called by the block layer with a request of a path of this driver, whose queue has been
    /// entered for the time of the call.
    unsafe extern "C" fn timeout(rq: *mut bindings::request) -> bindings::blk_eh_timer_return {
        // SAFETY: As the block layer calls it. It keeps the request, which may have ended.
        let (path, tag) = unsafe {
            (
                MpathDevice::<T>::of_queue((*rq).q),
                bindings::blk_mq_unique_tag(rq),
            )
        };

        match T::timeout(path, tag) {
            Timeout::Ended => bindings::blk_eh_timer_return_BLK_EH_DONE,
            Timeout::Again => bindings::blk_eh_timer_return_BLK_EH_RESET_TIMER,
        }
    }

    /// # Safety
    ///
    /// Called by the block layer with a new request of a tag set of this driver.
    unsafe extern "C" fn init_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx: c_uint,
        _node: c_int,
    ) -> c_int {
        // SAFETY: As the block layer calls it: there is as much memory as was asked for.
        unsafe { Private::<T>::of(rq).write(Private::new()) };
        0
    }

    /// # Safety
    ///
    /// Called by the block layer, once, with a request that was initialised here.
    unsafe extern "C" fn exit_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx: c_uint,
    ) {
        // SAFETY: As the block layer calls it.
        unsafe { Private::<T>::of(rq).drop_in_place() };
    }
}
