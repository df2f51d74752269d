// SPDX-License-Identifier: GPL-2.0

//! The steps by which a path leaves its head.
//!
//! First the path becomes unusable, and the head counts that: a reader that chooses a path from
//! then on does not find it. A bio of a reader that found it before arrives before the driver stops
//! the path. Then the path leaves the list, and a grace period passes, so that no reader walks over
//! it or stands on it any more. Its link goes last, when no task that links paths can see it. After
//! that its memory is the driver's.

use crate::pure::removal::{
    self,
    Controlled, //
};
use crate::pure::shortlist::{
    change,
    Generation, //
};
use crate::pure::state::{
    AtomicPathState,
    PathState,
    Reasons, //
};

/// A head whose paths can leave.
pub trait Departure: Controlled {
    /// May the caller wait for readers? If not, this warns.
    fn may_wait(&self) -> bool;

    /// The state of a path.
    fn state(path: &Self::Path) -> &AtomicPathState;

    /// The changes that the head's shortlist follows.
    fn generation(&self) -> &Generation;

    /// Notes that a path whose state was `old` has become unusable.
    fn note_quiesced(_path: &Self::Path, _old: PathState) {}

    /// Takes a path off the list, under the `control` mutex. Returns false, with a warning, if it
    /// is on none.
    fn unlist(&self, path: &Self::Path) -> bool;

    /// Warns that a path leaves the list before it has become unusable.
    fn tell_not_quiesced(&self);

    /// Called when a path has left the list, and others are left.
    fn others_are_left(&self);

    /// Waits until bios on their way to paths have arrived.
    fn synchronize_submitters(&self);

    /// Removes a path's link, if it has one.
    fn unlink(&self, path: &Self::Path);
}

/// Makes a path unusable. Sleeps.
///
/// Returns false, and has done nothing, where it would have to wait for readers and must not.
pub fn quiesce<H: Departure>(head: &H, path: &H::Path) -> bool {
    let may_wait = head.may_wait();

    if may_wait {
        let old = change(H::state(path), head.generation(), |state| {
            state.disabled(Reasons::REMOVING)
        });

        H::note_quiesced(path, old);
    }
    may_wait
}

/// Takes a path off the list. Returns whether the head has none left. Sleeps.
pub fn delete<H: Departure>(head: &H, path: &H::Path) -> bool {
    if H::is_listed(path) && !H::state(path).load().is_removing() {
        head.tell_not_quiesced();
        if !quiesce(head, path) {
            return false;
        }
    }

    let is_empty = removal::delete_path(head, head.generation(), || head.unlist(path));

    if !is_empty {
        head.others_are_left();
    }
    is_empty
}

/// Takes all steps. Calls `stop` when no bio comes to the path any more. Returns false, and has
/// done nothing, where [`quiesce`] does. Sleeps.
pub fn take_apart<H: Departure>(head: &H, path: &H::Path, stop: impl FnOnce()) -> bool {
    let is_quiet = quiesce(head, path);

    if is_quiet {
        head.synchronize_submitters();
        stop();
        delete(head, path);
        head.grace_period();
        head.unlink(path);
    }
    is_quiet
}
