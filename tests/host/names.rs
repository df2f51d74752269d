// SPDX-License-Identifier: GPL-2.0

//! The names and values that users know policies by.

use libmultipath::policy::IoPolicy;
use proptest::prelude::*;

/// Shows L-14.
#[test]
fn every_policy_has_a_bit_of_its_own() {
    let all = IoPolicy::ALL.map(IoPolicy::bit);

    assert_eq!(all, [1, 2, 4]);
}

/// Shows L-16.
#[test]
fn names_are_those_of_the_in_tree_driver() {
    assert_eq!(
        IoPolicy::ALL.map(IoPolicy::name),
        ["numa", "round-robin", "queue-depth"]
    );
}

/// Shows L-16.
#[test]
fn a_name_is_parsed_as_it_is_printed_with_and_without_a_newline() {
    for policy in IoPolicy::ALL {
        let line = format!("{}\n", policy.name());

        assert_eq!(IoPolicy::parse(policy.name().as_bytes()), Some(policy));
        assert_eq!(IoPolicy::parse(line.as_bytes()), Some(policy));
        assert_eq!(IoPolicy::from_raw(policy as u32), Some(policy));
    }
}

/// A name with some changes, which is most likely no name any more.
fn nearly_a_name() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(
        IoPolicy::ALL
            .map(|policy| policy.name().as_bytes())
            .to_vec(),
    );

    (name, any::<prop::sample::Index>(), any::<u8>(), 0..4).prop_map(|(name, at, byte, change)| {
        let mut name = name.to_vec();
        let at = at.index(name.len());

        match change {
            0 => name[at] = byte,
            1 => name.insert(at, byte),
            2 => name.push(byte),
            _ => name.truncate(at),
        }
        name
    })
}

proptest! {
    /// Shows L-16.
    #[test]
    fn a_string_that_is_no_name_is_refused(
        bytes in prop_oneof![any::<Vec<u8>>(), nearly_a_name()]
    ) {
        let is_name = IoPolicy::ALL.iter().any(|policy| {
            let name = policy.name();

            bytes == name.as_bytes() || bytes == format!("{name}\n").as_bytes()
        });

        prop_assert_eq!(IoPolicy::parse(&bytes).is_some(), is_name);
    }

    /// Shows L-16.
    #[test]
    fn a_number_that_is_no_value_is_refused(raw in 3u32..) {
        prop_assert_eq!(IoPolicy::from_raw(raw), None);
    }
}
