// SPDX-License-Identifier: GPL-2.0

//! A read-side section of a head, and what can be seen and decided in it.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::bindings;
use crate::nodes::Node;
use crate::parking::{
    Kick,
    ParkingLot,
    Waiting, //
};
use crate::policy::Paths;
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
    /// The path that a bio would be sent to now.
    #[inline(always)]
    pub(crate) fn choose(&self) -> Option<&MpathDevice> {
        self.head.group().policy().choose(self, numa::current())
    }

    /// Chooses afresh for every online node.
    pub(crate) fn elect_everywhere(&self) {
        let policy = self.head.group().policy();

        for node in numa::online() {
            policy.elect(self, node);
        }
    }

    /// Does `path` serve `node`?
    pub(crate) fn serves(&self, path: &MpathDevice, node: Node) -> bool {
        self.cached(node)
            .is_some_and(|cached| core::ptr::eq(cached, path))
    }
}

impl Paths for Section<'_> {
    type Path = MpathDevice;

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = &MpathDevice> {
        // SAFETY: The section lasts for as long as `self` is borrowed.
        unsafe { self.head.paths.iter() }
    }

    #[inline(always)]
    fn iter_after<'a>(&'a self, path: &'a MpathDevice) -> impl Iterator<Item = &'a MpathDevice> {
        // SAFETY: As above; a path that is seen in the section was on the list when it began.
        unsafe { self.head.paths.iter_after(path) }
    }

    #[inline(always)]
    fn cached(&self, node: Node) -> Option<&MpathDevice> {
        // SAFETY: A path in a slot is on the list, or was when the section began: its slots are
        // cleared before the grace period that its memory waits for.
        unsafe { self.head.current_path.slot(node).load().as_ref() }
    }

    #[inline(always)]
    fn cache(&self, node: Node, path: &MpathDevice) {
        self.head
            .current_path
            .slot(node)
            .store(core::ptr::from_ref(path).cast_mut());
    }
}

impl Submission for Section<'_> {
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
