// SPDX-License-Identifier: GPL-2.0

//! libmultipath: one block device over several that lead to the same storage.
//!
//! The pure modules decide ([`pure`]), the engine carries out, the faces convert. C drivers use
//! `include/linux/multipath.h`, Rust drivers the exports of this crate: see [`driver`].

mod bindings;
mod compat;
pub mod driver;
mod engine;
pub mod ffi;
#[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
#[path = "../tests/kunit/main.rs"]
mod kunit;
pub mod pure;
mod wrap;

pub use driver::{
    Added,
    AnyContextHead,
    AnyRequest,
    BioOp,
    Data,
    DisableReason,
    DiskParams,
    Fill,
    Flush,
    HeldReservation,
    IdKind,
    Ioctl,
    Live,
    LowerDevice,
    MpathBatch,
    MpathBio,
    MpathBioQueue,
    MpathDevice,
    MpathDriver,
    MpathFence,
    MpathFlush,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    MpathRequest,
    MpathRequestDriver,
    MpathRequestQueue,
    MpathRequestTable,
    MpathTagSet,
    RegisteredKeys,
    Registration,
    Reservation,
    ReservationKind,
    ReservationStatus,
    Segment,
    Segments,
    Store,
    TagParams,
    Timeout,
    Zone,
    ZoneCondition,
    ZoneKind,
    ZoneLimits,
    ZoneReport, //
};
pub use pure::policy::IoPolicy;
pub use pure::state::{
    AccessState,
    PortState, //
};
pub use wrap::bio::Failure;

/// The names that a driver uses: `use libmultipath::prelude::*`.
pub mod prelude {
    pub use crate::compat::EOPNOTSUPP;
    pub use crate::{
        AccessState,
        Added,
        AnyContextHead,
        AnyRequest,
        BioOp,
        DisableReason,
        DiskParams,
        Failure,
        Fill,
        HeldReservation,
        IdKind,
        IoPolicy,
        Ioctl,
        Live,
        LowerDevice,
        MpathBatch,
        MpathBio,
        MpathBioQueue,
        MpathDevice,
        MpathDriver,
        MpathFence,
        MpathFlush,
        MpathHead,
        MpathIoPolicy,
        MpathPort,
        MpathRequest,
        MpathRequestDriver,
        MpathRequestQueue,
        MpathRequestTable,
        MpathTagSet,
        PortState,
        RegisteredKeys,
        Registration,
        Reservation,
        ReservationKind,
        ReservationStatus,
        Segment,
        Segments,
        Store,
        TagParams,
        Timeout,
        Zone,
        ZoneCondition,
        ZoneKind,
        ZoneLimits,
        ZoneReport, //
    };
}

use kernel::prelude::*;

module! {
    type: Multipath,
    name: "libmultipath",
    authors: ["The libmultipath authors"],
    description: "Multipath library for block drivers",
    license: "GPL",
}

/// The module, which has nothing to do until a driver asks for a head.
struct Multipath;

impl kernel::Module for Multipath {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Multipath {
    fn drop(&mut self) {
        engine::debug::destroy();
        // SAFETY: Drivers have all heads, and keep this module loaded until they are gone.
        unsafe {
            wrap::work::destroy_queue();
            wrap::tasks::destroy();
            engine::head::MEMORY.destroy();
        }
    }
}
