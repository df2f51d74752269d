// SPDX-License-Identifier: GPL-2.0

//! Bringing a path up sleeps, and is for who has its registration.
//!
//! refused: E0599
//! says: no method named `set_live` found for reference `&MpathDevice<Ram>`

include!("driver.rs");

fn end_in_interrupt(bio: MpathBio<Ram>) {
    #[cfg(misuse)]
    bio.path().set_live(AccessState::Optimized);
    #[cfg(not(misuse))]
    bio.path().set_access_state(AccessState::Optimized);
    bio.end();
}
