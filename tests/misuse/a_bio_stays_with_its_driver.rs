// SPDX-License-Identifier: GPL-2.0

//! A bio of one driver is not kept for another.
//!
//! refused: E0308
//! says: expected `MpathBio<Other>`, found `MpathBio<Ram>`

include!("driver.rs");

struct Other;

#[vtable]
impl MpathDriver for Other {
    type HeadData = ();
    type PathData = ();

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.end();
    }
}

#[cfg(misuse)]
type Queue = MpathBioQueue<Other>;
#[cfg(not(misuse))]
type Queue = MpathBioQueue<Ram>;

fn keep(bio: MpathBio<Ram>, queue: &Queue) {
    queue.push(bio);
}
