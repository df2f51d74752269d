// SPDX-License-Identifier: GPL-2.0

//! The policies, on any list of paths in any states.
//!
//! The test works out a second time how good a path is: from the calls about it and not from the
//! state word. So it tests the word and the policies together.

use core::cell::Cell;
use libmultipath::nodes::Node;
use libmultipath::policy::{
    Candidates,
    IoPolicy,
    Path,
    QueueDepth, //
};
use libmultipath::shortlist::{
    nearest,
    usable, //
};
use libmultipath::state::{
    Access,
    AccessState,
    PathState,
    PortState,
    Reasons, //
};
use proptest::prelude::*;
use proptest::sample::{
    select,
    Index, //
};

const NODES: usize = 3;

/// The most paths of which a policy asks the depth, and the most places of the shortlist that it
/// looks at. These are figures, and not the policy's own constants: more would be another policy.
const MOST_LOOKS: usize = 4;

/// The facts that a path was told.
#[derive(Clone, Debug)]
struct Told {
    reasons: Vec<Reasons>,
    access: AccessState,
    port: PortState,
    distances: [u32; NODES],
    depth: u32,
}

impl Told {
    /// A path that is as good as can be.
    const fn good() -> Self {
        Self {
            reasons: Vec::new(),
            access: AccessState::Optimized,
            port: PortState::Live,
            distances: [10; NODES],
            depth: 0,
        }
    }

    fn may_carry_io(&self) -> bool {
        self.reasons.is_empty()
            && self.access != AccessState::Other
            && [PortState::Live, PortState::Draining].contains(&self.port)
    }

    fn is_optimized(&self) -> bool {
        self.may_carry_io() && self.access == AccessState::Optimized
    }
}

/// A path, which counts how often a policy looks at it.
#[derive(Debug)]
struct FakePath {
    told: Told,
    state: PathState,
    looks: Cell<usize>,
    depth: Cell<u32>,
    depth_looks: Cell<usize>,
}

impl From<Told> for FakePath {
    fn from(told: Told) -> Self {
        let new = PathState::new()
            .reaching(told.access)
            .enabled(Reasons::NOT_READY);

        Self {
            state: told
                .reasons
                .iter()
                .fold(new, |state, reason| state.disabled(*reason)),
            depth: Cell::new(told.depth),
            told,
            looks: Cell::new(0),
            depth_looks: Cell::new(0),
        }
    }
}

impl Path for FakePath {
    fn access(&self) -> Access {
        self.looks.set(self.looks.get() + 1);
        match self.told.port.takes_io() {
            true => self.state.access(),
            false => Access::Unusable,
        }
    }

    fn distance(&self, node: Node) -> u32 {
        self.told.distances[node.0 as usize]
    }

    fn depth(&self) -> u32 {
        self.depth_looks.set(self.depth_looks.get() + 1);
        self.depth.get()
    }
}

/// A head as its shortlist is made, and as policies see it.
#[derive(Debug)]
struct FakeHead {
    paths: Vec<FakePath>,
    /// The indices of the paths on the shortlist.
    listed: Vec<usize>,
    cursor: Cell<usize>,
    done: usize,
    /// How many places of the shortlist a policy looked at.
    entries: Cell<usize>,
}

impl FakeHead {
    fn new(paths: impl IntoIterator<Item = Told>) -> Self {
        let paths: Vec<_> = paths.into_iter().map(FakePath::from).collect();
        let mut listed = Vec::new();

        usable(|| paths.iter(), |path| listed.push(index(&paths, path)));
        Self {
            paths,
            listed,
            cursor: Cell::new(0),
            done: 0,
            entries: Cell::new(0),
        }
    }

    /// Chooses a path, and returns its index.
    fn choose(&self, policy: IoPolicy, node: Node) -> Option<usize> {
        policy
            .choose(self, || node)
            .map(|path| index(&self.paths, path))
    }

    /// The paths that are optimized, or else those that are not, as long as they may carry I/O.
    fn best(&self) -> Vec<usize> {
        let of = |is_good: fn(&Told) -> bool| -> Vec<usize> {
            (0..self.paths.len())
                .filter(|index| is_good(&self.paths[*index].told))
                .collect()
        };
        let optimized = of(Told::is_optimized);

        if optimized.is_empty() {
            of(Told::may_carry_io)
        } else {
            optimized
        }
    }
}

fn index(paths: &[FakePath], path: &FakePath) -> usize {
    paths
        .iter()
        .position(|other| core::ptr::eq(other, path))
        .unwrap()
}

impl<'a> Candidates<'a> for &'a FakeHead {
    type Path = FakePath;

    fn len(self) -> usize {
        self.listed.len()
    }

    fn at(self, place: usize) -> Option<&'a FakePath> {
        self.entries.set(self.entries.get() + 1);
        Some(&self.paths[self.listed[place]])
    }

    fn nearest(self, node: Node) -> Option<&'a FakePath> {
        nearest(self.listed.iter().map(|index| &self.paths[*index]), node)
    }

    fn cursor(self) -> usize {
        self.cursor.get()
    }

    fn set_cursor(self, place: usize) {
        self.cursor.set(place);
    }

    fn last_done(self) -> usize {
        self.done
    }
}

fn any_reasons() -> impl Strategy<Value = Vec<Reasons>> {
    let all = [
        Reasons::NOT_READY,
        Reasons::STATE_PENDING,
        Reasons::FAILED,
        Reasons::REMOVING,
    ];

    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::sample::subsequence(all.to_vec(), 1..=all.len()),
    ]
}

fn any_access() -> impl Strategy<Value = AccessState> {
    select(vec![
        AccessState::Optimized,
        AccessState::NonOptimized,
        AccessState::Other,
    ])
}

fn any_port() -> impl Strategy<Value = PortState> {
    prop_oneof![
        2 => Just(PortState::Live),
        1 => select(vec![PortState::Dead, PortState::Recovering, PortState::Draining]),
    ]
}

fn any_path() -> impl Strategy<Value = Told> {
    let distances = prop::array::uniform3(10u32..14);

    (any_reasons(), any_access(), any_port(), distances, 0u32..4).prop_map(
        |(reasons, access, port, distances, depth)| Told {
            reasons,
            access,
            port,
            distances,
            depth,
        },
    )
}

/// Mostly short lists, whose paths differ more often where it matters, and some long ones.
fn any_paths() -> impl Strategy<Value = Vec<Told>> {
    prop_oneof![
        3 => prop::collection::vec(any_path(), 0..=6),
        1 => prop::collection::vec(any_path(), 0..=200),
    ]
}

/// Any paths, and hints that say anything.
fn any_head() -> impl Strategy<Value = FakeHead> {
    (any_paths(), any_place(), any_place()).prop_map(|(paths, cursor, done)| FakeHead {
        cursor: Cell::new(cursor),
        done,
        ..FakeHead::new(paths)
    })
}

fn any_place() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0usize..8, 1 => any::<u32>().prop_map(|place| place as usize)]
}

fn any_policy() -> impl Strategy<Value = IoPolicy> {
    select(IoPolicy::ALL.to_vec())
}

fn any_node() -> impl Strategy<Value = Node> {
    (0..NODES as u32).prop_map(Node)
}

/// So many good paths with these numbers of requests in flight.
fn with_depths(depths: impl IntoIterator<Item = u32>) -> FakeHead {
    FakeHead::new(depths.into_iter().map(|depth| Told {
        depth,
        ..Told::good()
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Shows L-9.
    #[test]
    fn a_path_that_may_not_carry_io_is_never_chosen(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        for _ in 0..3 {
            if let Some(path) = head.choose(policy, node) {
                prop_assert!(head.paths[path].told.may_carry_io());
            }
        }
    }

    /// Shows L-9, L-11.
    #[test]
    fn a_path_is_chosen_exactly_when_there_is_a_usable_one(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        prop_assert_eq!(head.choose(policy, node).is_some(), !head.best().is_empty());
    }

    /// Shows L-9.
    #[test]
    fn a_path_is_not_optimized_only_when_no_path_is(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        for _ in 0..3 {
            if let Some(path) = head.choose(policy, node) {
                prop_assert!(head.best().contains(&path));
            }
        }
    }

    /// Shows L-9.
    #[test]
    fn the_shortlist_has_the_best_paths_in_order(head in any_head()) {
        prop_assert_eq!(&head.listed, &head.best());
    }

    /// Shows L-7, L-12.
    #[test]
    fn making_the_shortlist_looks_at_a_state_at_most_twice(head in any_head()) {
        for path in &head.paths {
            prop_assert!(path.looks.get() <= 2);
        }
    }

    /// Shows L-7.
    #[test]
    fn choosing_looks_at_no_state_and_at_few_paths(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        let looks = |head: &FakeHead| head.paths.iter().map(|path| path.looks.get()).sum::<usize>();
        let before = looks(&head);

        head.choose(policy, node);
        prop_assert_eq!(looks(&head), before);

        let depth_looks: usize = head.paths.iter().map(|path| path.depth_looks.get()).sum();
        let most = if policy == IoPolicy::QueueDepth { MOST_LOOKS } else { 0 };
        prop_assert!(depth_looks <= most);
        prop_assert!(head.entries.get() <= MOST_LOOKS);
    }

    /// Shows L-9.
    #[test]
    fn numa_chooses_the_first_of_the_nearest_of_the_best(head in any_head(), node in any_node()) {
        let nearest = head.best().into_iter().min_by_key(|path| head.paths[*path].distance(node));

        prop_assert_eq!(head.choose(IoPolicy::Numa, node), nearest);
    }

    /// Shows L-10, L-13.
    #[test]
    fn queue_depth_chooses_the_least_busy_of_a_few(
        depths in prop::collection::vec(0u32..6, 1..=QueueDepth::FEW),
        cursor in any_place(), done in any_place()
    ) {
        let head = FakeHead { cursor: Cell::new(cursor), done, ..with_depths(depths) };
        let chosen = head.choose(IoPolicy::QueueDepth, Node(0)).unwrap();

        let least = head.paths.iter().map(|path| path.depth.get()).min();
        prop_assert_eq!(Some(head.paths[chosen].depth.get()), least);
    }

    /// Shows L-13.
    #[test]
    fn queue_depth_chooses_none_busier_than_where_a_request_has_ended(
        depths in prop::collection::vec(0u32..6, 1..100), cursor in any_place(), done in any::<Index>()
    ) {
        let done = done.index(depths.len());
        let head = FakeHead { cursor: Cell::new(cursor), done, ..with_depths(depths) };
        let chosen = head.choose(IoPolicy::QueueDepth, Node(0)).unwrap();

        prop_assert!(head.paths[chosen].depth.get() <= head.paths[done].depth.get());
    }

    /// Other CPUs rely on their view of this one, so its choices stay.
    ///
    /// Shows L-13.
    #[test]
    fn of_a_few_equal_paths_queue_depth_stays_with_that_of_its_place(
        paths in 1..=QueueDepth::FEW, depth in 0u32..3, cursor in any_place(), done in any_place()
    ) {
        let head = FakeHead { cursor: Cell::new(cursor), done, ..with_depths(vec![depth; paths]) };

        for _ in 0..3 {
            prop_assert_eq!(head.choose(IoPolicy::QueueDepth, Node(0)), Some(cursor % paths));
        }
    }

    /// CPUs that know nothing of each other do not meet on one path.
    ///
    /// Shows L-13.
    #[test]
    fn queue_depth_spreads_the_first_requests_of_cpus(paths in 1usize..20, cpus in 1usize..64) {
        let mut counts = vec![0; paths];

        for cpu in 0..cpus {
            let head = FakeHead { cursor: Cell::new(cpu), done: cpu, ..with_depths(vec![0; paths]) };

            counts[head.choose(IoPolicy::QueueDepth, Node(0)).unwrap()] += 1;
        }
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }

    /// Shows L-7.
    #[test]
    fn round_robin_is_fair_to_the_best_paths_at_every_moment(
        head in any_head(), node in any_node(), choices in 0usize..300
    ) {
        let mut counts = vec![0u32; head.paths.len()];

        for _ in 0..choices {
            if let Some(path) = head.choose(IoPolicy::RoundRobin, node) {
                counts[path] += 1;
            }
        }

        let best = head.best();
        let of_best = || best.iter().map(|index| counts[*index]);
        if let (Some(least), Some(most)) = (of_best().min(), of_best().max()) {
            prop_assert!(most - least <= 1);
        }
        prop_assert_eq!(of_best().sum::<u32>(), counts.iter().sum());
    }

    /// Shows L-7.
    #[test]
    fn round_robin_takes_the_paths_in_order(head in any_head(), node in any_node()) {
        let best = head.best();
        prop_assume!(!best.is_empty());

        let first = head.choose(IoPolicy::RoundRobin, node).unwrap();
        let begin = best.iter().position(|path| *path == first).unwrap();
        for step in 1..=2 * best.len() {
            let path = head.choose(IoPolicy::RoundRobin, node).unwrap();

            prop_assert_eq!(path, best[(begin + step) % best.len()]);
        }
    }

    /// CPUs that have had no turn yet begin at different paths.
    #[test]
    fn round_robin_spreads_the_first_bios_of_cpus(paths in 1usize..20, cpus in 1usize..64) {
        let head = FakeHead::new(vec![Told::good(); paths]);
        let mut counts = vec![0; paths];

        for cpu in 0..cpus {
            head.cursor.set(cpu);
            counts[head.choose(IoPolicy::RoundRobin, Node(0)).unwrap()] += 1;
        }
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }
}

impl FakeHead {
    /// How many more requests are in flight on the busiest path than on the least busy one.
    fn spread(&self) -> u32 {
        let depths = || self.paths.iter().map(|path| path.depth.get());

        depths().max().unwrap() - depths().min().unwrap()
    }
}

/// Requests in flight, of which a new one begins whenever one ends.
struct Load {
    random: u64,
    /// The path of each.
    in_flight: Vec<usize>,
}

impl Load {
    fn new(head: &FakeHead, seed: u64) -> Self {
        let in_flight = head
            .paths
            .iter()
            .enumerate()
            .flat_map(|(index, path)| core::iter::repeat_n(index, path.depth.get() as usize))
            .collect();

        Self {
            random: seed,
            in_flight,
        }
    }

    /// Any of them ends, and the next one begins.
    fn go_on(&mut self, head: &mut FakeHead) {
        self.random = self
            .random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let any = (self.random >> 33) as usize % self.in_flight.len();
        let ended = self.in_flight.swap_remove(any);
        let depth = &head.paths[ended].depth;

        depth.set(depth.get() - 1);
        head.done = ended;

        let chosen = head.choose(IoPolicy::QueueDepth, Node(0)).unwrap();
        let depth = &head.paths[chosen].depth;

        depth.set(depth.get() + 1);
        self.in_flight.push(chosen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// As many requests as at the beginning, any of which may end next. The policy evens the load
    /// out, and keeps it as even as a search for the least busy path of all would.
    ///
    /// Shows L-13.
    #[test]
    fn queue_depth_evens_the_load_out_however_many_paths_there_are(
        depths in prop::collection::vec(0u32..20, 2..130), seed in any::<u64>()
    ) {
        let mut head = with_depths(depths);
        let mut load = Load::new(&head, seed);
        prop_assume!(load.in_flight.len() >= head.paths.len());

        let rounds = 10 * load.in_flight.len();
        for round in 0..rounds {
            load.go_on(&mut head);
            if round > rounds / 2 && round % 16 == 0 {
                prop_assert!(head.spread() <= 3, "{} between the most and the least", head.spread());
            }
        }
    }
}

/// For how many ends of requests, for each that is in flight, the load differs by more than 3 when
/// every second path has all of it.
fn unevenness(paths: u32, seed: u64) -> f64 {
    let mut head = with_depths((0..paths).map(|path| 16 * (path % 2)));
    let mut load = Load::new(&head, seed);
    let mut uneven = 0;

    for round in 0..4 * load.in_flight.len() {
        load.go_on(&mut head);
        if head.spread() > 3 {
            uneven = round;
        }
    }
    uneven as f64 / load.in_flight.len() as f64
}

/// With a look at one path in turn, and not at two, it takes half as long again.
///
/// Shows L-13.
#[test]
fn queue_depth_soon_evens_out_what_half_of_the_paths_have() {
    for paths in [16, 64, 130u32] {
        let mean = (0..20).map(|seed| unevenness(paths, seed)).sum::<f64>() / 20.0;

        assert!(mean < 1.25, "{paths} paths: {mean}");
    }
}

/// Shows L-11.
#[test]
fn nothing_is_chosen_from_an_empty_list() {
    for policy in IoPolicy::ALL {
        assert!(FakeHead::new([]).choose(policy, Node(0)).is_none());
    }
}

/// Shows L-9.
#[test]
fn the_first_of_equal_paths_is_chosen_first() {
    for policy in IoPolicy::ALL {
        assert_eq!(with_depths([1; 3]).choose(policy, Node(0)), Some(0));
    }
}
