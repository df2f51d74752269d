// SPDX-License-Identifier: GPL-2.0

//! A path leaves its head while a bio is on its way to it, and while another thread makes the links
//! to paths.
//!
//! The library's own: [`removal::take_apart`], [`bring_up::bring_up`], and how a path is chosen, in
//! the head of `publication.rs`, which has the checks for accesses to a freed path. After
//! `rust/engine/submit.rs`: a bio arrives after its section, and its task does not sleep in
//! between. After `rust/engine/live.rs`: the walk that makes the links. Made by hand: the
//! scheduler's view of tasks, which is SRCU's stand-in once more (`kernel.rs`).

use crate::explore::{
    holds,
    is_caught,
    Preemptions::Any, //
};
use crate::publication::{
    Head,
    Mutant, //
};
use libmultipath::bring_up::{
    self,
    BringUp,
    HasDisk, //
};
use libmultipath::policy::IoPolicy;
use libmultipath::removal::{
    self,
    Controlled, //
};
use libmultipath::state::HeadState;
use loom::thread;

impl<const READERS: usize> HasDisk for Head<READERS> {
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
        for path in self.read(0).iter() {
            path.device().touch();
            path.device().set_linked(true);
        }
    }

    fn delete_disk(&self, _bring_up: &mut BringUp) {
        unreachable!()
    }

    fn settle(&self) {
        unreachable!()
    }
}

/// The driver takes one of two paths apart while a bio is sent.
fn stopped(policy: IoPolicy, mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(2, true, mutant);
        let submitter = {
            let head = head.clone();
            thread::spawn(move || {
                let _on_its_way = head.on_their_way.read_lock(0);
                let device = {
                    let section = head.read(0);
                    let chosen = section.choose(policy).unwrap().device();

                    head.devices
                        .iter()
                        .find(|device| core::ptr::eq(*device, chosen))
                };

                device.unwrap().arrive();
            })
        };

        removal::take_apart(&*head, &head.devices[0], || head.devices[0].stop());
        head.devices[0].free();
        submitter.join().unwrap();
    }
}

#[test]
fn no_bio_arrives_at_a_path_that_the_driver_has_stopped() {
    for policy in IoPolicy::ALL {
        holds(Any, stopped(policy, Mutant::Nothing));
    }
    is_caught(
        Mutant::StopsTooEarly,
        "Causality violation",
        Any,
        stopped(IoPolicy::Numa, Mutant::StopsTooEarly),
    );
}

/// The driver takes one of two paths apart while the other one brings the disk up, which links
/// both.
fn linked(mutant: Mutant) -> impl Fn() + Send + Sync {
    move || {
        let head = Head::<1>::new(2, false, mutant);
        head.word().advance(HeadState::Live);
        let other = {
            let head = head.clone();
            thread::spawn(move || bring_up::bring_up(&*head, &head.devices[1]).is_ok())
        };

        removal::take_apart(&*head, &head.devices[0], || ());
        assert!(!head.devices[0].is_linked(), "a link leads nowhere");
        head.devices[0].free();
        assert!(other.join().unwrap());
        assert!(!head.devices[0].is_linked(), "a link leads nowhere");
        assert!(head.devices[1].is_linked());
    }
}

/// Shows L-6.
#[test]
fn no_link_leads_to_a_path_that_has_gone() {
    holds(Any, linked(Mutant::Nothing));
    for mutant in [Mutant::LosesItsLinkTooEarly, Mutant::KeepsItsLink] {
        is_caught(mutant, "a link leads nowhere", Any, linked(mutant));
    }
}
