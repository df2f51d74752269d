// SPDX-License-Identifier: GPL-2.0

//! References to a head, and its end.
//!
//! The driver, every opener of the disk, an armed removal timer and a scheduled partition scan hold
//! references. Dropping the last one stops the works, ends parked bios, releases the disk, tells
//! the driver, and frees the memory. That may sleep, and waits for nobody outside the kernel.

use super::head::MpathHead;
use super::misuse::misuse;
use super::registry;
use crate::pure::state::HeadState;
use core::ptr::NonNull;
use kernel::sync::aref::{
    ARef,
    AlwaysRefCounted, //
};
use kernel::sync::atomic::Relaxed;
use kernel::sync::SetOnce;

impl MpathHead {
    /// The number of references, and the number of those that are the driver's.
    pub(super) fn references(&self) -> (u32, u32) {
        (self.refs.count(), self.of_driver.load(Relaxed))
    }

    /// Takes one more reference, unless the last one has gone.
    pub(crate) fn tryget(&self) -> Option<ARef<Self>> {
        self.refs.try_inc().then(|| {
            // SAFETY: The increment is ours to give away.
            unsafe { ARef::from_raw(NonNull::from(self)) }
        })
    }

    /// Takes one more reference, which is the driver's.
    pub(crate) fn get_for_driver(&self) {
        if !self.tryget_for_driver() {
            misuse("a reference to a head is taken after the last one was dropped");
        }
    }

    /// Takes one more reference, which is the driver's, unless the last one has gone.
    pub(crate) fn tryget_for_driver(&self) -> bool {
        let head = self.tryget().map(ARef::into_raw);

        if head.is_some() {
            self.of_driver.fetch_add(1, Relaxed);
        }
        head.is_some()
    }

    /// Drops a reference of the driver's, if it has one. Sleeps.
    ///
    /// # Safety
    ///
    /// `head` is valid, and the caller does not use it afterwards.
    pub(crate) unsafe fn put_for_driver(head: NonNull<Self>) {
        // SAFETY: By this function's contract.
        let this = unsafe { head.as_ref() };
        let mut held = this.of_driver.load(Relaxed);

        loop {
            if held == 0 {
                return misuse("a reference to a head is dropped that the driver does not have");
            }
            if held == 1 && !this.may_be_left() {
                return;
            }
            match this.of_driver.cmpxchg(held, held - 1, Relaxed) {
                Ok(_) => break,
                Err(current) => held = current,
            }
        }
        // SAFETY: It was the driver's to drop.
        drop(unsafe { ARef::from_raw(head) });
    }

    /// May the driver drop its last reference? Does the steps that the driver has left out before.
    fn may_be_left(&self) -> bool {
        if !self.may_wait() {
            return false;
        }
        let (paths, is_gone) = {
            let control = self.control.lock();
            let state = self.word.load().state();

            // An armed timer has a reference of its own, and sees to the removal.
            let is_gone = matches!(state, HeadState::New | HeadState::Dead);
            (control.paths, is_gone || control.removal.is_under_way())
        };

        if paths > 0 {
            misuse("the last reference to a head that has paths is dropped: it is kept");
        } else if !is_gone {
            misuse(
                "the last reference to a head is dropped before mpath_remove_head(), \
                 which is done now",
            );
            self.remove_anyway();
        }
        paths == 0
    }

    /// Ends the head: nobody has a reference any more.
    fn finish(&self) {
        // No reader of the file is left after this.
        self.busy.file.remove();
        registry::remove(self);
        self.group().leave(self);
        self.busy.retry.cancel_and_wait();
        self.busy.requeue.cancel();
        // Dropping the bios fails them.
        drop(self.busy.list.take());
    }
}

// SAFETY: Nobody frees a head that has references.
unsafe impl AlwaysRefCounted for MpathHead {
    fn inc_ref(&self) {
        self.refs.inc();
    }

    unsafe fn dec_ref(head: NonNull<Self>) {
        // SAFETY: The caller has a reference.
        let this = unsafe { head.as_ref() };

        if !this.refs.dec_and_test() {
            return;
        }
        this.finish();

        let ops = this.ops;
        let map = this.current_path.map();

        // SAFETY: Nobody has a reference. The disk goes first, since its release looks at nothing
        // of the head's. Then comes the driver's callback, then the memory goes.
        unsafe {
            let old = this.word.load().state();
            this.word.advance(HeadState::Dead);
            this.has_changed(old);
            this.raw_disk.store(core::ptr::null_mut(), Relaxed);
            core::ptr::drop_in_place(&raw mut (*head.as_ptr()).disk);
            (&raw mut (*head.as_ptr()).disk).write(SetOnce::new());
            ops.release(head.as_ref());
            core::ptr::drop_in_place(head.as_ptr());
            Self::free(head, map);
        }
    }
}
