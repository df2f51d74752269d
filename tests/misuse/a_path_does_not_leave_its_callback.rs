// SPDX-License-Identifier: GPL-2.0

//! A callback cannot keep its path after it has returned.
//! Shows L-30.
//!
//! refused: E0521
//! says: borrowed data escapes outside of associated function
//! says: `path` is a reference that is only valid in the associated function body

include!("driver.rs");

struct Keeping;

type Kept = kernel::sync::Mutex<Option<&'static MpathDevice<Keeping>>>;

#[vtable]
impl MpathDriver for Keeping {
    type HeadData = Pin<KBox<Kept>>;
    type PathData = ();

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        let mut kept = path.head().data().lock();

        *kept = None;
        #[cfg(misuse)]
        {
            *kept = Some(path);
        }
        bio.end();
    }
}
