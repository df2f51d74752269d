// SPDX-License-Identifier: GPL-2.0

//! The atomics of the pure code.
//!
//! The same policies, states and protocols run in the kernel, where an atomic access is one of the
//! kernel's, and on the host, where it is `std`'s, or `loom`'s under `--cfg loom`, so that every
//! interleaving of them can be tried. This module owns the three words they are made of, and
//! nothing in the pure code touches memory that threads share in any other way.
//!
//! Orderings are those of the kernel's names: a plain load is `READ_ONCE()`, an update that
//! returns the old value is fully ordered.

#[cfg(CONFIG_RUST)]
mod imp {
    use kernel::sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    };

    /// A word that threads share.
    #[repr(transparent)]
    pub struct AtomicU32(Atomic<u32>);

    impl AtomicU32 {
        /// Creates the word.
        pub const fn new(value: u32) -> Self {
            Self(Atomic::new(value))
        }

        /// `READ_ONCE()`.
        #[inline(always)]
        pub fn load(&self) -> u32 {
            self.0.load(Relaxed)
        }

        /// One fully ordered attempt to replace `old` by `new`.
        #[inline]
        pub fn cmpxchg(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.0.cmpxchg(old, new, Full)
        }
    }

    /// A pointer that threads share.
    #[repr(transparent)]
    pub struct AtomicPtr<T>(Atomic<*mut T>);

    impl<T> AtomicPtr<T> {
        /// Creates the pointer.
        pub const fn new(value: *mut T) -> Self {
            Self(Atomic::new(value))
        }

        /// `smp_load_acquire()`: what the pointer leads to is seen as it was published.
        #[inline(always)]
        pub fn load(&self) -> *mut T {
            self.0.load(Acquire)
        }

        /// `rcu_assign_pointer()`.
        #[inline(always)]
        pub fn store(&self, value: *mut T) {
            self.0.store(value, Release)
        }

        /// `xchg()`, fully ordered.
        #[inline]
        pub fn swap(&self, value: *mut T) -> *mut T {
            self.0.xchg(value, Full)
        }

        /// One fully ordered attempt to replace `old` by `new`.
        #[inline]
        pub fn cmpxchg(&self, old: *mut T, new: *mut T) -> Result<*mut T, *mut T> {
            self.0.cmpxchg(old, new, Full)
        }
    }
}

#[cfg(not(CONFIG_RUST))]
mod imp {
    #[cfg(loom)]
    use loom::sync::atomic;
    #[cfg(not(loom))]
    use std::sync::atomic;

    use atomic::Ordering::{
        AcqRel,
        Acquire,
        Relaxed,
        Release, //
    };

    /// A word that threads share.
    pub struct AtomicU32(atomic::AtomicU32);

    impl AtomicU32 {
        /// Creates the word.
        pub fn new(value: u32) -> Self {
            Self(atomic::AtomicU32::new(value))
        }

        /// `READ_ONCE()`.
        pub fn load(&self) -> u32 {
            self.0.load(Relaxed)
        }

        /// One attempt to replace `old` by `new`. The kernel's is fully ordered; a model that
        /// passes with acquire and release passes with that.
        pub fn cmpxchg(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.0.compare_exchange(old, new, AcqRel, Acquire)
        }
    }

    /// A pointer that threads share.
    pub struct AtomicPtr<T>(atomic::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        /// Creates the pointer.
        pub fn new(value: *mut T) -> Self {
            Self(atomic::AtomicPtr::new(value))
        }

        /// `smp_load_acquire()`.
        pub fn load(&self) -> *mut T {
            self.0.load(Acquire)
        }

        /// `rcu_assign_pointer()`.
        pub fn store(&self, value: *mut T) {
            self.0.store(value, Release)
        }

        /// `xchg()`; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn swap(&self, value: *mut T) -> *mut T {
            self.0.swap(value, AcqRel)
        }

        /// One attempt to replace `old` by `new`; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn cmpxchg(&self, old: *mut T, new: *mut T) -> Result<*mut T, *mut T> {
            self.0.compare_exchange(old, new, AcqRel, Acquire)
        }
    }
}

pub use imp::{
    AtomicPtr,
    AtomicU32, //
};

impl AtomicU32 {
    /// Replaces the word by what `f` makes of it, fully ordered, and returns the old one.
    #[inline]
    pub fn update(&self, f: impl Fn(u32) -> u32) -> u32 {
        let mut old = self.load();
        loop {
            match self.cmpxchg(old, f(old)) {
                Ok(_) => return old,
                Err(current) => old = current,
            }
        }
    }
}
