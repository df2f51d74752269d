// SPDX-License-Identifier: GPL-2.0

//! All heads, each with a number of its own. So a path can name the head that it was on, which may
//! be gone by now.

use super::head::MpathHead;
use crate::wrap::alone::Alone;
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A number for a new head, which tells it from all others. Not 0.
pub(crate) fn number() -> u32 {
    static LAST: Atomic<u32> = Atomic::new(0);

    loop {
        let number = LAST.fetch_add(1, Relaxed).wrapping_add(1);

        // After 2^32 heads the numbers begin anew.
        if number != 0 {
            return number;
        }
    }
}

/// The head that was made before. Only a caller that holds [`HEADS`] accesses it.
#[repr(transparent)]
pub(crate) struct Older(Atomic<*mut MpathHead>);

impl Older {
    /// The link of a head that cannot be found yet.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(null_mut()))
    }
}

struct Heads {
    alone: Alone,
    newest: Atomic<*mut MpathHead>,
}

static HEADS: Heads = Heads {
    alone: Alone::new(),
    newest: Atomic::new(null_mut()),
};

impl Heads {
    /// The first link that leads to a head of which `is_it` says so, and that head. The caller
    /// holds [`HEADS`].
    fn find(
        &self,
        is_it: impl Fn(&MpathHead) -> bool,
    ) -> Option<(&Atomic<*mut MpathHead>, &MpathHead)> {
        let mut link = &self.newest;

        loop {
            // SAFETY: Nobody frees a head that can be found here while we hold the lock.
            let head = unsafe { NonNull::new(link.load(Relaxed))?.as_ref() };

            if is_it(head) {
                return Some((link, head));
            }
            link = &head.busy.older.0;
        }
    }
}

/// Lets callers find a head from now on. Sleeps.
pub(crate) fn add(head: &MpathHead) {
    HEADS.alone.run(|| {
        head.busy.older.0.store(HEADS.newest.load(Relaxed), Relaxed);
        HEADS
            .newest
            .store(core::ptr::from_ref(head).cast_mut(), Relaxed);
    });
}

/// Keeps callers from finding a head, which may be freed afterwards. Sleeps.
pub(crate) fn remove(head: &MpathHead) {
    HEADS.alone.run(|| {
        if let Some((link, _)) = HEADS.find(|other| core::ptr::eq(other, head)) {
            link.store(head.busy.older.0.load(Relaxed), Relaxed);
        }
    });
}

/// Is there a head of which `is_it` says so? Sleeps.
pub(crate) fn any(is_it: impl Fn(&MpathHead) -> bool) -> bool {
    HEADS.alone.run(|| HEADS.find(is_it).is_some())
}

/// Runs `f` with the head of a number, if it is still there. Sleeps.
pub(crate) fn with<R>(number: u32, f: impl FnOnce(&MpathHead) -> R) -> Option<R> {
    HEADS.alone.run(|| {
        HEADS
            .find(|head| head.number == number)
            .map(|(_, head)| f(head))
    })
}
