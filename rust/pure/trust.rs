// SPDX-License-Identifier: GPL-2.0

//! Trust in a path that has failed a bio: an error costs its retry, and nothing else.
//!
//! One error says little: with one error in a hundred bios the path is still the best that there
//! is. A path that fails everything must not cost a CPU. So the bios after an error decide:
//!
//! ```text
//!                  a bio fails                 FAILURES watched bios fail
//!    Trusted ---------------------> Suspected ---------------------------> Resting(1 ms)
//!       ^                               |                                    |     ^
//!       |   a watched bio succeeds      |                     the pause ends |     | it is sent:
//!       +-------------------------------+                                    v     | longer
//!       +------------------------------------------------------------ Rested: one probe
//!              the probe succeeds, or the driver has looked at the path
//! ```
//!
//! - Trusted: the head does not watch how its bios end, which makes them cheap.
//! - Suspected: the head uses the path as before, in its access class, but watches its bios. So no
//!   I/O moves to a worse path for one error, and the first bio that succeeds ends the suspicion.
//! - Resting: [`Trust::FAILURES`] watched bios have failed, and none has succeeded in between. The
//!   head leaves the path alone for 1 ms, then for twice as long each time, up to
//!   [`Trust::LONGEST_MSECS`].
//! - Rested: one bio may try the path. Sending it begins the next pause, so a probe that never ends
//!   does not keep others from trying. That pause is longer already. So a path that fails a probe
//!   late, or never ends it, gets no more probes than one that fails it at once.
//!
//! All of it is in the path's state word, so every step is one atomic update.
//!
//! A bio that fails again and again is given up, too: see [`is_over`].

/// The way in which the head sent a bio to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attempt {
    /// The head does not watch how the bio ends.
    Plain,
    /// The head watches the bio, which tells whether the path works.
    Watched,
    /// The bio is the one that may try a path that has rested.
    Probe,
}

impl Attempt {
    /// Does a bio that waits let all others go first, if the head sent it like this last, and it
    /// has not found all paths resting since?
    ///
    /// A bio that has tried a path in vain does. It may be to blame itself, and would take every
    /// probe, while others that would succeed wait behind it.
    pub const fn lets_others_go_first(self) -> bool {
        matches!(self, Self::Probe)
    }
}

/// The trust of a head in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The path works, as far as the head knows.
    Trusted,
    /// The path has failed a bio.
    Suspected {
        /// The number of watched bios that have failed since; none has succeeded.
        failures: u8,
        /// Has the head sent a bio to find out more?
        asked: bool,
    },
    /// The head leaves the path alone.
    Resting {
        /// The number of the pause, 0 for the first.
        pause: u8,
    },
    /// One bio may try the path.
    Rested {
        /// The pause that has ended.
        pause: u8,
    },
}

impl Trust {
    /// The number of watched bios that fail in a row before the head leaves a path alone.
    ///
    /// Where each bio fails with probability `p`, one in `p.powi(-1 - FAILURES)` begins a pause:
    /// with 10 % one in ten million, which 60,000 bios a second reach in about three minutes. A
    /// path that fails everything gets that many bios, once, before the head leaves it alone.
    pub const FAILURES: u8 = 6;
    /// The number of the last pause; later ones do not grow.
    pub const LAST_PAUSE: u8 = 7;
    /// The longest pause in ms. It is short against any timeout of storage, and long against the
    /// time of a bio.
    pub const LONGEST_MSECS: u32 = 100;

    const COUNT: u32 = 0xf;
    const SUSPECTED: u32 = 1 << 4;
    const RESTING: u32 = 2 << 4;
    const RESTED: u32 = 3 << 4;
    const KIND: u32 = 3 << 4;
    const ASKED: u32 = 1 << 6;

    /// All bits of [`Trust::to_raw`].
    pub const MASK: u32 = Self::COUNT | Self::KIND | Self::ASKED;

    /// The trust as bits; 0 is trusted.
    pub const fn to_raw(self) -> u32 {
        match self {
            Self::Trusted => 0,
            Self::Suspected { failures, asked } => {
                Self::SUSPECTED | failures as u32 | if asked { Self::ASKED } else { 0 }
            }
            Self::Resting { pause } => Self::RESTING | pause as u32,
            Self::Rested { pause } => Self::RESTED | pause as u32,
        }
    }

    /// The trust of bits that [`Trust::to_raw`] returned.
    pub const fn from_raw(raw: u32) -> Self {
        let count = (raw & Self::COUNT) as u8;

        match raw & Self::KIND {
            Self::SUSPECTED => Self::Suspected {
                failures: count,
                asked: raw & Self::ASKED != 0,
            },
            Self::RESTING => Self::Resting { pause: count },
            Self::RESTED => Self::Rested { pause: count },
            _ => Self::Trusted,
        }
    }

    /// The trust after a bio, sent as `attempt` says, has failed.
    pub const fn failed(self, attempt: Attempt) -> Self {
        match (self, attempt) {
            (Self::Trusted, _) => Self::Suspected {
                failures: 0,
                asked: false,
            },
            (Self::Suspected { failures, .. }, Attempt::Watched | Attempt::Probe) => {
                if failures + 1 < Self::FAILURES {
                    Self::Suspected {
                        failures: failures + 1,
                        asked: false,
                    }
                } else {
                    Self::Resting { pause: 0 }
                }
            }
            // Bios that were on their way when the pause began say nothing new. Sending a probe has
            // begun a longer pause.
            (same, _) => same,
        }
    }

    /// The trust after a watched bio has succeeded, or has failed for a reason of its own.
    pub const fn succeeded(self) -> Self {
        Self::Trusted
    }

    /// The trust from when a bio is sent to the path.
    pub const fn taken(self) -> Self {
        match self {
            Self::Suspected { failures, .. } => Self::Suspected {
                failures,
                asked: true,
            },
            Self::Rested { pause } => Self::Resting {
                pause: if pause < Self::LAST_PAUSE {
                    pause + 1
                } else {
                    pause
                },
            },
            same => same,
        }
    }

    /// How the head sends a bio that has found this trust, and made it [`Trust::taken`]; `None`
    /// where it must not send the bio.
    pub const fn attempt(self) -> Option<Attempt> {
        match self {
            Self::Trusted => Some(Attempt::Plain),
            Self::Suspected { .. } => Some(Attempt::Watched),
            Self::Rested { .. } => Some(Attempt::Probe),
            Self::Resting { .. } => None,
        }
    }

    /// Should the next bio go there, to find out whether the path works?
    pub const fn asks_for_a_bio(self) -> bool {
        matches!(
            self,
            Self::Suspected { asked: false, .. } | Self::Rested { .. }
        )
    }

    /// The trust from when the pause has ended.
    pub const fn rested(self) -> Self {
        match self {
            Self::Resting { pause } => Self::Rested { pause },
            same => same,
        }
    }

    /// The number of the variant in the order of their declaration, 0 for trusted.
    pub const fn kind(self) -> u32 {
        (self.to_raw() & Self::KIND) >> 4
    }

    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Suspected { .. } => "suspected",
            Self::Resting { .. } => "resting",
            Self::Rested { .. } => "rested",
        }
    }

    /// The length in ms of the pause in which the head leaves the path alone, if it does.
    pub const fn pause_msecs(self) -> Option<u32> {
        match self {
            Self::Resting { pause } => Some(pause_msecs(pause as u32)),
            _ => None,
        }
    }
}

// The same bits count both.
const _: () = {
    assert!(Trust::FAILURES as u32 <= Trust::COUNT);
    assert!(Trust::LAST_PAUSE as u32 <= Trust::COUNT);
};

/// The length of a pause in ms.
const fn pause_msecs(pause: u32) -> u32 {
    if pause >= Trust::LAST_PAUSE as u32 {
        Trust::LONGEST_MSECS
    } else {
        1 << pause
    }
}

/// The most failures of a bio for each path of its head, if the driver does not say otherwise:
/// `MPATH_MAX_FAILOVERS`. With the pauses above, a bio that every path fails ends after some
/// seconds, with tries in each second.
pub const MAX_FAILOVERS: u32 = 32;

/// Has a bio failed so often that it ends? `limit` is for each path, 0 for [`MAX_FAILOVERS`].
pub const fn is_over(failures: u32, limit: u32, paths: usize) -> bool {
    let limit = if limit == 0 { MAX_FAILOVERS } else { limit } as usize;

    failures as usize >= limit.saturating_mul(if paths == 0 { 1 } else { paths })
}

/// The number of failures up to which the head tries a bio again at once: a single bio can make a
/// path rest.
const AT_ONCE: u32 = 1 + Trust::FAILURES as u32;

/// The ms from the last failure of a bio until the head tries it again; 0 is at once. Otherwise it
/// would try a bio in a loop that fails while others succeed on the same path.
pub const fn retry_msecs(failures: u32) -> u32 {
    if failures <= AT_ONCE {
        0
    } else {
        pause_msecs(failures - AT_ONCE - 1)
    }
}

/// Does a bio with so many failures go to another path than the one that failed it last, of any
/// access class, if there is one?
pub const fn goes_elsewhere(failures: u32) -> bool {
    failures > 1
}
