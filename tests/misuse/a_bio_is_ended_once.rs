// SPDX-License-Identifier: GPL-2.0

//! A bio is ended once.
//! Shows S-8.
//!
//! refused: E0382
//! says: use of moved value: `bio`
//! says: takes ownership of the receiver `self`, which moves `bio`

include!("driver.rs");

fn end(bio: MpathBio<Ram>) {
    bio.end();
    #[cfg(misuse)]
    bio.failover();
}
