// SPDX-License-Identifier: GPL-2.0

//! The trace events of `rust/trace.h`. They are all where I/O is slow anyway: one that nobody
//! records costs a call.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::bindings;
use crate::pure::state::{
    HeadState,
    PathState,
    PortState, //
};
use crate::wrap::bio::Bio;
use core::ptr::null_mut;
use kernel::prelude::*;

/// Why a bio waits.
#[derive(Clone, Copy)]
pub(super) enum Parked {
    /// No path is usable.
    NoPath = bindings::mpath_helper_parked_MPATH_PARKED_NO_PATH as isize,
    /// A path has failed it, and it goes on at once.
    Failover = bindings::mpath_helper_parked_MPATH_PARKED_FAILOVER as isize,
    /// It has failed often, and pauses.
    Pause = bindings::mpath_helper_parked_MPATH_PARKED_PAUSE as isize,
    /// There is no memory for it.
    Memory = bindings::mpath_helper_parked_MPATH_PARKED_MEMORY as isize,
    /// A fence has held it, and it goes on at once.
    Fence = bindings::mpath_helper_parked_MPATH_PARKED_FENCE as isize,
}

fn disk_of(head: &MpathHead) -> *mut bindings::gendisk {
    head.disk().map_or(null_mut(), |disk| disk.as_raw())
}

/// A bio of a head, of which so many wait then, begins to wait.
pub(super) fn park(head: &MpathHead, bio: &Bio, why: Parked, waiting: i32) {
    // SAFETY: Both are valid.
    unsafe {
        bindings::mpath_helper_trace_park(disk_of(head), bio.as_raw(), why as u32, waiting as u32)
    }
}

/// A bio that has waited is submitted again. So many are left.
pub(super) fn resubmit(head: &MpathHead, bio: &Bio, waiting: i32) {
    // SAFETY: Both are valid.
    unsafe { bindings::mpath_helper_trace_resubmit(disk_of(head), bio.as_raw(), waiting as u32) }
}

/// A path has failed a bio.
///
/// # Safety
///
/// `bio` is valid.
pub(super) unsafe fn failover(
    path: &MpathDevice,
    bio: *mut bindings::bio,
    status: u8,
    is_fenced: bool,
) {
    let (head, path) = (disk_of(path.head()), path.disk().as_raw());

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

/// A path's state was `old` and is `new`. How often it has failed in a row is not told.
pub(super) fn path_state(path: &MpathDevice, old: PathState, new: PathState) {
    let (head, disk) = (disk_of(path.head()), path.disk().as_raw());
    let is_same = old.reasons() == new.reasons()
        && old.access_state() == new.access_state()
        && old.trust().kind() == new.trust().kind();

    if is_same {
        return;
    }

    // SAFETY: All are valid.
    unsafe { bindings::mpath_helper_trace_path_state(head, disk, &traced(old), &traced(new)) }
}

/// The state of a port of this name was `old` and is `new`.
pub(super) fn port_state(name: &CStr, old: PortState, new: PortState) {
    // SAFETY: The name is a string.
    unsafe { bindings::mpath_helper_trace_port_state(name.as_char_ptr(), old as u32, new as u32) }
}

/// A path that is left alone still is about to be tried again.
pub(super) fn tried_again(path: &MpathDevice) {
    let pause_msecs = path.state().load().trust().pause_msecs().unwrap_or(0);
    let (head, disk) = (disk_of(path.head()), path.disk().as_raw());

    // SAFETY: Both are valid.
    unsafe { bindings::mpath_helper_trace_retry(head, disk, pause_msecs) }
}

/// A head's state was `old` and is `new`.
pub(super) fn head_state(head: &MpathHead, old: HeadState, new: HeadState) {
    // SAFETY: Null, or valid.
    unsafe { bindings::mpath_helper_trace_head_state(disk_of(head), old as u32, new as u32) }
}
