// SPDX-License-Identifier: GPL-2.0

//! The items that the examples in the documentation share and do not show.

use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{
    Arc,
    Completion, //
};
use libmultipath::prelude::*;

/// A head of `T` called mpdoc, without paths, whose data is what `data` makes.
pub(crate) fn head<T, E>(data: impl PinInit<T::HeadData, E>) -> Result<ARef<MpathHead<T>>>
where
    T: MpathDriver,
    Error: From<E>,
{
    MpathHead::new(&policy()?, fmt!("mpdoc"), DiskParams::new(2048), data)
}

fn policy() -> Result<Arc<MpathIoPolicy>> {
    Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)
}

/// A path to `head`, of the same name and `c0`, that has not been live.
pub(crate) fn add_path<T: MpathDriver<PathData = ()>>(
    head: &MpathHead<T>,
) -> Result<Registration<T, Added>> {
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;

    head.add_path(&port, fmt!("mpdocc0"), None, ())
}

/// Brings a disk up, and takes it away once its driver has carried out a bio and completed the
/// head's data. The kernel reads first, since it looks for partitions.
pub(crate) fn carry_a_bio_out<T>() -> Result
where
    T: MpathDriver<HeadData = Completion, PathData = ()>,
{
    let head = head::<T, _>(Completion::new())?;
    let _path = add_path(&head)?.set_live(AccessState::Optimized)?;

    head.data().wait_for_completion();
    Ok(())
}

/// A driver whose paths take requests, for examples that have one and do not use it.
pub(crate) struct RequestRam;

#[vtable]
impl MpathDriver for RequestRam {
    type HeadData = ();
    type PathData = ();
}

#[vtable]
impl MpathRequestDriver for RequestRam {
    type RequestData = ();

    fn queue_rq(_path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
        rq.end();
    }
}

/// Tags for it.
pub(crate) fn request_tags() -> Result<Arc<MpathTagSet<RequestRam>>> {
    Arc::pin_init(MpathTagSet::new(TagParams::new(8)), GFP_KERNEL)
}

/// As [`carry_a_bio_out`], for a driver whose paths take requests.
pub(crate) fn carry_a_request_out<T>() -> Result
where
    T: MpathRequestDriver + MpathDriver<HeadData = Completion, PathData = ()>,
{
    let head = head::<T, _>(Completion::new())?;
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
    let tags = Arc::pin_init(MpathTagSet::new(TagParams::new(16)), GFP_KERNEL)?;
    let path = head.add_request_path(&port, &tags, fmt!("mpdocc0"), None, ())?;
    let _path = path.set_live(AccessState::Optimized)?;

    head.data().wait_for_completion();
    Ok(())
}

/// Has the head's disk flushed, as fsync() does.
pub(crate) fn flush<T: MpathDriver>(head: &MpathHead<T>) -> Result {
    // SAFETY: A head is a `struct mpath_head`, which begins with its disk. The disk stays with it.
    to_result(unsafe {
        let disk = *core::ptr::from_ref(head).cast::<*mut bindings::gendisk>();

        bindings::blkdev_issue_flush((*disk).part0)
    })
}
