// SPDX-License-Identifier: GPL-2.0

//! What happens to a bio: it is sent to a path, parked, or failed; and how it comes back.

use super::head::MpathHead;
use super::misuse::misuse;
use super::path::MpathDevice;
use super::select::Section;
use crate::parking::{
    self,
    FailOver,
    Kick, //
};
use crate::state::{
    PathState,
    WithoutPath, //
};
use crate::submission;
use crate::wrap::bio::{
    Bio,
    Failure,
    Returned, //
};
use kernel::sync::atomic::Relaxed;
use kernel::time::msecs_to_jiffies;

/// When a path that failed a bio is tried again, if the driver has not said anything of it.
const RETRY_MSECS: u32 = 100;

impl MpathHead {
    /// Sends a bio of the head's disk to a path, or parks it, or fails it. Process context.
    #[inline(always)]
    pub(crate) fn submit(&self, bio: Bio) {
        let Some(mut bio) = bio.split_to_limits() else {
            return;
        };
        let section = self.read();

        match section.choose() {
            Some(path) => {
                bio.remap(self.as_raw(), path.part0());
                bio.submit();
            }
            None => self.submit_without_path(section, bio),
        }
    }

    // The section is passed by value, so that it need not be in memory where there is a path.
    #[cold]
    #[inline(never)]
    fn submit_without_path(&self, section: Section<'_>, bio: Bio) {
        match submission::without_path(&section, bio.is_nowait()) {
            WithoutPath::Fail => {
                if let Some(disk) = self.disk() {
                    disk.warn_failing();
                }
                self.busy.failed.fetch_add(1, Relaxed);
                bio.fail(Failure::IoError);
            }
            WithoutPath::Again => bio.fail(Failure::Again),
            WithoutPath::Park => {
                if let Some(disk) = self.disk() {
                    disk.warn_requeuing();
                }
                self.busy.requeued.fetch_add(1, Relaxed);
                bio.park(&section);
            }
        }
    }

    /// Takes back bios that failed on a path for a reason of the path. Any context.
    ///
    /// Those that did not come to the path through the head stay in the list: whose they are, and
    /// whether they have ended or wait already, nobody knows.
    pub(crate) fn failover(&self, path: &MpathDevice, mut bios: Returned) {
        parking::fail_over(self, path, || {
            if let Some(disk) = self.disk() {
                while let Some(mut bio) = bios.next_of(path.disk()) {
                    bio.take_back(disk);
                    self.busy.lot.push(bio);
                }
            }
            if !bios.is_empty() {
                misuse(
                    "a bio is failed over that the head has not sent to the path: \
                     it is left in the list",
                );
            }
        });
    }

    /// Gives every path that failed a bio another try.
    pub(crate) fn retry_failed_paths(&self) {
        parking::retry(self, self.read().iter());
    }
}

impl Kick for MpathHead {
    fn kick(&self) {
        self.kick();
    }
}

impl FailOver for MpathHead {
    type Path = MpathDevice;

    fn change(&self, path: &MpathDevice, f: impl Fn(PathState) -> PathState) {
        path.change(f);
    }

    fn retry_later(&self) {
        self.busy.retry.schedule(msecs_to_jiffies(RETRY_MSECS));
    }
}
