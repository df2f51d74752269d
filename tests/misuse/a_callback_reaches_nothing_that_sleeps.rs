// SPDX-License-Identifier: GPL-2.0

//! The holder of a path or a bio may be in any context, so it cannot reach functions that sleep.
//! Shows S-8.
//!
//! refused: E0277
//! says: what may sleep is done with a head, not with what a path or a bio has of it
//! says: a driver keeps an `ARef<MpathHead<_>>`

include!("driver.rs");

fn end_in_interrupt(bio: MpathBio<Ram>) {
    let head = bio.path().head();

    head.kick();
    #[cfg(misuse)]
    head.set_removal_delay(0);
    bio.end();
}
