// SPDX-License-Identifier: GPL-2.0

//! The memory of a bio is not touched after the bio has ended.
//!
//! refused: E0505
//! says: cannot move out of `bio` because it is borrowed

include!("driver.rs");

fn read(bio: MpathBio<Ram>) -> Result {
    let BioOp::Read(mut segments) = bio.op() else {
        return Err(EINVAL);
    };

    #[cfg(misuse)]
    bio.end();
    segments.try_for_each(|segment| segment.fill(&[0; 512]))?;
    #[cfg(not(misuse))]
    bio.end();
    Ok(())
}
