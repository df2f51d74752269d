// SPDX-License-Identifier: GPL-2.0

//! The attributes in sysfs of the disks of a driver's heads.

use super::head::MpathHead;
use super::MpathDriver;
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use core::marker::PhantomData;
use kernel::ffi::c_char;
use kernel::prelude::*;

/// The attributes of one driver's heads.
pub(super) struct Attributes<T>(PhantomData<T>);

/// What C reads and nobody changes.
struct Shared<D>(D);

// SAFETY: Constant, and refers to constants only.
unsafe impl<D> Sync for Shared<D> {}

type Show = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *mut c_char,
) -> isize;

type Store = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *const c_char,
    usize,
) -> isize;

/// An attribute that all may read and its owner may write.
const fn attribute(
    name: &'static CStr,
    show: Show,
    store: Store,
) -> Shared<bindings::device_attribute> {
    Shared(bindings::device_attribute {
        attr: bindings::attribute {
            name: name.as_ptr().cast(),
            mode: 0o644,
            ..pin_init::zeroed()
        },
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 { show: Some(show) },
        __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 { store: Some(store) },
    })
}

impl<T: MpathDriver> Attributes<T> {
    const POLICY: &'static Shared<bindings::device_attribute> =
        &attribute(c"iopolicy", Self::show_policy, Self::store_policy);

    const DELAY: &'static Shared<bindings::device_attribute> =
        &attribute(c"delayed_removal_secs", Self::show_delay, Self::store_delay);

    const ALL: &'static Shared<[*const bindings::attribute; 3]> = &Shared([
        &raw const Self::POLICY.0.attr,
        &raw const Self::DELAY.0.attr,
        core::ptr::null(),
    ]);

    const GROUP: &'static Shared<bindings::attribute_group> = &Shared(bindings::attribute_group {
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs: (&raw const Self::ALL.0).cast_mut().cast(),
        },
        ..pin_init::zeroed()
    });

    const LISTS: &'static Shared<[*const bindings::attribute_group; 3]> = &Shared([
        (&raw const ffi::mpath_attr_group).cast(),
        if T::ATTRIBUTES {
            &raw const Self::GROUP.0
        } else {
            core::ptr::null()
        },
        core::ptr::null(),
    ]);

    /// All groups of attributes: the directory with the links to the paths, and what the driver
    /// asks for.
    pub(super) const GROUPS: *const *const bindings::attribute_group =
        (&raw const Self::LISTS.0).cast();

    /// The head whose disk has an attribute.
    ///
    /// # Safety
    ///
    /// `device` is that of the disk of a head of this driver, which stays for `'a`.
    unsafe fn head<'a>(device: *mut bindings::device) -> &'a MpathHead<T> {
        // SAFETY: By this function's contract: the device is in the disk's first block device, and
        // the disk's private data is the head.
        unsafe {
            let part0 = kernel::container_of!(device, bindings::block_device, bd_device);

            MpathHead::from_raw((*(*part0).bd_disk).private_data.cast())
        }
    }

    /// # Safety
    ///
    /// Called by sysfs with the device of the disk of a head of this driver, and a page.
    unsafe extern "C" fn show_policy(
        device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: As sysfs calls it: the head stays for the time of the call.
        let name = unsafe { Self::head(device) }.io_policy().name();

        // SAFETY: A page has room for a name and what ends it.
        unsafe {
            page.cast::<u8>()
                .copy_from_nonoverlapping(name.as_ptr(), name.len());
            page.add(name.len()).cast::<[u8; 2]>().write(*b"\n\0");
        }
        name.len() as isize + 1
    }

    /// # Safety
    ///
    /// Called by sysfs with the device of the disk of a head of this driver, and `count` bytes.
    unsafe extern "C" fn store_policy(
        device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        page: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: As sysfs calls it: the head stays for the time of the call.
        let (head, name) = unsafe {
            (
                Self::head(device),
                core::slice::from_raw_parts(page.cast::<u8>(), count),
            )
        };

        match IoPolicy::parse(name)
            .ok_or(EINVAL)
            .and_then(|policy| head.policy().set(policy))
        {
            Ok(_) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// As for `show_policy()`.
    unsafe extern "C" fn show_delay(
        device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: As sysfs calls it.
        unsafe { ffi::mpath_delayed_removal_secs_show(Self::head(device).as_raw(), page) }
    }

    /// # Safety
    ///
    /// As for `store_policy()`.
    unsafe extern "C" fn store_delay(
        device: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        page: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: As sysfs calls it; what is written ends with a null byte.
        unsafe { ffi::mpath_delayed_removal_secs_store(Self::head(device).as_raw(), page, count) }
    }
}
