// SPDX-License-Identifier: GPL-2.0

//! Memory for objects of one size, without the rounding of `kmalloc()`.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use super::alone::Alone;
use crate::bindings;
use core::alloc::Layout;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::SetOnce;

/// A `kmem_cache`.
///
/// # Invariants
///
/// A valid cache, until [`Slab::destroy`].
struct Cache(NonNull<bindings::kmem_cache>);

// SAFETY: Any thread may use a `kmem_cache`.
unsafe impl Send for Cache {}
// SAFETY: As above, also several at the same time.
unsafe impl Sync for Cache {}

/// An allocator of objects of one layout. The first allocation makes the cache: built in, drivers
/// may come before the library's initialisation.
pub(crate) struct Slab {
    name: &'static CStr,
    cache: SetOnce<Cache>,
    /// Held while a caller makes the cache.
    alone: Alone,
}

impl Slab {
    /// A slab that is `name` in `/sys/kernel/slab`.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            cache: SetOnce::new(),
            alone: Alone::new(),
        }
    }

    /// Allocates memory for one object, uninitialised. Every object has the same layout. May sleep.
    pub(crate) fn alloc(&self, layout: Layout) -> Result<NonNull<u8>> {
        let cache = self.ensure(layout)?;
        // SAFETY: A valid cache, by its type's invariant.
        let memory = unsafe { bindings::mpath_helper_slab_alloc(cache.0.as_ptr()) };

        NonNull::new(memory.cast()).ok_or(ENOMEM)
    }

    /// Frees an object.
    ///
    /// # Safety
    ///
    /// `memory` came from [`Slab::alloc`], and nobody uses it any more.
    pub(crate) unsafe fn free(&self, memory: NonNull<u8>) {
        if let Some(cache) = self.cache.as_ref() {
            // SAFETY: By this function's contract it is of this cache, which is valid.
            unsafe { bindings::kmem_cache_free(cache.0.as_ptr(), memory.as_ptr().cast()) }
        }
    }

    fn ensure(&self, layout: Layout) -> Result<&Cache> {
        if let Some(cache) = self.cache.as_ref() {
            return Ok(cache);
        }
        // Two caches of one name must not exist, not even for a moment.
        self.alone.run(|| match self.cache.as_ref() {
            Some(_) => Ok(()),
            None => self.make(layout),
        })?;
        self.cache.as_ref().ok_or(ENOMEM)
    }

    /// Makes the cache. The caller holds `alone`.
    fn make(&self, layout: Layout) -> Result {
        // SAFETY: The name is a string that stays.
        let new = unsafe {
            bindings::mpath_helper_slab_create(
                self.name.as_char_ptr(),
                layout.size().try_into()?,
                layout.align().try_into()?,
            )
        };

        // INVARIANT: Just made.
        self.cache.populate(Cache(NonNull::new(new).ok_or(ENOMEM)?));
        Ok(())
    }

    /// Destroys the cache.
    ///
    /// # Safety
    ///
    /// No object is left, and nobody allocates one any more.
    pub(crate) unsafe fn destroy(&self) {
        if let Some(cache) = self.cache.as_ref() {
            // SAFETY: A valid cache; by this function's contract nobody uses it any more.
            unsafe { bindings::kmem_cache_destroy(cache.0.as_ptr()) }
        }
    }
}
