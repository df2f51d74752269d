// SPDX-License-Identifier: GPL-2.0

//! The events for which a head makes its shortlist anew.

use libmultipath::shortlist::{
    change_port,
    Generation,
    Version, //
};
use libmultipath::state::PortState;
use libmultipath::sync::AtomicU32;
use std::cell::Cell;

/// A port.
struct Port {
    state: AtomicU32,
    generation: Generation,
}

impl Port {
    fn new() -> Self {
        Self {
            state: AtomicU32::new(PortState::Live as u32),
            generation: Generation::new(),
        }
    }
}

/// A port goes that no path of the head goes through, and the head stays as it is: CPUs keep their
/// counts of the requests in flight. One of the head's own goes, and they forget.
///
/// Shows L-13.
#[test]
fn a_port_that_a_head_does_not_use_leaves_its_shortlist_as_it_is() {
    let of_ports = Generation::new();
    let [own, foreign] = [Port::new(), Port::new()];
    let version = Version::new();
    let made = Cell::new(0);
    let number_after = |port: Option<&Port>| {
        if let Some(port) = port {
            change_port(&port.state, &port.generation, &of_ports, PortState::Dead);
            assert!(!version.is_current(&of_ports));
        }
        version.renew(
            &of_ports,
            || own.generation.count(),
            || made.set(made.get() + 1),
        );
        assert!(version.is_current(&of_ports));
        (made.get(), version.number())
    };

    let first = number_after(None);

    assert_eq!(first.0, 1, "it is made once");
    assert_eq!(
        number_after(Some(&foreign)),
        first,
        "a port of others has gone"
    );
    let second = number_after(Some(&own));

    assert_eq!(second.0, 2, "it is made anew");
    assert_ne!(second.1, first.1, "the new one has another number");
}
