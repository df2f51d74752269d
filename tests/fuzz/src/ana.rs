// SPDX-License-Identifier: GPL-2.0

//! The ANA log of an NVMe controller, and the data that identifies it, over a controller's life.

use crate::config;
use core::ffi::{
    c_int,
    c_void, //
};
use proptest::collection::{
    btree_set,
    vec, //
};
use proptest::prelude::*;
use proptest::sample::{
    select,
    Index, //
};
use proptest::test_runner::{
    Config,
    RngAlgorithm,
    TestCaseError,
    TestError,
    TestRng,
    TestRunner, //
};

/// `struct fuzz_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Namespace {
    nsid: u32,
    grpid: u32,
    state: u32,
}

/// `struct fuzz_step`.
#[repr(C)]
struct RawStep {
    kind: u32,
    max_namespaces: u32,
    nn: u32,
    nanagrpid: u32,
    anagrpmax: u32,
    max_hw_sectors: u32,
    log: *const u8,
    log_size: usize,
    log_error: c_int,
    ns: u32,
    grpid: u32,
    error: c_int,
    has_log: bool,
    timer: bool,
}

/// A parser of `build.rs`.
#[repr(C)]
struct Parser {
    new: unsafe extern "C" fn(*const Namespace, usize) -> *mut c_void,
    step: unsafe extern "C" fn(*mut c_void, *mut RawStep, *mut Namespace) -> c_int,
    free: unsafe extern "C" fn(*mut c_void),
}

extern "C" {
    static ana_as_it_is: Parser;
    static ana_reads_groups_beyond_the_end: Parser;
    static ana_believes_the_number_of_nsids: Parser;
    static ana_forgets_the_header: Parser;
    static ana_keeps_a_log_that_is_not_valid: Parser;
    static ana_searches_nsids_beyond_the_end: Parser;
    static ana_keeps_the_size_of_an_old_log: Parser;
}

const HEADER: usize = 16;
const GROUP: usize = 32;
const CHANGE: u8 = 15;

/// The answer of a controller to Identify when it has been reset.
#[derive(Clone, Debug)]
struct Identity {
    max_namespaces: u32,
    nn: u32,
    nanagrpid: u32,
    anagrpmax: u32,
    max_hw_sectors: u32,
}

impl Identity {
    /// The size of the log, unless it is more than can be transferred.
    fn log_size(&self) -> Option<usize> {
        let size = HEADER as u64
            + u64::from(self.nanagrpid) * GROUP as u64
            + u64::from(self.max_namespaces) * 4;

        (size <= u64::from(self.max_hw_sectors) << 9).then_some(size as usize)
    }

    fn is_right(&self) -> bool {
        (1..=self.nn).contains(&self.max_namespaces)
    }
}

/// The answer of the controller to a request for its log.
#[derive(Clone, Debug)]
enum Answer {
    Log(Vec<u8>),
    Error(c_int),
}

/// An event in the life of a controller.
#[derive(Clone, Debug)]
enum Step {
    Reset(Identity, Answer),
    LogChanged(Answer),
    /// The namespace with this index is set up, and says that it is in this group.
    Namespace(Index, u32),
    Live,
}

/// A group of a log.
#[derive(Clone, Debug)]
struct Group {
    grpid: u32,
    state: u8,
    nsids: Vec<u32>,
}

/// A group, with a number of NSIDs that may be a lie.
#[derive(Clone, Debug)]
struct Claim {
    group: Group,
    nnsids: u32,
}

/// A number that is right, or nearly, or wild.
fn near(right: u32) -> impl Strategy<Value = u32> {
    prop_oneof![
        12 => Just(right),
        1 => Just(right.wrapping_add(1)),
        1 => Just(right.wrapping_sub(1)),
        1 => any::<u32>(),
        1 => (0..32u32).prop_map(|bit| 1 << bit),
    ]
}

fn any_nsid() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1..24u32, 1 => any::<u32>()]
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let nsids = prop_oneof![
        5 => btree_set(any_nsid(), 0..8).prop_map(|nsids| nsids.into_iter().collect()),
        1 => vec(any_nsid(), 0..8),
    ];
    let state = prop_oneof![12 => select(vec![1, 2, 3, 4, CHANGE]), 1 => any::<u8>()];
    let grpid = prop_oneof![12 => 1..5u32, 1 => any::<u32>(), 1 => Just(0)];

    (grpid, state, nsids).prop_flat_map(|(grpid, state, nsids): (_, _, Vec<u32>)| {
        near(nsids.len() as u32).prop_map(move |nnsids| Claim {
            group: Group {
                grpid,
                state,
                nsids: nsids.clone(),
            },
            nnsids,
        })
    })
}

fn to_bytes(ngrps: u16, claims: &[Claim]) -> Vec<u8> {
    let mut log = vec![0; HEADER];

    log[8..10].copy_from_slice(&ngrps.to_le_bytes());
    for Claim { group, nnsids } in claims {
        log.extend(group.grpid.to_le_bytes());
        log.extend(nnsids.to_le_bytes());
        log.extend([0; 8]);
        log.push(group.state);
        log.extend([0; 15]);
        log.extend(group.nsids.iter().flat_map(|nsid| nsid.to_le_bytes()));
    }
    log
}

/// A log with or without mistakes, and with some bytes changed.
fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let built = vec(any_claim(), 0..5).prop_flat_map(|claims| {
        near(claims.len() as u32).prop_map(move |ngrps| to_bytes(ngrps as u16, &claims))
    });
    let damaged = (built, vec((any::<Index>(), any::<u8>()), 0..3)).prop_map(|(mut log, bytes)| {
        for (at, byte) in bytes {
            let at = at.index(log.len());

            log[at] = byte;
        }
        log
    });

    prop_oneof![6 => damaged, 1 => vec(any::<u8>(), 0..300)]
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        12 => any_log().prop_map(Answer::Log),
        1 => select(vec![-4, 2, 0x4002]).prop_map(Answer::Error),
    ]
}

fn any_identity() -> impl Strategy<Value = Identity> {
    let few = |most: u32| prop_oneof![12 => 0..most, 1 => any::<u32>()];
    let sectors = prop_oneof![1 => Just(1u32), 4 => Just(128)];

    (few(24), few(6), few(6), sectors, near(0)).prop_map(
        |(max_namespaces, nanagrpid, anagrpmax, max_hw_sectors, more)| Identity {
            max_namespaces,
            nn: max_namespaces.saturating_add(more),
            nanagrpid,
            anagrpmax,
            max_hw_sectors,
        },
    )
}

fn any_reset() -> impl Strategy<Value = Step> {
    (any_identity(), any_answer()).prop_map(|(identity, answer)| Step::Reset(identity, answer))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any_reset(),
        3 => any_answer().prop_map(Step::LogChanged),
        2 => (any::<Index>(), near(1)).prop_map(|(ns, grpid)| Step::Namespace(ns, grpid)),
        1 => Just(Step::Live),
    ]
}

/// The NSIDs of a controller, and the events of its life.
type Life = (Vec<u32>, Vec<Step>);

fn any_life() -> impl Strategy<Value = Life> {
    let steps = (any_reset(), vec(any_step(), 0..4)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    });

    (btree_set(any_nsid(), 1..6), steps)
        .prop_map(|(nsids, steps)| (nsids.into_iter().collect(), steps))
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The contents of a log, if it says anything that makes sense.
fn parse(log: &[u8], anagrpmax: u32) -> Option<Vec<Group>> {
    let ngrps = u16::from_le_bytes([log[8], log[9]]);
    let mut rest = &log[HEADER..];

    (0..ngrps)
        .map(|_| {
            let (group, after) = rest.split_at_checked(GROUP)?;
            let nnsids = usize::try_from(le32(&group[4..])).ok()?;
            let (nsids, after) = after.split_at_checked(nnsids.checked_mul(4)?)?;

            rest = after;
            Some(Group {
                grpid: le32(group),
                state: group[16],
                nsids: nsids.chunks(4).map(le32).collect(),
            })
            .filter(|group| (1..=anagrpmax).contains(&group.grpid))
            .filter(|group| (1..=CHANGE).contains(&group.state))
        })
        .collect()
}

/// The state that a parser must have reached.
struct Expected {
    ns: Vec<Namespace>,
    /// The log, of a controller that has any.
    log: Option<Vec<u8>>,
    anagrpmax: u32,
    timer: bool,
    /// The NSIDs of a log were not in ascending order: nothing says which of them count.
    is_unordered: bool,
}

impl Expected {
    fn groups(&self) -> Vec<Group> {
        self.log
            .as_ref()
            .map(|log| parse(log, self.anagrpmax).expect("only what is valid is kept"))
            .unwrap_or_default()
    }

    /// Reads the log. Returns whether that worked.
    fn read(&mut self, answer: &Answer) -> bool {
        let Some(log) = &mut self.log else {
            return false;
        };

        if let Answer::Log(answer) = answer {
            let size = answer.len().min(log.len());

            log[..size].copy_from_slice(&answer[..size]);
            if parse(log, self.anagrpmax).is_some() {
                self.timer = self.groups().iter().any(|group| group.state == CHANGE);
                self.apply();
                return true;
            }
        }
        log[8..10].fill(0);
        false
    }

    fn apply(&mut self) {
        for group in self.groups() {
            self.is_unordered |= !group.nsids.is_sorted();
            for ns in &mut self.ns {
                if group.nsids.contains(&ns.nsid) {
                    (ns.grpid, ns.state) = (group.grpid, group.state.into());
                }
            }
        }
    }

    /// Takes a step. Returns the result that the parser must return: 0 is success and 1 any
    /// failure.
    fn step(&mut self, step: &Step) -> c_int {
        match step {
            Step::Reset(identity, answer) => self.reset(identity, answer),
            Step::LogChanged(answer) => c_int::from(!self.read(answer)),
            Step::Namespace(index, grpid) => {
                self.set_up(index.index(self.ns.len()), *grpid);
                0
            }
            Step::Live => {
                self.apply();
                0
            }
        }
    }

    fn reset(&mut self, identity: &Identity, answer: &Answer) -> c_int {
        if !identity.is_right() {
            return 1;
        }

        self.anagrpmax = identity.anagrpmax;
        let Some(size) = identity.log_size() else {
            self.forget();
            return 0;
        };
        if self.log.as_ref().is_none_or(|log| log.len() != size) {
            self.forget();
            self.log = Some(vec![0; size]);
        }
        if self.read(answer) {
            return 0;
        }
        self.forget();
        1
    }

    /// The log is gone, and the timer for its transitions with it.
    fn forget(&mut self) {
        self.log = None;
        self.timer = false;
    }

    fn set_up(&mut self, index: usize, grpid: u32) {
        let groups = self.groups();
        let ns = &mut self.ns[index];

        if self.log.is_none() {
            ns.state = 1;
            return;
        }
        ns.grpid = grpid;
        if let Some(group) = groups.iter().rfind(|group| group.grpid == grpid) {
            ns.state = group.state.into();
        }
    }
}

/// Has a parser live a life, and compares it with the expected state.
fn live(parser: &Parser, nsids: &[u32], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut ns: Vec<_> = nsids
        .iter()
        .map(|nsid| Namespace {
            nsid: *nsid,
            grpid: 0,
            state: 0,
        })
        .collect();
    let mut expected = Expected {
        ns: ns.clone(),
        log: None,
        anagrpmax: 0,
        timer: false,
        is_unordered: false,
    };
    // SAFETY: The namespaces are valid; the parser keeps none of them.
    let ctrl = unsafe { (parser.new)(ns.as_ptr(), ns.len()) };
    let result = steps.iter().try_for_each(|step| {
        let mut raw = to_raw(step, ns.len());
        // SAFETY: The step and the namespaces are valid, and as many as there were.
        let signal = unsafe { (parser.step)(ctrl, &mut raw, ns.as_mut_ptr()) };
        prop_assert!(signal == 0, "signal {signal}");

        let result = expected.step(step);
        prop_assert_eq!(c_int::from(raw.error != 0), result, "the result");
        prop_assert_eq!(raw.has_log, expected.log.is_some(), "the log");
        prop_assert_eq!(raw.timer, expected.timer, "the timer");
        if expected.is_unordered {
            // The test takes for granted the states that the parser took from it.
            expected.ns.clone_from(&ns);
            expected.is_unordered = false;
        }
        prop_assert_eq!(&ns, &expected.ns, "the namespaces");
        Ok(())
    });

    // SAFETY: It is not used any more.
    unsafe { (parser.free)(ctrl) };
    result
}

fn to_raw(step: &Step, nr_ns: usize) -> RawStep {
    let mut raw = RawStep {
        kind: 0,
        max_namespaces: 0,
        nn: 0,
        nanagrpid: 0,
        anagrpmax: 0,
        max_hw_sectors: 0,
        log: core::ptr::null(),
        log_size: 0,
        log_error: 0,
        ns: 0,
        grpid: 0,
        error: 0,
        has_log: false,
        timer: false,
    };
    let answer = |raw: &mut RawStep, answer: &Answer| match answer {
        Answer::Log(log) => (raw.log, raw.log_size) = (log.as_ptr(), log.len()),
        Answer::Error(error) => raw.log_error = *error,
    };

    match step {
        Step::Reset(identity, log) => {
            raw.max_namespaces = identity.max_namespaces;
            raw.nn = identity.nn;
            raw.nanagrpid = identity.nanagrpid;
            raw.anagrpmax = identity.anagrpmax;
            raw.max_hw_sectors = identity.max_hw_sectors;
            answer(&mut raw, log);
        }
        Step::LogChanged(log) => {
            raw.kind = 1;
            answer(&mut raw, log);
        }
        Step::Namespace(index, grpid) => {
            raw.kind = 2;
            raw.ns = index.index(nr_ns) as u32;
            raw.grpid = *grpid;
        }
        Step::Live => raw.kind = 3,
    }
    raw
}

fn run(parser: &Parser, mut runner: TestRunner) -> Result<(), TestError<Life>> {
    runner.run(&any_life(), |(nsids, steps)| live(parser, &nsids, &steps))
}

#[test]
fn an_ana_log_is_applied_if_it_is_valid_and_never_read_beyond_its_end() {
    // SAFETY: Constant.
    let parser = unsafe { &ana_as_it_is };

    if let Err(failure) = run(parser, TestRunner::new(config("ANA log"))) {
        panic!("{failure}");
    }
}

/// How many cases a mistake may take to be found. The cases are always the same.
const MOST: u32 = 20_000;

#[test]
fn a_parser_of_ana_logs_that_lacks_one_check_is_found_out() {
    // SAFETY: Constant.
    let mutants = unsafe {
        [
            (
                "reads groups beyond the end",
                &ana_reads_groups_beyond_the_end,
            ),
            (
                "believes the number of NSIDs",
                &ana_believes_the_number_of_nsids,
            ),
            ("forgets the header", &ana_forgets_the_header),
            (
                "keeps a log that is not valid",
                &ana_keeps_a_log_that_is_not_valid,
            ),
            (
                "searches NSIDs beyond the end",
                &ana_searches_nsids_beyond_the_end,
            ),
            (
                "keeps the size of an old log",
                &ana_keeps_the_size_of_an_old_log,
            ),
        ]
    };

    for (mistake, parser) in mutants {
        let config = Config {
            cases: MOST,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let Err(TestError::Fail(reason, _)) = run(parser, TestRunner::new_with_rng(config, rng))
        else {
            panic!("{MOST} cases have not shown that the parser {mistake}");
        };

        assert!(
            reason.message().starts_with("signal "),
            "{mistake}: {reason}"
        );
        println!(
            "mutant of the ANA log's parser caught, which {mistake}: {}",
            reason.message()
        );
    }
}
