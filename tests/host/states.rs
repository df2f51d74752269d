// SPDX-License-Identifier: GPL-2.0

//! The states of paths, ports and heads, against tables and after any sequence of changes.

use libmultipath::state::{
    Access,
    AccessState,
    AtomicHeadWord,
    AtomicPathState,
    HeadState,
    PathState,
    PortState,
    Reasons, //
};
use libmultipath::trust::{
    Attempt,
    Trust, //
};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

/// All but [`Reasons::FAILED`], which follows from a path's trust.
const REASONS: [Reasons; 4] = [
    Reasons::NOT_READY,
    Reasons::STATE_PENDING,
    Reasons::CAPACITY,
    Reasons::REMOVING,
];
const REMOVING: usize = 3;

const HEAD_STATES: [HeadState; 4] = [
    HeadState::New,
    HeadState::Live,
    HeadState::Dying,
    HeadState::Dead,
];

/// A change of a path's state; reasons are indices into [`REASONS`].
#[derive(Clone, Copy, Debug)]
enum Change {
    Disable(usize),
    Enable(usize),
    Reach(AccessState),
    Fail(Attempt),
    Succeed,
    Take,
    Rest,
    Restore,
}

impl Change {
    fn of(self, state: PathState) -> PathState {
        match self {
            Self::Disable(reason) => state.disabled(REASONS[reason]),
            Self::Enable(reason) => state.enabled(REASONS[reason]),
            Self::Reach(access) => state.reaching(access),
            Self::Fail(attempt) => state.failed(attempt),
            Self::Succeed => state.succeeded(),
            Self::Take => state.taken(),
            Self::Rest => state.rested(),
            Self::Restore => state.restored(),
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let access = select(vec![
        AccessState::Optimized,
        AccessState::NonOptimized,
        AccessState::Other,
    ]);

    prop_oneof![
        (0..REASONS.len()).prop_map(Change::Disable),
        (0..REASONS.len()).prop_map(Change::Enable),
        access.prop_map(Change::Reach),
        select(vec![Attempt::Plain, Attempt::Watched, Attempt::Probe]).prop_map(Change::Fail),
        Just(Change::Succeed),
        Just(Change::Take),
        Just(Change::Rest),
        Just(Change::Restore),
    ]
}

fn expected(reasons: &BTreeSet<usize>, access: AccessState, trust: Trust) -> Access {
    match access {
        _ if !reasons.is_empty() || matches!(trust, Trust::Resting { .. }) => Access::Unusable,
        AccessState::Optimized => Access::Optimized,
        AccessState::NonOptimized => Access::NonOptimized,
        AccessState::Other => Access::Unusable,
    }
}

proptest! {
    /// Shows L-12.
    #[test]
    fn a_path_is_as_good_as_its_access_state_when_no_reason_is_left(
        generation in prop::collection::vec(any_change(), 0..40)
    ) {
        let word = AtomicPathState::new();
        let mut reasons = BTreeSet::from([0]);
        let mut access = AccessState::Other;
        let mut trust = Trust::Trusted;

        for change in generation {
            let old = word.load();
            let returned = word.update(|state| change.of(state));

            prop_assert_eq!(returned, old);
            match change {
                Change::Disable(reason) => {
                    reasons.insert(reason);
                }
                Change::Enable(reason) => {
                    reasons.remove(&reason);
                }
                Change::Reach(reached) => {
                    access = reached;
                    trust = Trust::Trusted;
                }
                Change::Fail(attempt) => trust = trust.failed(attempt),
                Change::Take => trust = trust.taken(),
                Change::Rest => trust = trust.rested(),
                Change::Succeed | Change::Restore => trust = Trust::Trusted,
            }

            let state = word.load();
            let reasons_of = |index: &usize| state.has(REASONS[*index]);

            prop_assert_eq!(state.access(), expected(&reasons, access, trust));
            prop_assert_eq!(state.access_state(), access);
            prop_assert_eq!(state.trust(), trust);
            prop_assert_eq!((0..REASONS.len()).filter(reasons_of).collect::<BTreeSet<_>>(), reasons.clone());
            prop_assert_eq!(state.is_meant_for_io(), expected(&reasons, access, Trust::Trusted) != Access::Unusable);
        }
    }

    /// Shows L-9.
    #[test]
    fn a_driver_can_give_no_reason_that_is_the_library_s(raw in any::<u32>()) {
        let good = PathState::new().reaching(AccessState::Optimized).enabled(Reasons::NOT_READY);
        let given = good.disabled(Reasons::of_driver(raw));
        let undone = given.enabled(Reasons::NOT_READY).enabled(Reasons::STATE_PENDING);

        prop_assert_eq!(given.access() == Access::Optimized, raw & 3 == 0);
        prop_assert_eq!(undone, good);
    }

    /// Shows L-9.
    #[test]
    fn a_driver_cannot_bring_back_a_path_that_is_being_removed(raw in any::<u32>()) {
        let state = PathState::new()
            .disabled(REASONS[REMOVING])
            .enabled(Reasons::of_driver(raw))
            .restored()
            .reaching(AccessState::Optimized);

        prop_assert_eq!(state.access(), Access::Unusable);
    }

    /// Shows L-12.
    #[test]
    fn an_unknown_value_of_the_driver_s_is_never_used_for_io(raw in 4u32..) {
        prop_assert_eq!(AccessState::from_raw(raw), AccessState::Other);
        prop_assert_eq!(PortState::from_raw(raw), PortState::Dead);
    }

    /// Shows L-5.
    #[test]
    fn a_head_never_goes_back(
        steps in prop::collection::vec(
            (select(HEAD_STATES.to_vec()), any::<bool>()), 0..20
        )
    ) {
        let word = AtomicHeadWord::new();
        let mut state = HeadState::New;

        for (to, wait) in steps {
            let waited = word.load().queue_if_no_path();

            prop_assert_eq!(word.advance(to), to > state);
            prop_assert_eq!(word.load().queue_if_no_path(), waited);
            state = state.max(to);
            word.set_queue_if_no_path(wait);
            prop_assert_eq!(word.load().state(), state);
            prop_assert_eq!(word.load().queue_if_no_path(), wait);
        }
    }
}

/// Shows X-1.
#[test]
fn a_path_that_failed_is_usable_again_once_its_state_is_evaluated() {
    let good = PathState::new()
        .reaching(AccessState::NonOptimized)
        .enabled(Reasons::NOT_READY);
    let mut failed = good.failed(Attempt::Plain);
    for _ in 0..Trust::FAILURES {
        assert_eq!(failed.access(), Access::NonOptimized);
        failed = failed.failed(Attempt::Watched);
    }

    assert_eq!(failed.access(), Access::Unusable);
    assert_eq!(failed.restored(), good);
    assert_eq!(failed.reaching(AccessState::NonOptimized), good);
}

/// Shows L-41.
#[test]
fn a_new_path_is_not_usable() {
    assert_eq!(PathState::new().access(), Access::Unusable);
    assert_eq!(PathState::default(), PathState::new());
    assert_eq!(
        PathState::new().enabled(Reasons::NOT_READY).access(),
        Access::Unusable
    );
}

/// Shows L-12.
#[test]
fn a_port_does_what_the_table_says() {
    use PortState::*;

    for (state, raw, takes_io, is_worth_waiting_for) in [
        (Dead, 0, false, false),
        (Recovering, 1, false, true),
        (Draining, 2, true, false),
        (Live, 3, true, true),
    ] {
        assert_eq!(PortState::from_raw(raw), state);
        assert_eq!(state as u32, raw);
        assert_eq!(state.takes_io(), takes_io);
        assert_eq!(state.is_worth_waiting_for(), is_worth_waiting_for);
    }
}

/// Shows L-5.
#[test]
fn a_head_whose_disk_could_not_be_added_is_new_again_unless_it_is_to_be_removed() {
    for (from, to) in [
        (HeadState::New, HeadState::New),
        (HeadState::Live, HeadState::New),
        (HeadState::Dying, HeadState::Dying),
        (HeadState::Dead, HeadState::Dead),
    ] {
        let word = AtomicHeadWord::new();

        word.advance(from);
        word.set_queue_if_no_path(true);
        word.add_failed();
        assert_eq!(word.load().state(), to);
        assert!(word.load().queue_if_no_path());
    }
}

/// Users read them, and scripts tell them apart.
#[test]
fn each_state_that_people_read_has_a_name_of_its_own() {
    fn check<const N: usize>(mut names: [&str; N]) {
        assert!(names
            .iter()
            .all(|name| !name.is_empty() && !name.contains(' ')));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    check(Reasons::EACH.map(|(_, name)| name));
    check(
        [
            AccessState::Optimized,
            AccessState::NonOptimized,
            AccessState::Other,
        ]
        .map(AccessState::name),
    );
    check(
        [
            PortState::Dead,
            PortState::Recovering,
            PortState::Draining,
            PortState::Live,
        ]
        .map(PortState::name),
    );
    check(
        [
            HeadState::New,
            HeadState::Live,
            HeadState::Dying,
            HeadState::Dead,
        ]
        .map(HeadState::name),
    );
    check(TRUSTS.map(Trust::name));
    // Trace events have the number of a trust.
    assert_eq!(TRUSTS.map(Trust::kind), [0, 1, 2, 3]);
}

/// One of each kind.
const TRUSTS: [Trust; 4] = [
    Trust::Trusted,
    Trust::Suspected {
        failures: 5,
        asked: true,
    },
    Trust::Resting { pause: 7 },
    Trust::Rested { pause: 7 },
];

/// Each reason is told, and nothing else is.
#[test]
fn every_reason_of_a_state_is_among_those_that_are_named() {
    let all = Reasons::EACH
        .iter()
        .fold(PathState::new(), |state, (reason, _)| {
            state.disabled(*reason)
        });
    let bits = Reasons::EACH.iter().map(|(reason, _)| {
        let state = PathState::new()
            .enabled(Reasons::NOT_READY)
            .disabled(*reason);

        assert!(state.has(*reason) && state.reasons().is_power_of_two());
        state.reasons()
    });

    assert_eq!(all.reasons(), bits.sum());
    assert_eq!(
        PathState::new().enabled(Reasons::NOT_READY).reasons(),
        0,
        "an access state is no reason"
    );
}
