// SPDX-License-Identifier: GPL-2.0

//! The way of a bio: the head sends it to a path, parks it, or fails it, and takes it back from a
//! path.
//!
//! The head sends most bios as they are, and does not watch how they end ([`MpathHead::submit`]).
//! Bios that need care go another way. A bio needs care that asks for a flush, is polled, or has
//! been sent before, or whose path has failed a bio lately. Where it matters how such a bio ends,
//! the path gets a clone (see `wrap/tracked.rs`), whose end calls [`clone_ended`].

use super::fence::Fence;
use super::head::MpathHead;
use super::misuse::misuse;
use super::path::MpathDevice;
use super::select::{
    Inside,
    Section, //
};
use super::trace::{
    self,
    Parked, //
};
use crate::bindings;
use crate::pure::care::{
    self,
    Chooser, //
};
use crate::pure::parking::{
    self,
    FailOver,
    Kick, //
};
use crate::pure::policy::Path;
use crate::pure::shortlist;
use crate::pure::state::{
    Access,
    HeadState,
    PathState,
    WithoutPath, //
};
use crate::pure::trust::{
    is_over,
    retry_msecs,
    Attempt,
    MAX_FAILOVERS, //
};
use crate::pure::waiting;
use crate::wrap::bio::{
    Bio,
    BioList,
    Failure,
    Returned, //
};
use crate::wrap::disk::{
    Abilities,
    Disk, //
};
use crate::wrap::tracked::{
    Journey,
    TrackedBio, //
};
use crate::wrap::way::{
    Closed,
    Way, //
};
use crate::wrap::work;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Relaxed;
use kernel::time::msecs_to_jiffies;

/// `BLK_STS_TRANSPORT`: the status of a request without a bio that its path has failed, and of the
/// bios that asked for it.
pub(crate) const PATH_FAILED: u8 = 4;
/// `BLK_STS_AGAIN`.
const AGAIN: u8 = 12;

const _: () = assert!(bindings::MPATH_MAX_FAILOVERS == MAX_FAILOVERS);

impl MpathHead {
    /// Sends a bio of the head's disk to a path, or parks it, or fails it. Process context.
    #[inline(always)]
    pub(crate) fn submit(&self, bio: Bio) {
        if !bio.is_ordinary() {
            return self.submit_special(bio);
        }
        let Some(bio) = bio.split_ordinary() else {
            return;
        };
        let section = self.read();
        let way = match section.inside().choose_trusted() {
            Some(path) => path.way(),
            None => None,
        };

        match way {
            Some(way) => {
                // The submitter may sleep for a tag, and must not hold up tasks that wait for
                // readers.
                drop(section);
                way.send(self.as_raw(), bio);
            }
            None => self.submit_with_care(section, bio),
        }
    }

    /// Does the same for a bio that is no read or write, or needs care.
    #[cold]
    #[inline(never)]
    fn submit_special(&self, bio: Bio) {
        if let Some(bio) = bio.split_to_limits() {
            self.submit_with_care(self.read(), bio);
        }
    }

    // Takes the section by value, so that it need not be in memory where there is a path.
    #[cold]
    #[inline(never)]
    fn submit_with_care(&self, section: Section<'_>, bio: Bio) {
        let mut again = self.try_to_submit(section, bio);

        while let Some(bio) = again {
            again = self.try_to_submit(self.read(), bio);
        }
    }

    /// Tries so once. Returns the bio if the chosen path has gone before its queue took the bio.
    fn try_to_submit(&self, section: Section<'_>, bio: Bio) -> Option<Bio> {
        let (chosen, tracked) = match TrackedBio::of(bio) {
            Ok(mut tracked) => {
                if let Some(at) = self.has_to_pause(tracked.journey()) {
                    self.pause_until(at, tracked);
                    return None;
                }
                let taken = section.inside().take_for(Some(tracked.journey()));

                match taken.map(Chosen::new) {
                    Some(chosen) => (chosen, Ok(tracked)),
                    None => {
                        // The bio has let others go first.
                        tracked.journey().attempt = Attempt::Plain;
                        self.submit_without_path(&section, tracked.into_bio());
                        return None;
                    }
                }
            }
            Err(bio) => match section.inside().take_for(None).map(Chosen::new) {
                Some(chosen) => (chosen, Err(bio)),
                None => {
                    self.submit_without_path(&section, bio);
                    return None;
                }
            },
        };

        // No submitter sleeps for a queue, or for a tag, in the section.
        drop(section);
        match tracked {
            Ok(tracked) => self.send_tracked(chosen, tracked),
            Err(bio) => self.send(chosen, bio),
        }
    }

    /// The tick at which a bio that has failed goes on, if it pauses. The worker empties the list
    /// for other bios, too.
    fn has_to_pause(&self, journey: &Journey) -> Option<u64> {
        let now = work::now();
        let left = journey.ready_at.wrapping_sub(now as u32) as i32;
        let pauses = journey.pauses
            && left > 0
            && journey.news == self.busy.news.load(Relaxed) as u16
            && self.word.load().state() == HeadState::Live;

        pauses.then(|| now + left as u64)
    }

    /// Puts a bio that has failed into the list until tick `at`, or until there is news. Any
    /// context.
    fn pause_until(&self, at: u64, mut tracked: TrackedBio) {
        let news = tracked.journey().news;

        self.wait(tracked.into_bio(), Parked::Pause);
        self.look_again_at(at);
        // A caller with news before the bio was in the list has kicked in vain.
        if self.busy.news.load(Relaxed) as u16 != news {
            self.kick_others();
        }
    }

    /// Sends a bio that is not tracked to a path, unchanged if that is enough. Returns the bio if
    /// the path has gone.
    fn send(&self, chosen: Chosen, mut bio: Bio) -> Option<Bio> {
        let is_flush = bio.asks_to_flush(&chosen.abilities);

        if is_flush || chosen.attempt != Attempt::Plain || bio.is_back() {
            let moves = u16::from(bio.is_back());

            // SAFETY: The head stays until its bios have ended.
            match unsafe { TrackedBio::track(bio, &self.busy.reserve) } {
                Ok(mut tracked) => {
                    // A bio that comes back untracked has failed once.
                    tracked.journey().failures = moves;
                    tracked.journey().moves = moves;
                    return self.send_tracked(chosen, tracked);
                }
                Err(back) if is_flush => {
                    self.wait_for_memory(back);
                    return None;
                }
                // The head will not learn whether it fails again, which matters less than to send
                // it.
                Err(back) => bio = back,
            }
        }
        let Chosen {
            path,
            way,
            abilities,
            ..
        } = chosen;

        if bio.is_polled() && !abilities.polls {
            bio.do_not_poll();
        }
        match self.open(path, way, bio.is_nowait()) {
            Opened::Way(_) if !abilities.can(&bio) => bio.fail(Failure::NotSupported),
            Opened::Way(way) => way.send(self.as_raw(), bio),
            Opened::Again => bio.fail(Failure::Again),
            Opened::Gone => return Some(bio),
            // SAFETY: The head stays until its bios have ended.
            Opened::Dead => match unsafe { TrackedBio::track(bio, &self.busy.reserve) } {
                Ok(mut tracked) => {
                    tracked.journey().path = path;
                    self.refused(tracked);
                }
                Err(back) => self.wait_for_memory(back),
            },
        }
        None
    }

    fn send_tracked(&self, chosen: Chosen, mut tracked: TrackedBio) -> Option<Bio> {
        let Chosen {
            path,
            attempt,
            way,
            abilities,
        } = chosen;
        let journey = tracked.journey();

        journey.attempt = attempt;
        journey.given_back = false;
        journey.path = path;
        match self.open(path, way, tracked.is_nowait()) {
            Opened::Way(way) => {
                if let Err(tracked) = tracked.send(way, &abilities, self.as_raw(), clone_ended) {
                    self.wait_for_memory(tracked.into_bio());
                }
            }
            Opened::Again => self.attempt_ended(tracked, AGAIN, false),
            Opened::Gone => return Some(tracked.into_bio()),
            Opened::Dead => self.refused(tracked),
        }
        None
    }

    /// The way to a chosen path. Waits for the path's queue. Sleeps.
    fn open(
        &self,
        path: *mut bindings::mpath_device,
        way: Result<Way, Closed>,
        is_nowait: bool,
    ) -> Opened {
        let closed = match way {
            Ok(way) => return Opened::Way(way),
            Err(_) if is_nowait => return Opened::Again,
            Err(closed) => closed,
        };

        loop {
            if closed.wait().is_err() {
                return Opened::Dead;
            }
            // The path may have gone, and another one may be in its memory.
            let section = self.read();
            let is_it = |other: &&MpathDevice| other.as_raw() == path && closed.is(other.disk());
            let Some(path) = section.iter().find(is_it) else {
                return Opened::Gone;
            };

            if path.state().load().is_removing() {
                return Opened::Gone;
            }
            if let Some(way) = path.way() {
                return Opened::Way(way);
            }
        }
    }

    /// Takes a bio as failed: its path's disk is dead, and the driver has not told of that.
    fn refused(&self, mut tracked: TrackedBio) {
        let journey = tracked.journey();

        if journey.attempt == Attempt::Plain {
            self.with_path(journey.path, |path| {
                self.path_has_failed(path, Attempt::Plain)
            });
        }
        self.note_failure(&mut tracked, Failure::IoError as u8);
        self.go_on(tracked, Failure::IoError as u8);
    }

    /// Parks a bio for which there is no memory now, and has the retry work look again soon.
    fn wait_for_memory(&self, bio: Bio) {
        if bio.is_nowait() {
            return bio.fail(Failure::Again);
        }
        self.wait(bio, Parked::Memory);
        self.look_again_at(self.tick_in(1));
    }

    /// Puts a bio into the list, from where another task takes it.
    fn wait(&self, mut bio: Bio, why: Parked) {
        if let Some(disk) = self.disk() {
            bio.wait_for(disk);
        }
        self.count_waiting(&bio, why);
        self.busy.list.push(bio);
    }

    /// Counts a bio that goes into the list.
    fn count_waiting(&self, bio: &Bio, why: Parked) {
        let waiting = self.busy.waiting.fetch_add(1, Relaxed);

        if waiting == 0 {
            self.busy.waiting_since.store(work::now(), Relaxed);
        }
        trace::park(self.disk(), bio, why, waiting + 1);
    }

    /// Submits the bios in the list again. A bio that goes back there has waited all the time.
    pub(crate) fn submit_what_waits(&self) {
        let since = self.busy.waiting_since.load(Relaxed);
        let behind = BioList::new();
        let submit = |bio: Bio| {
            let waiting = self.busy.waiting.fetch_sub(1, Relaxed);

            trace::resubmit(self.disk(), &bio, waiting - 1);
            bio.submit();
        };

        for bio in self.busy.list.take() {
            match TrackedBio::last_attempt(&bio).is_some_and(Attempt::lets_others_go_first) {
                true => behind.push(bio),
                false => submit(bio),
            }
        }
        behind.take().for_each(submit);
        if self.busy.waiting.load(Relaxed) > 0 {
            self.busy.waiting_since.store(since, Relaxed);
        }
    }

    #[cold]
    #[inline(never)]
    fn submit_without_path(&self, section: &Section<'_>, mut bio: Bio) {
        match waiting::without_path(section, bio.is_nowait()) {
            WithoutPath::Fail => {
                if let Some(disk) = self.disk() {
                    disk.warn_failing();
                }
                self.busy.failed.fetch_add(1, Relaxed);
                bio.fail(Failure::IoError);
            }
            WithoutPath::Again => bio.fail(Failure::Again),
            WithoutPath::Park => {
                if let Some(disk) = self.disk() {
                    disk.warn_requeuing();
                    bio.wait_for(disk);
                }
                self.busy.requeued.fetch_add(1, Relaxed);
                self.count_waiting(&bio, Parked::NoPath);
                self.busy.list.park(
                    bio,
                    || waiting::is_worth_another_try(section),
                    || self.kick(),
                );
            }
        }
    }

    /// Takes back bios that failed on a path for a reason of the path. Any context.
    ///
    /// Bios that did not come to the path through the head stay in the list. The library does not
    /// know whose they are, and whether they have ended or wait already.
    ///
    /// `status` is the error of bios that have none of their own, 0 when it is not known. The
    /// fence, if there is one, holds bios that change data until it opens.
    pub(crate) fn failover(
        &self,
        path: &MpathDevice,
        mut bios: Returned,
        status: u8,
        fence: Option<&Fence>,
    ) {
        let counts = path.is_meant_for_io();
        let fence = fence.filter(|fence| !fence.is_open());
        // A request without a bio tells as much of the path as a bio that the head does not watch.
        let mut is_noted = false;
        let mut note = || {
            if !core::mem::replace(&mut is_noted, true) {
                self.path_has_failed(path, Attempt::Plain);
            }
        };

        if bios.is_empty() {
            note();
        }
        if let Some(disk) = self.disk() {
            while let Some(bio) = bios.next_of(path.disk()) {
                if bio.status() == AGAIN {
                    // The bio would have had to wait, which is not the path's fault.
                    bio.fail(Failure::Again);
                    continue;
                }
                // SAFETY: The path gives the bio back, and it is valid.
                let journey = unsafe { TrackedBio::journey_of(bio.as_raw(), clone_ended) };
                let attempt = journey.as_ref().map(|journey| journey.attempt);

                // Watched bios tell by themselves how they have ended. This comes before the head
                // sends any bio again, so that it watches that one.
                if attempt.is_none_or(|attempt| attempt == Attempt::Plain) {
                    note();
                }
                let fence = fence.filter(|_| bio.changes_data());

                self.note_given_back(path, &bio, status, fence.is_some());
                match journey {
                    Some(journey) => Self::end_attempt(bio, journey, counts, status, fence),
                    None => self.take_back(disk, bio, fence),
                }
            }
        }
        if !bios.is_empty() {
            misuse(
                "a bio is failed over that the head has not sent to the path: \
                 it is left in the list",
            );
        }
        self.kick_others();
    }

    /// Takes back the bios of a request that failed on a path. Returns whether it had any: a
    /// request that had none must not end well. Any context.
    ///
    /// # Safety
    ///
    /// `rq` is a request of the path's that has not ended.
    pub(crate) unsafe fn failover_request(
        &self,
        path: &MpathDevice,
        rq: *mut bindings::request,
        status: u8,
        fence: Option<&Fence>,
    ) -> bool {
        let mut bios = bindings::bio_list::default();

        // SAFETY: By this function's contract; the request gives up the bios that are taken from
        // it.
        unsafe {
            if !Returned::are_all_of((*rq).bio, path.disk()) {
                misuse(
                    "a request is failed over with a bio that the head has not sent to the path: \
                     it keeps its bios",
                );
                return false;
            }
            bindings::blk_steal_bios(&mut bios, rq);
            let has_bios = !bios.head.is_null();

            self.failover(path, Returned::from_raw(&mut bios), status, fence);
            has_bios
        }
    }

    /// Notes that a path gives a bio back. `status` is the error to tell if the bio has none
    /// itself.
    fn note_given_back(&self, path: &MpathDevice, bio: &Bio, status: u8, is_fenced: bool) {
        let status = match bio.status() {
            0 => status,
            own => own,
        };

        // SAFETY: The bio is valid.
        unsafe { path.has_given_back(bio.as_raw(), status, is_fenced) }
        if is_fenced {
            self.count_fenced();
        }
    }

    /// Takes a bio back that a path has failed.
    fn take_back(&self, disk: &Disk, mut bio: Bio, fence: Option<&Fence>) {
        bio.take_back(disk);
        match fence {
            Some(fence) => fence.hold(bio),
            None => {
                self.count_waiting(&bio, Parked::Failover);
                self.busy.list.push(bio);
            }
        }
    }

    /// Takes back the bio of a clone that a path has failed.
    fn end_attempt(
        clone: Bio,
        journey: &mut Journey,
        counts: bool,
        status: u8,
        fence: Option<&Fence>,
    ) {
        // SAFETY: This is the journey of that clone.
        let bio = unsafe { TrackedBio::bio_of(clone.as_raw()) };

        journey.given_back = true;
        journey.held = fence.is_some();
        journey.failures = journey.failures.saturating_add(u16::from(counts));
        match (clone.status(), status) {
            (0, 0) => clone.end_with_status(PATH_FAILED),
            (0, status) | (status, _) => clone.end_with_status(status),
        }
        if let Some(fence) = fence {
            // SAFETY: The clone of a write that has failed ends at once, and `clone_ended()` leaves
            // the bio to us.
            fence.hold(unsafe { Bio::from_raw(bio) });
        }
    }

    /// Lets a bio try every path whose pause has ended.
    pub(crate) fn retry_failed_paths(&self) {
        let section = self.read();
        let now = work::now();
        let mut next = None;

        self.busy.alarm.rings();
        let rested = section.iter().filter(|path| match path.pause_ends() {
            Some(at) if at > now => {
                next = Some(next.map_or(at, |next: u64| next.min(at)));
                false
            }
            ends => ends.is_some(),
        });

        let trace = |path: &&MpathDevice| {
            trace::tried_again(self.disk(), path.disk(), path.state().load());
        };

        parking::retry(self, rested.inspect(trace));
        if let Some(at) = next {
            self.look_again_at(at);
        }
    }

    /// The tick that comes `msecs` milliseconds from now.
    fn tick_in(&self, msecs: u32) -> u64 {
        work::now() + msecs_to_jiffies(msecs) as u64
    }

    /// Has the retry work run at a tick, or before. Any context.
    fn look_again_at(&self, at: u64) {
        self.busy.alarm.ask(at, |at| {
            let ticks = at.saturating_sub(work::now());

            self.busy.retry.reschedule_on_kblockd(ticks as usize);
        });
    }

    /// Runs `f` with a path that may be gone, if it is not. Any context.
    fn with_path(&self, path: *mut bindings::mpath_device, f: impl FnMut(&MpathDevice)) {
        let section = self.read();
        let path = section.iter().find(|other| other.as_raw() == path);

        path.into_iter().for_each(f);
    }

    /// Ends the bio of a clone that has ended on a path, or sends it again. Any context.
    fn attempt_ended(&self, mut tracked: TrackedBio, status: u8, asked_to_flush: bool) {
        let journey = *tracked.journey();
        let is_watched = journey.attempt != Attempt::Plain;

        if !journey.given_back && !(asked_to_flush && status == PATH_FAILED) {
            if is_watched {
                self.with_path(journey.path, |path| parking::succeed(self, path));
            }
            // Touch nothing of the head's after this.
            return tracked.end_with_status(status);
        }

        self.note_failure(&mut tracked, status);
        self.go_on(tracked, status);
    }

    /// Notes that a path has failed a bio, sent as `attempt` says. Any context.
    fn path_has_failed(&self, path: &MpathDevice, attempt: Attempt) {
        path.has_failed();
        parking::fail_over(self, path, attempt, || {});
    }

    /// Notes that a bio has failed on a path, which tells something of both.
    fn note_failure(&self, tracked: &mut TrackedBio, status: u8) {
        let bio = tracked.as_raw();
        let journey = tracked.journey();
        let is_watched = journey.attempt != Attempt::Plain;
        // A bio that the driver gave back has been counted; a failure on a path that is gone does
        // not count.
        let mut counts = false;

        if is_watched || !journey.given_back {
            self.with_path(journey.path, |path| {
                counts = !journey.given_back && path.is_meant_for_io();
                if !journey.given_back {
                    // SAFETY: The bio has not ended.
                    unsafe { path.has_given_back(bio, status, false) }
                }
                if is_watched {
                    self.path_has_failed(path, journey.attempt);
                }
            });
        }
        journey.failures = journey.failures.saturating_add(u16::from(counts));
        journey.moves = journey.moves.saturating_add(1);
    }

    /// Ends a bio that has failed, or sends it again. Any context.
    fn go_on(&self, mut tracked: TrackedBio, status: u8) {
        let journey = tracked.journey();
        let failures = u32::from(journey.failures);
        let paths = self.read().iter().count();

        if is_over(failures, self.ops.max_failovers(), paths) {
            return tracked.end_with_status(status);
        }
        let pause = retry_msecs(failures);
        let ready_at = self.tick_in(pause);

        journey.pauses = pause > 0;
        journey.ready_at = ready_at as u32;
        journey.news = self.busy.news.load(Relaxed) as u16;

        tracked.may_wait();
        if pause > 0 {
            return self.pause_until(ready_at, tracked);
        }
        self.wait(tracked.into_bio(), Parked::Failover);
        self.kick_others();
    }
}

/// A path that the head has chosen for a bio that needs care: the facts that the head needs even if
/// the path goes.
struct Chosen {
    path: *mut bindings::mpath_device,
    attempt: Attempt,
    way: Result<Way, Closed>,
    abilities: Abilities,
}

impl Chosen {
    /// The facts of a path. Inside the read-side section in which the head has chosen it.
    fn new((path, attempt): (&MpathDevice, Attempt)) -> Self {
        let disk = path.disk();

        Self {
            path: path.as_raw(),
            attempt,
            way: path.way().ok_or_else(|| Closed::new(disk)),
            abilities: Abilities::of(disk),
        }
    }
}

/// The result of waiting for the queue of a path.
enum Opened {
    /// The queue takes the bio.
    Way(Way),
    /// The bio must not wait.
    Again,
    /// The path is not on the head any more.
    Gone,
    /// Its disk is dead.
    Dead,
}

impl FailOver for MpathHead {
    type Path = MpathDevice;

    fn note(&self, path: &MpathDevice, f: impl Fn(PathState) -> PathState) -> PathState {
        let old = shortlist::note(path.state(), self.shortlist.generation(), &f);

        path.has_changed(old, f(old));
        old
    }

    fn retry_later(&self, path: &MpathDevice, msecs: u32) {
        let at = self.tick_in(msecs);

        path.set_pause_end(at);
        self.look_again_at(at);
    }
}

impl<'a> Inside<'a> {
    /// The path for a bio that needs care, and how the head sends it there; `None` when the bio has
    /// to wait.
    fn take_for(self, journey: Option<&Journey>) -> Option<(&'a MpathDevice, Attempt)> {
        let (failures, last) = journey.map_or((0, core::ptr::null_mut()), |journey| {
            (journey.failures.into(), journey.path)
        });

        care::choose(self, failures, |path| path.as_raw() == last)
    }
}

impl<'a> Chooser<'a> for Inside<'a> {
    type Path = MpathDevice;

    fn paths(self) -> impl Iterator<Item = &'a MpathDevice> {
        self.iter()
    }

    fn candidates(self) -> impl Iterator<Item = &'a MpathDevice> {
        self.listed().iter()
    }

    fn choose(self) -> Option<&'a MpathDevice> {
        self.listed().choose()
    }

    fn state_of(path: &MpathDevice) -> PathState {
        path.state().load()
    }

    fn is_usable(path: &MpathDevice) -> bool {
        path.access() != Access::Unusable
    }

    fn take(self, path: &'a MpathDevice) -> Option<Attempt> {
        // Every bio that needs no care takes the path, so there is nothing to find out.
        if path.state().load().is_trusted() {
            return Some(Attempt::Plain);
        }
        parking::take(self.head(), path)
    }
}

/// The number of failovers of a bio that a path has.
///
/// # Safety
///
/// `bio` is valid, and the caller has it from its path.
pub(crate) unsafe fn failovers(bio: *mut bindings::bio) -> u32 {
    // SAFETY: By this function's contract.
    unsafe { TrackedBio::journey_of(bio, clone_ended) }.map_or(0, |journey| journey.moves.into())
}

/// The end of a clone.
///
/// # Safety
///
/// The block layer calls it, once, with a clone that [`TrackedBio::send`] has sent.
unsafe extern "C" fn clone_ended(clone: *mut bindings::bio) {
    // SAFETY: By this function's contract. A bio that has not ended keeps its disk, and the disk
    // keeps the head.
    unsafe {
        let (mut tracked, status) = TrackedBio::returned(clone);
        // The clone may have lost its flags on its way.
        let asked_to_flush = Bio::is_flush(tracked.as_raw());
        let head = MpathHead::of_disk((*(*tracked.as_raw()).bi_bdev).bd_disk);
        if core::mem::replace(&mut tracked.journey().held, false) {
            head.note_failure(&mut tracked, status);
            tracked.journey().status = status;
            // The caller that has ended the clone has the bio now.
            tracked.into_bio().into_raw();
            return;
        }
        head.attempt_ended(tracked, status, asked_to_flush);
    }
}

/// Goes on with a bio that a fence has held. Process context.
pub(crate) fn let_go(bio: Bio) {
    // SAFETY: The bio has not ended, so its disk, which is its head's, is there, and so is the
    // head. The bio may end, and both go, as soon as another task has it.
    let head = unsafe { ARef::from(MpathHead::of_disk((*(*bio.as_raw()).bi_bdev).bd_disk)) };

    head.count_let_go();
    match TrackedBio::of(bio) {
        Ok(mut tracked) => {
            let status = tracked.journey().status;

            head.go_on(tracked, status);
        }
        Err(bio) => {
            head.count_waiting(&bio, Parked::Fence);
            head.busy.list.push(bio);
            head.kick_others();
        }
    }
}
