// SPDX-License-Identifier: GPL-2.0

//! The kernel crate of older kernels, made to look like that of the newest one.
//!
//! The library is written for the newest kernel that it is known to work with. The kernel crate of
//! an older one lacks some names, or gives them to something else. These names are here; no other
//! Rust file asks which kernel it is for. `Kbuild` says so with a `cfg` for each version in which
//! names have changed, and with a macro for `helpers.c`.

/// Linux 7.3: the names themselves.
#[cfg(not(mpath_before_7_3))]
mod imp {
    use crate::bindings;
    use crate::driver::MpathDriver;
    use kernel::ModuleMetadata;

    pub(crate) use kernel::error::code::EDEADLK;
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) use kernel::error::code::ENOLINK;
    pub use kernel::error::code::EOPNOTSUPP;
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) use kernel::interrupt::local_interrupt_disable;
    pub(crate) use kernel::module::this_module;
    pub(crate) use kernel::sync::barrier::smp_mb;
    pub(crate) use pin_init::raw_try_init;

    /// The bytes of its present segment that an iterator has behind it.
    #[inline(always)]
    pub(crate) fn bvec_offset(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_offset
    }

    /// Moves an iterator within its segment.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) fn set_bvec_offset(iter: &mut bindings::bvec_iter, offset: u32) {
        iter.bi_offset = offset;
    }

    /// The module of a driver; null when it is built in.
    pub(crate) const fn owner<T: MpathDriver>() -> *mut bindings::module {
        <T::OwnerModule as ModuleMetadata>::THIS_MODULE.as_ptr()
    }

    /// Does nothing: here every driver knows its owner.
    #[inline(always)]
    pub(crate) fn need_owner() {}
}

/// Linux 7.2.
#[cfg(mpath_before_7_3)]
mod imp {
    use crate::bindings;
    use crate::driver::MpathDriver;
    use core::num::NonZeroI32;
    use kernel::prelude::*;
    use kernel::sync::atomic::Full;
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    use kernel::types::NotThreadSafe;

    /// An error for which the kernel crate has no name.
    const fn error(errno: u32) -> Error {
        let Some(errno) = NonZeroI32::new(-(errno as i32)) else {
            panic!("0 is no error")
        };

        // SAFETY: `Error` is a struct with nothing in it but this number, which has to be the
        // negative of one of the C side's error codes. The compiler compares the sizes.
        unsafe { core::mem::transmute::<NonZeroI32, Error>(errno) }
    }

    /// Operation not supported on transport endpoint.
    pub const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);
    /// Resource deadlock would occur.
    pub(crate) const EDEADLK: Error = error(bindings::EDEADLK);
    /// Link has been severed.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) const ENOLINK: Error = error(bindings::ENOLINK);

    /// The bytes of its present segment that an iterator has behind it.
    #[inline(always)]
    pub(crate) fn bvec_offset(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_bvec_done
    }

    /// Moves an iterator within its segment.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) fn set_bvec_offset(iter: &mut bindings::bvec_iter, offset: u32) {
        iter.bi_bvec_done = offset;
    }

    /// A module whose `THIS_MODULE` is known here: the library's own.
    pub(crate) trait Own {}

    impl Own for crate::Multipath {}

    /// The library's `THIS_MODULE`.
    pub(crate) const fn this_module<M: Own>() -> &'static ThisModule {
        &crate::THIS_MODULE
    }

    /// `smp_mb()`.
    #[inline(always)]
    pub(crate) fn smp_mb(_: Full) {
        kernel::sync::barrier::smp_mb()
    }

    /// Initialises memory.
    ///
    /// # Safety
    ///
    /// `slot` is valid for writes of a `T`. If this succeeds, the `T` is pinned there.
    #[inline(always)]
    pub(crate) unsafe fn raw_try_init<T, E>(
        slot: *mut T,
        init: impl PinInit<T, E>,
    ) -> Result<(), E> {
        // SAFETY: By this function's contract.
        unsafe { init.__pinned_init(slot) }
    }

    /// The module of a driver.
    ///
    /// `#[vtable]` does not say here which one it is. But each module has a symbol of the same
    /// name, and the compiler compiles the tables with this pointer together with their driver.
    #[cfg(MODULE)]
    pub(crate) const fn owner<T: MpathDriver>() -> *mut bindings::module {
        // Its contents do not matter: this only takes its address.
        #[allow(improper_ctypes)]
        extern "C" {
            static __this_module: kernel::types::Opaque<bindings::module>;
        }

        // SAFETY: Every module has it, for as long as it is loaded.
        unsafe { __this_module.get() }
    }

    /// The module of a driver: null, since the driver is built in as the library is.
    #[cfg(not(MODULE))]
    pub(crate) const fn owner<T: MpathDriver>() -> *mut bindings::module {
        core::ptr::null_mut()
    }

    /// Keeps the linker from linking a driver that is a module against a library that is built in,
    /// which would not know that module. It refers to a symbol that only the kernel's own image
    /// has.
    #[inline(always)]
    pub(crate) fn need_owner() {
        #[cfg(not(MODULE))]
        // SAFETY: `helpers.c` defines it, and nobody writes to it.
        unsafe {
            core::ptr::read_volatile(&raw const bindings::mpath_rust_driver_is_built_in);
        }
    }

    /// A guard: interrupts are off on this CPU for as long as it lives.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) struct LocalInterruptDisabled(kernel::ffi::c_ulong, NotThreadSafe);

    /// Switches interrupts off on this CPU.
    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    pub(crate) fn local_interrupt_disable() -> LocalInterruptDisabled {
        // SAFETY: Any context may call it.
        let flags = unsafe { bindings::mpath_helper_irq_save() };

        LocalInterruptDisabled(flags, NotThreadSafe)
    }

    #[cfg(CONFIG_LIBMULTIPATH_KUNIT_TEST)]
    impl Drop for LocalInterruptDisabled {
        fn drop(&mut self) {
            // SAFETY: The flags are those of this CPU: interrupts are off since, and the guard is
            // not `Send`.
            unsafe { bindings::mpath_helper_irq_restore(self.0) }
        }
    }
}

pub use imp::EOPNOTSUPP;
pub(crate) use imp::*;
