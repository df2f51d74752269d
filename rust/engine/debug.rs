// SPDX-License-Identifier: GPL-2.0

//! A head in debugfs: the file `multipath/<disk>`, while its disk is there.
//!
//! ```text
//! state live
//! paths 2
//! path nvme0c0n1 port recovering access optimized trust trusted usable no until "driver: port ..."
//! path nvme0c1n1 port live access other trust trusted usable no until "storage: ..."
//! waiting 3
//! waiting_ms 1250
//! until "driver: port recovers or is given up"
//! ```
//!
//! A line is a key and its value; a path's line is a list of them. `until` names who ends a wait,
//! by the table in `waiting`.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::pure::policy::Path;
use crate::pure::removal::Removable;
use crate::pure::state::{
    Access,
    AccessState,
    HeadState,
    PortState, //
};
use crate::pure::trust::Trust;
use crate::pure::waiting::{
    self,
    Ender, //
};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use kernel::debugfs::{
    Dir,
    File, //
};
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::SetOnce;
use kernel::time::msecs_to_jiffies;

/// The directory, until [`destroy`].
struct Root(UnsafeCell<Option<Dir>>);

// SAFETY: Written by `destroy()` only, when nobody else uses it any more.
unsafe impl Send for Root {}
// SAFETY: As above.
unsafe impl Sync for Root {}

static ROOT: SetOnce<Root> = SetOnce::new();

/// Removes the directory.
///
/// # Safety
///
/// No head is left, and none can be made any more.
pub(crate) unsafe fn destroy() {
    if let Some(root) = ROOT.as_ref() {
        // SAFETY: By this function's contract nobody reads it.
        unsafe { (*root.0.get()).take() };
    }
}

/// A head, for as long as its file is there.
///
/// # Invariants
///
/// `0` points to a head that outlives this.
pub(crate) struct Shown(NonNull<MpathHead>);

// SAFETY: A head may be looked at from any thread.
unsafe impl Send for Shown {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for Shown {}

/// A head's file.
pub(crate) type HeadFile = Pin<KBox<File<Shown>>>;

impl MpathHead {
    /// Makes the head's file; there is none when there is no memory for it, or no debugfs. Sleeps.
    pub(crate) fn show_in_debugfs(&self) {
        let Some(disk) = self.disk() else {
            return;
        };
        if ROOT.as_ref().is_none() {
            ROOT.populate(Root(UnsafeCell::new(Some(Dir::new(c"multipath")))));
        }
        // SAFETY: `destroy()` is not called while there is a head.
        let Some(dir) = ROOT
            .as_ref()
            .and_then(|root| unsafe { &*root.0.get() }.as_ref())
        else {
            return;
        };
        // INVARIANT: The file is removed before the disk is, which the head outlives.
        let shown = Shown(NonNull::from(self));
        let file = dir.read_callback_file(disk.name(), shown, &show);

        *self.busy.file.lock() = KBox::pin_init(file, GFP_KERNEL).ok();
    }

    /// Removes the head's file, which nobody reads any more then. Sleeps.
    pub(crate) fn hide_from_debugfs(&self) {
        let file = self.busy.file.lock().take();

        drop(file);
    }
}

fn show(shown: &Shown, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // SAFETY: By the type invariant.
    let head = unsafe { shown.0.as_ref() };
    let section = head.read();
    let word = head.word.load();
    let enders = || {
        section
            .iter()
            .map(|path| waiting::of_path(path.state().load(), path.port().state()))
    };

    let state = match word.state() {
        HeadState::New => "new",
        HeadState::Live => "live",
        HeadState::Dying => "dying",
        HeadState::Dead => "dead",
    };
    writeln!(f, "state {state}")?;
    writeln!(f, "paths {}", section.iter().count())?;
    for path in section.iter() {
        show_path(path, f)?;
    }

    let count = head.busy.waiting.load(Relaxed);
    writeln!(f, "waiting {count}")?;
    if count > 0 {
        let ticks = head
            .now()
            .saturating_sub(head.busy.waiting_since.load(Relaxed));

        writeln!(
            f,
            "waiting_ms {}",
            ticks * 1000 / msecs_to_jiffies(1000) as u64
        )?;
        // Who has been kicked comes before those who have yet to do something.
        let ender = match waiting::of_head(word, enders()) {
            // With a path to use, a bio waits for its turn, for memory, or since it has failed.
            Some(_) if enders().any(|ender| ender == Some(Ender::Requeue)) => {
                match head.busy.alarm.is_set() {
                    true => Ender::Retry,
                    false => Ender::Requeue,
                }
            }
            Some(ender) => ender,
            // They are about to fail.
            None => Ender::Requeue,
        };
        writeln!(f, "until \"{}\"", ender.name())?;
    }
    Ok(())
}

fn show_path(path: &MpathDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (state, port) = (path.state().load(), path.port().state());
    let access = match state.access_state() {
        AccessState::Optimized => "optimized",
        AccessState::NonOptimized => "non-optimized",
        AccessState::Other => "other",
    };
    let trust = match state.trust() {
        Trust::Trusted => "trusted",
        Trust::Suspected { .. } => "suspected",
        Trust::Resting { .. } => "resting",
        Trust::Rested { .. } => "rested",
    };
    let port_name = match port {
        PortState::Dead => "dead",
        PortState::Recovering => "recovering",
        PortState::Draining => "draining",
        PortState::Live => "live",
    };
    let usable = path.access() != Access::Unusable;

    write!(
        f,
        "path {} port {port_name} access {access} trust {trust} usable {}",
        path.disk().name().to_str().unwrap_or("?"),
        if usable { "yes" } else { "no" },
    )?;
    match waiting::of_path(state, port) {
        Some(_) if usable => writeln!(f),
        Some(ender) => writeln!(f, " until \"{}\"", ender.name()),
        None if usable => writeln!(f),
        None => writeln!(f, " until never"),
    }
}
