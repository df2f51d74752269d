// SPDX-License-Identifier: GPL-2.0

//! Whoever has a path or a bio may be in any context, so what sleeps cannot be reached.
//! Shows S-8.
//!
//! refused: E0599
//! says: no method named `set_removal_delay` found for reference `&AnyContextHead<Ram>`

include!("driver.rs");

fn end_in_interrupt(bio: MpathBio<Ram>) {
    let head = bio.path().head();

    head.kick();
    #[cfg(misuse)]
    head.set_removal_delay(0);
    bio.end();
}
