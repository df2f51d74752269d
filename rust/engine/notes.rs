// SPDX-License-Identifier: GPL-2.0

//! The moments at which paths, ports and heads note what happens to them, trace it, and log it.

use super::head::MpathHead;
use super::path::{
    MpathDevice,
    MpathPort, //
};
use super::record::{
    msecs_since,
    HeadTimes,
    Record,
    Timed, //
};
use super::trace;
use crate::bindings;
use crate::pure::policy::Path;
use crate::pure::removal::Control;
use crate::pure::state::{
    Access,
    HeadState,
    PathState,
    PortState,
    Reasons, //
};
use crate::wrap::work::now;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::time::msecs_to_jiffies;

/// The time in which the library does not log again that a path fails.
const QUIET_MSECS: u32 = 60_000;

impl MpathDevice {
    /// The notes on the path.
    pub(super) fn record(&self) -> &Record {
        // SAFETY: Valid as long as `self`, with the layout of `Record`; all accesses are atomic.
        unsafe { &*(&raw const (*self.as_raw()).record).cast() }
    }

    /// Notes a change of the state from `old` to `new`, if it is one. Any context.
    #[inline(always)]
    pub(super) fn has_changed(&self, old: PathState, new: PathState) {
        if old != new {
            self.note_change(old, new);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_change(&self, old: PathState, new: PathState) {
        let now = now();
        let since = &self.record().since;
        let set = |index: usize| since[index].store(now, Relaxed);

        for (index, (reason, _)) in Reasons::EACH.iter().enumerate() {
            if old.has(*reason) != new.has(*reason) {
                set(index);
            }
        }
        if old.access_state() != new.access_state() {
            set(Timed::Access as usize);
        }
        if old.is_trusted() != new.is_trusted() {
            set(Timed::Trust as usize);
        }
        if new.has(Reasons::FAILED) && !old.has(Reasons::FAILED) {
            self.record().rests.fetch_add(1, Relaxed);
        }
        trace::path_state(self.head().disk(), self.disk(), old, new);
        self.say_if_works();
    }

    /// Notes that the path has failed I/O. Any context.
    pub(super) fn has_failed(&self) {
        if self.is_meant_for_io() {
            self.record().failed_at.store(now(), Relaxed);
            self.record().failures.fetch_add(1, Relaxed);
            self.say_that_it_fails();
        }
    }

    /// Logs once that the path fails, until it works again, and not more often than once a minute.
    /// Any context.
    fn say_that_it_fails(&self) {
        let record = self.record();
        let last = record.said_at.load(Relaxed);
        let now = now();
        let is_soon = last != 0 && now.saturating_sub(last) < msecs_to_jiffies(QUIET_MSECS) as u64;

        if is_soon || record.is_said.load(Relaxed) != 0 || record.is_said.xchg(1, Relaxed) != 0 {
            return;
        }
        let is_said = self
            .head()
            .disk()
            .is_some_and(|disk| disk.warn_path_fails(self.disk(), record.failures.load(Relaxed)));

        match is_said {
            true => record.said_at.store(now, Relaxed),
            false => record.is_said.store(0, Relaxed),
        }
    }

    /// Logs once that the path works again, after a line that it fails. Any context.
    pub(super) fn say_if_works(&self) {
        let record = self.record();
        let works = || self.access() != Access::Unusable && self.state().load().is_trusted();

        if record.is_said.load(Relaxed) != 0 && works() && record.is_said.xchg(0, Relaxed) != 0 {
            if let Some(disk) = self.head().disk() {
                disk.tell_path_works(self.disk(), record.failures.load(Relaxed));
            }
        }
    }

    /// Notes that the path has failed a bio, which goes on elsewhere, waits, or goes to a fence
    /// first. Any context.
    ///
    /// # Safety
    ///
    /// `bio` is valid.
    pub(super) unsafe fn has_given_back(
        &self,
        bio: *mut bindings::bio,
        status: u8,
        is_fenced: bool,
    ) {
        // SAFETY: By this function's contract.
        unsafe { trace::failover(self.head().disk(), self.disk(), bio, status, is_fenced) }
        self.record().failovers.fetch_add(1, Relaxed);
        self.head().busy.record.failovers.fetch_add(1, Relaxed);
    }
}

impl MpathPort {
    fn since(&self) -> &Atomic<u64> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_raw()).since) }
    }

    /// The milliseconds since the last change of the state.
    pub(super) fn msecs(&self) -> u64 {
        msecs_since(self.since().load(Relaxed))
    }

    /// Notes a change of the state from `old` to `new`. Any context.
    pub(super) fn has_changed(&self, old: PortState, new: PortState) {
        if old != new {
            self.since().store(now(), Relaxed);
            trace::port_state(self.name(), old, new);
        }
    }

    fn name_word(&self) -> &Atomic<*mut kernel::ffi::c_char> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).name).cast()) }
    }

    /// Sets the name of the port for people. Any context.
    pub(crate) fn set_name(&self, name: *const kernel::ffi::c_char) {
        self.name_word().store(name.cast_mut(), Relaxed);
    }

    /// The name of the port for people.
    pub(super) fn name(&self) -> &CStr {
        match NonNull::new(self.name_word().load(Relaxed)) {
            // SAFETY: By the header it is a string that stays while a path goes through the port.
            Some(name) => unsafe { CStr::from_char_ptr(name.as_ptr()) },
            None => c"-",
        }
    }
}

impl MpathHead {
    /// Copies the state that the `control` mutex guards, before the caller releases it. The head's
    /// state was `old`.
    pub(super) fn was_controlled(&self, old: HeadState, control: &Control) {
        let removal = &control.removal;
        let at = match removal.expires() {
            Some(at) => at,
            None if removal.is_under_way() => HeadTimes::EXPIRED,
            None => HeadTimes::NEVER,
        };

        self.busy
            .record
            .delay_secs
            .store(removal.delay_secs(), Relaxed);
        self.times.removal.store(at, Relaxed);
        self.has_changed(old);
    }

    /// Notes a change of the head's state from `old`, if it is one.
    pub(super) fn has_changed(&self, old: HeadState) {
        let new = self.word.load().state();

        if new != old {
            self.times.since.store(now(), Relaxed);
            trace::head_state(self.disk(), old, new);
        }
    }

    /// Counts a bio that a fence is about to hold. Any context.
    pub(super) fn count_fenced(&self) {
        if self.busy.record.fenced.fetch_add(1, Relaxed) == 0 {
            self.busy.record.fenced_since.store(now() as u32, Relaxed);
        }
    }

    /// Counts a bio that a fence has let go. Any context.
    pub(super) fn count_let_go(&self) {
        self.busy.record.fenced.fetch_sub(1, Relaxed);
    }
}
