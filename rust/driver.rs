// SPDX-License-Identifier: GPL-2.0

//! The Rust face: multipath for a block driver that is written in Rust.
//!
//! A driver implements [`MpathDriver`], whose [`MpathDriver::submit`] carries a bio out on a path.
//! A driver whose paths take requests implements [`MpathRequestDriver`] as well, whose
//! [`MpathRequestDriver::queue_rq`] carries a request out. The driver
//!
//! 1. makes an [`MpathIoPolicy`] for its heads to share, and an [`MpathPort`] for every controller;
//! 2. makes an [`MpathHead`] for every piece of storage, with the parameters of its disk;
//! 3. adds a path to it with [`MpathHead::add_path`] or [`MpathHead::add_request_path`], and says
//!    with [`Registration::set_live`] how the path reaches the storage: the first live path brings
//!    the head's disk up;
//! 4. reports changes of paths ([`MpathDevice::set_access_state`], [`MpathDevice::disable`]) and of
//!    ports ([`MpathPort::set_state`]), and gives bios and requests that failed for a reason of the
//!    path back with [`MpathBio::failover`] or [`MpathRequest::failover`];
//! 5. drops the [`Registration`]: the path goes, and with the last path the head.
//!
//! An easy mistake does not compile, or is a defined error:
//!
//! - A bio, or a request, knows the path that it came to, so no driver can fail it over on another.
//!   It ends once: by a method that consumes it, or with an I/O error when it is dropped. A flush
//!   has a type of its own: the `end()` of a request with data does not end it.
//! - A path belongs to the head that made it, and holds a reference to it. It goes live once:
//!   [`Registration::set_live`] consumes the registration of a path that was not live. The owner of
//!   the [`Registration`] decides when the path goes. All others borrow the path, or come to it by
//!   a bio, for which a path that goes waits. So nobody has a path that is gone, and nobody can
//!   forget to synchronize. Dropping a registration where the path cannot go leaves the path on its
//!   head, with a warning.
//! - Methods that may sleep are those of the registration, the head or the policy. Callbacks and
//!   interrupts have a path or a bio, by which they reach only methods for any context: of the head
//!   these are [`AnyContextHead`]'s. The kernel reports a registration, or the last reference to a
//!   head, that a driver drops in atomic context all the same.
//! - Adding a path to a head that is being removed fails with `ENXIO`, and a policy that is not
//!   supported with `EINVAL`.
//!
//! Each path has a hidden disk of its own, to which only its head can send a bio.
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
//! The engine is not generic. The compiler inlines everything here into the driver, where it calls
//! the functions of `include/linux/multipath.h` and helpers beside them. This module exports both.
//! A driver is built with `--extern libmultipath`; see `samples/Kbuild`.

mod attributes;
mod disk_params;
mod lower;
mod mpath_bio;
mod mpath_device;
mod mpath_fence;
mod mpath_head;
mod mpath_iopolicy;
mod mpath_port;
mod mpath_request;
mod mpath_request_driver;
mod operations;
mod queue;
mod registration;
mod shims;
mod table;
mod tags;
mod zones;

#[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
#[path = "../tests/kunit/face/main.rs"]
mod tests;

pub use disk_params::DiskParams;
pub use lower::LowerDevice;
pub use mpath_bio::{
    BioOp,
    Fill,
    MpathBio,
    Segment,
    Segments,
    Store, //
};
pub use mpath_device::{
    DisableReason,
    MpathDevice, //
};
pub use mpath_fence::MpathFence;
pub use mpath_head::{
    AnyContextHead,
    MpathHead, //
};
pub use mpath_iopolicy::MpathIoPolicy;
pub use mpath_port::MpathPort;
pub use mpath_request::{
    AnyRequest,
    Data,
    Flush,
    MpathBatch,
    MpathFlush,
    MpathRequest, //
};
pub use mpath_request_driver::{
    MpathRequestDriver,
    Timeout, //
};
pub use operations::{
    HeldReservation,
    Ioctl,
    RegisteredKeys,
    Reservation,
    ReservationKind,
    ReservationStatus, //
};
pub use queue::MpathBioQueue;
pub use registration::{
    Added,
    Live,
    Registration, //
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

/// A block driver. Its paths take bios, or, if it implements [`MpathRequestDriver`] as well,
/// requests.
///
/// Implement it with `#[vtable]`, which also names the driver's module. The module stays in memory
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
    /// The driver's data of a head: [`AnyContextHead::data`]. Dropped with the last reference to
    /// the head, in a context that may sleep. When the last closer of the head's disk drops it,
    /// that closer holds the disk's `open_mutex`: open, close and delete disks elsewhere.
    type HeadData: Send + Sync;

    /// The driver's data of a path: [`MpathDevice::data`]. Dropping the path's [`Registration`]
    /// drops it.
    type PathData: Send + Sync;

    /// How often a bio may fail over for each path of its head. A bio that has failed more often
    /// ends with an error, so that a bio that no path can carry out ends. Failures on a path that
    /// is [disabled](MpathDevice::disable), or whose port takes no I/O, do not count. 0 stands for
    /// the default.
    const MAX_FAILOVERS: u32 = bindings::MPATH_MAX_FAILOVERS;

    /// Has each head's disk the attributes `iopolicy` and `delayed_removal_secs` in sysfs?
    /// `iopolicy` is the policy of all heads that follow the same [`MpathIoPolicy`]. Both are those
    /// of the same name that NVMe has, so that its users find them. A driver that has other places
    /// for them, or for the policy that heads share, says no.
    const ATTRIBUTES: bool = false;

    /// Carries out a bio that the head has sent to `path`. The driver ends it now or later, in any
    /// context: by [`MpathBio::end`], [`MpathBio::fail`] or [`MpathBio::failover`]. The bio is
    /// within the limits of the head's disk.
    ///
    /// Process context; may sleep, unless [`MpathBio::is_nowait`], but not until I/O ends. A bio
    /// that the driver or an allocation submits here is on its way only when `submit()` has
    /// returned. So `submit()` waits for none, and allocates with `GFP_NOWAIT` or from a mempool.
    ///
    /// Required of drivers that call [`MpathHead::add_path`]. Drivers whose paths take requests
    /// have [`MpathRequestDriver::queue_rq`] instead.
    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        let _ = path;
        bio.fail(Failure::NotSupported);
    }

    /// Stops `path`: the head sends it no more bios. The driver ends those that it still has soon,
    /// or fails them over: the drop of the path's [`Registration`] is about to wait for them. The
    /// block layer may still give a path that takes requests those that have waited in its queue.
    ///
    /// Process context, may sleep. Optional: by default it does nothing.
    fn stop(path: &MpathDevice<Self>) {
        let _ = path;
    }

    /// Takes `head` off the list where the driver looks heads up. The head has lost its last path
    /// for good, at once or after the removal delay: nobody can add a path to it any more. The
    /// library deletes its disk afterwards. Called at most once for each head.
    ///
    /// Process context, may sleep. Optional: by default it does nothing.
    fn unlink(head: &MpathHead<Self>) {
        let _ = head;
    }

    /// Tells users of the head's disk the storage's identifier, as `path` knows it. Returns how
    /// many of the 16 bytes are the identifier, or an error when there is none of this kind.
    ///
    /// Process context, inside a read-side section of the head. May sleep, but must not drop a
    /// [`Registration`] of the same head: the drop would leave the path on its head. Optional: by
    /// default there is no identifier.
    fn unique_id(path: &MpathDevice<Self>, kind: IdKind, id: &mut [u8; 16]) -> Result<usize> {
        let _ = (path, kind, id);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Carries out an ioctl of the driver's own, on the head's disk or a partition of it. The
    /// program gets the value that this returns; `ENOTTY` says that the driver does not know the
    /// ioctl.
    ///
    /// Process context of the program, inside a read-side section of the head, as
    /// [`MpathDriver::unique_id`]. While it runs no path of the head goes. Optional: by default
    /// there is no ioctl.
    fn ioctl(path: &MpathDevice<Self>, ioctl: Ioctl) -> Result<i32> {
        let _ = (path, ioctl);
        Err(ENOTTY)
    }

    /// Makes, changes or reads a persistent reservation of the storage, through `path`. It is for
    /// drivers whose storage lets a reservation hold for all paths of this host, whichever path
    /// made it; others leave it out. Returns `EOPNOTSUPP` for operations that the storage cannot
    /// do.
    ///
    /// Context: that of [`MpathDriver::ioctl`]. Optional: by default there are no reservations, and
    /// users get this answer.
    fn reservation(path: &MpathDevice<Self>, asked: Reservation<'_>) -> Result<ReservationStatus> {
        let _ = (path, asked);
        Err(EOPNOTSUPP)
    }

    /// Tells the zones of a [zoned](DiskParams::zones) disk as `path` shows them, beginning with
    /// the zone that has `sector`. Returns `EAGAIN` when it cannot tell them now.
    ///
    /// For a user of the head's disk, `path` is the one that the head would choose for a bio.
    /// [`Registration::set_live`] asks for the zones of each path as well, before the path carries
    /// I/O.
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
