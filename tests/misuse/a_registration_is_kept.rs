// SPDX-License-Identifier: GPL-2.0

//! A path whose registration is not kept goes at once.
//!
//! refused: unused_must_use
//! says: unused `Registration` that must be used
//! says: the path goes when its registration is dropped

include!("driver.rs");

fn add(head: &Head) -> Result<Option<Registration<Ram, Added>>> {
    #[cfg(misuse)]
    add_path(head)?;
    #[cfg(not(misuse))]
    return Ok(Some(add_path(head)?));
    #[cfg(misuse)]
    Ok(None)
}
