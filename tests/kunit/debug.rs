// SPDX-License-Identifier: GPL-2.0

//! The file of a head in debugfs, in each situation in which a user may read it.

use super::capacity::set_capacity;
use super::check::eventually;
use super::driver::{
    Setup,
    TestHead,
    CAPACITY, //
};
use super::fake::{
    Behaviour,
    FakePath,
    FakePort,
    Options,
    NOT_READY,
    STATE_PENDING, //
};
use super::fence::{
    lose_a_write,
    TestFence, //
};
use super::io::{
    Io,
    OK,
    PENDING, //
};
use super::trust::{
    patient,
    wear_out, //
};
use crate::engine::head::MpathHead;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use crate::pure::trust::Attempt;
use kernel::fmt;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;

/// How long a test waits to see that the file tells the time, in milliseconds.
const A_WHILE: u64 = 50;
/// A tick is at most so many milliseconds.
const TICK: u64 = 10;

fn wait_a_while() {
    fsleep(Delta::from_millis(A_WHILE as i64));
}

/// The text of a head's file.
struct Text(KVec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

impl Text {
    fn of(head: &TestHead) -> Result<Self> {
        Self::of_engine(&head.engine())
    }

    fn of_engine(head: &MpathHead) -> Result<Self> {
        let mut text = Self(KVec::new());

        // Not by way of a string of the kernel crate, which formats twice: once to measure, once to
        // write. Time passes in between.
        fmt::Write::write_fmt(&mut text, fmt!("{head}")).map_err(|_| ENOMEM)?;
        Ok(text)
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        core::str::from_utf8(&self.0).unwrap_or("").lines()
    }

    /// The lines of a path.
    fn of_path<'a>(&'a self, path: &'a FakePath) -> impl Iterator<Item = &'a str> {
        let name = path.engine().disk().name().to_str().unwrap_or("?");

        self.lines()
            .skip_while(move |line| line.strip_prefix("path ") != Some(name))
            .skip(1)
            .map_while(|line| line.strip_prefix("  "))
    }

    /// Does it say just this? If not, the log gets the text.
    fn says(&self, line: &str) -> bool {
        let says = self.lines().any(|other| other == line);

        if !says {
            self.print(line);
        }
        says
    }

    /// Does it say just this of a path?
    fn says_of(&self, path: &FakePath, line: &str) -> bool {
        let says = self.of_path(path).any(|other| other == line);

        if !says {
            self.print(line);
        }
        says
    }

    fn print(&self, missing: &str) {
        pr_info!("\"{missing}\" is not said:\n");
        self.lines().for_each(|line| pr_info!("| {line}\n"));
    }

    /// The number after a key.
    fn number(&self, key: &str) -> Option<u64> {
        number(self.lines(), key)
    }

    /// The number after a key of a path.
    fn number_of(&self, path: &FakePath, key: &str) -> Option<u64> {
        number(self.of_path(path), key)
    }

    /// The reasons that it names not to use a path.
    fn reasons(&self, path: &FakePath) -> usize {
        self.of_path(path)
            .filter(|line| line.starts_with("reason "))
            .count()
    }
}

fn number<'a>(mut lines: impl Iterator<Item = &'a str>, key: &str) -> Option<u64> {
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// Two paths, and the text of the head once a test has changed the first.
struct Situation {
    // The paths keep the head, so they go first.
    path: Arc<FakePath>,
    other: Arc<FakePath>,
    head: TestHead,
}

impl Situation {
    fn new(act: impl FnOnce(&TestHead, &FakePath)) -> Result<Self> {
        let head = TestHead::new(Setup::default())?;
        let (path, other) = (head.path()?, head.path()?);

        act(&head, &path);
        Ok(Self { path, other, head })
    }

    /// Does the text give one reason not to use the first path, by this name, since a while ago,
    /// and name the actor that ends it?
    fn has_one_reason(&self, name: &str, until: &str) -> Result<bool> {
        let key = CString::try_from_fmt(fmt!("reason {name}"))?;
        let key = key.to_str().unwrap_or("");
        let first = Text::of(&self.head)?;
        let since = |text: &Text| text.number_of(&self.path, key);

        wait_a_while();
        let text = Text::of(&self.head)?;
        let (before, after) = (since(&first), since(&text));
        let has_grown = matches!((before, after), (Some(a), Some(b)) if b + TICK >= a + A_WHILE);

        if !has_grown {
            pr_info!("{name}: {before:?} ms, then {after:?} ms\n");
            text.print(key);
        }
        Ok(has_grown
            && text.reasons(&self.path) == 1
            && text.says_of(&self.path, "usable no")
            && text.says_of(&self.path, until)
            // The text gives no reason for the other one.
            && text.says("usable 1")
            && text.says_of(&self.other, "usable yes")
            && text.reasons(&self.other) == 0)
    }
}

/// Has a write wait on a head with one path that `act` has made unusable, and reads in the text
/// which actor ends that. `end` has to.
fn waits(
    until: &str,
    act: impl FnOnce(&TestHead, &FakePath),
    end: impl FnOnce(&TestHead, &FakePath),
) -> Result {
    let head = TestHead::new(Setup::default())?;
    let path = head.path()?;

    check!(Text::of(&head)?.says("waiting 0"));
    check!(Text::of(&head)?.number("waiting_ms").is_none());
    act(&head, &path);
    let io = head.write(0)?;
    wait_a_while();
    let text = Text::of(&head)?;
    check!(text.says("waiting 1"));
    check!(text.says(until));
    check!(text
        .number("waiting_ms")
        .is_some_and(|msecs| msecs + TICK >= A_WHILE));
    check_eq!(io.status(), PENDING);

    end(&head, &path);
    head.kick();
    check!(io.wait() != PENDING);
    check!(Text::of(&head)?.says("waiting 0"));
    Ok(())
}

#[kunit_tests(mpath_debug)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_works_says_so() -> Result {
        let head = TestHead::following(IoPolicy::RoundRobin)?;
        let near = head.path_with(Options {
            node: 0,
            ..Options::default()
        })?;
        let worse = head.path_with(Options {
            access: AccessState::NonOptimized,
            ..Options::default()
        })?;

        check_eq!(head.write_many(2)?, 2);
        let text = Text::of(&head)?;
        for line in [
            "state live",
            "policy round-robin",
            "paths 2",
            "usable 2",
            "delayed_removal_secs 0",
            "removal_timer idle",
            "retry_timer idle",
            "waiting 0",
            "fenced 0",
            "failed 0",
            "failovers 0",
        ] {
            check!(text.says(line));
        }
        for line in [
            "usable yes",
            "port -",
            "port_state live",
            "trust trusted",
            "failures 0",
        ] {
            check!(text.says_of(&near, line) && text.says_of(&worse, line));
        }
        check!(text.says_of(&near, "access optimized") && text.says_of(&near, "node 0"));
        check!(text.says_of(&worse, "access non-optimized") && text.says_of(&worse, "node -"));
        // The shortlist has the best paths.
        let name = near.engine().disk().name().to_str()?;
        check!(text
            .lines()
            .any(|line| line.strip_prefix("shortlist ") == Some(name)));
        Ok(())
    }

    #[test]
    fn a_path_that_is_not_set_up() -> Result {
        let situation = Situation::new(|_, path| path.disable(NOT_READY))?;

        check!(situation.has_one_reason("not-ready", "until \"driver: path is set up\"")?);
        Ok(())
    }

    #[test]
    fn a_path_whose_access_state_is_being_read() -> Result {
        let situation = Situation::new(|_, path| path.disable(STATE_PENDING))?;

        check!(situation.has_one_reason(
            "access-state-pending",
            "until \"driver: access state is read\""
        )?);
        Ok(())
    }

    #[test]
    fn a_path_of_another_capacity() -> Result {
        let situation = Situation::new(|head, path| {
            set_capacity(path.disk(), CAPACITY * 2);
            // SAFETY: The head is there.
            unsafe { ffi::mpath_revalidate_paths(head.as_raw()) }
        })?;

        check!(situation
            .has_one_reason("capacity", "until \"driver: capacity is the head's again\"")?);
        Ok(())
    }

    #[test]
    fn a_path_through_which_the_storage_cannot_be_reached() -> Result {
        let situation = Situation::new(|_, path| path.set_access(AccessState::Other))?;

        check!(situation.has_one_reason("access", "until \"storage: access state changes\"")?);
        Ok(())
    }

    #[test]
    fn a_path_that_is_being_removed() -> Result {
        let situation = Situation::new(|_, path| path.quiesce())?;

        check!(situation.has_one_reason("removing", "until \"driver: path is deleted\"")?);
        Ok(())
    }

    #[test]
    fn a_path_behind_a_port_that_recovers() -> Result {
        let situation = Situation::new(|_, path| path.port().set(PortState::Recovering))?;

        check!(situation.has_one_reason("port", "until \"driver: port recovers or is given up\"")?);
        Ok(())
    }

    #[test]
    fn a_path_behind_a_dead_port() -> Result {
        let situation = Situation::new(|_, path| path.port().set(PortState::Dead))?;

        check!(situation.has_one_reason("port", "until never")?);
        check!(Text::of(&situation.head)?.says_of(&situation.path, "port_state dead"));
        Ok(())
    }

    #[test]
    fn a_path_that_keeps_failing() -> Result {
        let situation = Situation::new(|_, path| {
            // As if eight bios had failed, without a timer that would try the path again.
            for _ in 0..8 {
                path.engine().change(|state| state.failed(Attempt::Watched));
            }
        })?;

        check!(situation.has_one_reason("failing", "until \"retry timer\"")?);
        let text = Text::of(&situation.head)?;
        check!(text.says_of(&situation.path, "trust resting"));
        check!(text.says_of(&situation.path, "pauses 1"));
        situation.path.enable(0);
        check!(Text::of(&situation.head)?.says_of(&situation.path, "trust trusted"));
        Ok(())
    }

    /// Each reason has a time of its own, which goes on when another state changes, or when the
    /// driver gives the same reason again.
    #[test]
    fn each_reason_is_as_old_as_it_is() -> Result {
        let head = TestHead::new(Setup::default())?;
        let port = FakePort::new(PortState::Live)?;
        let path = head.path_with(Options {
            port: Some(port.clone()),
            ..Options::default()
        })?;

        port.set(PortState::Recovering);
        wait_a_while();
        path.disable(STATE_PENDING);
        wait_a_while();
        path.disable(NOT_READY);
        path.disable(STATE_PENDING);
        port.set(PortState::Recovering);
        let text = Text::of(&head)?;
        check_eq!(text.reasons(&path), 3);
        let since = |reason| text.number_of(&path, reason).unwrap_or(0);
        check!(since("reason port") + TICK >= since("reason access-state-pending") + A_WHILE);
        check!(since("reason access-state-pending") + TICK >= since("reason not-ready") + A_WHILE);
        check!(since("access_ms") >= since("reason port"));
        check_eq!(since("port_state_ms"), since("reason port"));
        Ok(())
    }

    #[test]
    fn a_bio_waits_for_a_port() -> Result {
        waits(
            "until \"driver: port recovers or is given up\"",
            |_, path| path.port().set(PortState::Recovering),
            |_, path| path.port().set(PortState::Live),
        )
    }

    #[test]
    fn a_bio_waits_for_the_storage() -> Result {
        waits(
            "until \"storage: access state changes\"",
            |_, path| path.set_access(AccessState::Other),
            |_, path| path.set_access(AccessState::Optimized),
        )
    }

    #[test]
    fn a_bio_waits_for_a_path_to_be_set_up() -> Result {
        waits(
            "until \"driver: path is set up\"",
            |_, path| path.disable(NOT_READY),
            |_, path| path.enable(NOT_READY),
        )
    }

    #[test]
    fn a_bio_waits_for_an_access_state_to_be_read() -> Result {
        waits(
            "until \"driver: access state is read\"",
            |_, path| path.disable(STATE_PENDING),
            |_, path| path.enable(STATE_PENDING),
        )
    }

    #[test]
    fn a_bio_waits_for_a_path_to_go() -> Result {
        waits(
            "until \"driver: path is deleted\"",
            |_, path| path.quiesce(),
            |_, path| {
                path.remove();
            },
        )
    }

    #[test]
    fn a_bio_waits_for_the_retry_timer() -> Result {
        let head = patient(IoPolicy::Numa)?;
        let path = head.path()?;
        let io = wear_out(&head, &path)?;
        let is_said = || {
            Text::of(&head).is_ok_and(|text| {
                text.number("retry_in_ms").is_some_and(|msecs| msecs <= 100)
                    && text.number_of(&path, "tried_in_ms").is_some()
                    && text.lines().any(|line| line == "until \"retry timer\"")
                    && text.lines().any(|line| line == "retry_timer armed")
            })
        };

        check!(eventually(is_said));
        let text = Text::of(&head)?;
        check!(text.number_of(&path, "failures") == text.number_of(&path, "failovers"));
        check!(text.number("failovers") == text.number_of(&path, "failovers"));
        check!(text
            .number_of(&path, "failures")
            .is_some_and(|count| count >= 8));
        check!(text
            .number_of(&path, "pauses")
            .is_some_and(|count| count >= 2));
        check!(text.number_of(&path, "failed_ms_ago").is_some());
        path.behave(Behaviour::Complete);
        check_eq!(io.wait(), OK);
        check!(Text::of(&head)?.says_of(&path, "trust trusted"));
        Ok(())
    }

    #[test]
    fn a_bio_waits_for_the_removal_timer() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        head.store_delay(c"1000");
        check!(Text::of(&head)?.says("removal_timer idle"));
        check!(path.remove() && !head.try_remove());
        let io = head.write(0)?;
        wait_a_while();
        let text = Text::of(&head)?;
        for line in [
            "state live",
            "paths 0",
            "delayed_removal_secs 1000",
            "removal_timer armed",
            "waiting 1",
            "until \"removal timer\"",
            // The driver's, the timer's, and the reader's.
            "references 3",
            "references_of_driver 1",
        ] {
            check!(text.says(line));
        }
        let left = text.number("removal_in_ms").unwrap_or(0);
        check!(left > 900_000 && left <= 1_000_000 - A_WHILE + TICK);
        path.add(&head)?;
        check!(Text::of(&head)?.says("removal_timer idle"));
        path.go_live();
        check_eq!(io.wait(), OK);
        Ok(())
    }

    #[test]
    fn a_head_that_is_held_open_after_it_has_gone() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let opener = head.open()?;
        let engine = head.engine();

        check!(Text::of_engine(&engine)?.says("openers 1"));
        path.remove();
        check!(head.try_remove());
        wait_a_while();
        let text = Text::of_engine(&engine)?;
        for line in [
            "state dead",
            "paths 0",
            "openers 1",
            // The opener's, and the reader's.
            "references 2",
            "references_of_driver 0",
        ] {
            check!(text.says(line));
        }
        check!(text
            .number("state_ms")
            .is_some_and(|msecs| msecs + TICK >= A_WHILE));
        drop(opener);
        check!(Text::of_engine(&engine)?.says("references 1"));
        Ok(())
    }

    #[test]
    fn a_write_that_a_fence_holds() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;
        let fence = TestFence::new()?;

        check!(Text::of(&head)?.number("fenced_ms").is_none());
        let io = lose_a_write(&head, &path, &fence)?;
        wait_a_while();
        let text = Text::of(&head)?;
        check!(text.says("fenced 1") && text.says("waiting 0"));
        check!(
            text.says("fenced_until \"fence: the lost controller cannot carry them out any more\"")
        );
        check!(text
            .number("fenced_ms")
            .is_some_and(|msecs| msecs + TICK >= A_WHILE));
        check!(text.says_of(&path, "failovers 1") && text.says_of(&path, "failures 1"));
        fence.open();
        check_eq!(io.wait(), OK);
        check!(Text::of(&head)?.says("fenced 0"));
        Ok(())
    }

    #[test]
    fn the_bios_in_flight_through_a_port() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let ios: [Arc<Io>; 2] = [head.write(0)?, head.write(8)?];
        check!(Text::of(&head)?.says_of(&path, "port_in_flight 2"));
        path.complete_held();
        check!(ios.iter().all(|io| io.wait() == OK));
        check!(Text::of(&head)?.says_of(&path, "port_in_flight 0"));
        Ok(())
    }

    /// A failure on a path that its driver does not want used is not the path's.
    #[test]
    fn a_bio_that_a_lost_path_gives_back_is_no_failure_of_it() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        path.behave(Behaviour::Hold);
        let io = head.write(0)?;
        path.port().set(PortState::Recovering);
        path.behave(Behaviour::Complete);
        path.fail_held_over();
        wait_a_while();
        let text = Text::of(&head)?;
        check!(text.says_of(&path, "failures 0") && text.says_of(&path, "failovers 1"));
        check!(text.says("failovers 1") && text.says("waiting 1"));
        path.port().set(PortState::Live);
        head.kick();
        check_eq!(io.wait(), OK);
        Ok(())
    }
}
