// SPDX-License-Identifier: GPL-2.0

//! A head in debugfs: the file `multipath/<disk>`, from adding its disk until its last reference
//! has gone. `docs/operating.md` says what each line means.
//!
//! ```text
//! state live
//! state_ms 81250
//! policy numa
//! ...
//! waiting 3
//! waiting_ms 1250
//! until "driver: port recovers or is given up"
//! ...
//! path nvme0c0n1
//!   usable no
//!   until "driver: port recovers or is given up"
//!   reason port 1260
//!   port nvme0
//!   port_state recovering
//! ...
//! ```
//!
//! A line is a key and its value; the lines of a path come after its name, and begin with two
//! spaces. Reading the file takes no lock, so it also tells why a head is stuck.

use super::head::MpathHead;
use super::path::MpathDevice;
use super::record::{
    msecs,
    Timed, //
};
use super::registry;
use crate::pure::policy::Path;
use crate::pure::state::{
    Access,
    AccessState,
    PathState,
    Reasons, //
};
use crate::pure::trust::Trust;
use crate::pure::waiting::{
    self,
    Ender, //
};
use crate::wrap::alone::Alone;
use crate::wrap::debugfs::Entry;
use crate::wrap::disk::Disk;
use crate::wrap::work::now;
use kernel::fmt;
use kernel::fmt::Write;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::atomic::Relaxed;

/// The directory, from the first file until [`destroy`].
static DIRECTORY: Entry = Entry::new();
/// Held by a caller that makes the directory, or a file in it.
static MAKER: Alone = Alone::new();

/// The end of a wait for a fence.
const FENCE_OPENS: &str = "the lost controller cannot carry them out any more";

/// Removes the directory. Sleeps.
///
/// No head is left, and nobody makes one any more.
pub(crate) fn destroy() {
    DIRECTORY.remove();
}

impl MpathHead {
    /// Makes the head's file, if there is debugfs and memory for it. Sleeps.
    pub(crate) fn show_in_debugfs(&self) {
        let Some(disk) = self.disk() else {
            return;
        };

        MAKER.run(|| {
            if !DIRECTORY.is_made() {
                DIRECTORY.make_directory(c"multipath");
            }
            // A head that was removed while a user had it open may still have the name.
            let is_taken = registry::any(|other| {
                other.busy.file.is_made() && other.disk().is_some_and(|of| of.name() == disk.name())
            });
            let name = match is_taken {
                false => CString::try_from(disk.name()).ok(),
                true => CString::try_from_fmt(fmt!("{}.{}", name_of(disk), self.number)).ok(),
            };

            if let Some(name) = name {
                // SAFETY: The last reference removes the file before the head goes.
                unsafe { self.busy.file.make_file(&DIRECTORY, &name, self) }
            }
        });
    }
}

impl fmt::Display for MpathHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = self.read();
        let usable = section.iter().filter(|path| is_usable(path)).count();

        self.show_life(f)?;
        writeln!(f, "policy {}", self.group().policy().name())?;
        writeln!(f, "paths {}", section.iter().count())?;
        writeln!(f, "usable {usable}")?;
        self.show_shortlist(f)?;
        self.show_timers(f)?;
        self.show_waiting(f)?;
        self.show_counts(f)?;
        for path in section.iter() {
            show_path(path, f)?;
        }
        Ok(())
    }
}

impl MpathHead {
    fn show_life(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (references, of_driver) = self.references();

        writeln!(f, "state {}", self.word.load().state().name())?;
        writeln!(f, "state_ms {}", self.times.msecs())?;
        writeln!(f, "references {references}")?;
        writeln!(f, "references_of_driver {of_driver}")?;
        writeln!(
            f,
            "openers {}",
            self.disk().map_or(0, |disk| disk.openers())
        )
    }

    /// Shows the paths that bios go to. The next bio makes a list anew that is out of date.
    fn show_shortlist(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = self.read();
        let current = section.inside().current();
        let Some((_, paths)) = current else {
            return writeln!(f, "shortlist out-of-date");
        };

        f.write_str("shortlist")?;
        if paths.clone().next().is_none() {
            f.write_str(" -")?;
        }
        for path in paths {
            write!(f, " {}", name_of(path.disk()))?;
        }
        f.write_char('\n')
    }

    fn show_timers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (retry, removal) = (self.busy.alarm.next(), self.times.msecs_to_removal());

        writeln!(f, "delayed_removal_secs {}", self.busy.record.delay_secs())?;
        match removal {
            Some(_) => writeln!(f, "removal_timer armed")?,
            None if self.times.is_asked_for() => writeln!(f, "removal_timer expired")?,
            None => writeln!(f, "removal_timer idle")?,
        }
        if let Some(msecs) = removal {
            writeln!(f, "removal_in_ms {msecs}")?;
        }
        writeln!(
            f,
            "retry_timer {}",
            if retry.is_some() { "armed" } else { "idle" }
        )?;
        if let Some(at) = retry {
            writeln!(f, "retry_in_ms {}", msecs(at.saturating_sub(now())))?;
        }
        Ok(())
    }

    fn show_waiting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.busy.waiting.load(Relaxed).max(0);
        let (fenced, msecs_fenced) = self.busy.record.fenced();

        writeln!(f, "waiting {waiting}")?;
        if waiting > 0 {
            let ticks = now().saturating_sub(self.busy.waiting_since.load(Relaxed));

            writeln!(f, "waiting_ms {}", msecs(ticks))?;
            writeln!(f, "until \"{}\"", self.ender().name())?;
        }
        writeln!(f, "fenced {fenced}")?;
        if fenced > 0 {
            writeln!(f, "fenced_ms {msecs_fenced}")?;
            writeln!(f, "fenced_until \"fence: {FENCE_OPENS}\"")?;
        }
        Ok(())
    }

    /// The actor that ends the wait of bios in the list. One that was kicked comes before those
    /// that have yet to act.
    fn ender(&self) -> Ender {
        let section = self.read();
        let enders = || section.iter().map(ender_of);

        match waiting::of_head(self.word.load(), enders()) {
            // With a path to use, a bio waits for its turn, for memory, or since it has failed.
            Some(_) if enders().any(|ender| ender == Some(Ender::Requeue)) => {
                match self.busy.alarm.next() {
                    Some(_) => Ender::Retry,
                    None => Ender::Requeue,
                }
            }
            Some(ender) => ender,
            // The bios are about to fail.
            None => Ender::Requeue,
        }
    }

    fn show_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "parked {}", self.busy.requeued.load(Relaxed))?;
        writeln!(f, "failed {}", self.busy.failed.load(Relaxed))?;
        writeln!(f, "failovers {}", self.busy.record.failovers())
    }
}

fn name_of(disk: &Disk) -> &str {
    disk.name().to_str().unwrap_or("?")
}

fn is_usable(path: &MpathDevice) -> bool {
    path.access() != Access::Unusable
}

fn ender_of(path: &MpathDevice) -> Option<Ender> {
    waiting::of_path(path.state().load(), path.port().state())
}

fn show_path(path: &MpathDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let state = path.state().load();

    writeln!(f, "path {}", name_of(path.disk()))?;
    match is_usable(path) {
        true => writeln!(f, "  usable yes")?,
        false => show_why_not(path, state, f)?,
    }
    show_where(path, f)?;
    show_state(path, state, f)?;
    show_carried(path, f)
}

/// Shows every reason not to use a path, and for how many milliseconds it has been there.
fn show_why_not(path: &MpathDevice, state: PathState, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let record = path.record();

    writeln!(f, "  usable no")?;
    match ender_of(path) {
        Some(ender) => writeln!(f, "  until \"{}\"", ender.name())?,
        None => writeln!(f, "  until never")?,
    }
    if !path.port().state().takes_io() {
        writeln!(f, "  reason port {}", path.port().msecs())?;
    }
    for (index, (reason, name)) in Reasons::EACH.iter().enumerate() {
        if state.has(*reason) {
            writeln!(f, "  reason {name} {}", record.msecs_of_reason(index))?;
        }
    }
    if state.access_state() == AccessState::Other {
        writeln!(f, "  reason access {}", record.msecs_of(Timed::Access))?;
    }
    Ok(())
}

fn show_where(path: &MpathDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let port = path.port();

    match path.node() {
        node if node < 0 => writeln!(f, "  node -")?,
        node => writeln!(f, "  node {node}")?,
    }
    writeln!(f, "  port {}", port.name().to_str().unwrap_or("?"))?;
    writeln!(f, "  port_state {}", port.state().name())?;
    writeln!(f, "  port_state_ms {}", port.msecs())?;
    writeln!(f, "  port_in_flight {}", port.in_flight())
}

fn show_state(path: &MpathDevice, state: PathState, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let record = path.record();

    writeln!(f, "  access {}", state.access_state().name())?;
    writeln!(f, "  access_ms {}", record.msecs_of(Timed::Access))?;
    writeln!(f, "  trust {}", state.trust().name())?;
    writeln!(f, "  trust_ms {}", record.msecs_of(Timed::Trust))?;
    if let Trust::Suspected { failures, .. } = state.trust() {
        writeln!(f, "  failures_in_a_row {}", u32::from(failures) + 1)?;
    }
    if let Some(at) = path.pause_ends() {
        writeln!(f, "  tried_in_ms {}", msecs(at.saturating_sub(now())))?;
    }
    writeln!(f, "  failures {}", record.failures.load(Relaxed))?;
    if let Some(msecs) = record.msecs_since_failure() {
        writeln!(f, "  failed_ms_ago {msecs}")?;
    }
    writeln!(f, "  failovers {}", record.failovers.load(Relaxed))?;
    writeln!(f, "  pauses {}", record.rests.load(Relaxed))
}

/// Shows the block layer's counts of the path's disk.
fn show_carried(path: &MpathDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let disk = path.disk();
    let carried = disk.carried();

    writeln!(f, "  in_flight {}", disk.in_flight())?;
    writeln!(f, "  reads {}", carried.reads)?;
    writeln!(f, "  read_sectors {}", carried.read_sectors)?;
    writeln!(f, "  writes {}", carried.writes)?;
    writeln!(f, "  written_sectors {}", carried.written_sectors)?;
    writeln!(f, "  discards {}", carried.discards)?;
    writeln!(f, "  flushes {}", carried.flushes)
}
