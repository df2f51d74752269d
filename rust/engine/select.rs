// SPDX-License-Identifier: GPL-2.0

//! A read-side section of a head, and the questions that it can answer.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::pure::state::{
    HeadWord,
    PathState,
    PortState, //
};
use crate::pure::waiting::Submission;
use crate::wrap::srcu;

/// A read-side section: paths that its reader sees stay until it ends. It may sleep.
///
/// # Invariants
///
/// The head's SRCU domain returned `counter` when the section began.
pub(crate) struct Section<'a> {
    head: &'a MpathHead,
    counter: srcu::Counter,
}

impl Drop for Section<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the section ends once.
        unsafe { self.head.srcu.read_unlock(&self.counter) }
    }
}

impl MpathHead {
    /// Begins a read-side section.
    #[inline(always)]
    pub(crate) fn read(&self) -> Section<'_> {
        // INVARIANT: It begins here.
        Section {
            head: self,
            counter: self.srcu.read_lock(),
        }
    }
}

/// The proof that a read-side section of the head lasts for `'a`. Functions pass it on instead of
/// the section, which then need not be in memory.
#[derive(Clone, Copy)]
pub(crate) struct Inside<'a>(&'a MpathHead);

impl<'a> Inside<'a> {
    /// The head.
    #[inline(always)]
    pub(crate) fn head(self) -> &'a MpathHead {
        self.0
    }

    /// All paths, also those that are not usable, in the order in which the driver added them.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a MpathDevice> {
        // SAFETY: The section lasts for `'a`.
        unsafe { self.0.paths.iter() }
    }
}

impl Section<'_> {
    /// The proof that the section lasts for as long as it is borrowed.
    #[inline(always)]
    pub(crate) fn inside(&self) -> Inside<'_> {
        Inside(self.head)
    }

    /// The path to which the head would send a bio now.
    pub(crate) fn choose(&self) -> Option<&MpathDevice> {
        self.inside().listed().choose()
    }

    /// All paths, also those that are not usable, in the order in which the driver added them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MpathDevice> {
        self.inside().iter()
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

    fn state_of(path: &MpathDevice) -> PathState {
        path.state().load()
    }

    fn port_of(path: &MpathDevice) -> PortState {
        path.port().state()
    }

    fn choose(&self) -> Option<&MpathDevice> {
        self.choose()
    }
}
