// SPDX-License-Identifier: GPL-2.0

//! All heads, each with a number that no other has ever had: so that a path may name the head that it
//! was on, which may be gone by now.

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

/// A head's place among all heads.
pub(crate) struct Entry {
    number: u64,
    /// The one that was made before. Accessed by whoever is alone in [`HEADS`].
    older: Atomic<*mut MpathHead>,
}

impl Entry {
    /// Of a new head.
    pub(crate) fn new() -> Self {
        static LAST: Atomic<u64> = Atomic::new(0);

        Self {
            number: LAST.fetch_add(1, Relaxed) + 1,
            older: Atomic::new(null_mut()),
        }
    }

    /// What distinguishes the head from all others. Not 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
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
    /// The first link that leads to a head of which `is_it` says so, and that head. Alone.
    fn find(
        &self,
        is_it: impl Fn(&MpathHead) -> bool,
    ) -> Option<(&Atomic<*mut MpathHead>, &MpathHead)> {
        let mut link = &self.newest;

        loop {
            // SAFETY: A head that can be found here is not freed while somebody else is in.
            let head = unsafe { NonNull::new(link.load(Relaxed))?.as_ref() };

            if is_it(head) {
                return Some((link, head));
            }
            link = &head.busy.entry.older;
        }
    }
}

/// A head can be found from now on. Sleeps.
pub(crate) fn add(head: &MpathHead) {
    HEADS.alone.run(|| {
        head.busy
            .entry
            .older
            .store(HEADS.newest.load(Relaxed), Relaxed);
        HEADS
            .newest
            .store(core::ptr::from_ref(head).cast_mut(), Relaxed);
    });
}

/// A head cannot be found any more, and may be freed. Sleeps.
pub(crate) fn remove(head: &MpathHead) {
    HEADS.alone.run(|| {
        if let Some((link, _)) = HEADS.find(|other| core::ptr::eq(other, head)) {
            link.store(head.busy.entry.older.load(Relaxed), Relaxed);
        }
    });
}

/// Does something with the head that has a number, if it is still there. Sleeps.
pub(crate) fn with<R>(number: u64, f: impl FnOnce(&MpathHead) -> R) -> Option<R> {
    HEADS.alone.run(|| {
        HEADS
            .find(|head| head.busy.entry.number == number)
            .map(|(_, head)| f(head))
    })
}
