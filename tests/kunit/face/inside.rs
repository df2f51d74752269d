// SPDX-License-Identifier: GPL-2.0

//! A driver without unsafe code that drops registrations where their drop would wait for itself.

#![forbid(unsafe_code)]

use crate::{
    AccessState,
    Added,
    DiskParams,
    IdKind,
    Live,
    MpathBio,
    MpathDevice,
    MpathDriver,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    Registration, //
};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{
    Arc,
    Mutex, //
};

pub(super) struct Inside;

#[vtable]
impl MpathDriver for Inside {
    /// A path, which is dropped when the head is asked for its identifier.
    type HeadData = Mutex<Option<Registration<Self>>>;
    /// Another path, which is dropped while this one goes.
    type PathData = Mutex<Option<Registration<Self>>>;

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.end();
    }

    fn stop(path: &MpathDevice<Self>) {
        let other = path.data().lock().take();

        drop(other);
    }

    fn unique_id(path: &MpathDevice<Self>, _kind: IdKind, _id: &mut [u8; 16]) -> Result<usize> {
        let kept = path.head().data().lock().take();

        drop(kept);
        Ok(0)
    }
}

impl Inside {
    pub(super) fn head(policy: &Arc<MpathIoPolicy>) -> Result<ARef<MpathHead<Self>>> {
        MpathHead::new(
            policy,
            fmt!("mpinside"),
            DiskParams::new(2048),
            new_mutex!(None),
        )
    }

    pub(super) fn add(
        head: &MpathHead<Self>,
        port: &Arc<MpathPort>,
        number: u32,
    ) -> Result<Registration<Self, Added>> {
        head.add_path(port, fmt!("mpinsidec{number}"), None, new_mutex!(None))
    }

    pub(super) fn path(
        head: &MpathHead<Self>,
        port: &Arc<MpathPort>,
        number: u32,
    ) -> Result<Registration<Self, Live>> {
        Self::add(head, port, number)?.set_live(AccessState::Optimized)
    }

    /// Drops a path inside a read-side section of its head.
    pub(super) fn drop_in_section<S>(
        head: &MpathHead<Self>,
        path: Registration<Self, S>,
    ) -> Result {
        head.on_path(move |_| drop(path))
    }

    /// Tries to have a path go live inside a read-side section of its head.
    pub(super) fn set_live_in_section(
        head: &MpathHead<Self>,
        path: Registration<Self, Added>,
    ) -> Result {
        head.on_path(move |_| path.set_live(AccessState::Optimized).map(drop))?
    }
}
