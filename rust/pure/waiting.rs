// SPDX-License-Identifier: GPL-2.0

//! The fate of a bio that finds no usable path, and the one table of the actors that end a wait, by
//! path reasons, port states and head states.
//!
//! A bio waits only if an actor will end its wait. [`of_path`] names for each path the actor that
//! makes it usable again, or none. A bio for which no path is usable waits when there is such an
//! actor, and fails otherwise ([`of_head`]). The actor kicks the head when it is done.
//!
//! The same look ([`without_path`]) decides whether to park a bio and, once it is parked, whether
//! to park it still. The two must not differ, or a bio could stay for ever.

use crate::pure::state::{
    AccessState,
    HeadState,
    HeadWord,
    PathState,
    PortState,
    Reasons,
    WithoutPath, //
};

/// The actor that ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ender {
    /// The path is usable: the requeue worker, which has been kicked, sends the parked bios there.
    Requeue,
    /// The driver, when the port has recovered, or is given up: `mpath_port_set_state()` and
    /// `mpath_kick_requeue()`.
    Port,
    /// The driver, when it has unlinked the path: `mpath_delete_device()`.
    Delete,
    /// The driver, when it has set the path up: `mpath_enable_device()`.
    Setup,
    /// The driver, when it has read the access state: `mpath_enable_device()`.
    AccessState,
    /// The driver, when the capacities are the same again, `mpath_revalidate_paths()`; or the
    /// library, when no path of the head's capacity is left: `mpath_delete_device()`.
    Capacity,
    /// The driver, when the storage says that the path can be used:
    /// `mpath_device_set_access_state()`.
    Storage,
    /// The retry timer, at the end of the pause of a path that keeps failing.
    Retry,
    /// The removal timer, or a path that is added.
    Removal,
}

impl Ender {
    /// The actor in a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requeue => "requeue work",
            Self::Port => "driver: port recovers or is given up",
            Self::Delete => "driver: path is deleted",
            Self::Setup => "driver: path is set up",
            Self::AccessState => "driver: access state is read",
            Self::Capacity => "driver: capacity is the head's again",
            Self::Storage => "storage: access state changes",
            Self::Retry => "retry timer",
            Self::Removal => "removal timer",
        }
    }
}

/// The actor that makes a path usable; `None` when there is none.
pub fn of_path(state: PathState, port: PortState) -> Option<Ender> {
    if !port.is_worth_waiting_for() {
        // The port takes no I/O any more, or does and is about to go: then I/O uses it while it is
        // there.
        return None;
    }
    if state.is_removing() {
        return Some(Ender::Delete);
    }
    if !port.takes_io() {
        return Some(Ender::Port);
    }
    if state.has(Reasons::NOT_READY) {
        return Some(Ender::Setup);
    }
    if state.has(Reasons::STATE_PENDING) {
        return Some(Ender::AccessState);
    }
    if state.has(Reasons::CAPACITY) {
        return Some(Ender::Capacity);
    }
    if state.access_state() == AccessState::Other {
        return Some(Ender::Storage);
    }
    if state.has(Reasons::FAILED) {
        return Some(Ender::Retry);
    }
    Some(Ender::Requeue)
}

/// The actor that ends the wait of a bio on a head for whose paths [`of_path`] says `of_paths`;
/// `None` when the bio must not wait.
pub fn of_head(word: HeadWord, mut of_paths: impl Iterator<Item = Option<Ender>>) -> Option<Ender> {
    if word.state() != HeadState::Live {
        return None;
    }
    of_paths
        .find_map(|ender| ender)
        .or(word.queue_if_no_path().then_some(Ender::Removal))
}

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
        .map(|path| of_path(S::state_of(path), S::port_of(path)));

    match of_head(head.word(), of_paths) {
        Some(_) if is_nowait => WithoutPath::Again,
        Some(_) => WithoutPath::Park,
        None => WithoutPath::Fail,
    }
}

/// Would a bio that waits not be parked now?
pub fn is_worth_another_try<S: Submission>(head: &S) -> bool {
    head.choose().is_some() || without_path(head, false) == WithoutPath::Fail
}
