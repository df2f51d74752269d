// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that keep the library loaded for as long as a user has them open.
//!
//! Files of the kernel crate have no owner: closing one after the unloading of its module calls
//! code that is gone.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

#![cfg_attr(not(CONFIG_DEBUG_FS), allow(dead_code, unused_imports))]

use crate::bindings;
use crate::compat::this_module;
use core::ptr::null_mut;
use kernel::ffi::{
    c_int,
    c_void, //
};
use kernel::fmt;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A directory or a file, or nothing, without debugfs or without memory for it.
#[repr(transparent)]
pub(crate) struct Entry(Atomic<*mut bindings::dentry>);

impl Entry {
    /// An entry that has not been made.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(null_mut()))
    }

    /// Has it been made?
    pub(crate) fn is_made(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// Makes it a directory at the root. Only one caller has the entry then. Sleeps.
    pub(crate) fn make_directory(&self, name: &CStr) {
        #[cfg(CONFIG_DEBUG_FS)]
        // SAFETY: The name is a string.
        self.0.store(
            unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), null_mut()) },
            Relaxed,
        );
        #[cfg(not(CONFIG_DEBUG_FS))]
        let _ = name;
    }

    /// Makes it a file that shows `shown`. Only one caller has the entry then. Sleeps.
    ///
    /// # Safety
    ///
    /// `shown` stays until [`Entry::remove`] has returned.
    pub(crate) unsafe fn make_file<T: fmt::Display + Sync>(
        &self,
        directory: &Entry,
        name: &CStr,
        shown: &T,
    ) {
        #[cfg(CONFIG_DEBUG_FS)]
        // SAFETY: The name is a string. The parent is a directory, or an error, for which debugfs
        // makes nothing. The operations are constant, and expect a pointer to a `T`.
        self.0.store(
            unsafe {
                bindings::debugfs_create_file_full(
                    name.as_char_ptr(),
                    0o400,
                    directory.0.load(Relaxed),
                    core::ptr::from_ref(shown).cast_mut().cast(),
                    core::ptr::null(),
                    Operations::<T>::OF_FILE,
                )
            },
            Relaxed,
        );
        #[cfg(not(CONFIG_DEBUG_FS))]
        let _ = (directory, name, shown);
    }

    /// Removes it, if it has been made. Afterwards no reader is left. Sleeps.
    pub(crate) fn remove(&self) {
        let _entry = self.0.xchg(null_mut(), Relaxed);

        #[cfg(CONFIG_DEBUG_FS)]
        // SAFETY: The entry is removed once; null, or an error, is none.
        unsafe {
            bindings::debugfs_remove(_entry)
        }
    }
}

struct Operations<T>(core::marker::PhantomData<T>);

impl<T: fmt::Display + Sync> Operations<T> {
    const OF_FILE: &'static bindings::file_operations = &bindings::file_operations {
        owner: this_module::<crate::Multipath>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs for a file that [`Entry::make_file`] has made.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By this function's contract; debugfs keeps the data's owner from removing the
        // file while this, or `show()`, is called.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// Called by `seq_read()` for a file that [`Self::open`] has opened.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: By this function's contract; only this call uses the `seq_file`.
        let (seq, shown) = unsafe { (SeqFile::from_raw(seq), &*(*seq).private.cast::<T>()) };

        seq_print!(seq, "{shown}");
        0
    }
}
