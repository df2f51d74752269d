// SPDX-License-Identifier: GPL-2.0

//! Operations that the head forwards to one of the paths.

use super::head::MpathHead;
use super::ops::Ioctl;
use super::path::MpathDevice;
use kernel::prelude::*;

/// The return value of an operation when no path is usable: `-EWOULDBLOCK`.
pub(crate) fn no_path() -> i32 {
    EAGAIN.to_errno()
}

impl MpathHead {
    /// Runs `f` on the path to which the head would send a bio, inside a read-side section. A head
    /// without a disk has no usable path.
    pub(crate) fn on_path(&self, f: impl FnOnce(&MpathDevice) -> i32) -> i32 {
        self.run_on_path(f).unwrap_or(no_path())
    }

    /// The same; `None` when there is no path.
    pub(crate) fn run_on_path<R>(&self, f: impl FnOnce(&MpathDevice) -> R) -> Option<R> {
        self.disk()?;

        let _caller = self.in_callback.enter();

        self.read().choose().map(f)
    }

    /// Runs `f` on every path, inside a read-side section, until it returns a value other than 0,
    /// which this returns.
    pub(crate) fn on_every_path(&self, f: impl FnMut(&MpathDevice) -> i32) -> i32 {
        let _caller = self.in_callback.enter();
        let section = self.read();
        let failed = section.iter().map(f).find(|result| *result != 0);

        failed.unwrap_or(0)
    }

    /// Carries an ioctl out: outside the read-side section when the driver says so, and inside by
    /// `run` otherwise.
    pub(crate) fn ioctl(&self, ioctl: Ioctl, run: impl FnOnce(&MpathDevice) -> i32) -> i32 {
        let handle = {
            if self.disk().is_none() {
                return no_path();
            }
            let _caller = self.in_callback.enter();
            let section = self.read();
            let Some(path) = section.choose() else {
                return no_path();
            };

            match self.ops.ioctl_begin(path, ioctl) {
                Some(handle) => handle,
                None => return run(path),
            }
        };
        self.ops.ioctl_handle(handle, ioctl)
    }
}
