// SPDX-License-Identifier: GPL-2.0

//! A path does not go while a reader looks at it.
//!
//! refused: E0505
//! says: cannot move out of `path` because it is borrowed

include!("driver.rs");

fn remove(head: &Head) -> Result {
    let path = add_path(head)?;
    let seen: &MpathDevice<Ram> = &path;

    #[cfg(misuse)]
    drop(path);
    seen.disable(DisableReason::StatePending);
    Ok(())
}
