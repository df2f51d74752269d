// SPDX-License-Identifier: GPL-2.0

//! The atomics of the pure code.
//!
//! The same policies, states and protocols run in the kernel, with the kernel's atomics, and on the
//! host. There the atomics are those of `std`, or of `loom` under `--cfg loom`, which tries
//! interleavings. This module owns the words that they are made of. The pure code touches memory
//! that threads share in no other way.
//!
//! Orderings are those of the kernel's names: a plain load is `READ_ONCE()`, an update that
//! returns the old value is fully ordered.

#[cfg(CONFIG_RUST)]
mod imp {
    use crate::compat::smp_mb;
    use kernel::sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    };

    use core::cell::UnsafeCell;

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

        /// `WRITE_ONCE()`.
        #[inline]
        pub fn store(&self, value: u32) {
            self.0.store(value, Relaxed)
        }

        /// One fully ordered attempt to replace `old` by `new`.
        #[inline]
        pub fn cmpxchg(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.0.cmpxchg(old, new, Full)
        }
    }

    /// A counter that threads share.
    #[repr(transparent)]
    pub struct AtomicU64(Atomic<u64>);

    impl AtomicU64 {
        /// Creates the counter.
        pub const fn new(value: u64) -> Self {
            Self(Atomic::new(value))
        }

        /// `smp_load_acquire()`: the reader sees all accesses before the store of the value.
        #[inline(always)]
        pub fn load(&self) -> u64 {
            self.0.load(Acquire)
        }

        /// `READ_ONCE()`: the reader may miss accesses before the store of the value.
        #[inline(always)]
        pub fn load_relaxed(&self) -> u64 {
            self.0.load(Relaxed)
        }

        /// `smp_store_release()`.
        #[inline(always)]
        pub fn store(&self, value: u64) {
            self.0.store(value, Release)
        }

        /// Adds to the counter, fully ordered.
        #[inline]
        pub fn add(&self, value: u64) {
            self.0.fetch_add(value, Full);
        }

        /// One fully ordered attempt to replace `old` by `new`.
        pub fn cmpxchg(&self, old: u64, new: u64) -> Result<u64, u64> {
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

        /// `smp_load_acquire()`: the reader sees the pointed-to memory as it was published.
        #[inline(always)]
        pub fn load(&self) -> *mut T {
            self.0.load(Acquire)
        }

        /// `rcu_dereference()`: the reader sees the pointed-to memory as it was published; other
        /// memory is not ordered. The address dependency does that, at no cost.
        #[inline(always)]
        pub fn dereference(&self) -> *mut T {
            self.0.load(Relaxed)
        }

        /// `READ_ONCE()`: the caller does not follow the pointer.
        #[inline(always)]
        pub fn load_relaxed(&self) -> *mut T {
            self.0.load(Relaxed)
        }

        /// `rcu_assign_pointer()`.
        #[inline(always)]
        pub fn store(&self, value: *mut T) {
            self.0.store(value, Release)
        }

        /// `WRITE_ONCE()`: the pointed-to memory has been published before.
        #[inline]
        pub fn store_relaxed(&self, value: *mut T) {
            self.0.store(value, Relaxed)
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

    /// A count of references.
    #[repr(transparent)]
    pub struct Refcount(kernel::sync::Refcount);

    impl Refcount {
        /// One reference.
        pub fn new() -> Self {
            Self(kernel::sync::Refcount::new(1))
        }

        pub(super) fn load(&self) -> i32 {
            self.0.as_atomic().load(Relaxed)
        }

        pub(super) fn cmpxchg(&self, old: i32, new: i32) -> Result<i32, i32> {
            self.0.as_atomic().cmpxchg(old, new, Relaxed)
        }

        /// `refcount_inc()`: one more, by a caller that has one.
        pub fn inc(&self) {
            self.0.inc();
        }

        /// `refcount_dec_and_test()`: one less. Returns whether it was the last.
        pub fn dec_and_test(&self) -> bool {
            self.0.dec_and_test()
        }
    }

    /// `smp_mb()`.
    #[inline]
    pub fn full_barrier() {
        smp_mb(Full);
    }

    /// A value that a lock guards.
    #[repr(transparent)]
    pub struct Guarded<T>(UnsafeCell<T>);

    impl<T: Copy> Guarded<T> {
        /// Creates the value.
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// The value.
        ///
        /// # Safety
        ///
        /// The caller holds the lock, or nobody else knows of the value yet.
        pub unsafe fn get(&self) -> T {
            // SAFETY: By this function's contract nobody writes.
            unsafe { *self.0.get() }
        }

        /// Sets the value.
        ///
        /// # Safety
        ///
        /// As for [`Guarded::get`].
        pub unsafe fn set(&self, value: T) {
            // SAFETY: By this function's contract nobody else reads or writes.
            unsafe { *self.0.get() = value }
        }
    }
}

#[cfg(not(CONFIG_RUST))]
mod imp {
    #[cfg(loom)]
    use loom::{
        cell::UnsafeCell,
        sync::atomic, //
    };
    #[cfg(not(loom))]
    use std::{
        cell::UnsafeCell,
        sync::atomic, //
    };

    use atomic::Ordering::{
        AcqRel,
        Acquire,
        Relaxed,
        Release,
        SeqCst, //
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

        /// `WRITE_ONCE()`.
        pub fn store(&self, value: u32) {
            self.0.store(value, Relaxed)
        }

        /// Adds to the word; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn add(&self, value: u32) {
            self.0.fetch_add(value, AcqRel);
        }

        /// Subtracts from the word; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn sub(&self, value: u32) {
            self.0.fetch_sub(value, AcqRel);
        }

        /// One attempt to replace `old` by `new`. The kernel's is fully ordered; a model that
        /// passes with acquire and release passes with that.
        pub fn cmpxchg(&self, old: u32, new: u32) -> Result<u32, u32> {
            self.0.compare_exchange(old, new, AcqRel, Acquire)
        }
    }

    /// A counter that threads share.
    pub struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        /// Creates the counter.
        pub fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        /// `smp_load_acquire()`.
        pub fn load(&self) -> u64 {
            self.0.load(Acquire)
        }

        /// `READ_ONCE()`.
        pub fn load_relaxed(&self) -> u64 {
            self.0.load(Relaxed)
        }

        /// `smp_store_release()`.
        pub fn store(&self, value: u64) {
            self.0.store(value, Release)
        }

        /// Adds to the counter; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn add(&self, value: u64) {
            self.0.fetch_add(value, AcqRel);
        }

        /// One attempt to replace `old` by `new`; see [`AtomicU32::cmpxchg`] on the ordering.
        pub fn cmpxchg(&self, old: u64, new: u64) -> Result<u64, u64> {
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

        /// `rcu_dereference()`. C11 has no order by dependencies, so this orders more than the
        /// kernel's.
        pub fn dereference(&self) -> *mut T {
            self.0.load(Acquire)
        }

        /// `READ_ONCE()`.
        pub fn load_relaxed(&self) -> *mut T {
            self.0.load(Relaxed)
        }

        /// `rcu_assign_pointer()`.
        pub fn store(&self, value: *mut T) {
            self.0.store(value, Release)
        }

        /// `WRITE_ONCE()`.
        pub fn store_relaxed(&self, value: *mut T) {
            self.0.store(value, Relaxed)
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

    /// A count of references, with the orderings of the kernel's.
    pub struct Refcount(atomic::AtomicI32);

    impl Refcount {
        /// One reference.
        #[expect(clippy::new_without_default)]
        pub fn new() -> Self {
            Self(atomic::AtomicI32::new(1))
        }

        pub(super) fn load(&self) -> i32 {
            self.0.load(Relaxed)
        }

        pub(super) fn cmpxchg(&self, old: i32, new: i32) -> Result<i32, i32> {
            self.0.compare_exchange(old, new, Relaxed, Relaxed)
        }

        /// `refcount_inc()`: one more, by a caller that has one.
        pub fn inc(&self) {
            self.0.fetch_add(1, Relaxed);
        }

        /// `refcount_dec_and_test()`: one less. Returns whether it was the last.
        pub fn dec_and_test(&self) -> bool {
            let is_last = self.0.fetch_sub(1, Release) == 1;

            if is_last {
                atomic::fence(Acquire);
            }
            is_last
        }
    }

    /// `smp_mb()`.
    pub fn full_barrier() {
        atomic::fence(SeqCst);
    }

    /// A value that a lock guards. Loom fails when a thread accesses it without the lock.
    pub struct Guarded<T>(UnsafeCell<T>);

    impl<T: Copy> Guarded<T> {
        /// Creates the value.
        pub fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        /// The value.
        ///
        /// # Safety
        ///
        /// The caller holds the lock, or nobody else knows of the value yet.
        pub unsafe fn get(&self) -> T {
            #[cfg(loom)]
            // SAFETY: By this function's contract nobody writes.
            return self.0.with(|value| unsafe { *value });
            #[cfg(not(loom))]
            // SAFETY: As above.
            return unsafe { *self.0.get() };
        }

        /// Sets the value.
        ///
        /// # Safety
        ///
        /// As for [`Guarded::get`].
        pub unsafe fn set(&self, value: T) {
            #[cfg(loom)]
            // SAFETY: By this function's contract nobody else reads or writes.
            self.0.with_mut(|field| unsafe { *field = value });
            #[cfg(not(loom))]
            // SAFETY: As above.
            unsafe {
                *self.0.get() = value
            };
        }
    }
}

pub use imp::{
    full_barrier,
    AtomicPtr,
    AtomicU32,
    AtomicU64,
    Guarded,
    Refcount, //
};

impl Refcount {
    /// The number of references, for people who ask.
    pub fn count(&self) -> u32 {
        self.load().max(0) as u32
    }

    /// Takes one more reference, unless the last one has gone.
    pub fn try_inc(&self) -> bool {
        let mut old = self.load();

        while old > 0 {
            match self.cmpxchg(old, old + 1) {
                Ok(_) => return true,
                Err(current) => old = current,
            }
        }
        false
    }
}

impl AtomicU32 {
    /// Replaces the word by the one that `f` makes of it, fully ordered, and returns the old one.
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
