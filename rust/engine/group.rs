// SPDX-License-Identifier: GPL-2.0

//! A policy that several heads follow: `struct mpath_iopolicy`.
//!
//! The driver embeds it in the structure that the heads share. Its mutex serialises changes and
//! guards the list of heads; the policy itself is one word that every submission reads.

use super::head::MpathHead;
use super::misuse::{
    mark,
    misuse, //
};
use crate::bindings;
use crate::pure::list::RcuList;
use crate::pure::policy::IoPolicy;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::types::Opaque;

/// A policy and the heads that follow it.
///
/// # Invariants
///
/// The mutex and the list are initialised.
#[repr(transparent)]
pub(crate) struct Group(Opaque<bindings::mpath_iopolicy>);

impl Group {
    /// The group in a driver's structure.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`, and [`Group::init`] has been called on it.
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_iopolicy) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*raw.cast() }
    }

    /// The driver's structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::mpath_iopolicy {
        self.0.get()
    }

    /// The group in a driver's structure. Warns when the structure has never been initialised.
    ///
    /// # Safety
    ///
    /// `raw` is valid for `'a`.
    pub(crate) unsafe fn initialised<'a>(raw: *mut bindings::mpath_iopolicy) -> Result<&'a Self> {
        // SAFETY: By this function's contract; before the mark is found, only the mark is read.
        let group = unsafe { Self::from_raw(raw) };

        if group.mark() & !Self::USED != mark(raw, Self::USED) {
            misuse("a policy is used that has never been initialised");
            return Err(EINVAL);
        }
        Ok(group)
    }

    /// Initialises a group without heads. A policy that is not supported becomes numa, with an
    /// error.
    ///
    /// # Safety
    ///
    /// `raw` is valid for writes, pinned, and nobody uses it.
    pub(crate) unsafe fn init(
        raw: *mut bindings::mpath_iopolicy,
        policy: Option<IoPolicy>,
        supported: u32,
    ) -> Result {
        let known = IoPolicy::ALL
            .iter()
            .fold(0, |bits, policy| bits | policy.bit());
        let policy =
            policy.filter(|policy| supported & policy.bit() != 0 && supported & !known == 0);
        let first = policy.unwrap_or(IoPolicy::Numa);

        // SAFETY: By this function's contract; only the mark is read.
        if unsafe { Self::from_raw(raw) }.mark() == mark(raw, Self::USED) | Self::USED {
            misuse("a policy that heads follow is initialised again");
            return Err(EBUSY);
        }

        // SAFETY: By this function's contract.
        unsafe {
            (&raw mut (*raw).policy).write(first as u32);
            (&raw mut (*raw).supported).write(supported & known);
            (&raw mut (*raw).mark).write(mark(raw, Self::USED));
            bindings::mpath_helper_init_mutex(&raw mut (*raw).lock);

            RcuList::<MpathHead>::init((&raw mut (*raw).heads).cast());
        }
        policy.map(|_| ()).ok_or(EINVAL)
    }

    /// The bit in the mark that says that heads follow the policy. Written under the mutex.
    const USED: usize = 1;

    fn mark(&self) -> usize {
        // SAFETY: Aligned, valid as long as `self`; written with the policy locked, or not at all.
        unsafe { (&raw const (*self.0.get()).mark).read_volatile() }
    }

    fn word(&self) -> &Atomic<u32> {
        // SAFETY: The word is aligned, valid as long as `self`, and only accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.0.get()).policy) }
    }

    /// The policy in force.
    #[inline(always)]
    pub(crate) fn policy(&self) -> IoPolicy {
        IoPolicy::from_raw(self.word().load(Relaxed)).unwrap_or(IoPolicy::Numa)
    }

    fn supports(&self, policy: IoPolicy) -> bool {
        // SAFETY: Set before the group was used, and never changed.
        unsafe { (*self.0.get()).supported & policy.bit() != 0 }
    }

    fn locked<R>(&self, f: impl FnOnce(&RcuList<MpathHead>) -> R) -> R {
        let raw = self.0.get();

        // SAFETY: By the type invariant; `RcuList` is a transparent `list_head`.
        unsafe {
            bindings::mutex_lock(&raw mut (*raw).lock);
            let heads: &RcuList<MpathHead> = &*(&raw const (*raw).heads).cast();
            let result = f(heads);
            let used = if heads.is_empty() { 0 } else { Self::USED };
            (&raw mut (*raw).mark).write_volatile(mark(raw, Self::USED) | used);
            bindings::mutex_unlock(&raw mut (*raw).lock);
            result
        }
    }

    /// Changes the policy and has every head of the group choose anew. Does nothing when the policy
    /// is in force already. Returns the old policy. Sleeps.
    pub(crate) fn set(&self, policy: IoPolicy) -> Result<IoPolicy> {
        if !self.supports(policy) {
            return Err(EINVAL);
        }
        Ok(self.locked(|heads| {
            let old = self.policy();

            if old != policy {
                self.word().store(policy as u32, Relaxed);
                // SAFETY: The group's mutex is held.
                for head in unsafe { heads.iter() } {
                    head.choose_anew();
                }
            }
            old
        }))
    }

    /// Has a head follow the group from now on. Sleeps.
    pub(crate) fn join(&self, head: &MpathHead) {
        // SAFETY: The group's mutex is held, and the head leaves before it is freed.
        self.locked(|heads| unsafe { heads.push_back(head) });
    }

    /// Has a head that has joined follow the group no more. Sleeps.
    pub(crate) fn leave(&self, head: &MpathHead) {
        // SAFETY: The group's mutex is held, and the head has joined.
        self.locked(|heads| unsafe { heads.remove(head) });
    }
}

// SAFETY: The policy is atomic, the list is under the mutex.
unsafe impl Sync for Group {}
// SAFETY: As above.
unsafe impl Send for Group {}
