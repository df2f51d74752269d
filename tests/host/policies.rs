// SPDX-License-Identifier: GPL-2.0

//! The policies, on any list of paths in any states.
//!
//! What a path is good for is worked out here a second time, from what was told about it and not
//! from the state word, so that the word and the policies are tested together.

use core::cell::Cell;
use libmultipath::nodes::Node;
use libmultipath::policy::{
    IoPolicy,
    Path,
    Paths, //
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

/// What is told about a path.
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

/// A path, which counts how often it is looked at.
#[derive(Debug)]
struct FakePath {
    told: Told,
    state: PathState,
    looks: Cell<usize>,
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
            told,
            looks: Cell::new(0),
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
        self.told.depth
    }
}

/// What a slot of the cache says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Nothing,
    /// The path with this index.
    Listed(usize),
    /// The path that has been unlinked.
    Unlinked,
}

#[derive(Debug)]
struct FakeHead {
    paths: Vec<FakePath>,
    /// A path that has been unlinked, and the index of the one that comes after it.
    unlinked: (FakePath, usize),
    hints: [Cell<Hint>; NODES],
    /// How often a hint was written.
    writes: Cell<usize>,
}

impl FakeHead {
    fn new(paths: impl IntoIterator<Item = Told>) -> Self {
        let removed = Told {
            reasons: vec![Reasons::REMOVING],
            ..Told::good()
        };

        Self {
            paths: paths.into_iter().map(FakePath::from).collect(),
            unlinked: (removed.into(), 0),
            hints: [const { Cell::new(Hint::Nothing) }; NODES],
            writes: Cell::new(0),
        }
    }

    fn hint(&self, node: Node) -> &Cell<Hint> {
        &self.hints[node.0 as usize]
    }

    fn index(&self, path: &FakePath) -> Option<usize> {
        self.paths
            .iter()
            .position(|other| core::ptr::eq(other, path))
    }

    /// The paths that are optimized, or else those that are not, as long as they may carry I/O.
    fn best(&self) -> Vec<&FakePath> {
        let of = |is_good: fn(&Told) -> bool| -> Vec<&FakePath> {
            self.paths
                .iter()
                .filter(|path| is_good(&path.told))
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

impl Paths for FakeHead {
    type Path = FakePath;

    fn iter(&self) -> impl Iterator<Item = &FakePath> {
        self.paths.iter()
    }

    fn iter_after<'a>(&'a self, path: &'a FakePath) -> impl Iterator<Item = &'a FakePath> {
        let next = self.index(path).map_or(self.unlinked.1, |index| index + 1);

        self.paths[next..].iter()
    }

    fn cached(&self, node: Node) -> Option<&FakePath> {
        match self.hint(node).get() {
            Hint::Nothing => None,
            Hint::Listed(index) => Some(&self.paths[index]),
            Hint::Unlinked => Some(&self.unlinked.0),
        }
    }

    fn cache(&self, node: Node, path: &FakePath) {
        self.writes.set(self.writes.get() + 1);
        self.hint(node)
            .set(self.index(path).map_or(Hint::Unlinked, Hint::Listed));
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

/// Mostly short lists, whose paths differ more often in what matters, and some long ones.
fn any_paths() -> impl Strategy<Value = Vec<Told>> {
    prop_oneof![
        3 => prop::collection::vec(any_path(), 0..=6),
        1 => prop::collection::vec(any_path(), 0..=200),
    ]
}

/// Any paths, and a cache that says anything, also that a path is the one to choose which has been
/// unlinked. By then such a path has been disabled for good.
fn any_head() -> impl Strategy<Value = FakeHead> {
    let hints = prop::array::uniform3((0..3, any::<Index>()));

    (any_paths(), hints, any::<Index>()).prop_map(|(paths, hints, gap)| {
        let mut head = FakeHead::new(paths);
        let len = head.paths.len();

        head.unlinked.1 = gap.index(len + 1);
        head.hints = hints.map(|(kind, index)| {
            Cell::new(match kind {
                1 if len > 0 => Hint::Listed(index.index(len)),
                2 => Hint::Unlinked,
                _ => Hint::Nothing,
            })
        });
        head
    })
}

fn any_policy() -> impl Strategy<Value = IoPolicy> {
    select(IoPolicy::ALL.to_vec())
}

fn any_node() -> impl Strategy<Value = Node> {
    (0..NODES as u32).prop_map(Node)
}

fn is_one_of(path: &FakePath, paths: &[&FakePath]) -> bool {
    paths.iter().any(|other| path.is(other))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Shows L-9.
    #[test]
    fn a_path_that_may_not_carry_io_is_never_chosen(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        for _ in 0..3 {
            if let Some(path) = policy.choose(&head, node) {
                prop_assert!(path.told.may_carry_io());
            }
        }
    }

    /// Shows L-9.
    #[test]
    fn a_path_that_may_not_carry_io_is_never_elected(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        if let Some(path) = policy.elect(&head, node) {
            prop_assert!(path.told.may_carry_io());
        }
    }

    /// Shows L-9, L-11.
    #[test]
    fn a_path_is_chosen_exactly_when_there_is_a_usable_one(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        let is_there = !head.best().is_empty();

        prop_assert_eq!(policy.choose(&head, node).is_some(), is_there);
        prop_assert_eq!(policy.elect(&head, node).is_some(), is_there);
    }

    /// Shows L-9.
    #[test]
    fn a_path_is_not_optimized_only_when_no_path_is(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        for _ in 0..3 {
            if let Some(path) = policy.choose(&head, node) {
                prop_assert!(is_one_of(path, &head.best()));
            }
        }
        if let Some(path) = policy.elect(&head, node) {
            prop_assert!(is_one_of(path, &head.best()));
        }
    }

    /// Shows L-7.
    #[test]
    fn no_path_is_looked_at_more_than_twice(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        policy.choose(&head, node);

        for path in head.paths.iter() {
            prop_assert!(path.looks.get() <= 2);
        }
        prop_assert!(head.unlinked.0.looks.get() <= 1);
    }

    /// Shows L-7.
    #[test]
    fn round_robin_looks_at_every_path_at_most_once_while_the_last_choice_is_listed(
        head in any_head(), node in any_node()
    ) {
        prop_assume!(head.hint(node).get() != Hint::Unlinked);
        IoPolicy::RoundRobin.choose(&head, node);

        for path in head.paths.iter() {
            prop_assert!(path.looks.get() <= 1);
        }
    }

    /// Shows L-7.
    #[test]
    fn a_choice_replaces_a_cached_path_that_has_been_unlinked(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        head.hint(node).set(Hint::Unlinked);

        let chosen = policy.choose(&head, node).and_then(|path| head.index(path));
        match chosen {
            Some(index) if policy != IoPolicy::QueueDepth => {
                prop_assert_eq!(head.hint(node).get(), Hint::Listed(index));
            }
            Some(_) => {}
            None => prop_assert!(head.best().is_empty()),
        }
    }

    /// Shows L-9.
    #[test]
    fn a_choice_for_one_node_leaves_the_other_nodes_alone(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        let before = head.hints.clone();

        policy.choose(&head, node);
        for (id, hint) in before.into_iter().enumerate() {
            if id as u32 != node.0 {
                prop_assert_eq!(&head.hints[id], &hint);
            }
        }
    }

    /// Shows L-9.
    #[test]
    fn numa_keeps_a_cached_path_for_as_long_as_it_is_optimized(
        head in any_head(), node in any_node()
    ) {
        if let Hint::Listed(index) = head.hint(node).get() {
            if head.paths[index].told.is_optimized() {
                let path = IoPolicy::Numa.choose(&head, node).and_then(|path| head.index(path));

                prop_assert_eq!(path, Some(index));
            }
        }
    }

    /// Shows L-9.
    #[test]
    fn numa_chooses_the_nearest_of_the_best_when_the_hint_is_of_no_use(
        head in any_head(), node in any_node()
    ) {
        let is_of_use = head.cached(node).is_some_and(|path| path.told.is_optimized());
        prop_assume!(!is_of_use);

        let nearest = head.best().iter().map(|path| path.distance(node)).min();
        let chosen = IoPolicy::Numa.choose(&head, node);

        prop_assert_eq!(chosen.map(|path| path.distance(node)), nearest);
        if let Some(path) = chosen {
            prop_assert_eq!(head.hint(node).get(), Hint::Listed(head.index(path).unwrap()));
        }
    }

    /// Shows L-9.
    #[test]
    fn numa_elects_the_nearest_of_the_best_whatever_is_cached(
        head in any_head(), node in any_node()
    ) {
        let nearest = head.best().iter().map(|path| path.distance(node)).min();
        let elected = IoPolicy::Numa.elect(&head, node);

        prop_assert_eq!(elected.map(|path| path.distance(node)), nearest);
    }

    /// Shows L-10, L-13.
    #[test]
    fn queue_depth_chooses_the_least_busy_of_the_best(head in any_head(), node in any_node()) {
        let least = head.best().iter().map(|path| path.depth()).min();

        prop_assert_eq!(IoPolicy::QueueDepth.choose(&head, node).map(Path::depth), least);
    }

    /// Shows L-16.
    #[test]
    fn queue_depth_does_not_touch_the_cache(head in any_head(), node in any_node()) {
        let before = head.hints.clone();

        IoPolicy::QueueDepth.choose(&head, node);
        prop_assert_eq!(&head.hints, &before);
    }

    /// Shows L-7.
    #[test]
    fn round_robin_is_fair_to_the_best_paths_at_every_moment(
        head in any_head(), node in any_node(), choices in 0usize..300
    ) {
        let mut counts = vec![0u32; head.paths.len()];
        let best: Vec<_> = head.best().iter().filter_map(|path| head.index(path)).collect();

        for _ in 0..choices {
            if let Some(path) = IoPolicy::RoundRobin.choose(&head, node) {
                counts[head.index(path).unwrap()] += 1;
            }
        }

        let of_best = || best.iter().map(|index| counts[*index]);
        if let (Some(least), Some(most)) = (of_best().min(), of_best().max()) {
            prop_assert!(most - least <= 1);
        }
        prop_assert_eq!(of_best().sum::<u32>(), counts.iter().sum());
    }

    /// Shows L-7.
    #[test]
    fn round_robin_goes_on_where_the_unlinked_path_was(
        len in 1usize..20, gap in any::<Index>(), node in any_node()
    ) {
        let mut head = FakeHead::new(vec![Told::good(); len]);
        let next = gap.index(len);

        head.unlinked.1 = next;
        head.hint(node).set(Hint::Unlinked);

        let chosen = IoPolicy::RoundRobin.choose(&head, node).and_then(|path| head.index(path));
        prop_assert_eq!(chosen, Some(next));
    }

    /// A slot is on a line that all CPUs of a node share.
    ///
    /// Shows L-16.
    #[test]
    fn a_slot_is_written_only_when_the_choice_changes(
        head in any_head(), policy in any_policy(), node in any_node()
    ) {
        let last = head.hint(node).get();
        let chosen = policy.choose(&head, node).and_then(|path| head.index(path));
        let is_new = policy != IoPolicy::QueueDepth && chosen.map(Hint::Listed) != Some(last);

        if last == Hint::Nothing || policy == IoPolicy::RoundRobin {
            prop_assert_eq!(head.writes.get(), usize::from(chosen.is_some() && is_new));
        }
        prop_assert!(head.writes.get() <= 1);
    }
}

/// Shows L-11.
#[test]
fn nothing_is_chosen_from_an_empty_list() {
    for policy in IoPolicy::ALL {
        let head = FakeHead::new([]);

        assert!(policy.choose(&head, Node(0)).is_none());
        assert!(policy.elect(&head, Node(0)).is_none());
        assert_eq!(head.hint(Node(0)).get(), Hint::Nothing);
    }
}

/// Shows L-7.
#[test]
fn nothing_is_chosen_from_a_list_whose_last_path_has_been_unlinked() {
    for policy in IoPolicy::ALL {
        let head = FakeHead::new([]);

        head.hint(Node(1)).set(Hint::Unlinked);
        assert!(policy.choose(&head, Node(1)).is_none());
    }
}

/// Shows L-9.
#[test]
fn the_first_of_equal_paths_is_chosen_and_elected_when_nothing_is_cached() {
    for policy in IoPolicy::ALL {
        let head = FakeHead::new(vec![
            Told {
                depth: 1,
                ..Told::good()
            };
            3
        ]);
        let first = policy
            .choose(&head, Node(0))
            .and_then(|path| head.index(path));
        let elected = policy
            .elect(&head, Node(1))
            .and_then(|path| head.index(path));

        assert_eq!((first, elected), (Some(0), Some(0)));
    }
}
