// SPDX-License-Identifier: GPL-2.0

//! A read-side section of a head, and what can be seen and decided in it.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::bindings;
use crate::parking::{
    Kick,
    ParkingLot,
    Waiting, //
};
use crate::state::{
    HeadWord,
    PortState, //
};
use crate::submission::{
    self,
    Submission, //
};
use crate::wrap::numa;
use crate::wrap::srcu;

/// A read-side section: paths that are seen in it stay until it ends. It may sleep.
pub(crate) struct Section<'a> {
    head: &'a MpathHead,
    _guard: srcu::Guard<'a>,
}

impl MpathHead {
    /// Begins a read-side section.
    #[inline(always)]
    pub(crate) fn read(&self) -> Section<'_> {
        Section {
            head: self,
            _guard: self.srcu.read_lock(),
        }
    }
}

impl Section<'_> {
    /// The head.
    #[inline(always)]
    pub(crate) fn head(&self) -> &MpathHead {
        self.head
    }

    /// The path that a bio would be sent to now.
    #[inline(always)]
    pub(crate) fn choose(&self) -> Option<&MpathDevice> {
        let policy = self.head.group().policy();

        // SAFETY: What is chosen stays until the section ends; the list of it is of no more use.
        policy
            .choose(&self.shortlist(), numa::current())
            .map(|path| unsafe { &*core::ptr::from_ref(path) })
    }

    /// All paths, also those that are not usable, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MpathDevice> {
        // SAFETY: The section lasts for as long as `self` is borrowed.
        unsafe { self.head.paths.iter() }
    }
}

impl Submission for Section<'_> {
    type Path = MpathDevice;

    fn paths(&self) -> impl Iterator<Item = &MpathDevice> {
        self.iter()
    }

    fn word(&self) -> HeadWord {
        self.head.word.load()
    }

    fn port_of(path: &MpathDevice) -> PortState {
        path.port().state()
    }

    fn choose(&self) -> Option<&MpathDevice> {
        self.choose()
    }
}

impl Kick for Section<'_> {
    fn kick(&self) {
        self.head.kick();
    }
}

impl Waiting for Section<'_> {
    type Item = bindings::bio;

    fn lot(&self) -> &ParkingLot<bindings::bio> {
        self.head.busy.lot.as_lot()
    }

    fn is_worth_another_try(&self) -> bool {
        submission::is_worth_another_try(self)
    }
}
