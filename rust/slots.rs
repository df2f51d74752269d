// SPDX-License-Identifier: GPL-2.0

//! The slots in which a head remembers its choices.
//!
//! A slot is a hint: whoever reads it looks at the path's state before using it. Readers fill
//! slots, so a path must be made unusable, and a grace period pass, before its slots are cleared
//! for good.

use core::ptr::null_mut;

use crate::state::{
    AtomicPathState,
    Reasons, //
};
use crate::sync::AtomicPtr;

/// Clears the slots that name `path`. Returns whether there was one. Any context.
pub fn forget<T>(slots: &[AtomicPtr<T>], path: &T) -> bool {
    let path = core::ptr::from_ref(path).cast_mut();
    let mut changed = false;

    for slot in slots {
        changed |= slot.load() == path && slot.cmpxchg(path, null_mut()).is_ok();
    }
    changed
}

/// Clears all slots. Any context.
pub fn forget_all<T>(slots: &[AtomicPtr<T>]) {
    for slot in slots {
        slot.store(null_mut());
    }
}

/// Makes sure that a path, whose state is `state`, is not chosen any more, and that no slot will
/// ever name it again.
pub fn quiesce<T>(
    slots: &[AtomicPtr<T>],
    path: &T,
    state: &AtomicPathState,
    grace_period: impl FnOnce(),
) {
    state.update(|state| state.disabled(Reasons::REMOVING));
    // Whoever saw the path usable has put it into a slot by the end of this.
    grace_period();
    forget(slots, path);
}
