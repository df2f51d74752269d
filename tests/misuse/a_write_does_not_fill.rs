// SPDX-License-Identifier: GPL-2.0

//! A driver cannot overwrite the data of a write: `fill()` is for bios that read.
//!
//! refused: E0599
//! says: no method named `fill` found for struct `Segment<'_, Store>`
//! says: the method was found for
//! says: `Segment<'_, Fill>`

include!("driver.rs");

fn write(bio: &MpathBio<Ram>, ram: &mut [u8]) -> Result {
    let BioOp::Write(mut segments) = bio.op() else {
        return Err(EINVAL);
    };

    #[cfg(misuse)]
    segments.try_for_each(|segment| segment.fill(ram))?;
    #[cfg(not(misuse))]
    segments.try_for_each(|segment| segment.store(ram))?;
    Ok(())
}
