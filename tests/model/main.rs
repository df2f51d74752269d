// SPDX-License-Identifier: GPL-2.0

//! What threads can do to each other: every interleaving of the library's protocols under loom.
//!
//! Build with `RUSTFLAGS="--cfg loom"`. The library's own source takes part wherever it compiles on
//! the host: states, policies, parking, the removal timer. What is the engine's or the kernel's is
//! written again here, call by call, and named after its origin: the model is as good as that copy.
//! SRCU and work queues are made by hand (`kernel.rs` says from what).
//!
//! Each protocol comes with mutants, which are the same protocol with one step wrong. loom must
//! find an execution in which a mutant fails; a model that does not is no proof of anything.
//!
//! loom explores the C11 memory model, where the kernel's read-modify-write operations, which are
//! fully ordered, are acquire and release. What holds here holds in the kernel, not the reverse.

#![cfg(loom)]

mod bring_up;
mod explore;
mod kernel;
mod list;
mod parking;
mod publication;
mod references;
mod removal;
mod states;
