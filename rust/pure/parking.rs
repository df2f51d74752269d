// SPDX-License-Identifier: GPL-2.0

//! The list in which bios wait for a path, and the protocol by which none stays for ever.
//!
//! A submitter that parks a bio looks again after the bio is in the list, and kicks the requeue
//! worker when it would not park the bio now. A caller that changes something that bios wait for (a
//! path, a port, the head's state, the policy) changes it first and kicks the worker afterwards.
//! One of the two must see the other: if the worker emptied the list before the bio was in it, then
//! the look comes after the change (L-19, L-19b). No grace period is needed for that, so completion
//! and interrupt context may make such changes.
//!
//! A kick on an empty list is a full barrier and a look, and has no work run. A bio that is not in
//! the list at that look comes later, and its submitter looks again after another full barrier.
//!
//! The list is a stack. One `cmpxchg()` pushes a bio; the worker takes the whole stack and turns it
//! round, so that bios leave in the order in which they came.

use core::marker::PhantomData;
use core::ptr::null_mut;

use crate::pure::state::PathState;
use crate::pure::sync::{
    full_barrier,
    AtomicPtr, //
};
use crate::pure::trust::Attempt;

/// An item that can be parked: it has room for a pointer to the next one.
///
/// # Safety
///
/// `next` and `set_next` must access one and the same field of `*this`, which nobody else uses
/// while the item is in a list.
pub unsafe trait Parkable {
    /// The link to the next item.
    ///
    /// # Safety
    ///
    /// `this` is valid, and owned by the caller or in a list that the caller has emptied.
    unsafe fn next(this: *mut Self) -> *mut Self;

    /// Sets the link to the next item.
    ///
    /// # Safety
    ///
    /// As for [`Parkable::next`].
    unsafe fn set_next(this: *mut Self, next: *mut Self);
}

/// A chain of items that one owner has, first in, first out.
pub struct Chain<T: Parkable> {
    first: *mut T,
    _owns: PhantomData<T>,
}

impl<T: Parkable> Chain<T> {
    /// The owner of the items from `first` on.
    ///
    /// # Safety
    ///
    /// `first` is null or the first of a list of valid items that ends with null. The caller gives
    /// up the ownership of all of them.
    pub unsafe fn from_raw(first: *mut T) -> Self {
        Self {
            first,
            _owns: PhantomData,
        }
    }
}

impl<T: Parkable> Iterator for Chain<T> {
    type Item = *mut T;

    fn next(&mut self) -> Option<*mut T> {
        if self.first.is_null() {
            return None;
        }

        let item = self.first;
        // SAFETY: The chain owns its items, and `item` is one.
        self.first = unsafe { T::next(item) };
        // SAFETY: As above; from here on it is the caller's.
        unsafe { T::set_next(item, null_mut()) };
        Some(item)
    }
}

/// Items that wait.
///
/// # Invariants
///
/// `newest` is null or the first of a list of valid items, newest first, that ends with null and
/// that the list owns.
pub struct LocklessList<T: Parkable> {
    newest: AtomicPtr<T>,
}

impl<T: Parkable> LocklessList<T> {
    /// An empty list.
    #[cfg(CONFIG_RUST)]
    pub const fn new() -> Self {
        // INVARIANT: Null is allowed.
        Self {
            newest: AtomicPtr::new(null_mut()),
        }
    }

    /// An empty list.
    #[cfg(not(CONFIG_RUST))]
    pub fn new() -> Self {
        // INVARIANT: Null is allowed.
        Self {
            newest: AtomicPtr::new(null_mut()),
        }
    }

    /// Puts an item in, as the newest. Any context.
    ///
    /// # Safety
    ///
    /// `item` is valid, and the caller gives up its ownership.
    pub unsafe fn push(&self, item: *mut T) {
        let mut newest = self.newest.load();

        loop {
            // SAFETY: Nobody else has `item` before the exchange below succeeds.
            unsafe { T::set_next(item, newest) };
            // INVARIANT: The list behind `item` is the one that the invariant describes for
            // `newest`.
            match self.newest.cmpxchg(newest, item) {
                Ok(_) => return,
                Err(current) => newest = current,
            }
        }
    }

    /// Is it empty at this moment? Any context.
    pub fn is_empty(&self) -> bool {
        self.newest.load_relaxed().is_null()
    }

    /// Takes everything out, oldest first. Any context.
    pub fn take(&self) -> Chain<T> {
        // INVARIANT: Null is allowed.
        let mut rest = self.newest.swap(null_mut());
        let mut first = null_mut();

        while !rest.is_null() {
            let item = rest;

            // SAFETY: By the invariant `item` is valid, and the exchange made it ours.
            rest = unsafe { T::next(item) };
            // SAFETY: As above.
            unsafe { T::set_next(item, first) };
            first = item;
        }

        // SAFETY: `first` is the first of the items that we took, turned round.
        unsafe { Chain::from_raw(first) }
    }
}

#[cfg(not(CONFIG_RUST))]
impl<T: Parkable> Default for LocklessList<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A head whose requeue worker can be kicked.
pub trait Kick {
    /// Has the worker submit all parked bios again, soon and in another context: [`kick`]. The
    /// caller has made a change for which bios wait. Any context.
    fn kick(&self);

    /// Like [`Kick::kick`], for callers that have no news for bios that have failed and pause.
    fn kick_others(&self) {
        self.kick();
    }
}

/// Kicks the worker of a list, by `schedule`, unless the list is empty. Any context.
pub fn kick<T: Parkable>(list: &LocklessList<T>, schedule: impl FnOnce()) {
    // A submitter that does not see the change before this has put its bio into the list by now.
    full_barrier();
    if !list.is_empty() {
        schedule();
    }
}

/// Parks an item, and makes sure that it does not stay for ever: kicks by `kick` if
/// `is_worth_another_try` says that a path is usable, or that waiting is over.
///
/// # Safety
///
/// `item` is valid, and the caller gives up its ownership.
pub unsafe fn park<T: Parkable>(
    list: &LocklessList<T>,
    item: *mut T,
    is_worth_another_try: impl FnOnce() -> bool,
    kick: impl FnOnce(),
) {
    // SAFETY: By this function's contract.
    unsafe { list.push(item) };
    // A caller that does not see the item in the list has made its change before this looks.
    full_barrier();

    if is_worth_another_try() {
        kick();
    }
}

/// A head whose paths can fail bios.
pub trait FailOver: Kick {
    /// The type of a path.
    type Path;

    /// Changes how far the head trusts a path, has the shortlist take note, and returns the old
    /// state.
    fn note(&self, path: &Self::Path, f: impl Fn(PathState) -> PathState) -> PathState;

    /// Has [`retry`] called for a path after so many milliseconds.
    fn retry_later(&self, path: &Self::Path, msecs: u32);
}

/// Changes how far the head trusts a path. Returns the old state. Any context.
///
/// If the head leaves the path alone from now on, a bio tries it after the pause.
pub fn trust<H: FailOver>(
    head: &H,
    path: &H::Path,
    f: impl Fn(PathState) -> PathState,
) -> PathState {
    let old = head.note(path, &f);
    let new = f(old);

    if let Some(msecs) = new.trust().pause_msecs().filter(|_| new != old) {
        head.retry_later(path, msecs);
    }
    old
}

/// Notes that a path has failed bios that were sent as `attempt` says; `park` puts them into the
/// list. Any context.
pub fn fail_over<H: FailOver>(head: &H, path: &H::Path, attempt: Attempt, park: impl FnOnce()) {
    trust(head, path, |state| state.failed(attempt));
    park();
    head.kick_others();
}

/// Notes that a watched bio has succeeded: its path works. Any context.
pub fn succeed<H: FailOver>(head: &H, path: &H::Path) {
    let old = trust(head, path, PathState::succeeded);

    // Other bios may wait for the result of a probe.
    if old.trust().pause_msecs().is_some() {
        head.kick();
    }
}

/// Takes the right to send a bio to a path. Returns how to send it, or `None` when another
/// submitter has sent the probe.
pub fn take<H: FailOver>(head: &H, path: &H::Path) -> Option<Attempt> {
    trust(head, path, PathState::taken).trust().attempt()
}

/// Lets a bio try each of these paths, whose pauses have ended.
pub fn retry<'a, H: FailOver<Path: 'a>>(head: &H, paths: impl Iterator<Item = &'a H::Path>) {
    for path in paths {
        head.note(path, PathState::rested);
    }
    head.kick_others();
}
