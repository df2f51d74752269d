// SPDX-License-Identifier: GPL-2.0

//! The requests in flight through a port: the memory in which CPUs count them, and the time when a
//! CPU looks at the counts of others.
//!
//! `mpath_request_start()` and `mpath_request_done()` in the header count requests; the compiler
//! inlines them into drivers. This module has the work that is not for each request.

use super::head::MpathHead;
use super::misuse::{
    mark,
    misuse, //
};
use super::path::{
    MpathDevice,
    MpathPort, //
};
use crate::bindings;
use crate::pure::depth::{
    self,
    Record, //
};
use crate::pure::state::PortState;
use crate::wrap::work;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;

impl MpathPort {
    /// Fills a driver's structure in, for a port that no path goes through. Allocates, may sleep.
    ///
    /// # Safety
    ///
    /// `raw` is valid for writes, and only the caller uses it.
    pub(crate) unsafe fn init(raw: *mut bindings::mpath_port) -> Result {
        // SAFETY: The function allocates, and the caller may sleep.
        let cpus = unsafe { bindings::mpath_helper_alloc_port_cpus() };

        if cpus.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: By this function's contract.
        unsafe { Self::fill(raw, cpus, false) };
        Ok(())
    }

    /// Fills a driver's structure in for a port that counts with `other`. Any context.
    ///
    /// # Safety
    ///
    /// As for [`MpathPort::init`]; `other` is valid for as long as the port.
    pub(crate) unsafe fn init_sharing(
        raw: *mut bindings::mpath_port,
        other: *mut bindings::mpath_port,
    ) -> Result {
        // SAFETY: By this function's contract; only the mark is read.
        if !unsafe { Self::from_raw(other) }.is_initialised() {
            misuse("a port is to count with another one that is not initialised");
            return Err(EINVAL);
        }
        // SAFETY: By this function's contract.
        unsafe { Self::fill(raw, (*other).cpus, true) };
        Ok(())
    }

    /// Fills a driver's structure in.
    ///
    /// # Safety
    ///
    /// As for [`MpathPort::init`]; `cpus` stay for as long as the port.
    unsafe fn fill(
        raw: *mut bindings::mpath_port,
        cpus: *mut bindings::mpath_port_cpu,
        shares: bool,
    ) {
        // SAFETY: By this function's contract.
        unsafe {
            raw.write(bindings::mpath_port {
                generation: 0,
                state: PortState::Dead as u32,
                shares: shares.into(),
                cpus,
                mark: mark(raw, 0),
                since: work::now(),
                name: core::ptr::null(),
            });
            Self::from_raw(raw)
        }
        .set_state(PortState::Dead);
    }

    /// Frees the memory that [`MpathPort::init`] has allocated. If it still counts requests, warns
    /// and frees nothing, since the end of a request needs it.
    ///
    /// # Safety
    ///
    /// `raw` is valid, and only the caller uses it.
    pub(crate) unsafe fn exit(raw: *mut bindings::mpath_port) {
        // SAFETY: By this function's contract; before the mark is found, only the mark is read.
        let port = unsafe { Self::from_raw(raw) };

        if !port.is_initialised() {
            return misuse("a port is given up that is not initialised");
        }
        // SAFETY: Only `fill()` writes it.
        let shares = unsafe { (*raw).shares } != 0;

        if !shares && port.in_flight() != 0 {
            return misuse(
                "a port is given up with requests in flight: mpath_request_done() is missing",
            );
        }
        // SAFETY: `init()` has allocated it, and by this function's contract nobody uses it any
        // more.
        unsafe {
            if !shares {
                bindings::mpath_helper_free_port_cpus((*raw).cpus);
            }
            (*raw).mark = 0;
        }
    }

    /// Has [`MpathPort::init`] been called on it, and [`MpathPort::exit`] not?
    pub(crate) fn is_initialised(&self) -> bool {
        // SAFETY: Valid as long as `self`; only `init()` and `exit()` write it.
        unsafe { (*self.as_raw()).mark == mark(self.as_raw(), 0) }
    }

    /// The number of requests in flight. Exact while none begins or ends. Any context.
    pub(crate) fn in_flight(&self) -> u32 {
        depth::in_flight(self)
    }
}

const _: () = assert!(size_of::<Record>() == size_of::<bindings::mpath_port_cpu>());
const _: () = assert!(align_of::<Record>() == align_of::<bindings::mpath_port_cpu>());
const _: () = assert!(depth::FRACTION_BITS == bindings::MPATH_FRACTION_BITS);

impl depth::Port for MpathPort {
    fn cpus(&self, first: u32) -> impl Iterator<Item = u32> {
        // SAFETY: Any context may call it.
        let ids = unsafe { bindings::mpath_helper_cpu_ids() };
        let mut last = first as i32 - 1;

        core::iter::from_fn(move || {
            // SAFETY: Any context may call it; -1 or any other number comes before the next CPU.
            let cpu = unsafe { bindings::mpath_helper_next_cpu(last) };

            last = cpu as i32;
            (cpu < ids).then_some(cpu)
        })
    }

    fn record(&self, cpu: u32) -> &Record {
        // SAFETY: The records stay as long as the port. There is one for each possible CPU, with
        // atomic accesses only.
        unsafe { &*bindings::mpath_helper_port_cpu((*self.as_raw()).cpus, cpu).cast() }
    }
}

impl MpathHead {
    /// Lets the CPU that counted a request as `counted` learn how many requests other CPUs have in
    /// flight, once in a tick. Any context.
    #[cold]
    pub(crate) fn catch_up(&self, counted: u16) {
        let cpu = u32::from(counted - 1);
        let cursor = self.shortlist.cursor_of(cpu);
        let now = now();

        let ago = now.wrapping_sub(cursor.tick.xchg(now, Relaxed));

        // Its requests may end on several CPUs, of which one takes the chance.
        if ago == 0 {
            return;
        }
        let section = self.read();
        // Without a shortlist the next bio makes one, and the next tick brings the next chance.
        let Some((list, paths)) = section.inside().current() else {
            return;
        };
        let has_changed = cursor.list.load(Relaxed) != list;

        cursor.list.store(list, Relaxed);
        depth::catch_up(paths.map(MpathDevice::port), cpu, has_changed, ago, now);
    }
}

/// The current tick.
fn now() -> u32 {
    work::now() as u32
}
