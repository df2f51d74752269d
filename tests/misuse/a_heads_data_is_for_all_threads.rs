// SPDX-License-Identifier: GPL-2.0

//! Many threads use the data that a driver keeps for a head at once.
//!
//! refused: E0277
//! says: `Cell<u32>` cannot be shared between threads safely
//! says: required by a bound in `MpathDriver::HeadData`

include!("driver.rs");

struct Counting;

#[cfg(misuse)]
type Count = core::cell::Cell<u32>;
#[cfg(not(misuse))]
type Count = kernel::sync::atomic::Atomic<u32>;

#[vtable]
impl MpathDriver for Counting {
    type HeadData = Count;
    type PathData = ();

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.end();
    }
}
