// SPDX-License-Identifier: GPL-2.0

//! The items that the examples in the documentation share and do not show.

use kernel::bindings;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{
    Arc,
    Completion, //
};
use kernel::types::Opaque;
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

/// The disk of a head, opened for a path of another one by its number: an example has no file system
/// to find a name in.
pub(crate) struct Opened {
    file: *mut bindings::file,
    clones: Pin<KBox<Opaque<bindings::bio_set>>>,
}

impl Opened {
    pub(crate) fn new<T: MpathDriver>(head: &MpathHead<T>) -> Result<Self> {
        let clones = KBox::pin(Opaque::<bindings::bio_set>::zeroed(), GFP_KERNEL)?;
        let holder = clones.get();

        // SAFETY: As in `flush()`; the holder is an address that nobody else has.
        let file = from_err_ptr(unsafe {
            let disk = *core::ptr::from_ref(head).cast::<*mut bindings::gendisk>();

            bindings::bdev_file_open_by_dev(
                (*(*disk).part0).bd_dev,
                1 << 0 | 1 << 1,
                holder.cast(),
                core::ptr::null(),
            )
        })?;
        // From here on a drop gives all of it up.
        let opened = Self { file, clones };

        // SAFETY: The memory is zeroed, and stays where it is.
        to_result(unsafe { bindings::bioset_init(holder, 4, 0, 0) })?;
        Ok(opened)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: The device is open; the bio_set is initialised, or zeroed.
        unsafe {
            bindings::bdev_fput(self.file);
            bindings::bioset_exit(self.clones.get());
        }
    }
}

// SAFETY: The device is open, and the bio_set initialised, until this is dropped.
unsafe impl LowerDevice for Opened {
    fn device(&self) -> *mut bindings::block_device {
        // SAFETY: It is open.
        unsafe { bindings::file_bdev(self.file) }
    }

    fn clones(&self) -> *mut bindings::bio_set {
        self.clones.get()
    }
}

// SAFETY: Any thread may close a file and give a bio_set up.
unsafe impl Send for Opened {}
// SAFETY: What is done with them through a shared reference is for any number of threads.
unsafe impl Sync for Opened {}
