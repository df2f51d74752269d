// SPDX-License-Identifier: GPL-2.0

//! A head is of a driver, not of the driver's data.
//!
//! refused: E0277
//! says: `Storage` is not a multipath driver
//! says: implement `MpathDriver` for it, with `#[vtable]` above the `impl`

include!("driver.rs");

struct Storage;

struct Kept {
    #[cfg(misuse)]
    head: ARef<MpathHead<Storage>>,
    #[cfg(not(misuse))]
    head: ARef<MpathHead<Ram>>,
}
