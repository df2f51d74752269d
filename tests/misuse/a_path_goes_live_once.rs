// SPDX-License-Identifier: GPL-2.0

//! A path goes live once.
//! Shows L-5.
//!
//! refused: E0277
//! says: a path goes live once, by the `Registration<_, Added>` that it was added with
//! says: what the storage says of the path later is for `set_access_state()`

include!("driver.rs");

fn bring_up(head: &Head) -> Result<Registration<Ram>> {
    let path = add_path(head)?.set_live(AccessState::Optimized)?;

    #[cfg(misuse)]
    let path = path.set_live(AccessState::NonOptimized)?;
    #[cfg(not(misuse))]
    path.set_access_state(AccessState::NonOptimized);
    Ok(path)
}
