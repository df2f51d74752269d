// SPDX-License-Identifier: GPL-2.0

//! Tag sets: the requests that a controller can have at once.

use super::mpath_request_driver::{
    MpathRequestDriver,
    RequestShims, //
};
use super::MpathDriver;
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// The parameters of a tag set: how many requests a controller takes, and how.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// // Four queues of 128 requests each, which time out after a second.
/// let params = TagParams::new(128)
///     .queues(4)
///     .timeout_msecs(1000)
///     .without_scheduler()
///     .may_sleep();
/// # let _ = params;
/// ```
#[derive(Clone, Copy)]
#[must_use = "parameters do nothing until a tag set is made with them"]
pub struct TagParams {
    depth: u32,
    queues: u32,
    timeout_msecs: u32,
    flags: u32,
}

impl TagParams {
    /// One queue that has up to `depth` requests at once: 1 to 10240. The kernel takes 10240 for a
    /// larger number.
    #[inline]
    pub const fn new(depth: u32) -> Self {
        Self {
            depth,
            queues: 1,
            timeout_msecs: 0,
            flags: 0,
        }
    }

    /// Sets the number of queues, each with requests of its own; not more than there are CPUs.
    #[inline]
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = queues;
        self
    }

    /// Sets the time in milliseconds after which the block layer calls
    /// [`MpathRequestDriver::timeout`] for a request that has not ended. The default is 30 seconds.
    #[inline]
    pub fn timeout_msecs(mut self, msecs: u32) -> Self {
        self.timeout_msecs = msecs;
        self
    }

    /// Lets [`MpathRequestDriver::queue_rq`] and [`MpathRequestDriver::flush`] sleep.
    #[inline]
    pub fn may_sleep(mut self) -> Self {
        self.flags |= bindings::BLK_MQ_F_BLOCKING;
        self
    }

    /// Has requests come as they are made, unless a user sets a scheduler in sysfs. Requests that
    /// have been through a scheduler do not end in [batches](super::MpathBatch).
    #[inline]
    pub fn without_scheduler(mut self) -> Self {
        self.flags |= bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT;
        self
    }
}

/// The requests that a controller can have at once, for the paths that go through it.
///
/// Each path that has been [added](super::MpathHead::add_request_path) with it keeps an `Arc` of
/// it. The driver's data of each of its requests is made with it.
///
/// # Invariants
///
/// `raw` is a tag set that has been allocated with the operations of `T`.
///
/// # Examples
///
/// ```
/// use kernel::sync::Arc;
/// use libmultipath::prelude::*;
/// # use crate::shared::RequestRam;
///
/// let tags = MpathTagSet::<RequestRam>::new(TagParams::new(64).queues(2));
/// let tags = Arc::pin_init(tags, GFP_KERNEL)?;
/// assert_eq!(tags.depth(), 64);
/// assert!((1..=2).contains(&tags.queues()));
///
/// let none = MpathTagSet::<RequestRam>::new(TagParams::new(0));
/// assert!(matches!(Arc::pin_init(none, GFP_KERNEL), Err(error) if error == EINVAL));
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct MpathTagSet<T: MpathDriver> {
    #[pin]
    raw: Opaque<bindings::blk_mq_tag_set>,
    _driver: PhantomData<fn() -> T>,
}

impl<T: MpathRequestDriver> MpathTagSet<T> {
    /// A tag set, for [`Arc::pin_init`](kernel::sync::Arc::pin_init).
    ///
    /// Fails with `EINVAL` when it is to have no queue or no request, and with `ENOMEM`.
    ///
    /// Process context, may sleep.
    #[inline]
    pub fn new(params: TagParams) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Allocated here.
            raw <- Opaque::try_ffi_init(move |raw: *mut bindings::blk_mq_tag_set| {
                // SAFETY: `raw` is valid for writes, pinned, and nobody uses it. The operations are
                // constant, and fit requests with room for their private part.
                to_result(unsafe {
                    raw.write_bytes(0, 1);
                    (*raw).ops = RequestShims::<T>::operations();
                    (*raw).nr_maps = 1;
                    (*raw).nr_hw_queues = params.queues;
                    (*raw).queue_depth = params.depth;
                    (*raw).cmd_size = RequestShims::<T>::PRIVATE_SIZE;
                    (*raw).numa_node = bindings::NUMA_NO_NODE;
                    (*raw).timeout = msecs_to_jiffies(params.timeout_msecs) as u32;
                    (*raw).flags = params.flags;
                    bindings::blk_mq_alloc_tag_set(raw)
                })
            }),
            _driver: PhantomData,
        })
    }
}

impl<T: MpathDriver> MpathTagSet<T> {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::blk_mq_tag_set {
        self.raw.get()
    }

    /// How many requests each queue has at most.
    #[inline]
    pub fn depth(&self) -> u32 {
        // SAFETY: By the type invariant; it does not change any more.
        unsafe { (*self.as_raw()).queue_depth }
    }

    /// How many queues there are.
    #[inline]
    pub fn queues(&self) -> u32 {
        // SAFETY: By the type invariant; it does not change any more.
        unsafe { (*self.as_raw()).nr_hw_queues }
    }
}

#[pinned_drop]
impl<T: MpathDriver> PinnedDrop for MpathTagSet<T> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. Each path that has been added with it keeps it.
        unsafe { bindings::blk_mq_free_tag_set(self.as_raw()) }
    }
}

// SAFETY: Nothing in it changes without a lock of the block layer's.
unsafe impl<T: MpathDriver> Send for MpathTagSet<T> {}
// SAFETY: As above.
unsafe impl<T: MpathDriver> Sync for MpathTagSet<T> {}
