// SPDX-License-Identifier: GPL-2.0

//! Nobody has a path without its registration, which synchronizes before the path is freed.
//!
//! refused: E0507
//! says: cannot move out of dereference of `Registration<Ram>`

include!("driver.rs");

fn take(path: Registration<Ram>) {
    #[cfg(misuse)]
    let path: MpathDevice<Ram> = *path;
    #[cfg(not(misuse))]
    let path: &MpathDevice<Ram> = &path;

    path.try_again();
}
