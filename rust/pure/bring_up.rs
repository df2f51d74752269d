// SPDX-License-Identifier: GPL-2.0

//! Bringing a head's disk up, and taking it down.
//!
//! The head's `bring_up` mutex is held over both, and the state changes under the `control` mutex.
//! So nobody adds a disk to a head whose removal is decided. A removal waits for a disk that is
//! being added before it deletes it (L-5).

use crate::pure::removal::Controlled;
use crate::pure::state::HeadState;

/// The state that a head's `bring_up` mutex guards, with the links to the paths.
#[derive(Debug, Default)]
pub struct BringUp {
    /// Has the disk been added, and not been deleted?
    pub disk_added: bool,
    /// Is there a character device?
    pub has_cdev: bool,
}

/// A head that has a disk.
pub trait HasDisk: Controlled {
    /// The type of the reason why the disk is not there.
    type Error;

    /// The error when the head, or the path, is going.
    const GONE: Self::Error;

    /// Runs `f` under the `bring_up` mutex.
    fn with_bring_up<R>(&self, f: impl FnOnce(&mut BringUp) -> R) -> R;

    /// Adds the disk.
    fn add_disk(&self) -> Result<(), Self::Error>;

    /// Does the steps that come after adding the disk.
    fn disk_added(&self, bring_up: &mut BringUp);

    /// Links the paths that have no link yet.
    fn link_paths(&self, bring_up: &BringUp);

    /// Deletes the disk, and undoes the steps that came after it.
    fn delete_disk(&self, bring_up: &mut BringUp);

    /// Waits for works that run by themselves.
    fn settle(&self);
}

/// Brings the disk up for a path that can carry I/O: adds it if it is not there, and links the
/// paths. Fails unless the head is Live and has the path.
pub fn bring_up<H: HasDisk>(head: &H, path: &H::Path) -> Result<(), H::Error> {
    head.with_bring_up(|bring_up| {
        if !bring_up.disk_added {
            add_disk(head, bring_up, path)?;
        }
        head.link_paths(bring_up);
        if head.word().load().state() != HeadState::Live || !H::is_listed(path) {
            return Err(H::GONE);
        }
        Ok(())
    })
}

fn add_disk<H: HasDisk>(head: &H, bring_up: &mut BringUp, path: &H::Path) -> Result<(), H::Error> {
    // A path that has been deleted meanwhile would leave a disk that nobody removes.
    if !head.with_control(|_| H::is_listed(path) && head.word().advance(HeadState::Live)) {
        return Err(H::GONE);
    }
    if let Err(error) = head.add_disk() {
        head.with_control(|_| head.word().add_failed());
        return Err(error);
    }

    bring_up.disk_added = true;
    head.disk_added(bring_up);
    Ok(())
}

/// Takes the disk of a Dying head away. Afterwards the bios that waited have failed, and no work
/// runs or is queued: the driver's module may go.
pub fn take_down<H: HasDisk>(head: &H) {
    head.with_bring_up(|bring_up| {
        // Submitters that saw the head Live may still park bios. After this they have, and later
        // bios fail.
        head.grace_period();
        // Deleting the disk may wait for parked bios.
        head.kick();
        if core::mem::take(&mut bring_up.disk_added) {
            head.delete_disk(bring_up);
        }
        head.with_control(|_| head.word().advance(HeadState::Dead));
        // Paths may have failed bios while the disk was deleted.
        head.kick();
        head.settle();
    });
}
