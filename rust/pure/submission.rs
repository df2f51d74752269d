// SPDX-License-Identifier: GPL-2.0

//! The fate of a bio that finds no usable path.
//!
//! The same look decides whether to park a bio and, once it is parked, whether to park it still.
//! The two must not differ, or a bio could stay for ever.

use crate::pure::state::{
    HeadWord,
    PathState,
    PortState,
    WithoutPath, //
};
use crate::pure::waiting;

/// A head, as a bio finds it.
pub trait Submission {
    /// The type of a path.
    type Path;

    /// All paths.
    fn paths(&self) -> impl Iterator<Item = &Self::Path>;

    /// The head's word now.
    fn word(&self) -> HeadWord;

    /// The state of a path now.
    fn state_of(path: &Self::Path) -> PathState;

    /// The state of a path's port now.
    fn port_of(path: &Self::Path) -> PortState;

    /// The path to which the head would send a bio now.
    fn choose(&self) -> Option<&Self::Path>;
}

/// The fate of a bio for which no path is usable.
pub fn without_path<S: Submission>(head: &S, is_nowait: bool) -> WithoutPath {
    let of_paths = head
        .paths()
        .map(|path| waiting::of_path(S::state_of(path), S::port_of(path)));

    match waiting::of_head(head.word(), of_paths) {
        Some(_) if is_nowait => WithoutPath::Again,
        Some(_) => WithoutPath::Park,
        None => WithoutPath::Fail,
    }
}

/// Would a bio that waits not be parked now?
pub fn is_worth_another_try<S: Submission>(head: &S) -> bool {
    head.choose().is_some() || without_path(head, false) == WithoutPath::Fail
}
