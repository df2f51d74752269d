// SPDX-License-Identifier: GPL-2.0

//! The Rust face: multipath for a block driver that is written in Rust.
//!
//! A driver implements [`MpathDriver`], whose [`MpathDriver::submit`] carries a bio out on a path,
//! or [`MpathRequestDriver`] as well, whose [`MpathRequestDriver::queue_rq`] carries a request out,
//! and
//!
//! 1. makes an [`MpathIoPolicy`] for what its heads share and an [`MpathPort`] for every
//!    controller;
//! 2. makes an [`MpathHead`] for every piece of storage, with the parameters of its disk;
//! 3. adds a path to it with [`MpathHead::add_path`] or [`MpathHead::add_request_path`], and says
//!    with [`Registration::set_live`] how the storage is reached through it: the first path that is
//!    live brings the head's disk up;
//! 4. says what it learns of paths ([`MpathDevice::set_access_state`], [`MpathDevice::disable`])
//!    and of ports ([`MpathPort::set_state`]), and gives what failed for a reason of the path back
//!    with [`MpathBio::failover`] or [`MpathRequest::failover`];
//! 5. drops the [`Registration`]: the path goes, and with the last path the head.
//!
//! What goes wrong easily does not compile, or is a defined error:
//!
//! - A bio, or a request, knows the path that it came to, so it cannot be failed over on another.
//!   It is ended once, by a method that consumes it, or with an I/O error when it is dropped. A
//!   flush is ended well only by who says that it is one.
//! - A path belongs to the head that made it, and holds a reference to it. It goes live once, since
//!   going live consumes what it was before. The one who has the [`Registration`] owns its being on
//!   the head; all others borrow it, or come to it by a bio, which the path waits for before it
//!   goes. So nobody has a path that is gone, and nobody can forget to synchronize. A registration
//!   that is dropped where the path cannot go leaves it where it is, with a warning.
//! - What may sleep is a method of the registration, the head or the policy. Through a path or a
//!   bio, which is what callbacks and interrupts have, only what any context may do can be reached:
//!   of the head that is [`AnyContextHead`]. Where the last reference to a head, or a registration,
//!   is dropped in atomic context all the same, the kernel says so.
//! - Adding a path to a head that is being removed is `ENXIO`; a policy that is not supported is
//!   `EINVAL`.
//!
//! Paths have disks of their own, hidden ones, to which nobody but their head can send a bio.
//!
//! # Examples
//!
//! A RAM disk behind one path. The examples of the items use its `bring_up()`.
//!
//! ```
//! use kernel::new_mutex;
//! use kernel::sync::{
//!     Arc,
//!     Mutex, //
//! };
//! use libmultipath::prelude::*;
//!
//! struct Ram;
//!
//! #[vtable]
//! impl MpathDriver for Ram {
//!     type HeadData = Mutex<KVVec<u8>>;
//!     type PathData = ();
//!
//!     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
//!         let mut ram = path.head().data().lock();
//!         let result = match bio.op() {
//!             BioOp::Read(mut it) => it.try_for_each(|part| part.fill(&ram[part.range()])),
//!             BioOp::Write(mut it) => it.try_for_each(|part| part.store(&mut ram[part.range()])),
//!             _ => Err(EOPNOTSUPP),
//!         };
//!         bio.end_with(result); // or, when the path is to blame, bio.failover()
//!     }
//! }
//!
//! /// Brings a disk over `ram` up, which goes when what is returned is dropped.
//! fn bring_up(ram: KVVec<u8>, params: DiskParams) -> Result<Registration<Ram>> {
//!     let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;
//!     let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
//!     let head = MpathHead::<Ram>::new(&policy, fmt!("mpram"), params, new_mutex!(ram))?;
//!     let path = head.add_path(&port, fmt!("mpramc0"), None, ())?;
//!
//!     path.set_live(AccessState::Optimized)
//! }
//!
//! let path = bring_up(KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?, DiskParams::new(2048))?;
//! assert!(path.head().is_live());
//! # Ok::<(), Error>(())
//! ```
//!
//! The engine is not generic: everything here is inlined into the driver and calls the functions of
//! `include/linux/multipath.h` and helpers beside them, which this module exports. A driver is
//! built with `--extern libmultipath`; see `samples/Kbuild`.

mod attributes;
mod bio;
mod device;
mod disk;
mod fence;
mod group;
mod head;
mod lower;
mod operations;
mod port;
mod queue;
mod registration;
mod request;
mod requests;
mod shims;
mod table;
mod tags;
mod zones;

#[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
#[path = "../tests/kunit/face/main.rs"]
mod tests;

pub use bio::{
    BioOp,
    Fill,
    MpathBio,
    Segment,
    Segments,
    Store, //
};
pub use device::{
    DisableReason,
    MpathDevice, //
};
pub use disk::DiskParams;
pub use fence::MpathFence;
pub use group::MpathIoPolicy;
pub use head::{
    AnyContextHead,
    MpathHead, //
};
pub use lower::LowerDevice;
pub use operations::{
    HeldReservation,
    Ioctl,
    RegisteredKeys,
    Reservation,
    ReservationKind,
    ReservationStatus, //
};
pub use port::MpathPort;
pub use queue::MpathBioQueue;
pub use registration::{
    Added,
    Live,
    Registration, //
};
pub use request::{
    AnyRequest,
    Data,
    Flush,
    MpathBatch,
    MpathFlush,
    MpathRequest, //
};
pub use requests::{
    MpathRequestDriver,
    Timeout, //
};
pub use table::{
    MpathRequestQueue,
    MpathRequestTable, //
};
pub use tags::{
    MpathTagSet,
    TagParams, //
};
pub use zones::{
    Zone,
    ZoneCondition,
    ZoneKind,
    ZoneLimits,
    ZoneReport, //
};

use crate::bindings;
use crate::compat::EOPNOTSUPP;
use crate::wrap::bio::Failure;
use kernel::error::VTABLE_DEFAULT_ERROR;
use kernel::prelude::*;

/// A block driver: one whose paths take bios, or, if it implements [`MpathRequestDriver`] as well,
/// requests.
///
/// Implement it with `#[vtable]`, which also says which module the driver is: it stays in memory
/// while a disk of its heads is open and while a removal timer is armed.
///
/// # Examples
///
/// ```
/// use kernel::sync::aref::ARef;
/// use kernel::sync::{
///     Arc,
///     Completion, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Null;
///
/// /// What is kept for a head.
/// struct Storage {
///     serial: [u8; 8],
///     unlinked: Arc<Completion>,
/// }
///
/// #[vtable]
/// impl MpathDriver for Null {
///     type HeadData = Storage;
///     type PathData = MpathBioQueue<Self>;
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         path.data().push(bio);
///         // Later, in another context:
///         path.data().take().for_each(MpathBio::end);
///     }
///
///     fn stop(path: &MpathDevice<Self>) {
///         path.data().take().for_each(MpathBio::failover);
///     }
///
///     fn unlink(head: &MpathHead<Self>) {
///         head.data().unlinked.complete_all();
///     }
///
///     fn unique_id(path: &MpathDevice<Self>, kind: IdKind, id: &mut [u8; 16]) -> Result<usize> {
///         let serial = &path.head().data().serial;
///
///         if kind != IdKind::Eui64 {
///             return Err(EINVAL);
///         }
///         id[..serial.len()].copy_from_slice(serial);
///         Ok(serial.len())
///     }
/// }
///
/// let unlinked = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let storage = Storage {
///     serial: *b"multipat",
///     unlinked: unlinked.clone(),
/// };
/// let head: ARef<MpathHead<Null>> = crate::shared::head(Ok::<_, Error>(storage))?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let path = head.add_path(&port, fmt!("mpdocc0"), None, MpathBioQueue::new())?;
///
/// drop(path.set_live(AccessState::Optimized)?);
/// unlinked.wait_for_completion();
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a multipath driver",
    note = "implement `MpathDriver` for it, with `#[vtable]` above the `impl`"
)]
#[vtable]
pub trait MpathDriver: Sized + Send + Sync + 'static {
    /// What the driver keeps for a head: [`AnyContextHead::data`]. Dropped with the last reference
    /// to the head, in a context that may sleep. When the last one who closes the head's disk drops
    /// it, the disk's `open_mutex` is held: what opens, closes or deletes disks is done elsewhere.
    type HeadData: Send + Sync;

    /// What the driver keeps for a path: [`MpathDevice::data`]. Dropped by whoever drops the path's
    /// [`Registration`].
    type PathData: Send + Sync;

    /// How often a bio may fail over for each path of its head. One that has failed more often ends
    /// with an error, so that a bio that no path can carry out ends. Failures on a path that is
    /// [disabled](MpathDevice::disable), or whose port takes no I/O, do not count. 0 stands for
    /// what it is by default.
    const MAX_FAILOVERS: u32 = bindings::MPATH_MAX_FAILOVERS;

    /// Has each head's disk the attributes `iopolicy` and `delayed_removal_secs` in sysfs? The
    /// former is the policy of all heads that follow the same. They are those of the same name that
    /// NVMe has, so that its users find them. A driver that has other places for them, or for the
    /// policy that heads share, says no.
    const ATTRIBUTES: bool = false;

    /// Carries out a bio that was sent to `path`, now or later: [`MpathBio::end`],
    /// [`MpathBio::fail`] or [`MpathBio::failover`], from any context. The bio is within the limits
    /// of the head's disk.
    ///
    /// Process context; may sleep, unless [`MpathBio::is_nowait`], but not until I/O ends: a bio that
    /// is submitted here, by this driver or to get memory, is on its way only when `submit()` has
    /// returned. So it waits for none, and allocates with `GFP_NOWAIT` or from a mempool.
    ///
    /// Required of drivers that call [`MpathHead::add_path`]. Those whose paths take requests have
    /// [`MpathRequestDriver::queue_rq`] instead.
    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        let _ = path;
        bio.fail(Failure::NotSupported);
    }

    /// No bio comes to `path` any more: those that it has not ended yet are to be ended soon, or
    /// failed over, since the one who drops the path's [`Registration`] is about to wait for them.
    /// A path that takes requests may still be given what has waited in its queue.
    ///
    /// Process context, may sleep. Optional: nothing is done.
    fn stop(path: &MpathDevice<Self>) {
        let _ = path;
    }

    /// `head` has lost its last path for good, at once or after the removal delay: no path can be
    /// added to it any more. The driver takes it off the list where it looks heads up. Its disk is
    /// deleted afterwards. Called at most once for each head.
    ///
    /// Process context, may sleep. Optional: nothing is done.
    fn unlink(head: &MpathHead<Self>) {
        let _ = head;
    }

    /// The storage's identifier as `path` tells it, for who asks the head's disk. Returns how many
    /// of the 16 bytes are the identifier, or an error when there is none of this kind.
    ///
    /// Process context, inside a read-side section of the head: may sleep, must not drop a
    /// [`Registration`] of the same head, which would not let go of the path. Optional: there is
    /// none.
    fn unique_id(path: &MpathDevice<Self>, kind: IdKind, id: &mut [u8; 16]) -> Result<usize> {
        let _ = (path, kind, id);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl of the driver's own, on the head's disk or a partition of it. What it returns is
    /// what the program gets; `ENOTTY` says that the driver does not know it.
    ///
    /// Process context of the program, inside a read-side section of the head, as
    /// [`MpathDriver::unique_id`]. While it runs no path of the head goes. Optional: there is none.
    fn ioctl(path: &MpathDevice<Self>, ioctl: Ioctl) -> Result<i32> {
        let _ = (path, ioctl);
        Err(ENOTTY)
    }

    /// A persistent reservation of the storage is asked for, changed, or asked about, through
    /// `path`. For drivers whose storage has it hold for all paths of this host, whichever it was
    /// made through; others leave it out. `EOPNOTSUPP` for what the storage cannot do.
    ///
    /// Context: that of [`MpathDriver::ioctl`]. Optional: there are none, and who asks is told so.
    fn reservation(path: &MpathDevice<Self>, asked: Reservation<'_>) -> Result<ReservationStatus> {
        let _ = (path, asked);
        Err(EOPNOTSUPP)
    }

    /// Tells the zones of a [zoned](DiskParams::zones) disk as `path` shows them, from the one on
    /// that has `sector`. `EAGAIN` when they cannot be told now.
    ///
    /// For a user of the head's disk, `path` is the one that a bio would be sent to. The zones of
    /// each path are asked for as well, before it carries I/O: [`Registration::set_live`].
    ///
    /// Process context, may sleep. Inside a read-side section of the head, as
    /// [`MpathDriver::unique_id`]. Required of drivers with zoned disks; others leave it out.
    fn report_zones(path: &MpathDevice<Self>, sector: u64, report: &mut ZoneReport<'_>) -> Result {
        let _ = (path, sector, report);
        Err(EOPNOTSUPP)
    }
}

/// Kinds of identifiers of storage, `enum blk_unique_id`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// A [`MpathDriver::unique_id`] for who has a serial number of 8 bytes.
/// fn unique_id(serial: [u8; 8], kind: IdKind, id: &mut [u8; 16]) -> Result<usize> {
///     match kind {
///         IdKind::Eui64 => id[..8].copy_from_slice(&serial),
///         IdKind::T10 | IdKind::Naa => return Err(EINVAL),
///     }
///     Ok(8)
/// }
///
/// let mut id = [0; 16];
/// assert_eq!(unique_id(*b"multipat", IdKind::Eui64, &mut id), Ok(8));
/// assert_eq!(&id[..8], b"multipat");
/// assert_eq!(unique_id(*b"multipat", IdKind::Naa, &mut id), Err(EINVAL));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IdKind {
    /// A T10 vendor identifier, `BLK_UID_T10`.
    T10 = 1,
    /// An EUI-64, 8, 12 or 16 bytes, `BLK_UID_EUI64`.
    Eui64 = 2,
    /// A name address authority identifier, `BLK_UID_NAA`.
    Naa = 3,
}
