// SPDX-License-Identifier: GPL-2.0

//! Operations of users on a head's disk beside I/O, as its driver sees them: ioctls, and persistent
//! reservations.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::uaccess::{
    UserPtr,
    UserSlice, //
};

/// An ioctl on a head's disk that the block layer does not know: [`MpathDriver::ioctl`].
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// Asks for the serial number.
/// const GET_SERIAL: u32 = kernel::ioctl::_IOR::<[u8; 8]>(b'M' as u32, 1);
/// /// Has the controller forget its errors.
/// const CLEAR_ERRORS: u32 = kernel::ioctl::_IO(b'M' as u32, 2);
///
/// /// An [`MpathDriver::ioctl`] of who knows these two.
/// fn ioctl(serial: &[u8; 8], ioctl: Ioctl) -> Result<i32> {
///     match ioctl.command() {
///         GET_SERIAL => {
///             ioctl.user(serial.len()).writer().write_slice(serial)?;
///             Ok(0)
///         }
///         CLEAR_ERRORS if ioctl.argument() != 0 => Err(EINVAL),
///         CLEAR_ERRORS if !ioctl.may_write() || ioctl.is_on_partition() => Err(EPERM),
///         CLEAR_ERRORS => Ok(0),
///         _ => Err(ENOTTY),
///     }
/// }
/// # let _ = ioctl;
/// ```
///
/// [`MpathDriver::ioctl`]: super::MpathDriver::ioctl
#[derive(Clone, Copy)]
pub struct Ioctl {
    pub(super) command: u32,
    pub(super) argument: usize,
    pub(super) may_write: bool,
    pub(super) is_on_partition: bool,
}

impl Ioctl {
    /// The command.
    #[inline]
    pub fn command(&self) -> u32 {
        self.command
    }

    /// The argument, as a number. That of a 32-bit program is extended as an address is.
    #[inline]
    pub fn argument(&self) -> usize {
        self.argument
    }

    /// The program's memory that the argument points to, `len` bytes long. An access shows whether
    /// the memory is there, and is the program's.
    #[inline]
    pub fn user(&self, len: usize) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.argument), len)
    }

    /// Has the disk been opened for writing?
    #[inline]
    pub fn may_write(&self) -> bool {
        self.may_write
    }

    /// Was the ioctl made on a partition of the disk?
    #[inline]
    pub fn is_on_partition(&self) -> bool {
        self.is_on_partition
    }
}

/// Says what a persistent reservation allows others, `enum pr_type`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// May somebody write who has registered, but holds no reservation?
/// fn registered_may_write(held: ReservationKind) -> bool {
///     !matches!(held, ReservationKind::WriteExclusive | ReservationKind::ExclusiveAccess)
/// }
///
/// assert!(registered_may_write(ReservationKind::WriteExclusiveAllRegs));
/// assert!(!registered_may_write(ReservationKind::ExclusiveAccess));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReservationKind {
    /// The holder writes, all read.
    WriteExclusive = bindings::pr_type_PR_WRITE_EXCLUSIVE,
    /// The holder reads and writes.
    ExclusiveAccess = bindings::pr_type_PR_EXCLUSIVE_ACCESS,
    /// All who have registered write, all read; one holds it.
    WriteExclusiveRegOnly = bindings::pr_type_PR_WRITE_EXCLUSIVE_REG_ONLY,
    /// All who have registered read and write; one holds it.
    ExclusiveAccessRegOnly = bindings::pr_type_PR_EXCLUSIVE_ACCESS_REG_ONLY,
    /// All who have registered write and hold it, all read.
    WriteExclusiveAllRegs = bindings::pr_type_PR_WRITE_EXCLUSIVE_ALL_REGS,
    /// All who have registered read, write and hold it.
    ExclusiveAccessAllRegs = bindings::pr_type_PR_EXCLUSIVE_ACCESS_ALL_REGS,
}

impl ReservationKind {
    /// The kind of a number of C's.
    #[inline]
    pub(super) fn from_raw(raw: u32) -> Result<Self> {
        Ok(match raw {
            bindings::pr_type_PR_WRITE_EXCLUSIVE => Self::WriteExclusive,
            bindings::pr_type_PR_EXCLUSIVE_ACCESS => Self::ExclusiveAccess,
            bindings::pr_type_PR_WRITE_EXCLUSIVE_REG_ONLY => Self::WriteExclusiveRegOnly,
            bindings::pr_type_PR_EXCLUSIVE_ACCESS_REG_ONLY => Self::ExclusiveAccessRegOnly,
            bindings::pr_type_PR_WRITE_EXCLUSIVE_ALL_REGS => Self::WriteExclusiveAllRegs,
            bindings::pr_type_PR_EXCLUSIVE_ACCESS_ALL_REGS => Self::ExclusiveAccessAllRegs,
            _ => return Err(EINVAL),
        })
    }
}

/// An operation of a user on a persistent reservation: [`MpathDriver::reservation`].
///
/// # Examples
///
/// Storage that knows one key and one reservation.
///
/// ```
/// use libmultipath::prelude::*;
///
/// #[derive(Default)]
/// struct Reserved {
///     key: Option<u64>,
///     held: Option<ReservationKind>,
///     generation: u32,
/// }
///
/// impl Reserved {
///     fn carry_out(&mut self, asked: Reservation<'_>) -> Result<ReservationStatus> {
///         let is_it = |key| self.key == Some(key);
///
///         match asked {
///             Reservation::Register { old_key, new_key, ignore_key } => {
///                 if !ignore_key && self.key.unwrap_or(0) != old_key {
///                     return Ok(ReservationStatus::Conflict);
///                 }
///                 self.key = (new_key != 0).then_some(new_key);
///                 self.generation += 1;
///             }
///             Reservation::Reserve { key, kind, .. } if is_it(key) => self.held = Some(kind),
///             Reservation::Release { key, kind } if is_it(key) && self.held == Some(kind) => {
///                 self.held = None;
///             }
///             Reservation::Clear { key } if is_it(key) => *self = Self::default(),
///             Reservation::ReadKeys(keys) => keys.tell(self.generation, self.key),
///             Reservation::ReadReservation(told) => {
///                 told.tell(self.generation, self.key.zip(self.held));
///             }
///             // There is nobody to take it from.
///             Reservation::Preempt { abort, .. } => return Err(if abort { EIO } else { EINVAL }),
///             _ => return Ok(ReservationStatus::Conflict),
///         }
///         Ok(ReservationStatus::Done)
///     }
/// }
///
/// let mut reserved = Reserved::default();
/// let register = Reservation::Register { old_key: 0, new_key: 7, ignore_key: false };
/// assert_eq!(reserved.carry_out(register), Ok(ReservationStatus::Done));
/// let kind = ReservationKind::WriteExclusive;
/// let reserve = Reservation::Reserve { key: 8, kind, ignore_key: false };
/// assert_eq!(reserved.carry_out(reserve), Ok(ReservationStatus::Conflict));
/// # Ok::<(), Error>(())
/// ```
///
/// [`MpathDriver::reservation`]: super::MpathDriver::reservation
pub enum Reservation<'a> {
    /// The caller registers `new_key`, or, if that is 0, ends its registration.
    Register {
        /// The caller's key before, 0 for none.
        old_key: u64,
        /// The caller's key from now on.
        new_key: u64,
        /// Carry this out whatever the key was before.
        ignore_key: bool,
    },
    /// The caller, whose key is `key`, wants the reservation.
    Reserve {
        /// The registered key.
        key: u64,
        /// The kind, which says what others may do.
        kind: ReservationKind,
        /// Carry this out whatever the registered key is.
        ignore_key: bool,
    },
    /// The holder gives the reservation up.
    Release {
        /// The registered key.
        key: u64,
        /// The kind of the reservation.
        kind: ReservationKind,
    },
    /// The holders of `old_key` lose their registration, and the reservation.
    Preempt {
        /// The key whose registration goes.
        old_key: u64,
        /// The key of the caller.
        new_key: u64,
        /// The kind, which says what others may do.
        kind: ReservationKind,
        /// Abort the commands that they have in flight, too.
        abort: bool,
    },
    /// Nobody is registered any more, and nobody holds a reservation.
    Clear {
        /// The registered key of the caller.
        key: u64,
    },
    /// The caller asks for the registered keys.
    ReadKeys(&'a mut RegisteredKeys),
    /// The caller asks for the reservation and its holder.
    ReadReservation(&'a mut HeldReservation),
}

/// The outcome of a [`Reservation`], `enum pr_status`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// What a controller has answered.
/// fn status(answer: u16) -> Result<ReservationStatus> {
///     match answer {
///         0 => Ok(ReservationStatus::Done),
///         0x83 => Ok(ReservationStatus::Conflict),
///         _ => Ok(ReservationStatus::Failed),
///     }
/// }
///
/// assert_eq!(status(0x83), Ok(ReservationStatus::Conflict));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReservationStatus {
    /// It has been carried out.
    Done = bindings::pr_status_PR_STS_SUCCESS,
    /// The storage has failed.
    Failed = bindings::pr_status_PR_STS_IOERR,
    /// Somebody else's reservation does not allow it, or the key is not the right one.
    Conflict = bindings::pr_status_PR_STS_RESERVATION_CONFLICT,
    /// The path has failed, and may be tried again.
    RetryPath = bindings::pr_status_PR_STS_RETRY_PATH_FAILURE,
    /// The path has failed, and nobody waits for it.
    PathFastFailed = bindings::pr_status_PR_STS_PATH_FAST_FAILED,
    /// The path has failed.
    PathFailed = bindings::pr_status_PR_STS_PATH_FAILED,
}

/// The place where a driver tells which keys are registered.
///
/// # Invariants
///
/// `keys` has room for as many keys as it says until it is [told](RegisteredKeys::tell).
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// Tells what the storage says: at its third change two were registered.
/// fn tell(keys: &mut RegisteredKeys) {
///     if keys.room() < 2 {
///         pr_debug!("only the first of them will be seen\n");
///     }
///     keys.tell(3, [0xabcd, 0x1234]);
/// }
/// # let _ = tell;
/// ```
pub struct RegisteredKeys {
    keys: NonNull<bindings::pr_keys>,
    room: usize,
}

impl RegisteredKeys {
    /// # Safety
    ///
    /// `raw` is valid for as long as the result is used, and has room for as many keys as it says.
    #[inline]
    pub(super) unsafe fn new(raw: *mut bindings::pr_keys) -> Self {
        // SAFETY: By this function's contract.
        // INVARIANT: As above.
        unsafe {
            Self {
                keys: NonNull::new_unchecked(raw),
                room: (*raw).num_keys as usize,
            }
        }
    }

    /// How many keys there is room for.
    #[inline]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Says which keys are registered, and how often that has changed. Keys for which there is no
    /// room only count.
    #[inline]
    pub fn tell(&mut self, generation: u32, keys: impl IntoIterator<Item = u64>) {
        let raw = self.keys.as_ptr();
        let mut number = 0;

        for key in keys {
            if number < self.room {
                // SAFETY: By the type invariant.
                unsafe { (&raw mut (*raw).keys).cast::<u64>().add(number).write(key) };
            }
            number += 1;
        }
        // SAFETY: By the type invariant.
        unsafe {
            (*raw).generation = generation;
            (*raw).num_keys = number as u32;
        }
    }
}

/// The place where a driver tells who holds the reservation.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// Tells what the storage says: nobody holds it, or who is known by a key.
/// fn tell(told: &mut HeldReservation, holder: Option<u64>) {
///     told.tell(3, holder.map(|key| (key, ReservationKind::ExclusiveAccess)));
/// }
/// # let _ = tell;
/// ```
pub struct HeldReservation(pub(super) bindings::pr_held_reservation);

impl HeldReservation {
    /// Says who holds which reservation, if anybody, and how often that has changed.
    #[inline]
    pub fn tell(&mut self, generation: u32, held: Option<(u64, ReservationKind)>) {
        let (key, kind) = held.map_or((0, 0), |(key, kind)| (key, kind as u32));

        self.0 = bindings::pr_held_reservation {
            key,
            generation,
            type_: kind,
        };
    }
}
