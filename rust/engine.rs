// SPDX-License-Identifier: GPL-2.0

//! The engine: heads, paths, and what happens to bios.
//!
//! One compiled copy serves every driver. What it decides is decided by the pure modules; here it
//! is carried out. Drivers reach it through a face: `ffi.rs` for C.
//!
//! Locks, outermost first: a policy group's mutex; a head's `bring_up` mutex, which orders adding
//! and deleting the disk and its links; a head's `control` mutex, under which its state changes and
//! its list of paths is written. Read-side sections may begin under all of them. Grace periods are
//! waited for under `bring_up` at most, which nobody takes inside a section.

pub(crate) mod cache;
pub(crate) mod debug;
pub(crate) mod depth;
pub(crate) mod fence;
pub(crate) mod forward;
pub(crate) mod group;
pub(crate) mod head;
pub(crate) mod heads;
pub(crate) mod live;
pub(crate) mod misuse;
pub(crate) mod ops;
pub(crate) mod path;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod select;
pub(crate) mod shortlist;
pub(crate) mod submit;
pub(crate) mod sysfs;
pub(crate) mod trace;
