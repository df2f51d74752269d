// SPDX-License-Identifier: GPL-2.0

//! A clone goes to no device but one that the path keeps until its bios have ended.
//!
//! refused: E0597
//! says: `lower` does not live long enough

include!("driver.rs");

use core::ptr::null_mut;
use kernel::bindings;

struct Lower;

// SAFETY: This is only compiled.
unsafe impl LowerDevice for Lower {
    fn device(&self) -> *mut bindings::block_device {
        null_mut()
    }

    fn clones(&self) -> *mut bindings::bio_set {
        null_mut()
    }
}

struct Below;

#[vtable]
impl MpathDriver for Below {
    type HeadData = ();
    type PathData = Lower;

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        #[cfg(misuse)]
        {
            let lower = Lower;
            bio.submit_clone(|_| &lower);
        }
        #[cfg(not(misuse))]
        bio.submit_clone(|lower| lower);
    }
}
