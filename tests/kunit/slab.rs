// SPDX-License-Identifier: GPL-2.0

//! Memory for objects of one size, whichever slab asks first.

use super::thread::Thread;
use crate::wrap::slab::Slab;
use core::alloc::Layout;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full, //
};
use kernel::sync::Arc;

/// Each with a name of its own: the kernel warns of a second slab of a name.
static SLABS: [Slab; 6] = [
    Slab::new(c"mpath_kunit_0"),
    Slab::new(c"mpath_kunit_1"),
    Slab::new(c"mpath_kunit_2"),
    Slab::new(c"mpath_kunit_3"),
    Slab::new(c"mpath_kunit_4"),
    Slab::new(c"mpath_kunit_5"),
];

const THREADS: u32 = 4;

/// An object, which goes back by itself.
struct Object(NonNull<u8>, &'static Slab);

// SAFETY: The memory is the object's.
unsafe impl Send for Object {}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: It came from there, and nobody uses it.
        unsafe { self.1.free(self.0) }
    }
}

#[kunit_tests(mpath_slab)]
mod tests {
    use super::*;

    /// Shows A-16.
    #[test]
    fn those_who_come_first_together_make_one_slab() -> Result {
        for slab in &SLABS {
            let ready = Arc::new(Atomic::new(0_u32), GFP_KERNEL)?;
            let come = || {
                let ready = ready.clone();

                Thread::spawn(move || {
                    ready.fetch_add(1, Full);
                    // The tests' machine has as many CPUs; on a smaller one the objects come one by
                    // one.
                    for _ in 0..10_000_000 {
                        if ready.load(kernel::sync::atomic::Relaxed) == THREADS {
                            break;
                        }
                        core::hint::spin_loop();
                    }
                    slab.alloc(Layout::new::<[u64; 24]>())
                        .map(|object| Object(object, slab))
                })
            };
            let threads = [come()?, come()?, come()?, come()?];
            for thread in threads {
                check!(thread.join()?.is_ok());
            }
            // SAFETY: No object is left, and nobody else knows the slab.
            unsafe { slab.destroy() };
        }
        Ok(())
    }
}
