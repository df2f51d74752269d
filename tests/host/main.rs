// SPDX-License-Identifier: GPL-2.0

//! What the pure parts of the library decide, on any input.
//!
//! These tests run the source that the kernel runs. What threads do to each other is not their
//! subject; that is tried in `tests/model`.

#![cfg(not(loom))]

mod depth;
mod fence;
mod names;
mod nodes;
mod policies;
mod removal;
mod shortlists;
mod states;
mod trust;
mod waiting;
