// SPDX-License-Identifier: GPL-2.0

//! The decisions of the library's pure parts, on any input.
//!
//! These tests run the source that the kernel runs. They do not cover how threads affect each
//! other; `tests/model` does.

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
