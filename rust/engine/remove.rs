// SPDX-License-Identifier: GPL-2.0

//! Paths are added to a head and deleted from it, and a head without paths is removed: now, or
//! when its timer expires.
//!
//! An armed timer owns a reference to the head and one to the driver's module. Whoever makes a
//! timer not wait any more takes them over; otherwise the work that it started drops them.

use super::head::{
    Control,
    MpathHead, //
};
use super::misuse::misuse;
use super::ops::{
    is_head,
    Ops, //
};
use super::path::MpathDevice;
use crate::bindings;
use crate::removal::Decision;
use crate::state::HeadState;
use crate::wrap::disk::Disk;
use crate::wrap::numa;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::time::msecs_to_jiffies;

impl MpathHead {
    /// Initialises a path and adds it. Sleeps.
    ///
    /// # Safety
    ///
    /// `raw` is valid until it has been deleted and a grace period has passed; so are the disk and
    /// the port, unless they are null.
    pub(crate) unsafe fn add_path(
        &self,
        raw: *mut bindings::mpath_device,
        disk: *mut bindings::gendisk,
        port: *mut bindings::mpath_port,
        node: i32,
    ) -> Result {
        numa::check(node)?;
        if disk.is_null() || port.is_null() {
            misuse("a path is added without a disk or without a port");
            return Err(EINVAL);
        }
        // SAFETY: By this function's contract; a disk has operations.
        if is_head(unsafe { Disk::from_raw(disk) }.fops()) {
            misuse("a path is added whose disk is a head's");
            return Err(EINVAL);
        }

        let mut control = self.control.lock();

        if self.word.load().state() >= HeadState::Dying {
            return Err(ENXIO);
        }
        // SAFETY: By this function's contract.
        if unsafe { MpathDevice::is_in_use(raw) } {
            misuse("a path is added that is on a head");
            return Err(EEXIST);
        }

        // SAFETY: By this function's contract; nobody uses a path that is on no head.
        let path = unsafe { MpathDevice::init(raw, self.as_raw(), disk, port, node) };
        path.set_listed(true);
        // SAFETY: The head's mutex is held; the rest by this function's contract.
        unsafe { self.paths.push_back(path) };
        control.paths += 1;
        if control.removal.path_added() {
            self.disarm();
        }
        Ok(())
    }

    /// Unlinks a path. Returns whether the head has none left. Sleeps.
    pub(crate) fn delete_path(&self, path: &MpathDevice) -> bool {
        if path.is_listed() && !path.state().load().is_removing() {
            misuse("a path is deleted before mpath_quiesce_device(), which is done now");
            if !self.quiesce(path) {
                return false;
            }
        }

        let mut control = self.control.lock();

        if !path.is_listed() {
            misuse("a path is deleted that is on no head");
            return control.paths == 0;
        }
        path.set_listed(false);
        // SAFETY: The head's mutex is held, and the path is on its list.
        unsafe { self.paths.remove(path) };
        control.paths -= 1;
        // What waited for this path may have nothing to wait for any more.
        self.kick();
        control.paths == 0
    }

    /// Decides about a removal that the driver would like. Returns whether it is to go on. Sleeps.
    pub(crate) fn try_remove(&self) -> bool {
        let mut control = self.control.lock();
        let state = self.word.load().state();

        match control.removal.decide(state, control.paths) {
            Decision::Keep => false,
            Decision::Wait(secs) if self.ops.can_remove_later() && self.ops.pin_module() => {
                self.arm(&mut control, secs);
                false
            }
            Decision::Wait(_) | Decision::Remove => self.word.advance(HeadState::Dying),
        }
    }

    /// Has the timer expire in `secs` seconds. The module is pinned once more than before.
    fn arm(&self, control: &mut Control, secs: u32) {
        let ticks = ticks(secs);

        control.removal.armed(now() + ticks);
        ARef::into_raw(ARef::from(self));
        if self.remove.reschedule(ticks as _) {
            self.drop_timer_references();
        }
    }

    /// The timer is not wanted any more.
    fn disarm(&self) {
        if self.remove.cancel() {
            self.drop_timer_references();
        }
    }

    fn drop_timer_references(&self) {
        // SAFETY: The timer's reference, which is not its any more. The caller has one, too, so
        // that this is not the last.
        drop(unsafe { ARef::from_raw(NonNull::from(self)) });
        Ops::unpin_module(self.ops.owner());
    }

    /// The timer went off: the driver is asked to remove the head, if it is time.
    pub(crate) fn removal_timer_expired(&self, head: ARef<Self>) {
        let owner = head.ops.owner();
        let is_time = head.control.lock().removal.expire(now());

        if is_time {
            head.ops.remove_head(&head);
            head.control.lock().removal.asked();
        }
        drop(head);
        Ops::unpin_module(owner);
    }

    /// Sets the removal delay, and moves an armed timer. Sleeps.
    ///
    /// Fails when the driver has no callback for a removal that is delayed.
    pub(crate) fn set_removal_delay(&self, secs: u32) -> Result {
        if secs != 0 && !self.ops.can_remove_later() {
            return Err(EOPNOTSUPP);
        }
        {
            let mut control = self.control.lock();

            self.word.set_queue_if_no_path(secs != 0);
            if control.removal.set_delay(secs) && self.ops.pin_module() {
                self.arm(&mut control, secs);
            }
        }
        // What waits may have to fail now.
        self.kick();
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

        let mut bring_up = self.bring_up.lock();

        // Whoever saw the head Live has parked by the end of this, and the kick fails it.
        self.synchronize();
        self.kick();
        if bring_up.disk_added {
            bring_up.disk_added = false;
            if core::mem::take(&mut bring_up.has_cdev) {
                self.ops.del_cdev(self);
            }
            if let Some(disk) = self.disk() {
                // SAFETY: It has been added, and `disk_added` says no more so.
                unsafe { disk.delete() };
            }
        }
        {
            let _control = self.control.lock();

            self.word.advance(HeadState::Dead);
        }
        self.kick();
        self.busy.requeue.flush();
        // The driver's module may go after this: a scan must not be the last to have a reference.
        self.cancel_scan();
    }
}

impl MpathHead {
    /// Removes a head without paths whose driver has not decided to, or has not gone on to.
    pub(crate) fn remove_anyway(&self) {
        {
            let _control = self.control.lock();

            self.word.advance(HeadState::Dying);
        }
        self.remove();
    }
}

/// Seconds as ticks; what is too long for a timer is as long as a timer can be.
fn ticks(secs: u32) -> u64 {
    /// Half of what the comparison of ticks can tell apart.
    const LONGEST: u64 = (isize::MAX as u64 >> 1) - 1;
    const MSECS_PER_SEC: u32 = 1000;

    (u64::from(secs) * msecs_to_jiffies(MSECS_PER_SEC) as u64).min(LONGEST)
}

fn now() -> u64 {
    // SAFETY: Reads the clock.
    unsafe { bindings::mpath_helper_jiffies() }
}
