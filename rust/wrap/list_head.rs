// SPDX-License-Identifier: GPL-2.0

//! Lists of `crate::pure::list` in the kernel: their links are a `struct list_head`.
//!
//! C header: [`include/linux/rculist.h`](srctree/include/linux/rculist.h)

use crate::bindings;
use crate::pure::list::{
    Linked,
    Links,
    RcuList, //
};
use kernel::prelude::*;

// This module uses a `list_head` of C's as links.
const _: () = {
    assert!(size_of::<Links>() == size_of::<bindings::list_head>());
    assert!(align_of::<Links>() == align_of::<bindings::list_head>());
};

/// An empty list.
pub(crate) fn new<T: Linked>() -> impl PinInit<RcuList<T>> {
    // SAFETY: The closure initialises the list where it stays.
    unsafe {
        pin_init::pin_init_from_closure(|slot| {
            RcuList::init(slot);
            Ok(())
        })
    }
}
