// SPDX-License-Identifier: GPL-2.0

//! The groups of attributes in sysfs that the disks of a driver's heads have.

use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use core::marker::PhantomData;

/// The attributes of one driver's heads.
pub(super) struct Attributes<T>(PhantomData<T>);

/// A list that C reads and nobody changes.
struct List([*const bindings::attribute_group; 3]);

// SAFETY: Constant, and refers to constants only.
unsafe impl Sync for List {}

impl<T: MpathDriver> Attributes<T> {
    const LIST: &'static List = &List([
        (&raw const ffi::mpath_attr_group).cast(),
        if T::ATTRIBUTES {
            &raw const bindings::mpath_head_attr_group
        } else {
            core::ptr::null()
        },
        core::ptr::null(),
    ]);

    /// All groups: the directory with the links to the paths, and the one that the driver asks for.
    pub(super) const GROUPS: *const *const bindings::attribute_group =
        (&raw const Self::LIST.0).cast();
}
