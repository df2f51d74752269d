// SPDX-License-Identifier: GPL-2.0

//! The trace events of `rust/trace.h`. They are all where I/O is slow anyway: an event that nobody
//! records costs a call.

use crate::bindings;
use crate::pure::state::{
    HeadState,
    PathState,
    PortState, //
};
use crate::wrap::bio::Bio;
use crate::wrap::disk::{
    Disk,
    HeadDisk, //
};
use core::ptr::null_mut;
use kernel::prelude::*;

/// A head, by its disk, if it has one.
pub(super) type Head<'a> = Option<&'a HeadDisk>;

fn raw(head: Head<'_>) -> *mut bindings::gendisk {
    head.map_or(null_mut(), |disk| disk.as_raw())
}

/// The reason why a bio waits.
#[derive(Clone, Copy)]
pub(super) enum Parked {
    /// No path is usable.
    NoPath = bindings::mpath_helper_parked_MPATH_PARKED_NO_PATH as isize,
    /// A path has failed the bio, which goes on at once.
    Failover = bindings::mpath_helper_parked_MPATH_PARKED_FAILOVER as isize,
    /// The bio has failed often, and pauses.
    Pause = bindings::mpath_helper_parked_MPATH_PARKED_PAUSE as isize,
    /// There is no memory for the bio.
    Memory = bindings::mpath_helper_parked_MPATH_PARKED_MEMORY as isize,
    /// A fence has held the bio, which goes on at once.
    Fence = bindings::mpath_helper_parked_MPATH_PARKED_FENCE as isize,
}

/// Traces a bio of a head that begins to wait; `waiting` bios of the head wait then.
pub(super) fn park(head: Head<'_>, bio: &Bio, why: Parked, waiting: i32) {
    // SAFETY: Both are valid.
    unsafe {
        bindings::mpath_helper_trace_park(raw(head), bio.as_raw(), why as u32, waiting as u32)
    }
}

/// Traces the resubmission of a bio that has waited; `waiting` bios are left.
pub(super) fn resubmit(head: Head<'_>, bio: &Bio, waiting: i32) {
    // SAFETY: Both are valid.
    unsafe { bindings::mpath_helper_trace_resubmit(raw(head), bio.as_raw(), waiting as u32) }
}

/// Traces that a path has failed a bio.
///
/// # Safety
///
/// `bio` is valid.
pub(super) unsafe fn failover(
    head: Head<'_>,
    path: &Disk,
    bio: *mut bindings::bio,
    status: u8,
    is_fenced: bool,
) {
    let (head, path) = (raw(head), path.as_raw());

    // SAFETY: By this function's contract; the disks are valid.
    unsafe { bindings::mpath_helper_trace_failover(head, path, bio, status.into(), is_fenced) }
}

/// A path's state, as events have it.
fn traced(state: PathState) -> bindings::mpath_traced_state {
    bindings::mpath_traced_state {
        access: state.access_state() as u32,
        reasons: state.reasons(),
        trust: state.trust().kind(),
    }
}

/// Traces a change of a path's state from `old` to `new`, without the count of failures in a row.
pub(super) fn path_state(head: Head<'_>, path: &Disk, old: PathState, new: PathState) {
    let (head, disk) = (raw(head), path.as_raw());
    let is_same = old.reasons() == new.reasons()
        && old.access_state() == new.access_state()
        && old.trust().kind() == new.trust().kind();

    if is_same {
        return;
    }

    // SAFETY: All are valid.
    unsafe { bindings::mpath_helper_trace_path_state(head, disk, &traced(old), &traced(new)) }
}

/// Traces a change of the state of the port of this name from `old` to `new`.
pub(super) fn port_state(name: &CStr, old: PortState, new: PortState) {
    // SAFETY: The name is a string.
    unsafe { bindings::mpath_helper_trace_port_state(name.as_char_ptr(), old as u32, new as u32) }
}

/// Traces that a bio is about to be allowed to try a path that the head still leaves alone.
pub(super) fn tried_again(head: Head<'_>, path: &Disk, state: PathState) {
    let pause_msecs = state.trust().pause_msecs().unwrap_or(0);
    let (head, disk) = (raw(head), path.as_raw());

    // SAFETY: Both are valid.
    unsafe { bindings::mpath_helper_trace_retry(head, disk, pause_msecs) }
}

/// Traces a change of a head's state from `old` to `new`.
pub(super) fn head_state(head: Head<'_>, old: HeadState, new: HeadState) {
    // SAFETY: The disk is null or valid.
    unsafe { bindings::mpath_helper_trace_head_state(raw(head), old as u32, new as u32) }
}
