// SPDX-License-Identifier: GPL-2.0

//! Paths come, change and go; the first that can carry I/O brings the head's disk up.

use super::head::{
    BringUp,
    MpathHead, //
};
use super::path::MpathDevice;
use super::sysfs::GROUP_NAME;
use crate::policy::{
    Path,
    Paths, //
};
use crate::state::{
    Access,
    AccessState,
    HeadState,
    Reasons, //
};
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::task::might_sleep;

impl MpathHead {
    /// Makes sure that a path is not chosen any more, and that no slot names it. Sleeps.
    ///
    /// Returns false, and has done nothing, when it must not be waited for that here.
    pub(crate) fn quiesce(&self, path: &MpathDevice) -> bool {
        if !self.may_wait() {
            return false;
        }
        path.state()
            .update(|state| state.disabled(Reasons::REMOVING));
        // Whoever saw the path usable has put it into a slot by the end of this.
        self.synchronize();
        self.current_path.forget(path);
        true
    }

    /// A reason less, or several, not to use a path. Any context.
    pub(crate) fn enable(&self, path: &MpathDevice, reasons: Reasons) {
        path.state()
            .update(|state| state.enabled(reasons.and(Reasons::FAILED)));
        self.kick();
    }

    /// A reason more, or several, not to use a path. Any context.
    pub(crate) fn disable(&self, path: &MpathDevice, reasons: Reasons) {
        path.state().update(|state| state.disabled(reasons));
        self.current_path.forget(path);
    }

    /// The storage is reached through a path in another way. Any context.
    pub(crate) fn set_access_state(&self, path: &MpathDevice, access: AccessState) {
        let old = path.state().update(|state| state.reaching(access));

        if old.reaching(access).access() > old.access() {
            self.choose_anew();
        }
    }

    /// A path can carry I/O. Sleeps.
    pub(crate) fn set_live(&self, path: &MpathDevice) -> Result {
        might_sleep();
        if self.disk().is_none() {
            return Err(ENODEV);
        }
        if !self.may_wait() {
            return Err(EDEADLK);
        }
        self.bring_up(path)?;
        path.state().update(|state| state.enabled(Reasons::FAILED));

        {
            let section = self.read();

            if path.access() == Access::Optimized {
                section.elect_everywhere();
            }
        }
        self.kick();
        Ok(())
    }

    /// Adds the disk unless that has been done, and links the paths. Fails unless the head is Live
    /// and has the path.
    fn bring_up(&self, path: &MpathDevice) -> Result {
        let mut bring_up = self.bring_up.lock();

        if !bring_up.disk_added {
            self.add_disk(&mut bring_up, path)?;
        }
        self.link_paths(&bring_up);
        if self.word.load().state() != HeadState::Live || !path.is_listed() {
            return Err(ENXIO);
        }
        Ok(())
    }

    fn add_disk(&self, bring_up: &mut BringUp, path: &MpathDevice) -> Result {
        let disk = self.disk().ok_or(ENODEV)?;

        {
            let _control = self.control.lock();

            // A path that has been deleted meanwhile would leave a disk that nobody removes.
            if !path.is_listed() || !self.word.advance(HeadState::Live) {
                return Err(ENXIO);
            }
        }
        // SAFETY: The groups are the driver's, and constant; a disk that has been deleted leaves
        // the head beyond Live, so this one has never been added.
        if let Err(error) = unsafe { disk.add(self.ops.disk_groups()) } {
            let _control = self.control.lock();

            self.word.add_failed();
            return Err(error);
        }

        bring_up.disk_added = true;
        bring_up.has_cdev = self.ops.add_cdev(self);
        self.scan_later();
        Ok(())
    }

    /// Has partitions scanned, from a context that no path waits for.
    fn scan_later(&self) {
        let head = ARef::from(self);

        if self.scan.schedule() {
            // The scan drops it.
            ARef::into_raw(head);
        }
    }

    /// Makes sure that no scan is to come or going on. Sleeps.
    pub(crate) fn cancel_scan(&self) {
        if self.scan.cancel() {
            // SAFETY: The reference of the scan that will not be; the caller has one, too.
            drop(unsafe { ARef::from_raw(NonNull::from(self)) });
        }
    }

    /// Links the paths that have no link yet.
    pub(crate) fn link_paths(&self, bring_up: &BringUp) {
        let Some(disk) = self.disk().filter(|_| bring_up.disk_added) else {
            return;
        };

        for path in self.read().iter() {
            if !path.is_linked() && path.disk().is_added() {
                path.set_linked(disk.add_link(GROUP_NAME, path.disk()).is_ok());
            }
        }
    }

    /// Removes a path's link. Sleeps, not inside a read-side section.
    pub(crate) fn unlink_path(&self, path: &MpathDevice) {
        if !self.may_wait() {
            return;
        }
        let bring_up = self.bring_up.lock();

        if path.is_linked() {
            path.set_linked(false);
            if let Some(disk) = self.disk().filter(|_| bring_up.disk_added) {
                disk.remove_link(GROUP_NAME, path.disk());
            }
        }
    }

    /// The head's capacity has been set: paths that differ are to be looked at again.
    pub(crate) fn revalidate(&self) {
        if let Some(disk) = self.disk() {
            let capacity = disk.capacity();

            for path in self.read().iter() {
                if path.disk().capacity() != capacity {
                    path.state()
                        .update(|state| state.disabled(Reasons::NOT_READY));
                }
            }
        }
        self.choose_anew();
    }
}
