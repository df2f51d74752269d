// SPDX-License-Identifier: GPL-2.0

//! Taking the disk of a head away, while bios are submitted, wait and fail.
//!
//! The library's own: [`removal::try_remove`], [`bring_up::take_down`], and all of parking, in the head
//! of `parking.rs`. Made by hand: SRCU, the worker, the mutexes, and the block layer, which does
//! not delete a disk before the bios that wait have ended.
//!
//! For each step of [`bring_up::take_down`] a mutant leaves it out. In another order the protocol
//! fails, too, with one exception: the first kick may come before the grace period, since a thread
//! that parks looks again.

use crate::explore::{
    holds,
    is_caught,
    Preemptions::{
        Any,
        AtMost, //
    }, //
};
use crate::kernel::Srcu;
use crate::parking::{
    self,
    Bio, //
};
use libmultipath::bring_up::{
    self,
    BringUp,
    HasDisk, //
};
use libmultipath::parking::Kick;
use libmultipath::removal::{
    self,
    Control,
    Controlled, //
};
use libmultipath::state::{
    AtomicHeadWord,
    PortState,
    Reasons, //
};
use loom::sync::Mutex;
use loom::thread;
use std::sync::atomic::{
    AtomicBool,
    AtomicUsize,
    Ordering::Relaxed, //
};
use std::sync::Arc;

/// The reading threads: one that submits, and the worker, which may run in the remover's thread.
const SUBMITTER: usize = 0;
const WORKER: usize = 1;

/// A step of [`bring_up::take_down`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GracePeriod,
    FirstKick,
    SecondKick,
    Settle,
}

struct Head {
    parts: parking::Head,
    control: Mutex<Control>,
    bring_up: Mutex<BringUp>,
    srcu: Srcu<2>,
    /// Whether a bio fails over meanwhile. It waits for a moment before the remover is asked to end
    /// it.
    fails_over: bool,
    /// The step that the mutant leaves out.
    without: Option<Step>,
    /// How often the remover has kicked.
    kicks: AtomicUsize,
    /// Whether a bio waited when the disk was deleted. This and the next one only the model knows:
    /// they order no threads.
    waited: AtomicBool,
    /// Whether the driver's module may go.
    is_removed: AtomicBool,
}

impl Kick for Head {
    fn kick(&self) {
        let kick = match self.kicks.fetch_add(1, Relaxed) {
            0 => Step::FirstKick,
            _ => Step::SecondKick,
        };

        self.unless_left_out(kick, || self.parts.kick());
    }
}

impl Controlled for Head {
    type Path = ();

    fn word(&self) -> &AtomicHeadWord {
        &self.parts.word
    }

    fn with_control<R>(&self, f: impl FnOnce(&mut Control) -> R) -> R {
        f(&mut self.control.lock().unwrap())
    }

    fn is_listed(_path: &()) -> bool {
        unreachable!()
    }

    fn grace_period(&self) {
        self.unless_left_out(Step::GracePeriod, || self.srcu.synchronize());
    }
}

crate::kernel::without_timer!(Head);

impl HasDisk for Head {
    type Error = ();

    const GONE: () = ();

    fn with_bring_up<R>(&self, f: impl FnOnce(&mut BringUp) -> R) -> R {
        f(&mut self.bring_up.lock().unwrap())
    }

    fn add_disk(&self) -> Result<(), ()> {
        unreachable!()
    }

    fn disk_added(&self, _bring_up: &mut BringUp) {
        unreachable!()
    }

    fn link_paths(&self, _bring_up: &BringUp) {
        unreachable!()
    }

    /// `del_gendisk()`, which waits for pages that are being written.
    fn delete_disk(&self, _bring_up: &mut BringUp) {
        let is_pending = self.parts.requeue.is_pending();

        self.waited.store(!self.parts.list.is_empty(), Relaxed);
        assert!(
            is_pending || self.fails_over || !self.waited.load(Relaxed),
            "the disk cannot be deleted, since a bio waits that nobody ends"
        );
    }

    fn settle(&self) {
        self.unless_left_out(Step::Settle, || {
            self.run_requeue();
        });
    }
}

impl Head {
    /// A Live head with a disk that the driver is to remove. Its path is not ready, or fails bios
    /// over.
    fn new(fails_over: bool, without: Option<Step>) -> Arc<Self> {
        let head = Arc::new(Self {
            parts: parking::Head::new(PortState::Live, parking::Mutant::Nothing),
            control: Mutex::new(Control::default()),
            bring_up: Mutex::new(BringUp {
                disk_added: true,
                ..BringUp::default()
            }),
            srcu: Srcu::new(),
            fails_over,
            without,
            kicks: AtomicUsize::new(0),
            waited: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
        });

        if fails_over {
            head.parts
                .change_path(|state| state.enabled(Reasons::NOT_READY));
        }
        head
    }

    fn unless_left_out(&self, step: Step, f: impl FnOnce()) {
        if self.without != Some(step) {
            f();
        }
    }

    fn submit(&self, reader: usize, bio: *mut Bio) {
        let _section = self.srcu.read_lock(reader);

        self.parts.submit(bio);
    }

    fn run_requeue(&self) {
        self.parts.requeue.run(|| {
            for bio in self.parts.list.take() {
                self.submit(WORKER, bio);
            }
            assert!(
                !self.is_removed.load(Relaxed),
                "the worker runs although the head is removed"
            );
        });
    }

    fn remove(&self) {
        assert!(removal::try_remove(self), "it is removed");
        bring_up::take_down(self);
        self.is_removed.store(true, Relaxed);
    }

    /// Asserts the end state after the removal: the worker is not to run, and both bios have ended.
    fn assert_nothing_is_left(&self) {
        assert!(
            !self.parts.requeue.is_pending(),
            "the worker is to run although the head is removed"
        );
        self.parts.assert_all_ended(2);
    }
}

/// A bio waits, and a thread submits another one, while the driver removes the head and the worker
/// runs whenever it likes.
fn removed_under_submitters(without: Option<Step>) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(false, without);
        head.submit(SUBMITTER, Bio::new(0));
        let threads = [
            |head: &Head| head.submit(SUBMITTER, Bio::new(1)),
            Head::run_requeue,
        ]
        .map(|act| {
            let head = head.clone();
            thread::spawn(move || act(&head))
        });

        head.remove();
        for thread in threads {
            thread.join().unwrap();
        }
        head.assert_nothing_is_left();
    }
}

/// Shows L-19.
#[test]
fn nothing_waits_and_nothing_runs_when_the_head_is_removed() {
    holds(AtMost(3), removed_under_submitters(None));
    for (step, failure) in [
        (Step::GracePeriod, "although the head is removed"),
        (Step::FirstKick, "the disk cannot be deleted"),
        (Step::Settle, "although the head is removed"),
    ] {
        is_caught(
            ("without", step),
            failure,
            AtMost(3),
            removed_under_submitters(Some(step)),
        );
    }
}

/// A bio waits, and a thread submits another one, while the driver removes the head. The worker
/// runs when the remover waits for it, or at the end.
fn removed_under_a_submitter(without: Option<Step>) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(false, without);
        head.submit(SUBMITTER, Bio::new(0));
        let submitter = {
            let head = head.clone();
            thread::spawn(move || head.submit(SUBMITTER, Bio::new(1)))
        };

        head.remove();
        submitter.join().unwrap();
        head.assert_nothing_is_left();
    }
}

/// Shows L-19.
#[test]
fn nothing_waits_for_the_worker_when_the_head_is_removed() {
    holds(Any, removed_under_a_submitter(None));
    for (step, failure) in [
        (Step::GracePeriod, "although the head is removed"),
        (Step::FirstKick, "the disk cannot be deleted"),
        (Step::Settle, "although the head is removed"),
    ] {
        is_caught(
            ("without", step),
            failure,
            Any,
            removed_under_a_submitter(Some(step)),
        );
    }
}

/// The path fails a bio while the driver removes the head, and the worker runs whenever it likes.
/// If the bio is in the lot when the disk is deleted, the removal ends it, whatever the thread does
/// that fails it over.
fn removed_under_failover(without: Option<Step>) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::new(true, without);
        let threads = [
            |head: &Head| head.parts.failover(Bio::new(0)),
            |head: &Head| {
                head.parts.run_requeue();
            },
        ]
        .map(|act| {
            let head = head.clone();
            thread::spawn(move || act(&head))
        });

        head.remove();
        assert!(
            !head.waited.load(Relaxed) || head.parts.has_ended(0),
            "a bio waits although the disk is deleted"
        );
        for thread in threads {
            thread.join().unwrap();
        }
        head.parts.settle();
        head.parts.assert_all_ended(1);
    }
}

/// Shows L-19.
#[test]
fn a_bio_that_waits_when_the_disk_is_deleted_has_ended_when_the_head_is_removed() {
    holds(Any, removed_under_failover(None));
    for step in [Step::SecondKick, Step::Settle] {
        is_caught(
            ("without", step),
            "a bio waits although the disk is deleted",
            AtMost(3),
            removed_under_failover(Some(step)),
        );
    }
}
