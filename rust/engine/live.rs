// SPDX-License-Identifier: GPL-2.0

//! Paths come, change and go; the first that can carry I/O brings the head's disk up.

use super::head::MpathHead;
use super::path::MpathDevice;
use super::sysfs::GROUP_NAME;
use crate::compat::EDEADLK;
use crate::pure::bring_up::{
    self,
    BringUp,
    HasDisk, //
};
use crate::pure::parking::Kick;
use crate::pure::policy::Path;
use crate::pure::state::{
    Access,
    AccessState,
    PathState,
    Reasons, //
};
use crate::pure::waiting;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::task::might_sleep;

impl MpathHead {
    /// Takes away one or several reasons not to use a path. Any context.
    pub(crate) fn enable(&self, path: &MpathDevice, reasons: Reasons) {
        path.change(|state| state.enabled(reasons).restored());
        self.kick();
    }

    /// Adds one or several reasons not to use a path. Any context.
    pub(crate) fn disable(&self, path: &MpathDevice, reasons: Reasons) {
        path.change(|state| state.disabled(reasons));
    }

    /// Sets the access state of a path. Any context.
    pub(crate) fn set_access_state(&self, path: &MpathDevice, access: AccessState) {
        let old = path.change(|state| state.reaching(access));

        if old.reaching(access).access() > old.access() {
            self.kick();
        }
    }

    /// Notes that a path can carry I/O. Sleeps.
    pub(crate) fn set_live(&self, path: &MpathDevice) -> Result {
        might_sleep();
        if self.disk().is_none() {
            return Err(ENODEV);
        }
        if !self.may_wait() {
            return Err(EDEADLK);
        }
        bring_up::bring_up(self, path)?;
        path.change(PathState::restored);
        self.kick();
        self.say_if_unusable(path);
        Ok(())
    }

    /// Logs the missing step when a path has gone live and the head has no path to use. Openers
    /// would find a disk on which I/O waits, or fails, and nobody would know why.
    fn say_if_unusable(&self, path: &MpathDevice) {
        let is_usable = |path: &MpathDevice| path.access() != Access::Unusable;

        if self.read().iter().any(is_usable) {
            return;
        }
        let Some(disk) = self.disk() else {
            return;
        };
        let missing = match waiting::of_path(path.state().load(), path.port().state()) {
            Some(ender) => ender.name(),
            None => "nobody: its port is dead",
        };

        pr_warn!(
            "{}: path {} is live, but no path can be used; it waits for {missing}\n",
            disk.name().to_str().unwrap_or("?"),
            path.disk().name().to_str().unwrap_or("?")
        );
    }

    /// Has a work scan partitions, for which no path waits.
    fn scan_later(&self) {
        let head = ARef::from(self);

        if self.scan.schedule() {
            // The scan drops it.
            ARef::into_raw(head);
        }
    }

    /// Makes sure that no scan is scheduled or running. Sleeps.
    pub(crate) fn cancel_scan(&self) {
        if self.scan.cancel() {
            // SAFETY: The reference of the cancelled scan; the caller has one, too.
            drop(unsafe { ARef::from_raw(NonNull::from(self)) });
        }
    }

    /// Links the paths that have no link yet.
    pub(crate) fn link_paths(&self, bring_up: &BringUp) {
        let disk = self.disk().filter(|_| bring_up.disk_added);
        let Some(disk) = disk.filter(|_| self.ops.has_links()) else {
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

    /// Compares the capacities of the head and its paths: the head uses no path whose capacity
    /// differs.
    pub(crate) fn revalidate(&self) {
        if let Some(disk) = self.disk() {
            let capacity = disk.capacity();

            for path in self.read().iter() {
                path.change(|state| match path.disk().capacity() == capacity {
                    true => state.enabled(Reasons::CAPACITY),
                    false => state.disabled(Reasons::CAPACITY),
                });
            }
        }
        self.choose_anew();
    }

    /// Sets the head's capacity after a path has gone. When no path is left that is as large as the
    /// head, the head takes the capacity of the best usable of those that are left. Sleeps.
    pub(crate) fn follow_capacity(&self) {
        let Some(disk) = self.disk() else {
            return;
        };
        let size = disk.capacity();
        let capacity = {
            let section = self.read();
            let mut best = None;

            // A path that the driver is setting up has no capacity yet.
            for path in section.iter().filter(|path| path.disk().capacity() != 0) {
                let capacity = path.disk().capacity();
                let access = path.state().load().enabled(Reasons::CAPACITY).access();

                if capacity == size {
                    return;
                }
                if best.is_none_or(|(best, _)| access > best) {
                    best = Some((access, capacity));
                }
            }
            best
        };

        if let Some((_, capacity)) = capacity {
            disk.resize(capacity);
            self.revalidate();
        }
    }
}

impl HasDisk for MpathHead {
    type Error = Error;

    const GONE: Error = ENXIO;

    fn with_bring_up<R>(&self, f: impl FnOnce(&mut BringUp) -> R) -> R {
        f(&mut self.bring_up.lock())
    }

    fn add_disk(&self) -> Result {
        let disk = self.disk().ok_or(ENODEV)?;

        // SAFETY: The groups are the driver's, and constant. A deleted disk leaves the head beyond
        // Live, so this one has never been added.
        unsafe { disk.add(self.ops.disk_groups()) }
    }

    fn disk_added(&self, bring_up: &mut BringUp) {
        bring_up.has_cdev = self.ops.add_cdev(self);
        self.show_in_debugfs();
        self.scan_later();
    }

    fn link_paths(&self, bring_up: &BringUp) {
        self.link_paths(bring_up);
    }

    fn delete_disk(&self, bring_up: &mut BringUp) {
        if core::mem::take(&mut bring_up.has_cdev) {
            self.ops.del_cdev(self);
        }
        if let Some(disk) = self.disk() {
            // SAFETY: The disk has been added, and `disk_added` no longer says so.
            unsafe { disk.delete() };
        }
    }

    fn settle(&self) {
        self.busy.requeue.flush();
        // The driver's module may go after this: a scan must not be the last to have a reference.
        self.cancel_scan();
    }
}
