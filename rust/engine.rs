// SPDX-License-Identifier: GPL-2.0

//! The engine: heads, paths, and the ways of bios.
//!
//! One compiled copy serves every driver. The pure modules decide; the engine carries their
//! decisions out. Drivers reach it through a face: `ffi.rs` for C.
//!
//! Locks, outermost first: a policy group's mutex, a head's `bring_up` mutex, a head's `control`
//! mutex. `bring_up` orders adding and deleting the disk and its links. Under `control` the head's
//! state and its list of paths change. Read-side sections may begin under all of them. Of these
//! locks only `bring_up` is held over a wait for a grace period, and nobody takes it inside a
//! section.
//!
//! Seven files import each other in a circle, as the objects refer to each other: `head`, `path`,
//! `publish`, `select`, `group`, `registry` and `ops`. A head has paths, a shortlist of them, a
//! policy group and the driver's callbacks. A path has its head, whose counts it advances. A group
//! and the list of all heads lead to heads. A trait between two of them would have one implementor,
//! and would only move the circle. No other file is part of one, but `submit` and `fence`: a bio
//! that a path fails goes to a fence, and from there to a path.

pub(crate) mod cache;
pub(crate) mod debug;
pub(crate) mod fence;
pub(crate) mod forward;
pub(crate) mod group;
pub(crate) mod head;
pub(crate) mod in_flight;
pub(crate) mod live;
pub(crate) mod membership;
pub(crate) mod misuse;
mod notes;
pub(crate) mod ops;
pub(crate) mod path;
pub(crate) mod publish;
pub(crate) mod record;
mod references;
pub(crate) mod registry;
pub(crate) mod select;
pub(crate) mod submit;
pub(crate) mod sysfs;
pub(crate) mod trace;
