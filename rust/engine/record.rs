// SPDX-License-Identifier: GPL-2.0

//! Notes on paths, ports and heads for people who ask: the time of the last change of each state,
//! and counts of events that are slow anyway.
//!
//! No code decides by them, so no order matters: a reader beside a change may see the time of the
//! change before.

use super::head::MpathHead;
use super::path::{
    MpathDevice,
    MpathPort, //
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
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::time::msecs_to_jiffies;

/// The present tick. Any context.
pub(crate) fn now() -> u64 {
    // SAFETY: Reads the clock.
    unsafe { bindings::mpath_helper_jiffies() }
}

/// A number of ticks in milliseconds.
pub(crate) fn msecs(ticks: u64) -> u64 {
    // SAFETY: Any context may call it.
    unsafe { bindings::jiffies64_to_msecs(ticks) }
}

/// The milliseconds since a tick.
pub(crate) fn msecs_since(tick: u64) -> u64 {
    msecs(now().saturating_sub(tick))
}

/// The parts of a path's state that have a time of their own, but for the reasons not to use it,
/// which come first.
#[derive(Clone, Copy)]
pub(crate) enum Timed {
    /// The access state.
    Access = Reasons::EACH.len() as isize,
    /// The head's trust.
    Trust,
}

/// The time in which the library does not log again that a path fails.
const QUIET_MSECS: u32 = 60_000;

const TIMES: usize = Timed::Trust as usize + 1;
const _: () = assert!(TIMES == bindings::MPATH_TIMES as usize);

/// The notes on a path: `struct mpath_record`.
#[repr(C)]
pub(crate) struct Record {
    since: [Atomic<u64>; TIMES],
    failed_at: Atomic<u64>,
    pub(super) failures: Atomic<u64>,
    pub(super) failovers: Atomic<u64>,
    pub(super) rests: Atomic<u64>,
    said_at: Atomic<u64>,
    /// 1 from the line in the log that the path fails to the line that it works again.
    is_said: Atomic<u32>,
}

const _: () = assert!(size_of::<Record>() == size_of::<bindings::mpath_record>());

/// The notes on a new path.
pub(super) fn of_new_path() -> bindings::mpath_record {
    bindings::mpath_record {
        since: [now(); TIMES],
        ..Default::default()
    }
}

impl Record {
    /// The milliseconds since the path got, or lost, the reason of this index in [`Reasons::EACH`].
    pub(super) fn msecs_of_reason(&self, index: usize) -> u64 {
        msecs_since(self.since[index].load(Relaxed))
    }

    /// The milliseconds since the last change of a part of the state.
    pub(super) fn msecs_of(&self, what: Timed) -> u64 {
        msecs_since(self.since[what as usize].load(Relaxed))
    }

    /// The milliseconds since the path failed I/O last, if it has.
    pub(super) fn msecs_since_failure(&self) -> Option<u64> {
        let has_failed = self.failures.load(Relaxed) > 0;

        has_failed.then(|| msecs_since(self.failed_at.load(Relaxed)))
    }
}

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
        trace::path_state(self, old, new);
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
        unsafe { trace::failover(self, bio, status, is_fenced) }
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

/// The notes on a head, in two parts that fit into free room of its cache lines.
pub(crate) struct HeadRecord {
    /// The number of bios that its paths have given back.
    failovers: Atomic<u64>,
    /// The number of bios that fences hold, and the lower half of the tick since which they have
    /// held some.
    fenced: Atomic<u32>,
    fenced_since: Atomic<u32>,
    /// A copy of the removal delay, which the `control` mutex guards: for readers that must not
    /// wait for it.
    delay_secs: Atomic<u32>,
}

/// The times of a head.
pub(crate) struct HeadTimes {
    /// The tick of the last change of the state.
    since: Atomic<u64>,
    /// The tick at which the removal timer expires, or [`HeadTimes::NEVER`] or
    /// [`HeadTimes::EXPIRED`]: a copy, as of the delay.
    removal: Atomic<u64>,
}

impl HeadRecord {
    /// The notes on a new head.
    pub(super) const fn new() -> Self {
        Self {
            failovers: Atomic::new(0),
            fenced: Atomic::new(0),
            fenced_since: Atomic::new(0),
            delay_secs: Atomic::new(0),
        }
    }

    /// The number of bios that the head's paths have given back.
    pub(super) fn failovers(&self) -> u64 {
        self.failovers.load(Relaxed)
    }

    /// The number of bios that fences hold, and the milliseconds for which they have held some.
    pub(super) fn fenced(&self) -> (u32, u64) {
        let since = self.fenced_since.load(Relaxed);
        let ticks = (now() as u32).wrapping_sub(since);

        (self.fenced.load(Relaxed), msecs(ticks.into()))
    }

    /// The removal delay in seconds.
    pub(super) fn delay_secs(&self) -> u32 {
        self.delay_secs.load(Relaxed)
    }
}

impl HeadTimes {
    const NEVER: u64 = u64::MAX;
    const EXPIRED: u64 = Self::NEVER - 1;

    /// The times of a new head.
    pub(super) fn new() -> Self {
        Self {
            since: Atomic::new(now()),
            removal: Atomic::new(Self::NEVER),
        }
    }

    /// The milliseconds since the last change of the head's state.
    pub(super) fn msecs(&self) -> u64 {
        msecs_since(self.since.load(Relaxed))
    }

    /// The milliseconds until the removal timer expires, if it is armed.
    pub(super) fn msecs_to_removal(&self) -> Option<u64> {
        let removal = self.removal.load(Relaxed);

        (removal < Self::EXPIRED).then(|| msecs(removal.saturating_sub(now())))
    }

    /// Has the removal timer expired, and is the library asking the driver to remove the head?
    pub(super) fn is_asked_for(&self) -> bool {
        self.removal.load(Relaxed) == Self::EXPIRED
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
            trace::head_state(self, old, new);
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
