// SPDX-License-Identifier: GPL-2.0

//! The states of paths, ports and heads, and the rules that follow from them.
//!
//! Each is one word, loaded once for a decision, so a decision is always about a state that
//! existed. Drivers and the engine change the words, and all code may read them. Only this module
//! gives them their meaning.
//!
//! A path is usable when no reason to disable it is set, its access state allows I/O, and its port
//! takes I/O.
//!
//! A head goes through its states in one direction, each transition under the head's mutex:
//!
//! ```text
//!   New --> Live --> Dying --> Dead
//!    \________________^
//! ```
//!
//! - New: no disk has been added.
//! - Live: the disk is there; a bio that finds no usable path may wait.
//! - Dying: the removal of the head is decided. It takes no new path, and no bio waits any more.
//! - Dead: the disk is gone.

use crate::pure::sync::AtomicU32;
use crate::pure::trust::{
    Attempt,
    Trust, //
};

/// The access class of a path, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// I/O does not use the path.
    Unusable,
    /// I/O uses the path while no usable path is optimized.
    NonOptimized,
    /// I/O prefers the path.
    Optimized,
}

/// The access state that the storage reports for a path; the values are those of `enum
/// mpath_access_state`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// assert_eq!(AccessState::from_raw(1), AccessState::NonOptimized);
/// // I/O does not use a path in an unknown state.
/// assert_eq!(AccessState::from_raw(77), AccessState::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AccessState {
    /// `MPATH_STATE_OPTIMIZED`.
    Optimized = 0,
    /// `MPATH_STATE_NONOPTIMIZED`.
    NonOptimized = 1,
    /// `MPATH_STATE_OTHER`.
    Other = 2,
}

impl AccessState {
    /// The state of a C value; an unknown value does not allow I/O.
    #[inline]
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Optimized,
            1 => Self::NonOptimized,
            _ => Self::Other,
        }
    }

    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optimized => "optimized",
            Self::NonOptimized => "non-optimized",
            Self::Other => "other",
        }
    }
}

/// Reasons not to use a path, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// `MPATH_DISABLE_NOT_READY`: the driver has not finished, or has begun to take it away.
    pub const NOT_READY: Self = Self(1 << 0);
    /// `MPATH_DISABLE_STATE_PENDING`: the driver is reading the access state.
    pub const STATE_PENDING: Self = Self(1 << 1);
    /// Its capacity is not the head's.
    pub const CAPACITY: Self = Self(1 << 5);
    /// It keeps failing bios, and the head leaves it alone: [`Trust::Resting`].
    pub const FAILED: Self = Self(1 << 6);
    /// The driver is removing it; never cleared.
    pub const REMOVING: Self = Self(1 << 7);

    /// Each reason, and its name for people.
    pub const EACH: [(Self, &'static str); 5] = [
        (Self::NOT_READY, "not-ready"),
        (Self::STATE_PENDING, "access-state-pending"),
        (Self::CAPACITY, "capacity"),
        (Self::FAILED, "failing"),
        (Self::REMOVING, "removing"),
    ];

    const ALL: u32 = 0xff;
    const OF_DRIVER: u32 = Self::NOT_READY.0 | Self::STATE_PENDING.0;

    /// Does `raw` have bits that a driver may not set?
    pub const fn is_foreign(raw: u32) -> bool {
        raw & !Self::OF_DRIVER != 0
    }

    /// The reasons in `raw` that a driver may give, without other bits.
    pub const fn of_driver(raw: u32) -> Self {
        Self(raw & Self::OF_DRIVER)
    }
}

/// A snapshot of a path's state: the reasons not to use it, and the access state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState(u32);

impl PathState {
    const ACCESS_SHIFT: u32 = 8;
    const TRUST_SHIFT: u32 = 16;
    const TRUST: u32 = Trust::MASK << Self::TRUST_SHIFT;

    /// The state of a new path.
    pub const fn new() -> Self {
        Self(Reasons::NOT_READY.0 | (AccessState::Other as u32) << Self::ACCESS_SHIFT)
    }

    /// The word.
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// The path's access class, if its port takes I/O.
    #[inline(always)]
    pub const fn access(self) -> Access {
        const OPTIMIZED: u32 = (AccessState::Optimized as u32) << PathState::ACCESS_SHIFT;
        const NON_OPTIMIZED: u32 = (AccessState::NonOptimized as u32) << PathState::ACCESS_SHIFT;

        match self.0 & !Self::TRUST {
            OPTIMIZED => Access::Optimized,
            NON_OPTIMIZED => Access::NonOptimized,
            _ => Access::Unusable,
        }
    }

    /// The path's access class through its port. Does not look at the port of a path that is not
    /// usable by itself.
    #[inline(always)]
    pub fn access_through(self, port: impl FnOnce() -> PortState) -> Access {
        let access = self.access();

        if access != Access::Unusable && !port().takes_io() {
            return Access::Unusable;
        }
        access
    }

    /// The reasons not to use the path, as bits.
    pub const fn reasons(self) -> u32 {
        self.0 & Reasons::ALL
    }

    /// Is the path being removed?
    pub const fn is_removing(self) -> bool {
        self.0 & Reasons::REMOVING.0 != 0
    }

    /// The state with these reasons set.
    pub const fn disabled(self, reasons: Reasons) -> Self {
        Self(self.0 | reasons.0)
    }

    /// The state without these reasons.
    pub const fn enabled(self, reasons: Reasons) -> Self {
        Self(self.0 & !reasons.0)
    }

    /// The state with another access state, and with trust in the path.
    pub const fn reaching(self, state: AccessState) -> Self {
        Self(self.0 & Reasons::ALL & !Reasons::FAILED.0 | (state as u32) << Self::ACCESS_SHIFT)
    }

    /// Is any of these reasons set?
    pub const fn has(self, reasons: Reasons) -> bool {
        self.0 & reasons.0 != 0
    }

    /// The access state that the storage reported.
    pub const fn access_state(self) -> AccessState {
        AccessState::from_raw(self.0 >> Self::ACCESS_SHIFT & 3)
    }

    /// How far the head trusts the path.
    #[inline]
    pub const fn trust(self) -> Trust {
        Trust::from_raw(self.0 >> Self::TRUST_SHIFT & Trust::MASK)
    }

    /// The state with another trust, from which [`Reasons::FAILED`] follows.
    const fn trusted(self, trust: Trust) -> Self {
        let failed = match trust {
            Trust::Resting { .. } => Reasons::FAILED.0,
            _ => 0,
        };

        Self(
            self.0 & !(Self::TRUST | Reasons::FAILED.0)
                | trust.to_raw() << Self::TRUST_SHIFT
                | failed,
        )
    }

    /// The state after a bio, sent as `attempt` says, has failed.
    pub const fn failed(self, attempt: Attempt) -> Self {
        self.trusted(self.trust().failed(attempt))
    }

    /// The state after a watched bio has succeeded.
    pub const fn succeeded(self) -> Self {
        self.trusted(self.trust().succeeded())
    }

    /// The state from when a bio is sent to the path.
    pub const fn taken(self) -> Self {
        self.trusted(self.trust().taken())
    }

    /// The state from when the pause has ended.
    pub const fn rested(self) -> Self {
        self.trusted(self.trust().rested())
    }

    /// The state after the driver has looked at the path: the head trusts it again.
    pub const fn restored(self) -> Self {
        self.trusted(Trust::Trusted)
    }

    /// Does the head trust the path, and not watch how its bios end?
    pub const fn is_trusted(self) -> bool {
        self.0 & Self::TRUST == 0
    }

    /// The facts that a shortlist needs: the access class, and whether the head trusts the path.
    pub fn listing(self) -> (Access, bool) {
        (self.access(), self.is_trusted())
    }

    /// Would I/O use the path if it had not failed? Then only time will change it.
    pub fn is_meant_for_io(self) -> bool {
        self.restored().access() != Access::Unusable
    }
}

impl Default for PathState {
    fn default() -> Self {
        Self::new()
    }
}

/// A path's state word.
#[repr(transparent)]
pub struct AtomicPathState(AtomicU32);

impl AtomicPathState {
    /// Creates the word of a new path.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU32::new(PathState::new().to_raw()))
    }

    /// The state now.
    #[inline(always)]
    pub fn load(&self) -> PathState {
        PathState(self.0.load())
    }

    /// Changes the state and returns the old one.
    pub fn update(&self, f: impl Fn(PathState) -> PathState) -> PathState {
        PathState(self.0.update(|raw| f(PathState(raw)).to_raw()))
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for AtomicPathState {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of a port; the values are those of `enum mpath_port_state`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// // A controller in reset takes no I/O, and I/O waits for it.
/// assert!(!PortState::Recovering.takes_io() && PortState::Recovering.is_worth_waiting_for());
/// // One in shutdown takes I/O to the end, but no I/O waits for it.
/// assert!(PortState::Draining.takes_io() && !PortState::Draining.is_worth_waiting_for());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PortState {
    /// `MPATH_PORT_DEAD`.
    Dead = 0,
    /// `MPATH_PORT_RECOVERING`.
    Recovering = 1,
    /// `MPATH_PORT_DRAINING`.
    Draining = 2,
    /// `MPATH_PORT_LIVE`.
    Live = 3,
}

impl PortState {
    /// The state of a C value; a port of an unknown value takes no I/O.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Recovering,
            2 => Self::Draining,
            3 => Self::Live,
            _ => Self::Dead,
        }
    }

    /// May the head send I/O through it now?
    #[inline(always)]
    pub const fn takes_io(self) -> bool {
        matches!(self, Self::Live | Self::Draining)
    }

    /// May a bio wait for it?
    #[inline]
    pub const fn is_worth_waiting_for(self) -> bool {
        matches!(self, Self::Live | Self::Recovering)
    }

    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Recovering => "recovering",
            Self::Draining => "draining",
            Self::Live => "live",
        }
    }
}

/// The state of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum HeadState {
    /// No disk has been added.
    New = 0,
    /// The disk is there.
    Live = 1,
    /// The removal of the head is decided.
    Dying = 2,
    /// The disk is gone.
    Dead = 3,
}

impl HeadState {
    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Live => "live",
            Self::Dying => "dying",
            Self::Dead => "dead",
        }
    }
}

/// A snapshot of a head's word: its state, and whether bios wait although there is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadWord(u32);

/// The fate of a bio for which no path is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutPath {
    /// It waits.
    Park,
    /// It ends, since it would have to wait and must not.
    Again,
    /// It fails.
    Fail,
}

impl HeadWord {
    const STATE: u32 = 3;
    const QUEUE_IF_NO_PATH: u32 = 1 << 2;

    /// The state.
    #[inline(always)]
    pub const fn state(self) -> HeadState {
        match self.0 & Self::STATE {
            0 => HeadState::New,
            1 => HeadState::Live,
            2 => HeadState::Dying,
            _ => HeadState::Dead,
        }
    }

    /// Do bios wait although there is no path?
    pub const fn queue_if_no_path(self) -> bool {
        self.0 & Self::QUEUE_IF_NO_PATH != 0
    }
}

/// A head's word. Written under the head's mutex only, read without it.
#[repr(transparent)]
pub struct AtomicHeadWord(AtomicU32);

impl AtomicHeadWord {
    /// A new head.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        Self(AtomicU32::new(HeadState::New as u32))
    }

    /// A new head.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        Self(AtomicU32::new(HeadState::New as u32))
    }

    /// The word now.
    #[inline(always)]
    pub fn load(&self) -> HeadWord {
        HeadWord(self.0.load())
    }

    /// Goes on to a later state. Returns false, and does nothing, when the head is there already
    /// or beyond.
    pub fn advance(&self, to: HeadState) -> bool {
        let from = self.load();

        if from.state() >= to {
            return false;
        }
        self.0.update(|raw| raw & !HeadWord::STATE | to as u32);
        true
    }

    /// Goes back from Live to New after the disk could not be added. Nothing else goes back.
    pub fn add_failed(&self) {
        if self.load().state() == HeadState::Live {
            self.0.update(|raw| raw & !HeadWord::STATE);
        }
    }

    /// Sets whether bios wait although there is no path.
    pub fn set_queue_if_no_path(&self, wait: bool) {
        self.0.update(|raw| match wait {
            true => raw | HeadWord::QUEUE_IF_NO_PATH,
            false => raw & !HeadWord::QUEUE_IF_NO_PATH,
        });
    }
}

#[cfg(not(CONFIG_RUST))]
impl Default for AtomicHeadWord {
    fn default() -> Self {
        Self::new()
    }
}
