// SPDX-License-Identifier: GPL-2.0

//! A driver without `#[vtable]` would not say which module it is.
//! Shows L-22, L-46.
//!
//! refused: E0046
//! says: not all trait items implemented
//! says since 7.3: `OwnerModule`

include!("driver.rs");

struct Bare;

#[cfg_attr(not(misuse), vtable)]
impl MpathDriver for Bare {
    type HeadData = ();
    type PathData = ();

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.end();
    }
}
