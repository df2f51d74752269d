// SPDX-License-Identifier: GPL-2.0

//! The library's protocols under loom, which interleaves threads.
//!
//! Build with `RUSTFLAGS="--cfg loom"`. The library's own source makes the decisions, and in its
//! own order. These are the words of paths, ports and heads, the policies, the list, the slots and
//! `quiesce()`. Also parking, failing over, the fate of a bio without a path, bringing the disk up
//! and taking it down, the removal and its timer, the count of references. Each model implements
//! the same traits that the engine implements. The layer below them is made by hand: mutexes, the
//! disk, SRCU and works (`kernel.rs` says from what). So is the glue of a few lines that each
//! module names at its top.
//!
//! Each protocol comes with mutants, which are the same protocol with one step wrong. For each
//! mutant loom must find an execution in which it fails. A model for which it finds none is no
//! proof of anything.
//!
//! # Limits
//!
//! - **The kernel's memory model.** loom explores C11. There the kernel's read-modify-write
//!   operations, which are fully ordered, are acquire and release: a protocol that holds with less
//!   holds with more. But C11 has no dependencies. loom has no load buffering (a load never sees a
//!   store that comes later in the interleaving), and makes `SeqCst` accesses acquire and release.
//!   So the models cannot show a protocol that needs a full barrier between a store and a load.
//!   They support the claim that no protocol of the library does, since they pass without one.
//! - **SRCU.** A section here is a mutex of its thread. That says what a grace period orders. It
//!   says nothing of how the kernel does it, of nested sections, of sections that sleep, or of
//!   grace periods that share their work. The mutexes order two grace periods at the same time,
//!   which the kernel does not promise.
//! - **Works.** The pending bit, one runner, and `flush_work()` where a model has it. No CPUs, no
//!   work that is queued while it runs on another CPU, no time: a timer may expire whenever it
//!   likes.
//! - **Size.** Two or three threads beside the main one, one head with one to three paths and one
//!   slot.
//! - **Preemptions.** With `Any`, loom tries all executions. With `AtMost`, it tries only those
//!   with that many preemptions at most: once to four times, as the model says and prints. Most
//!   mistakes need one or two preemptions, but loom does not find a mistake that needs more. Each
//!   protocol has a model without a bound, however small. Models with more threads, or with longer
//!   ones, have a bound because of the time that they take without. Of those that were tried,
//!   eleven had not ended after 90 s on a busy machine.
//! - **The fast path of a bio**, from `->submit_bio` to the path's queue, and all of the block
//!   layer: KUnit and the end-to-end tests cover these.

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
