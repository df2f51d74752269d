// SPDX-License-Identifier: GPL-2.0

//! How far a path is trusted after it has failed a bio: an error costs its retry, and nothing else.
//!
//! One error says little: with one in a hundred the path is still the best that there is. A path
//! that fails everything must not cost a CPU. So what follows an error depends on what follows it:
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
//! - Trusted: nobody looks at how its bios end, which is what makes them cheap.
//! - Suspected: the path is used as before, in the access class that it has, but its bios are
//!   watched. So no I/O moves to a worse path for one error, and the first bio that succeeds ends
//!   the suspicion.
//! - Resting: [`Trust::FAILURES`] watched bios have failed, and none has succeeded in between. The
//!   path is left alone for 1 ms, then for twice as long each time, up to [`Trust::LONGEST_MSECS`].
//! - Rested: one bio may try the path. Sending it begins the next pause, so that a probe that
//!   never ends does not keep others from trying. That pause is longer already: a path that takes
//!   its time to fail a probe, or never ends it, is tried no more often than one that fails it at
//!   once.
//!
//! All of it is in the path's state word, so every step is one atomic update.
//!
//! A bio that fails again and again is given up, too: see [`is_over`].

/// How a bio was sent to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attempt {
    /// Nobody looks at how it ends.
    Plain,
    /// It tells whether the path works.
    Watched,
    /// It is the one that may try a path that has rested.
    Probe,
}

/// How far a path is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It works, as far as is known.
    Trusted,
    /// It has failed a bio.
    Suspected {
        /// So many watched bios have failed since, and none has succeeded.
        failures: u8,
        /// Has a bio been sent to find out more?
        asked: bool,
    },
    /// It is left alone.
    Resting {
        /// Which pause it is, the first being 0.
        pause: u8,
    },
    /// One bio may try it.
    Rested {
        /// The pause that has ended.
        pause: u8,
    },
}

impl Trust {
    /// So many watched bios in a row fail before a path is left alone.
    ///
    /// Where each bio fails with probability `p`, one in `p.powi(-1 - FAILURES)` begins a pause:
    /// with 10 % one in ten million, which 60,000 bios a second reach in about three minutes. A
    /// path that fails everything gets that many bios, once, before it is left alone.
    pub const FAILURES: u8 = 6;
    /// The last pause; from here on they do not grow.
    pub const LAST_PAUSE: u8 = 7;
    /// How long a path is left alone at most. Short against any timeout of storage, long against
    /// what a bio takes.
    pub const LONGEST_MSECS: u32 = 100;

    const COUNT: u32 = 0xf;
    const SUSPECTED: u32 = 1 << 4;
    const RESTING: u32 = 2 << 4;
    const RESTED: u32 = 3 << 4;
    const KIND: u32 = 3 << 4;
    const ASKED: u32 = 1 << 6;

    /// All bits of [`Trust::to_raw`].
    pub const MASK: u32 = Self::COUNT | Self::KIND | Self::ASKED;

    /// As bits; 0 is trusted.
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

    /// What [`Trust::to_raw`] returned.
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

    /// A bio that was sent so has failed.
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
            // Bios that were on their way when the pause began say nothing new. A probe began a
            // longer pause when it was sent.
            (same, _) => same,
        }
    }

    /// A bio that was watched has succeeded, or has failed for a reason of its own.
    pub const fn succeeded(self) -> Self {
        Self::Trusted
    }

    /// A bio is sent to the path.
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

    /// How a bio is sent that has found this, and made it [`Trust::taken`]; `None` where it must
    /// not be sent.
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

    /// The pause has ended.
    pub const fn rested(self) -> Self {
        match self {
            Self::Resting { pause } => Self::Rested { pause },
            same => same,
        }
    }

    /// Which of them it is, 0 for trusted, in the order in which they come.
    pub const fn kind(self) -> u32 {
        (self.to_raw() & Self::KIND) >> 4
    }

    /// What people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Suspected { .. } => "suspected",
            Self::Resting { .. } => "resting",
            Self::Rested { .. } => "rested",
        }
    }

    /// For how long the path is left alone, if it is.
    pub const fn pause_msecs(self) -> Option<u32> {
        match self {
            Self::Resting { pause } => Some(pause_msecs(pause as u32)),
            _ => None,
        }
    }
}

// Both are counted in the same bits.
const _: () = {
    assert!(Trust::FAILURES as u32 <= Trust::COUNT);
    assert!(Trust::LAST_PAUSE as u32 <= Trust::COUNT);
};

/// How long a pause is.
const fn pause_msecs(pause: u32) -> u32 {
    if pause >= Trust::LAST_PAUSE as u32 {
        Trust::LONGEST_MSECS
    } else {
        1 << pause
    }
}

/// How often a bio may fail for each path that there is, if the driver does not say otherwise:
/// `MPATH_MAX_FAILOVERS`. With the pauses above, a bio that every path fails ends after some
/// seconds, and has been tried in each of them.
pub const MAX_FAILOVERS: u32 = 32;

/// Has a bio failed so often that it ends? `limit` is for each path, 0 for [`MAX_FAILOVERS`].
pub const fn is_over(failures: u32, limit: u32, paths: usize) -> bool {
    let limit = if limit == 0 { MAX_FAILOVERS } else { limit } as usize;

    failures as usize >= limit.saturating_mul(if paths == 0 { 1 } else { paths })
}

/// Up to so many failures a bio is tried again at once: one that is alone can make a path rest.
const AT_ONCE: u32 = 1 + Trust::FAILURES as u32;

/// How many milliseconds after its last failure a bio is tried again; 0 is at once. A bio that
/// fails while others succeed on the same path would otherwise be tried in a loop.
pub const fn retry_msecs(failures: u32) -> u32 {
    if failures <= AT_ONCE {
        0
    } else {
        pause_msecs(failures - AT_ONCE - 1)
    }
}

/// Does a bio with so many failures go to another path than the one that has failed it last, of
/// whatever access class, if there is one?
pub const fn goes_elsewhere(failures: u32) -> bool {
    failures > 1
}
