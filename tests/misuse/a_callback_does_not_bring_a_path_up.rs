// SPDX-License-Identifier: GPL-2.0

//! Bringing a path up sleeps, and needs its registration.
//! Shows L-43.
//!
//! refused: E0277
//! says: a path goes live once, by the `Registration<_, Added>` that it was added with
//! says: this one may be live, or in a context that may not sleep

include!("driver.rs");

fn end_in_interrupt(bio: MpathBio<Ram>) {
    #[cfg(misuse)]
    let _ = bio.path().set_live(AccessState::Optimized);
    #[cfg(not(misuse))]
    bio.path().set_access_state(AccessState::Optimized);
    bio.end();
}
