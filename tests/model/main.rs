// SPDX-License-Identifier: GPL-2.0

//! The library's protocols under loom, which interleaves threads.
//!
//! Build with `RUSTFLAGS="--cfg loom"`. What decides, and in which order, is the library's own
//! source: the words of paths, ports and heads, the policies, the list, the slots and `quiesce()`,
//! parking, failing over, what becomes of a bio without a path, bringing the disk up and taking it
//! down, the removal and its timer, the count of references. Each model implements the same traits
//! that the engine implements. What is below them is made by hand: mutexes, the disk, SRCU and
//! works (`kernel.rs` says from what), and the glue of a few lines that each module names at its
//! top.
//!
//! Each protocol comes with mutants, which are the same protocol with one step wrong. loom must
//! find an execution in which a mutant fails; a model that does not is no proof of anything.
//!
//! # What this does not cover
//!
//! - **The kernel's memory model.** loom explores C11, where the kernel's read-modify-write
//!   operations, which are fully ordered, are acquire and release here: what holds with less holds
//!   with more. But C11 has no dependencies, and loom has no load buffering (a load never sees a
//!   store that comes later in the interleaving) and makes `SeqCst` accesses acquire and release.
//!   What needs a full barrier between a store and a load cannot be shown here; that no protocol of
//!   the library does is a claim that the models support, since they pass without one.
//! - **SRCU.** A section here is a mutex of its thread. That says what a grace period orders, and
//!   nothing of how the kernel does it, of nested sections, of sections that sleep, or of grace periods
//!   that share their work. Two grace periods at the same time are ordered by the mutexes, which the
//!   kernel does not promise.
//! - **Works.** The pending bit, one runner, and `flush_work()` where a model has it. Not which
//!   CPU, not
//!   a work that is queued while it runs on another CPU, no time: a timer may expire whenever it likes.
//! - **Size.** Two or three threads beside the main one, one head with one to three paths and one
//!   slot.
//! - **Preemptions.** Where `Any` is said, all executions are tried. Where `AtMost` is said, only
//!   those in which threads are preempted so often at most: once to four times, as the model says and
//!   as is printed. Most mistakes need one or two, but a mistake that needs more is not found. Each
//!   protocol has a model without a bound, however small. Models with more threads, or with longer
//!   ones, have a bound because of the time that they take without: of those that were tried, eleven
//!   had not ended after 90 s on a busy machine.
//! - **The fast path of a bio**, from `->submit_bio` to the path's queue, and all of the block
//!   layer:
//!   that is what KUnit and the end-to-end tests are for.

#![cfg(loom)]

mod alarm;
mod bring_up;
mod departure;
mod explore;
mod fence;
mod kernel;
mod list;
mod parking;
mod publication;
mod references;
mod removal;
mod states;
mod take_down;
mod trust;
