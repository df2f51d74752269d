// SPDX-License-Identifier: GPL-2.0

//! The actors that end a wait: the whole table, each row of it.

use libmultipath::policy::Path;
use libmultipath::state::{
    Access,
    AccessState,
    AtomicHeadWord,
    HeadState,
    HeadWord,
    PathState,
    PortState,
    Reasons,
    WithoutPath, //
};
use libmultipath::trust::{
    Attempt,
    Trust, //
};
use libmultipath::waiting::{
    is_worth_another_try,
    of_head,
    of_path,
    without_path,
    Ender,
    Submission, //
};

const PORTS: [PortState; 4] = [
    PortState::Dead,
    PortState::Recovering,
    PortState::Draining,
    PortState::Live,
];

const REASONS: [Reasons; 4] = [
    Reasons::NOT_READY,
    Reasons::STATE_PENDING,
    Reasons::CAPACITY,
    Reasons::REMOVING,
];

/// Every state that a path can have.
fn path_states() -> Vec<PathState> {
    let mut states = Vec::new();

    for access in [
        AccessState::Optimized,
        AccessState::NonOptimized,
        AccessState::Other,
    ] {
        for reasons in 0..1 << REASONS.len() {
            let is_set = |index: &usize| reasons & 1 << index != 0;
            let plain = PathState::new()
                .enabled(Reasons::NOT_READY)
                .reaching(access);
            let state = (0..REASONS.len())
                .filter(is_set)
                .fold(plain, |state, index| state.disabled(REASONS[index]));

            states.extend(trusts(state));
        }
    }
    states
}

/// The state with each possible trust.
fn trusts(state: PathState) -> Vec<PathState> {
    let mut all = vec![state];
    let mut looked_at = 0;

    while let Some(state) = all.get(looked_at).copied() {
        let attempts = [Attempt::Plain, Attempt::Watched, Attempt::Probe];
        let next = attempts.map(|attempt| state.failed(attempt));

        for next in next.into_iter().chain([state.taken(), state.rested()]) {
            if !all.contains(&next) {
                all.push(next);
            }
        }
        looked_at += 1;
    }
    all
}

/// The state of a path when the actor has done what ends a wait. `None` is a path that is gone.
/// Where several things may happen, all of them.
fn ended_by(
    ender: Ender,
    state: PathState,
    port: PortState,
) -> Vec<Option<(PathState, PortState)>> {
    let has_state = |state| Some((state, port));
    let has_port = |port| Some((state, port));

    match ender {
        Ender::Requeue => vec![],
        Ender::Port => vec![has_port(PortState::Live), has_port(PortState::Dead)],
        Ender::Delete => vec![None],
        Ender::Setup => vec![has_state(state.enabled(Reasons::NOT_READY).restored())],
        Ender::AccessState => vec![has_state(state.enabled(Reasons::STATE_PENDING).restored())],
        Ender::Capacity => vec![has_state(state.enabled(Reasons::CAPACITY)), None],
        Ender::Storage => vec![
            has_state(state.reaching(AccessState::Optimized)),
            has_state(state.reaching(AccessState::NonOptimized)),
        ],
        Ender::Retry => vec![has_state(state.rested())],
        Ender::Removal => unreachable!("it is of a head"),
    }
}

/// Each named actor does something about the path. When all of them have, the path is usable or
/// nobody waits for it.
///
/// Shows A-2.
#[test]
fn a_wait_for_a_path_ends_when_each_who_is_named_has_acted() {
    /// How many act until the wait has ended, at most.
    fn actors(state: PathState, port: PortState) -> usize {
        match of_path(state, port) {
            None | Some(Ender::Requeue) => 0,
            Some(ender) => {
                let ended = ended_by(ender, state, port).into_iter().flatten();

                1 + ended
                    .map(|(state, port)| actors(state, port))
                    .max()
                    .unwrap_or(0)
            }
        }
    }

    let states = path_states();

    // Trusted; suspected with fewer failures, asked or not; pauses, ended or not.
    let trusts = 1 + usize::from(Trust::FAILURES) * 2 + (usize::from(Trust::LAST_PAUSE) + 1) * 2;
    assert_eq!(states.len(), 3 * 16 * trusts);
    for state in states {
        for port in PORTS {
            // The port, and one for each reason, the access state and the trust.
            assert!(
                actors(state, port) <= 6,
                "{state:?} behind a {port:?} port waits"
            );
        }
    }
}

/// Shows A-2, L-19.
#[test]
fn a_wait_that_the_requeue_work_ends_is_one_for_a_path_that_is_usable() {
    for state in path_states() {
        for port in PORTS {
            let is_usable = state.access_through(|| port) != Access::Unusable;
            let ender = of_path(state, port);

            assert_eq!(
                ender == Some(Ender::Requeue),
                is_usable && port.is_worth_waiting_for(),
                "{state:?} behind a {port:?} port"
            );
            assert_eq!(
                ender.is_none(),
                !port.is_worth_waiting_for(),
                "{state:?} behind a {port:?} port"
            );
        }
    }
}

/// Nobody else knows when a pause ends. A reason of the driver's does not end with it, nor an
/// access state in which no I/O is possible.
///
/// Shows.
#[test]
fn the_retry_timer_ends_a_wait_when_it_alone_can() {
    for state in path_states() {
        for port in PORTS {
            let is_resting = matches!(state.trust(), Trust::Resting { .. });
            let would_be_used = port == PortState::Live && state.is_meant_for_io();

            assert_eq!(
                of_path(state, port) == Some(Ender::Retry),
                is_resting && would_be_used,
                "{state:?} behind a {port:?} port"
            );
        }
    }
}

/// A head in a state, and whether bios wait on it although it has no path.
fn words() -> Vec<(HeadState, bool, HeadWord)> {
    let states = [
        HeadState::New,
        HeadState::Live,
        HeadState::Dying,
        HeadState::Dead,
    ];

    states
        .into_iter()
        .flat_map(|state| [false, true].map(|queues| (state, queues)))
        .map(|(state, queues)| {
            let word = AtomicHeadWord::new();

            word.advance(state);
            word.set_queue_if_no_path(queues);
            (state, queues, word.load())
        })
        .collect()
}

/// Shows A-2, L-19, L-19b.
#[test]
fn a_bio_waits_only_on_a_live_head_that_has_something_to_wait_for() {
    let of_paths = [
        vec![],
        vec![None],
        vec![Some(Ender::Port)],
        vec![None, Some(Ender::Retry), Some(Ender::Port)],
    ];

    for (state, queues, word) in words() {
        for of_paths in &of_paths {
            let ender = of_head(word, of_paths.iter().copied());
            let of_a_path = of_paths.iter().flatten().next().copied();

            assert_eq!(
                ender,
                match of_a_path {
                    _ if state != HeadState::Live => None,
                    Some(ender) => Some(ender),
                    None if queues => Some(Ender::Removal),
                    None => None,
                },
                "{state:?} {queues} {of_paths:?}"
            );
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct FakePath(PathState, PortState);

impl Path for FakePath {
    fn access(&self) -> Access {
        self.0.access_through(|| self.1)
    }

    fn distance(&self, _node: libmultipath::nodes::Node) -> u32 {
        10
    }

    fn depth(&self) -> u32 {
        0
    }
}

#[derive(Debug)]
struct Head(HeadWord, [FakePath; 2]);

impl Submission for Head {
    type Path = FakePath;

    fn paths(&self) -> impl Iterator<Item = &FakePath> {
        self.1.iter()
    }

    fn word(&self) -> HeadWord {
        self.0
    }

    fn state_of(path: &FakePath) -> PathState {
        path.0
    }

    fn port_of(path: &FakePath) -> PortState {
        path.1
    }

    fn choose(&self) -> Option<&FakePath> {
        self.1.iter().find(|path| path.access() != Access::Unusable)
    }
}

/// Heads with two paths in all states: one for each actor that ends a wait, and one for each state
/// that nobody waits for. The library parks a bio exactly when an actor ends its wait. If that is
/// the requeue work, the library kicks it.
///
/// Shows A-2, L-19, L-42.
#[test]
fn a_bio_is_parked_exactly_when_somebody_ends_its_wait() {
    let all = path_states()
        .into_iter()
        .flat_map(|state| PORTS.map(|port| FakePath(state, port)));
    let mut paths: Vec<FakePath> = Vec::new();

    for path in all {
        let is_new = !paths.iter().any(|other| {
            of_path(other.0, other.1) == of_path(path.0, path.1)
                && other.access() == path.access()
                && other.1 == path.1
        });

        if is_new {
            paths.push(path);
        }
    }
    for (_, _, word) in words() {
        for first in &paths {
            for second in &paths {
                let head = Head(word, [*first, *second]);
                let enders = head.1.map(|path| of_path(path.0, path.1));
                let ender = of_head(word, enders.into_iter());

                match without_path(&head, false) {
                    WithoutPath::Park => {
                        assert!(ender.is_some(), "nobody ends the wait on {head:?}");
                        assert_eq!(without_path(&head, true), WithoutPath::Again);
                        assert!(
                            is_worth_another_try(&head) || !enders.contains(&Some(Ender::Requeue)),
                            "nobody kicks what waits on {head:?}"
                        );
                    }
                    outcome => {
                        assert_eq!(outcome, WithoutPath::Fail);
                        assert_eq!(ender, None, "{head:?}");
                        assert!(is_worth_another_try(&head), "{head:?}");
                    }
                }
            }
        }
    }
}

/// Users read them.
#[test]
fn everybody_who_ends_a_wait_has_a_name_of_its_own() {
    let enders = [
        Ender::Requeue,
        Ender::Port,
        Ender::Delete,
        Ender::Setup,
        Ender::AccessState,
        Ender::Capacity,
        Ender::Storage,
        Ender::Retry,
        Ender::Removal,
    ];
    let mut names = enders.map(Ender::name).to_vec();

    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), enders.len());
}
