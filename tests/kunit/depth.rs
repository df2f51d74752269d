// SPDX-License-Identifier: GPL-2.0

//! The library counts requests in flight, and CPUs learn of those of others.

use super::check::{
    eventually,
    skip,
    without_warnings, //
};
use super::driver::TestHead;
use super::fake::{
    FakePath,
    FakePort,
    Options,
    GARBAGE,
    NOT_READY,
    NO_NODE, //
};
use super::select::move_to_cpu;
use crate::bindings;
use crate::ffi;
use crate::pure::depth::FRACTION_BITS;
use crate::pure::policy::{
    IoPolicy,
    Path, //
};
use crate::pure::state::PortState;
use kernel::prelude::*;

/// `MPATH_NOT_COUNTED`.
const NOT_COUNTED: u16 = bindings::MPATH_NOT_COUNTED as u16;

/// How many requests a path has in flight as far as this CPU knows. A fraction counts as one.
fn requests(path: &FakePath) -> u32 {
    path.engine().depth().div_ceil(1 << FRACTION_BITS)
}

/// Does this CPU see so many requests in flight on a path, when it has had time to look?
fn comes_to(path: &FakePath, depth: u32) -> bool {
    eventually(|| {
        let counted = path.request_start();

        path.request_done(counted);
        requests(path) == depth
    })
}

#[kunit_tests(mpath_depth)]
mod tests {
    use super::*;

    /// Shows L-13.
    #[test]
    fn a_request_is_counted_until_it_ends_wherever_it_ends() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let (a, b) = (head.path()?, head.path()?);

        if !move_to_cpu(1) {
            return skip(c"needs two CPUs");
        }
        let there = a.request_start();
        check_eq!(requests(&a), 1);
        check!(move_to_cpu(0));
        let here = [a.request_start(), b.request_start()];
        check!(a.port().active() == 2 && b.port().active() == 1);

        // This CPU never counted it.
        a.request_done(there);
        check_eq!(a.port().active(), 1);
        check_eq!(requests(&a), 1);
        a.request_done(here[0]);
        b.request_done(here[1]);
        check!(a.port().active() == 0 && b.port().active() == 0);
        check!(move_to_cpu(1));
        check_eq!(requests(&a), 0);
        Ok(())
    }

    #[test]
    fn an_uncounted_request_ends_without_a_trace() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let path = head.path()?;

        let counted = path.request_start();
        check!(counted != NOT_COUNTED);
        path.request_done(NOT_COUNTED);
        check_eq!(path.port().active(), 1);
        path.request_done(counted);
        check_eq!(path.port().active(), 0);
        Ok(())
    }

    /// Shows L-13.
    #[test]
    fn a_cpu_learns_what_others_have_in_flight() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let (a, b) = (head.path()?, head.path()?);

        if !move_to_cpu(1) {
            return skip(c"needs two CPUs");
        }
        let there = [a.request_start(), a.request_start(), a.request_start()];
        check!(move_to_cpu(0));
        // The head uses `b`, so it looks at `a` as well.
        head.write(0)?;
        check!(comes_to(&b, 0) && requests(&a) == 3);
        let before = b.bios();
        check_eq!(head.write_many(6)?, 6);
        check_eq!(b.bios(), before + 6);

        there
            .into_iter()
            .for_each(|counted| a.request_done(counted));
        check!(comes_to(&b, 0) && eventually(|| comes_to(&a, 0)));
        Ok(())
    }

    #[test]
    fn a_cpu_forgets_what_it_knows_of_others_when_paths_change() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let (a, b) = (head.path()?, head.path()?);

        if !move_to_cpu(1) {
            return skip(c"needs two CPUs");
        }
        let there: [_; 16] = core::array::from_fn(|_| a.request_start());
        check!(move_to_cpu(0));
        head.write(0)?;
        check!(comes_to(&b, 0) && requests(&a) == 16);

        b.disable(NOT_READY);
        b.enable(NOT_READY);
        head.write(0)?;
        // The CPU takes the two for equal, but for a part of a request.
        check!(eventually(|| {
            b.request_done(b.request_start());
            requests(&b) >= 8
        }));
        check!(requests(&a) <= 9);
        // And learns it again.
        check!(comes_to(&b, 0) && requests(&a) == 16);
        there
            .into_iter()
            .for_each(|counted| a.request_done(counted));
        Ok(())
    }

    #[test]
    fn a_port_with_requests_in_flight_is_not_freed() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let path = head.path()?;
        let counted = path.request_start();

        // SAFETY: The port is initialised; it is kept, since it is in use.
        let ((), warnings) =
            without_warnings(|| unsafe { ffi::mpath_port_exit(path.port().as_raw()) });
        check_eq!(warnings, 1);
        path.request_done(counted);
        check_eq!(path.port().active(), 0);
        Ok(())
    }

    #[test]
    fn a_port_that_counts_with_another_one_has_a_state_of_its_own() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let host = FakePort::new(PortState::Live)?;
        let through = |port| {
            head.path_with(Options {
                port: Some(port),
                ..Options::default()
            })
        };
        let a = through(FakePort::sharing(host.clone())?)?;
        let b = through(FakePort::sharing(host.clone())?)?;
        let elsewhere = head.path()?;

        // The CPU learns later of the requests of other CPUs, and this test does not show that.
        check!(move_to_cpu(0));
        // A request in flight through one of them is in flight through the host.
        let counted = [a.request_start(), a.request_start()];
        check!(host.active() == 2 && requests(&b) == 2);
        check_eq!(head.write_many(4)?, 4);
        check_eq!(elsewhere.bios(), 4);

        // One of them is dead, and the other one is not.
        a.port().set(PortState::Dead);
        elsewhere.port().set(PortState::Dead);
        check_eq!(head.write_many(4)?, 4);
        check!(b.bios() == 4 && a.bios() == 0);

        counted
            .into_iter()
            .for_each(|counted| a.request_done(counted));
        check!(host.active() == 0 && b.port().active() == 0);
        Ok(())
    }

    #[test]
    fn a_port_that_is_not_initialised_is_not_used() -> Result {
        let head = TestHead::following(IoPolicy::QueueDepth)?;
        let path = head.path()?;
        let mut port = bindings::mpath_port::default();

        // SAFETY: Before it refuses the port, the library looks at nothing but its mark; the path
        // is on the head, and stays there.
        unsafe {
            (&raw mut port).write_bytes(GARBAGE, 1);
            let (result, warnings) = without_warnings(|| {
                ffi::mpath_add_device(path.dev(), head.as_raw(), path.disk(), &mut port, NO_NODE)
            });
            check!(result == EINVAL.to_errno() && warnings == 1);
            let ((), warnings) = without_warnings(|| ffi::mpath_port_exit(&mut port));
            check_eq!(warnings, 1);
            let mut other = bindings::mpath_port::default();
            let (result, warnings) =
                without_warnings(|| ffi::mpath_port_init_sharing(&mut other, &mut port));
            check!(result == EINVAL.to_errno() && warnings == 1);
        }
        check_eq!(head.write_many(1)?, 1);

        // A port that was given back is not initialised, either.
        let port = FakePort::new(PortState::Live)?;
        // SAFETY: The port is initialised, and no path goes through it. It is initialised again for
        // its destructor.
        unsafe {
            ffi::mpath_port_exit(port.as_raw());
            let ((), warnings) = without_warnings(|| ffi::mpath_port_exit(port.as_raw()));
            check_eq!(warnings, 1);
            check_eq!(ffi::mpath_port_init(port.as_raw()), 0);
        }
        Ok(())
    }
}
