// SPDX-License-Identifier: GPL-2.0

//! A path goes live once.
//!
//! refused: E0599
//! says: no method named `set_live` found for struct `Registration<Ram>`
//! says: the method was found for
//! says: `Registration<T, Added>`

include!("driver.rs");

fn bring_up(head: &Head) -> Result<Registration<Ram>> {
    let path = add_path(head)?.set_live(AccessState::Optimized)?;

    #[cfg(misuse)]
    let path = path.set_live(AccessState::NonOptimized)?;
    #[cfg(not(misuse))]
    path.set_access_state(AccessState::NonOptimized);
    Ok(path)
}
