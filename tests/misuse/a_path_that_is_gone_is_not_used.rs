// SPDX-License-Identifier: GPL-2.0

//! A path is not used after it has been removed.
//!
//! refused: E0382
//! says: borrow of moved value: `path`

include!("driver.rs");

fn remove(head: &Head) -> Result {
    let path = add_path(head)?;

    #[cfg(misuse)]
    drop(path);
    path.disable(DisableReason::StatePending);
    Ok(())
}
