// SPDX-License-Identifier: GPL-2.0

//! A driver cannot keep a path beyond the read-side section in which it found it.
//! Shows L-30.
//!
//! refused: E0521
//! says: borrowed data escapes outside of closure

include!("driver.rs");

fn find(head: &Head) -> Result {
    let mut found: Option<&MpathDevice<Ram>> = None;

    head.on_path(|path| {
        path.try_again();
        #[cfg(misuse)]
        {
            found = Some(path);
        }
    })?;
    if let Some(path) = found.take() {
        path.try_again();
    }
    Ok(())
}
