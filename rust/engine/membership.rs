// SPDX-License-Identifier: GPL-2.0

//! Adding paths to a head, deleting them, and removing a head without paths: now, or when its timer
//! expires.

use super::head::MpathHead;
use super::misuse::misuse;
use super::ops::Ops;
use super::path::{
    MpathDevice,
    MpathPort, //
};
use crate::bindings;
use crate::compat::EOPNOTSUPP;
use crate::ffi;
use crate::pure::bring_up;
use crate::pure::removal::{
    self,
    Control,
    Controlled,
    Departure,
    Removable, //
};
use crate::pure::shortlist::Generation;
use crate::pure::state::{
    AtomicHeadWord,
    AtomicPathState,
    HeadState,
    PathState,
    Reasons, //
};
use crate::wrap::disk::Disk;
use crate::wrap::node_slots;
use crate::wrap::tasks;
use crate::wrap::way::IS_ONE_PASS;
use crate::wrap::work;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::task::might_sleep;
use kernel::time::msecs_to_jiffies;

/// Waits until each bio on its way to a path, of any head, has arrived, or has had enough time.
/// Sleeps.
///
/// A bio is on its way from the choice of its path until it enters the queue of the path's disk. In
/// one pass that is within a read-side section, and there is nothing to wait for. Otherwise its
/// task does not sleep in between, except for that queue when it is frozen; when it wakes up it
/// enters the queue. So every bio has arrived when every task has slept.
pub(crate) fn synchronize_submitters() {
    might_sleep();
    if !IS_ONE_PASS {
        // A removal goes on after the limit: it does not wait for a task that never sleeps.
        tasks::synchronize();
    }
}

impl MpathHead {
    /// Initialises a path and adds it. Sleeps.
    ///
    /// # Safety
    ///
    /// `raw` is valid until the caller has deleted it and a grace period has passed. So are the
    /// disk and the port, unless they are null.
    pub(crate) unsafe fn add_path(
        &self,
        raw: *mut bindings::mpath_device,
        disk: *mut bindings::gendisk,
        port: *mut bindings::mpath_port,
        node: i32,
    ) -> Result {
        node_slots::check(node)?;
        if disk.is_null() || port.is_null() {
            misuse("a path is added without a disk or without a port");
            return Err(EINVAL);
        }
        // SAFETY: By this function's contract; only the mark is read.
        if !unsafe { MpathPort::from_raw(port) }.is_initialised() {
            misuse("a path is added with a port that is not initialised");
            return Err(EINVAL);
        }
        // SAFETY: By this function's contract; a disk has operations.
        if ffi::is_head(unsafe { Disk::from_raw(disk) }.fops()) {
            misuse("a path is added whose disk is a head's");
            return Err(EINVAL);
        }

        removal::add_path(self, ENXIO, |paths| {
            // SAFETY: By this function's contract.
            if unsafe { MpathDevice::is_in_use(raw) } {
                misuse("a path is added that is on a head");
                return Err(EEXIST);
            }
            // SAFETY: By this function's contract.
            if unsafe { MpathDevice::has_readers(raw) } {
                misuse(
                    "a path is added that readers of the head that it was on may still see: \
                     mpath_synchronize() is missing",
                );
                return Err(EBUSY);
            }

            self.shortlist.reserve(paths)?;

            // SAFETY: By this function's contract; nobody uses a path that is on no head.
            let path = unsafe { MpathDevice::init(raw, self.as_raw(), disk, port, node) };
            path.set_listed(true);
            // SAFETY: The head's mutex is held; the rest by this function's contract.
            unsafe { self.paths.push_back(path) };
            Ok(())
        })
    }

    /// Makes sure that the head chooses a path no more. Sleeps.
    ///
    /// Returns false, and has done nothing, where it might have to wait and must not.
    pub(crate) fn quiesce(&self, path: &MpathDevice) -> bool {
        removal::quiesce(self, path)
    }

    /// Unlinks a path. Returns whether the head has none left. Sleeps.
    pub(crate) fn delete_path(&self, path: &MpathDevice) -> bool {
        removal::delete(self, path)
    }

    /// Takes a path away as one operation, after which no reader sees it on the head. Calls `stop`
    /// when no bio comes to it any more. Returns false, and has done nothing, where it would have
    /// to wait and must not. Sleeps.
    pub(crate) fn take_apart(&self, path: &MpathDevice, stop: impl FnOnce()) -> bool {
        removal::take_apart(self, path, stop)
    }

    /// Decides about a removal that the driver would like. Returns whether the driver goes on with
    /// it. Sleeps.
    pub(crate) fn try_remove(&self) -> bool {
        removal::try_remove(self)
    }

    /// Handles the timer that went off: asks the driver to remove the head, if it is time.
    pub(crate) fn removal_timer_expired(&self, head: ARef<Self>) {
        let owner = head.ops.owner();

        removal::expired(&*head);
        drop(head);
        Ops::unpin_module(owner);
    }

    /// Sets the removal delay, and moves an armed timer. Sleeps.
    ///
    /// Fails when the driver has no callback for a delayed removal.
    pub(crate) fn set_removal_delay(&self, secs: u32) -> Result {
        if secs != 0 && !self.ops.can_remove_later() {
            return Err(EOPNOTSUPP);
        }
        removal::set_delay(self, secs);
        Ok(())
    }

    /// Takes the disk and the character device away. The head is Dying. Sleeps.
    pub(crate) fn remove(&self) {
        match self.word.load().state() {
            HeadState::New | HeadState::Live => {
                return misuse(
                    "a head is removed that mpath_try_remove_head() has not decided about",
                )
            }
            HeadState::Dead => return misuse("a head is removed that has been removed"),
            HeadState::Dying if !self.may_wait() => return,
            HeadState::Dying => (),
        }
        bring_up::take_down(self);
    }
}

impl MpathHead {
    /// Removes a head without paths whose driver has not decided on that, or has not gone on with
    /// it.
    pub(crate) fn remove_anyway(&self) {
        self.with_control(|_| self.word.advance(HeadState::Dying));
        self.remove();
    }
}

impl Controlled for MpathHead {
    type Path = MpathDevice;

    fn word(&self) -> &AtomicHeadWord {
        &self.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        let mut control = self.control.lock();
        let old = self.word.load().state();
        let result = f(&mut control);

        self.was_controlled(old, &control);
        result
    }

    fn is_listed(path: &MpathDevice) -> bool {
        path.is_listed()
    }

    fn grace_period(&self) {
        self.synchronize();
    }
}

impl Departure for MpathHead {
    fn may_wait(&self) -> bool {
        self.may_wait()
    }

    fn state(path: &MpathDevice) -> &AtomicPathState {
        path.state()
    }

    fn generation(&self) -> &Generation {
        self.shortlist.generation()
    }

    fn note_quiesced(path: &MpathDevice, old: PathState) {
        path.has_changed(old, old.disabled(Reasons::REMOVING));
    }

    fn unlist(&self, path: &MpathDevice) -> bool {
        if !path.is_listed() {
            misuse("a path is deleted that is on no head");
            return false;
        }
        path.set_listed(false);
        // SAFETY: The head's mutex is held, and the path is on its list.
        unsafe { self.paths.remove(path) };
        // The cookie is of a time when no reader can find the path any more.
        path.set_readers();
        true
    }

    fn tell_not_quiesced(&self) {
        misuse("a path is deleted before mpath_quiesce_device(), which is done now");
    }

    fn others_are_left(&self) {
        self.follow_capacity();
    }

    fn synchronize_submitters(&self) {
        synchronize_submitters();
    }

    fn unlink(&self, path: &MpathDevice) {
        self.unlink_path(path);
    }
}

impl Removable for MpathHead {
    fn take_timer_references(&self) -> bool {
        let can_wait = self.ops.can_remove_later() && self.ops.pin_module();

        if can_wait {
            ARef::into_raw(ARef::from(self));
        }
        can_wait
    }

    fn drop_timer_references(&self) {
        // SAFETY: The timer's reference, which the timer has given up. The caller has one, too, so
        // this is not the last.
        drop(unsafe { ARef::from_raw(NonNull::from(self)) });
        Ops::unpin_module(self.ops.owner());
    }

    fn start_timer(&self, ticks: u64) -> bool {
        self.remove.reschedule(ticks as _)
    }

    fn cancel_timer(&self) -> bool {
        self.remove.cancel()
    }

    fn now(&self) -> u64 {
        work::now()
    }

    fn ticks(secs: u32) -> u64 {
        ticks(secs)
    }

    fn ask(&self) {
        self.ops.remove_head(self);
    }
}

/// Seconds as ticks, at most the longest time of a timer.
fn ticks(secs: u32) -> u64 {
    /// Half of the range that the comparison of ticks can tell apart.
    const LONGEST: u64 = (isize::MAX as u64 >> 1) - 1;
    const MSECS_PER_SEC: u32 = 1000;

    (u64::from(secs) * msecs_to_jiffies(MSECS_PER_SEC) as u64).min(LONGEST)
}
