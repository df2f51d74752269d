// SPDX-License-Identifier: GPL-2.0

//! The steps by which a path leaves its head, and the decision when to remove a head that has lost
//! its last path.
//!
//! First the path becomes unusable, and the head counts that: a reader that chooses a path from
//! then on does not find it. A bio of a reader that found it before arrives before the driver stops
//! the path. Then the path leaves the list, and a grace period passes, so that no reader walks over
//! it or stands on it any more. Its link goes last, when no task that links paths can see it. After
//! that its memory is the driver's.
//!
//! The decision about the head is one step under the head's mutex, with the number of paths at
//! hand. So nobody can add a path between "there is none" and "it goes" (L-24, L-29). Time is a
//! number of ticks that the caller passes in.
//!
//! An armed timer owns references (to the head and to the driver's module). A caller that cancels a
//! timer takes them over; otherwise the work that it started drops them (L-22, L-23).

use crate::pure::parking::Kick;
use crate::pure::shortlist::{
    change,
    Generation, //
};
use crate::pure::state::{
    AtomicHeadWord,
    AtomicPathState,
    HeadState,
    PathState,
    Reasons, //
};

/// The removal timer of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// The timer is not armed.
    Idle,
    /// The timer expires at this tick.
    Armed(u64),
    /// The timer has expired; the library is asking the driver to remove the head.
    Expired,
}

/// The decision about a head that a driver would like to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it has paths, or waits, or is being removed already.
    Keep,
    /// The timer is to expire in this many seconds.
    Wait(u32),
    /// The caller removes it now.
    Remove,
}

/// The delay before the removal of a head, and the timer that keeps it.
#[derive(Debug)]
pub struct Removal {
    delay_secs: u32,
    timer: Timer,
}

impl Removal {
    /// No delay.
    pub const fn new() -> Self {
        Self {
            delay_secs: 0,
            timer: Timer::Idle,
        }
    }

    /// The delay in seconds, 0 for none.
    pub const fn delay_secs(&self) -> u32 {
        self.delay_secs
    }

    /// Is a timer armed, or is the library asking the driver to remove the head?
    pub fn is_under_way(&self) -> bool {
        self.timer != Timer::Idle
    }

    /// The tick at which the timer expires, if it is armed.
    pub fn expires(&self) -> Option<u64> {
        match self.timer {
            Timer::Armed(until) => Some(until),
            Timer::Idle | Timer::Expired => None,
        }
    }

    /// Decides about a head that a driver would like to remove.
    pub fn decide(&self, state: HeadState, paths: usize) -> Decision {
        if paths > 0 || state >= HeadState::Dying {
            return Decision::Keep;
        }
        match self.timer {
            Timer::Expired => Decision::Remove,
            Timer::Armed(_) => Decision::Keep,
            Timer::Idle if self.delay_secs == 0 => Decision::Remove,
            Timer::Idle => Decision::Wait(self.delay_secs),
        }
    }

    /// Notes that the timer is armed and expires at tick `until`.
    pub fn armed(&mut self, until: u64) {
        self.timer = Timer::Armed(until);
    }

    /// Notes that a path has been added. Returns whether a timer was armed, which the caller must
    /// cancel.
    pub fn path_added(&mut self) -> bool {
        let was_armed = matches!(self.timer, Timer::Armed(_));

        self.timer = Timer::Idle;
        was_armed
    }

    /// Notes that the timer went off at tick `now`. Returns whether it is time: it is not if the
    /// timer was disarmed or moved in the meantime.
    pub fn expire(&mut self, now: u64) -> bool {
        match self.timer {
            Timer::Armed(until) if until <= now => {
                self.timer = Timer::Expired;
                true
            }
            _ => false,
        }
    }

    /// Notes that the library has asked the driver, which has removed the head or not.
    pub fn asked(&mut self) {
        if self.timer == Timer::Expired {
            self.timer = Timer::Idle;
        }
    }

    /// Sets the delay. Returns whether a timer is armed, which the caller must move to the new
    /// delay.
    pub fn set_delay(&mut self, secs: u32) -> bool {
        self.delay_secs = secs;
        matches!(self.timer, Timer::Armed(_))
    }
}

impl Default for Removal {
    fn default() -> Self {
        Self::new()
    }
}

/// The state that a head's `control` mutex guards, with the head's word and its list of paths.
#[derive(Debug, Default)]
pub struct Control {
    /// The number of paths on the list.
    pub paths: usize,
    /// The removal delay and its timer.
    pub removal: Removal,
}

/// A head that has a `control` mutex, and readers that use its paths while paths come and go.
pub trait Controlled: Kick {
    /// The type of a path.
    type Path;

    /// The head's word, which is written under the mutex.
    fn word(&self) -> &AtomicHeadWord;

    /// Runs `f` under the mutex.
    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R;

    /// Is a path on the head? Under the mutex, or a hint.
    fn is_listed(path: &Self::Path) -> bool;

    /// Waits for all read-side sections that have begun.
    fn grace_period(&self);
}

/// A head whose paths can leave.
pub trait Departure: Controlled {
    /// May the caller wait for readers? If not, this warns.
    fn may_wait(&self) -> bool;

    /// The state of a path.
    fn state(path: &Self::Path) -> &AtomicPathState;

    /// The changes that the head's shortlist follows.
    fn generation(&self) -> &Generation;

    /// Notes that a path whose state was `old` has become unusable.
    fn note_quiesced(_path: &Self::Path, _old: PathState) {}

    /// Takes a path off the list, under the `control` mutex. Returns false, with a warning, if it
    /// is on none.
    fn unlist(&self, path: &Self::Path) -> bool;

    /// Warns that a path leaves the list before it has become unusable.
    fn tell_not_quiesced(&self);

    /// Called when a path has left the list, and others are left.
    fn others_are_left(&self);

    /// Waits until bios on their way to paths have arrived.
    fn synchronize_submitters(&self);

    /// Removes a path's link, if it has one.
    fn unlink(&self, path: &Self::Path);
}

/// A head that a timer can remove.
pub trait Removable: Controlled {
    /// Takes the references that a timer owns. Returns false, and has taken none, if there can be
    /// no timer.
    fn take_timer_references(&self) -> bool;

    /// Drops the references that a timer owned. The caller has a reference, too.
    fn drop_timer_references(&self);

    /// Has the timer expire in `ticks` ticks. Returns whether it waited already.
    fn start_timer(&self, ticks: u64) -> bool;

    /// Has the timer not expire. Returns whether it waited.
    fn cancel_timer(&self) -> bool;

    /// The present tick.
    fn now(&self) -> u64;

    /// Seconds as ticks.
    fn ticks(secs: u32) -> u64;

    /// Asks the driver to remove the head.
    fn ask(&self);
}

/// Adds a path: `publish` gets the new number of paths and puts the path on the list. A head that
/// is going gets none, and returns `gone`.
pub fn add_path<H: Removable, E>(
    head: &H,
    gone: E,
    publish: impl FnOnce(usize) -> Result<(), E>,
) -> Result<(), E> {
    head.with_control(|control| {
        if head.word().load().state() >= HeadState::Dying {
            return Err(gone);
        }
        publish(control.paths + 1)?;
        control.paths += 1;
        if control.removal.path_added() && head.cancel_timer() {
            head.drop_timer_references();
        }
        Ok(())
    })
}

/// Deletes a path: `unlink` takes it off the list, or returns false if it is on none. That changes
/// the shortlist. Returns whether there is no path left.
pub fn delete_path<H: Controlled>(
    head: &H,
    generation: &Generation,
    unlink: impl FnOnce() -> bool,
) -> bool {
    head.with_control(|control| {
        if unlink() {
            control.paths -= 1;
            generation.add();
            // Bios that waited for this path may have nothing to wait for any more.
            head.kick();
        }
        control.paths == 0
    })
}

/// Makes a path unusable. Sleeps.
///
/// Returns false, and has done nothing, where it would have to wait for readers and must not.
pub fn quiesce<H: Departure>(head: &H, path: &H::Path) -> bool {
    let may_wait = head.may_wait();

    if may_wait {
        let old = change(H::state(path), head.generation(), |state| {
            state.disabled(Reasons::REMOVING)
        });

        H::note_quiesced(path, old);
    }
    may_wait
}

/// Takes a path off the list. Returns whether the head has none left. Sleeps.
pub fn delete<H: Departure>(head: &H, path: &H::Path) -> bool {
    if H::is_listed(path) && !H::state(path).load().is_removing() {
        head.tell_not_quiesced();
        if !quiesce(head, path) {
            return false;
        }
    }

    let is_empty = delete_path(head, head.generation(), || head.unlist(path));

    if !is_empty {
        head.others_are_left();
    }
    is_empty
}

/// Takes all steps. Calls `stop` when no bio comes to the path any more. Returns false, and has
/// done nothing, where [`quiesce`] does. Sleeps.
pub fn take_apart<H: Departure>(head: &H, path: &H::Path, stop: impl FnOnce()) -> bool {
    let is_quiet = quiesce(head, path);

    if is_quiet {
        head.synchronize_submitters();
        stop();
        delete(head, path);
        head.grace_period();
        head.unlink(path);
    }
    is_quiet
}

/// Decides about a removal that the driver would like. Returns whether the caller goes on with it;
/// the head is Dying then.
pub fn try_remove<H: Removable>(head: &H) -> bool {
    head.with_control(|control| {
        let state = head.word().load().state();

        match control.removal.decide(state, control.paths) {
            Decision::Keep => false,
            Decision::Wait(secs) if head.take_timer_references() => {
                arm(head, control, secs);
                false
            }
            Decision::Wait(_) | Decision::Remove => head.word().advance(HeadState::Dying),
        }
    })
}

/// Has the timer expire in `secs` seconds. The caller has taken its references.
fn arm<H: Removable>(head: &H, control: &mut Control, secs: u32) {
    let ticks = H::ticks(secs);

    control.removal.armed(head.now() + ticks);
    if head.start_timer(ticks) {
        head.drop_timer_references();
    }
}

/// Sets the removal delay, and moves an armed timer.
pub fn set_delay<H: Removable>(head: &H, secs: u32) {
    head.with_control(|control| {
        head.word().set_queue_if_no_path(secs != 0);
        if control.removal.set_delay(secs) && head.take_timer_references() {
            arm(head, control, secs);
        }
    });
    // Parked bios may have to fail now.
    head.kick();
}

/// Handles the timer that went off: asks the driver to remove the head, if it is time. The caller
/// drops the timer's references.
pub fn expired<H: Removable>(head: &H) {
    if head.with_control(|control| control.removal.expire(head.now())) {
        head.ask();
        head.with_control(|control| control.removal.asked());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_delay_the_last_path_takes_the_head_with_it() {
        let removal = Removal::new();

        assert_eq!(removal.decide(HeadState::Live, 1), Decision::Keep);
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Remove);
        assert_eq!(removal.decide(HeadState::New, 0), Decision::Remove);
    }

    #[test]
    fn a_head_is_removed_once() {
        let removal = Removal::new();

        assert_eq!(removal.decide(HeadState::Dying, 0), Decision::Keep);
        assert_eq!(removal.decide(HeadState::Dead, 0), Decision::Keep);
    }

    #[test]
    fn asking_again_does_not_arm_again() {
        let mut removal = Removal::new();

        assert!(!removal.set_delay(40));
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Wait(40));
        removal.armed(40);
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Keep);
    }

    #[test]
    fn a_path_that_returns_disarms_once() {
        let mut removal = Removal::new();

        removal.set_delay(40);
        removal.armed(40);
        assert!(removal.path_added());
        assert!(!removal.path_added());
        assert!(!removal.expire(100));
        assert_eq!(removal.decide(HeadState::Live, 1), Decision::Keep);
    }

    #[test]
    fn a_timer_that_was_armed_anew_does_not_expire_early() {
        let mut removal = Removal::new();

        removal.set_delay(40);
        removal.armed(40);
        removal.path_added();
        removal.armed(90);
        assert!(!removal.expire(40));
        assert!(removal.expire(90));
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Remove);
    }

    #[test]
    fn a_path_that_came_during_expiry_keeps_the_head() {
        let mut removal = Removal::new();

        removal.set_delay(1);
        removal.armed(1);
        assert!(removal.expire(1));
        assert!(!removal.path_added());
        assert_eq!(removal.decide(HeadState::Live, 1), Decision::Keep);
        removal.asked();
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Wait(1));
    }

    #[test]
    fn a_new_delay_moves_an_armed_timer() {
        let mut removal = Removal::new();

        removal.set_delay(40);
        removal.armed(40);
        assert!(removal.set_delay(0));
        removal.armed(5);
        assert!(removal.expire(5));
        assert_eq!(removal.decide(HeadState::Live, 0), Decision::Remove);
    }
}
