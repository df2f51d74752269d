// SPDX-License-Identifier: GPL-2.0

//! When a fence opens.

use libmultipath::fencing::Clock;
use proptest::prelude::*;

/// A call to a clock, at a tick.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The fence holds a bio, with so much time to the limit.
    Hold(u64),
    /// The association is over, and the controller carries out no command of it in so many ticks.
    Start(u64),
    /// Ticks pass.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..100_u64).prop_map(Step::Hold),
        (0..100_u64).prop_map(Step::Start),
        (1..50_u64).prop_map(Step::Wait),
    ];

    prop::collection::vec(step, 1..40)
}

fn clocks() -> impl Strategy<Value = Clock> {
    prop_oneof![
        Just(Clock::Stopped),
        Just(Clock::Open),
        (0..1_u64 << 62).prop_map(Clock::Limited),
        (0..1_u64 << 62).prop_map(Clock::Started),
    ]
}

proptest! {
    #[test]
    fn a_clock_is_a_word(clock in clocks()) {
        prop_assert_eq!(Clock::from_raw(clock.to_raw()), clock);
    }

    /// Shows F-1, F-2.
    #[test]
    fn a_fence_opens_at_the_earliest_end_and_not_before(steps in steps()) {
        let mut clock = Clock::Stopped;
        let mut now = 1000;
        let (mut limit, mut end) = (None::<u64>, None::<u64>);
        let mut opened = false;

        for step in steps {
            match step {
                Step::Hold(ticks) => {
                    clock = clock.held(now + ticks);
                    limit = limit.or(Some(now + ticks));
                }
                Step::Start(ticks) => {
                    clock = clock.started(now + ticks);
                    end = Some(end.map_or(now + ticks, |end| end.min(now + ticks)));
                }
                Step::Wait(ticks) => now += ticks,
            }
            // An end that the driver has given counts, also if it is behind the limit.
            let due = end.or(limit).is_some_and(|at| at <= now);

            opened |= due;
            clock = clock.is_at(now);
            prop_assert_eq!(clock == Clock::Open, opened, "at {}: {:?}", now, clock);
            prop_assert_eq!(clock.end().is_some(), limit.is_some() || end.is_some());
        }
    }

    /// Shows F-2.
    #[test]
    fn nothing_closes_a_fence_again(clock in clocks(), at in 0..1_u64 << 62) {
        prop_assert_eq!(Clock::Open.held(at), Clock::Open);
        prop_assert_eq!(Clock::Open.started(at), Clock::Open);
        prop_assert_eq!(Clock::Open.is_at(at), Clock::Open);
        // Nor does a later caller make it wait longer.
        let later = clock.started(at).started(at + 1);
        prop_assert_eq!(later, clock.started(at));
    }
}
