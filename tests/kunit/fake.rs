// SPDX-License-Identifier: GPL-2.0

//! Paths that treat bios as a test says.

use super::check::complain;
use super::driver::{
    name_disk,
    Constant,
    Counter,
    TestHead,
    CAPACITY,
    GROUPS, //
};
use super::io;
use crate::bindings;
use crate::compat::{
    bvec_offset,
    set_bvec_offset, //
};
use crate::engine::path::MpathDevice;
use crate::ffi;
use crate::pure::state::{
    AccessState,
    PortState, //
};
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::ffi::{
    c_int,
    c_uint,
    c_ulong, //
};
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    SpinLock, //
};
use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};
use kernel::types::Opaque;

pub(super) const NOT_READY: u32 = bindings::mpath_disable_reason_MPATH_DISABLE_NOT_READY;
pub(super) const STATE_PENDING: u32 = bindings::mpath_disable_reason_MPATH_DISABLE_STATE_PENDING;

/// `NUMA_NO_NODE`.
pub(super) const NO_NODE: i32 = -1;

/// How many bios a path remembers.
const MEMORY: usize = 256;

/// For how long [`Behaviour::Dawdle`] keeps a CPU at most.
const LONGEST_DAWDLE: Delta = Delta::from_secs(20);

/// The byte that fills memory which a driver embeds and has not initialised.
pub(super) const GARBAGE: u8 = 0x5a;

fn garbage<T>() -> impl PinInit<Opaque<T>> {
    Opaque::ffi_init(|slot: *mut T| {
        // SAFETY: `slot` is valid for writes.
        unsafe { slot.write_bytes(GARBAGE, 1) }
    })
}

/// A controller.
#[pin_data(PinnedDrop)]
pub(super) struct FakePort {
    #[pin]
    raw: Opaque<bindings::mpath_port>,
    /// The port that this one counts with. It goes after this one.
    other: Option<Arc<FakePort>>,
}

impl FakePort {
    /// A port in a state.
    pub(super) fn new(state: PortState) -> Result<Arc<Self>> {
        let port = Arc::pin_init(
            try_pin_init!(Self {
                raw <- Opaque::try_ffi_init(|raw: *mut bindings::mpath_port| {
                    // SAFETY: `raw` is valid for writes, and pinned.
                    to_result(unsafe {
                        raw.write_bytes(GARBAGE, 1);
                        ffi::mpath_port_init(raw)
                    })
                }),
                other: None,
            }? Error),
            GFP_KERNEL,
        )?;

        port.set(state);
        Ok(port)
    }

    /// A live port that counts with another one, and lets go of it later.
    pub(super) fn sharing(other: Arc<Self>) -> Result<Arc<Self>> {
        let port = Arc::pin_init(
            try_pin_init!(Self {
                raw <- Opaque::try_ffi_init(|raw: *mut bindings::mpath_port| {
                    // SAFETY: `raw` is valid for writes, and pinned; the port keeps the other one.
                    to_result(unsafe {
                        raw.write_bytes(GARBAGE, 1);
                        ffi::mpath_port_init_sharing(raw, other.raw.get())
                    })
                }),
                other: Some(other.clone()),
            }? Error),
            GFP_KERNEL,
        )?;

        port.set(PortState::Live);
        Ok(port)
    }

    /// Sets the state of the port.
    pub(super) fn set(&self, state: PortState) {
        // SAFETY: Initialised.
        unsafe { ffi::mpath_port_set_state(self.raw.get(), state as u32) }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mpath_port {
        self.raw.get()
    }

    /// How many bios are in flight through the port.
    pub(super) fn active(&self) -> u32 {
        // SAFETY: Initialised.
        unsafe { ffi::mpath_port_in_flight(self.raw.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for FakePort {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised; each path that goes through the port keeps it.
        unsafe { ffi::mpath_port_exit(self.raw.get()) }
    }
}

// SAFETY: Everything in it is atomic.
unsafe impl Send for FakePort {}
// SAFETY: As above.
unsafe impl Sync for FakePort {}

/// The behaviour of a path towards the bios that come to it.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Behaviour {
    /// Ends them well, at once.
    Complete,
    /// Gives them back to the head, at once.
    FailOver,
    /// Gives bios back that are not for the beginning of the disk, and ends the others well.
    FailOverBeyond,
    /// Carries them out as far as one can see, and ends them with an error, at once.
    Spend,
    /// Keeps them until the test says how they end.
    Hold,
    /// Keeps bios that are not for the beginning of the disk, and ends the others well.
    HoldBeyond,
    /// Keeps their submitters busy, without letting them sleep, until it gets another behaviour, or
    /// has done so for long; then ends them well.
    Dawdle,
}

/// The settings of a path.
pub(super) struct Options {
    /// The port; a live one of its own when there is none.
    pub(super) port: Option<Arc<FakePort>>,
    /// How the storage is reached through it.
    pub(super) access: AccessState,
    /// The node that it is near to.
    pub(super) node: i32,
    /// Has it operations other than `submit_bio`?
    pub(super) operations: bool,
    /// Is its disk added?
    pub(super) added: bool,
    /// Changes the limits of its disk.
    pub(super) limits: fn(&mut bindings::queue_limits),
    /// The capacity in sectors.
    pub(super) capacity: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: None,
            access: AccessState::Optimized,
            node: NO_NODE,
            operations: true,
            added: true,
            limits: |_| (),
            capacity: CAPACITY,
        }
    }
}

/// A bio, in the state in which it came to a path.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) sector: u64,
    pub(super) bytes: u32,
    pub(super) opf: u32,
    pub(super) status: u32,
    pub(super) flags: u16,
    pub(super) cookie: u32,
    pub(super) ioprio: u16,
    pub(super) hint: u32,
    pub(super) stream: u8,
    /// Has it integrity data?
    pub(super) integrity: bool,
    /// Does the path's queue account for it?
    pub(super) of_queue: bool,
    /// The result of `mpath_bio_failovers()`.
    pub(super) failovers: u32,
}

impl Seen {
    /// # Safety
    ///
    /// `bio` is valid, and has come to the path of `disk`.
    unsafe fn new(bio: *mut bindings::bio, disk: *mut bindings::gendisk) -> Self {
        // SAFETY: By this function's contract; a submitted bio is associated with the group that
        // accounts for it.
        unsafe {
            Self {
                sector: (*bio).bi_iter.bi_sector,
                bytes: (*bio).bi_iter.bi_size,
                opf: (*bio).bi_opf,
                status: (*bio).bi_status.into(),
                flags: (*bio).bi_flags,
                cookie: (*bio).__bindgen_anon_1.bi_cookie,
                ioprio: (*bio).bi_ioprio,
                hint: (*bio).bi_write_hint.into(),
                stream: (*bio).bi_write_stream,
                integrity: has_integrity(bio),
                of_queue: is_accounted_by(bio, (*disk).queue),
                failovers: ffi::mpath_bio_failovers(bio),
            }
        }
    }
}

/// Has a bio integrity data?
///
/// # Safety
///
/// `bio` is valid.
unsafe fn has_integrity(bio: *mut bindings::bio) -> bool {
    #[cfg(CONFIG_BLK_DEV_INTEGRITY)]
    // SAFETY: By this function's contract.
    unsafe {
        (*bio).bi_opf & io::INTEGRITY != 0 && !(*bio).bi_integrity.is_null()
    }
    #[cfg(not(CONFIG_BLK_DEV_INTEGRITY))]
    {
        let _ = bio;
        false
    }
}

/// Does the group of this queue account for a bio?
///
/// # Safety
///
/// `bio` is valid, and has been submitted.
unsafe fn is_accounted_by(bio: *mut bindings::bio, queue: *mut bindings::request_queue) -> bool {
    #[cfg(CONFIG_BLK_CGROUP)]
    // SAFETY: By this function's contract. Tests are in the root of all groups.
    unsafe {
        core::ptr::eq((*bio).bi_blkg, (*queue).root_blkg)
    }
    #[cfg(not(CONFIG_BLK_CGROUP))]
    {
        let _ = (bio, queue);
        true
    }
}

/// The bios that a path remembers, and those that it holds.
struct Log {
    seen: KVec<Seen>,
    held: bindings::bio_list,
    /// The counters of the requests that it holds.
    counted: KVec<u16>,
}

// SAFETY: The bios that it holds are its own.
unsafe impl Send for Log {}

/// A path with a disk of its own. Dropping it takes it from its head and removes the disk.
#[pin_data(PinnedDrop)]
pub(super) struct FakePath {
    #[pin]
    dev: Opaque<bindings::mpath_device>,
    disk: *mut bindings::gendisk,
    port: Arc<FakePort>,
    access: AccessState,
    node: i32,
    /// Null, or the head that the path is on, with a reference.
    head: Atomic<*mut bindings::mpath_head>,
    /// Null, or the head that the path was on when bios were held, with a reference until they end.
    held_for: Atomic<*mut bindings::mpath_head>,
    /// Is it on that head's list?
    listed: Atomic<bool>,
    behaviour: Atomic<u32>,
    /// How many of the next bios the path gives back, whatever the behaviour.
    to_fail: Atomic<u32>,
    /// The status of bios that it gives back, or spends.
    status: Atomic<u32>,
    bios: Counter,
    #[pin]
    log: SpinLock<Log>,
    disk_added: Atomic<bool>,
    /// Has a failover left bios in its list?
    kept_bios: Atomic<bool>,
    /// Does it show a partition table?
    partitioned: Atomic<bool>,
    /// The operations that it has seen.
    pub(super) operations: Counter,
    /// The block device of the last one.
    pub(super) last_bdev: Atomic<*mut bindings::block_device>,
}

// SAFETY: The members that change are atomic, under a lock, or the engine's.
unsafe impl Send for FakePath {}
// SAFETY: As above.
unsafe impl Sync for FakePath {}

impl FakePath {
    /// A path that is on no head.
    pub(super) fn new(options: Options) -> Result<Arc<Self>> {
        let port = match options.port {
            Some(port) => port,
            None => FakePort::new(PortState::Live)?,
        };
        let seen = KVec::with_capacity(MEMORY, GFP_KERNEL)?;
        let counted = KVec::with_capacity(MEMORY, GFP_KERNEL)?;
        let mut lim = bindings::queue_limits {
            features: NOWAIT_FEATURE,
            ..Default::default()
        };
        (options.limits)(&mut lim);
        // SAFETY: The limits are valid.
        let disk = from_err_ptr(unsafe { bindings::mpath_helper_alloc_disk(&mut lim, NO_NODE) })?;
        let path = Arc::pin_init(
            try_pin_init!(Self {
                dev <- garbage(),
                disk,
                port,
                access: options.access,
                node: options.node,
                head: Atomic::new(core::ptr::null_mut()),
                held_for: Atomic::new(core::ptr::null_mut()),
                listed: Atomic::new(false),
                behaviour: Atomic::new(Behaviour::Complete as u32),
                to_fail: Atomic::new(0),
                status: Atomic::new(io::TRANSPORT),
                bios: Counter::new(),
                log <- new_spinlock!(Log { seen, held: bindings::bio_list::default(), counted }),
                disk_added: Atomic::new(false),
                kept_bios: Atomic::new(false),
                partitioned: Atomic::new(false),
                operations: Counter::new(),
                last_bdev: Atomic::new(core::ptr::null_mut()),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|_| {
            // SAFETY: Nobody else knows the disk.
            unsafe { bindings::put_disk(disk) }
        })?;

        // SAFETY: The disk is ours, and the path keeps it.
        unsafe {
            (*disk).fops = if options.operations { &FULL.0 } else { &BARE.0 };
            (*disk).private_data = core::ptr::from_ref(&*path).cast_mut().cast();
            (*disk).flags |= bindings::GENHD_FL_HIDDEN as i32;
            name_disk(disk, "mpkpath");
            bindings::set_capacity(disk, options.capacity);
        }
        if options.added {
            path.add_disk()?;
        }
        Ok(path)
    }

    /// Makes the path's own disk visible in sysfs.
    pub(super) fn add_disk(&self) -> Result {
        let groups = (&raw const GROUPS.0).cast_mut().cast();

        // SAFETY: The disk has not been added.
        to_result(unsafe { bindings::device_add_disk(core::ptr::null_mut(), self.disk, groups) })?;
        self.disk_added.store(true, Relaxed);
        Ok(())
    }

    /// The path of a disk.
    ///
    /// # Safety
    ///
    /// `disk` is a fake path's.
    unsafe fn of_disk<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: The path keeps its disk.
        unsafe { &*(*disk).private_data.cast() }
    }

    /// The path of a block device.
    ///
    /// # Safety
    ///
    /// `bdev` is a fake path's disk.
    unsafe fn of_bdev<'a>(bdev: *mut bindings::block_device) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { Self::of_disk((*bdev).bd_disk) }
    }

    /// The structure that is embedded.
    pub(super) fn dev(&self) -> *mut bindings::mpath_device {
        self.dev.get()
    }

    /// The path, as the engine sees it.
    pub(super) fn engine(&self) -> &MpathDevice {
        // SAFETY: Only called on paths that have been added to a head.
        unsafe { MpathDevice::from_raw(self.dev()) }
    }

    pub(super) fn disk(&self) -> *mut bindings::gendisk {
        self.disk
    }

    pub(super) fn port(&self) -> &FakePort {
        &self.port
    }

    /// Adds the path to a head.
    pub(super) fn add(&self, head: &TestHead) -> Result {
        let raw = head.as_raw();

        // SAFETY: The path keeps the head, and stays until it has been taken from it.
        unsafe {
            to_result(ffi::mpath_add_device(
                self.dev(),
                raw,
                self.disk,
                self.port.raw.get(),
                self.node,
            ))?;
            ffi::mpath_get_head(raw);
        }
        self.head.store(raw, Relaxed);
        self.listed.store(true, Relaxed);
        Ok(())
    }

    /// Sets the path up, and says that it can carry I/O.
    pub(super) fn go_live(&self) {
        self.enable(NOT_READY);
        self.set_access(self.access);
        self.set_live();
    }

    pub(super) fn set_live(&self) {
        // SAFETY: The path is on a head.
        unsafe { ffi::mpath_device_set_live(self.dev()) };
    }

    pub(super) fn enable(&self, reasons: u32) {
        // SAFETY: The path is on a head.
        unsafe { ffi::mpath_enable_device(self.dev(), reasons) }
    }

    pub(super) fn disable(&self, reasons: u32) {
        // SAFETY: The path is on a head.
        unsafe { ffi::mpath_disable_device(self.dev(), reasons) }
    }

    pub(super) fn set_access(&self, access: AccessState) {
        // SAFETY: The path is on a head.
        unsafe { ffi::mpath_device_set_access_state(self.dev(), access as u32) }
    }

    /// Takes the path from its head, as a driver does. Returns whether that has none left; nothing
    /// happens when it is on no head.
    pub(super) fn remove(&self) -> bool {
        let head = self.head.xchg(core::ptr::null_mut(), Full);

        if head.is_null() {
            return false;
        }
        // SAFETY: The path was on this head, to which it has a reference.
        unsafe {
            self.quiesce();
            ffi::mpath_remove_sysfs_link(self.dev());
            let is_last = self.listed.load(Relaxed) && self.unlink();
            ffi::mpath_synchronize(head);
            if self.log.lock().counted.is_empty() {
                ffi::mpath_put_head(head);
            } else {
                self.held_for.store(head, Relaxed);
            }
            is_last
        }
    }

    /// Makes sure that no reader chooses the path any more.
    pub(super) fn quiesce(&self) {
        // SAFETY: The path has been on a head.
        unsafe { ffi::mpath_quiesce_device(self.dev()) }
    }

    /// Unlinks the path from its head and does nothing else. Returns whether that has none left.
    pub(super) fn unlink(&self) -> bool {
        self.listed.store(false, Relaxed);
        // SAFETY: The path has been on a head.
        unsafe { ffi::mpath_delete_device(self.dev()) }
    }

    /// Links the path to a head again after [`FakePath::unlink`].
    pub(super) fn relink(&self, head: &TestHead) -> Result {
        // SAFETY: The path still keeps the head.
        unsafe {
            to_result(ffi::mpath_add_device(
                self.dev(),
                head.as_raw(),
                self.disk,
                self.port.raw.get(),
                self.node,
            ))?;
        }
        self.listed.store(true, Relaxed);
        Ok(())
    }

    /// Sets the behaviour towards bios from now on.
    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.behaviour.store(behaviour as u32, Relaxed);
    }

    /// Gives so many of the next bios back to the head, at once.
    pub(super) fn fail_next(&self, count: u32) {
        self.to_fail.store(count, Relaxed);
    }

    /// Sets the status with which it gives bios back, or spends them, from now on.
    pub(super) fn fail_with(&self, status: u32) {
        self.status.store(status, Relaxed);
    }

    /// Shows a partition table with one partition from now on.
    pub(super) fn show_a_partition(&self) {
        self.partitioned.store(true, Relaxed);
    }

    /// How many bios have come.
    pub(super) fn bios(&self) -> u32 {
        self.bios.get()
    }

    /// The bios that have come, as far as it remembers them.
    pub(super) fn seen(&self) -> Result<KVec<Seen>> {
        let mut copy = KVec::with_capacity(MEMORY, GFP_KERNEL)?;

        for seen in self.log.lock().seen.iter() {
            copy.push_within_capacity(*seen)?;
        }
        Ok(copy)
    }

    /// Counts a request as in flight, on this CPU.
    pub(super) fn request_start(&self) -> u16 {
        // SAFETY: The path is on a head, or was when a bio was sent to it.
        unsafe { bindings::mpath_helper_request_start(self.dev()) }
    }

    /// Ends a request that was counted.
    pub(super) fn request_done(&self, counted: u16) {
        // SAFETY: The path has been on a head, which is there.
        unsafe { bindings::mpath_helper_request_done(self.dev(), counted) }
    }

    /// How many bios it holds.
    pub(super) fn held(&self) -> usize {
        let log = self.log.lock();
        let mut bio = log.held.head;
        let mut count = 0;

        while !bio.is_null() {
            count += 1;
            // SAFETY: The held bios are the path's, linked with each other.
            bio = unsafe { (*bio).bi_next };
        }
        count
    }

    /// Takes the held bios, in order.
    pub(super) fn take_held(&self) -> bindings::bio_list {
        let mut log = self.log.lock();
        let list = core::mem::take(&mut log.held);
        let mut bio = list.head;

        while !bio.is_null() {
            if let Some(counted) = log.counted.pop() {
                self.request_done(counted);
            }
            // SAFETY: As in `held()`.
            bio = unsafe { (*bio).bi_next };
        }
        drop(log);

        let head = self.held_for.xchg(core::ptr::null_mut(), Full);
        if !head.is_null() {
            // SAFETY: `remove()` has left its reference, once.
            unsafe { ffi::mpath_put_head(head) };
        }
        list
    }

    /// Ends the held bios.
    pub(super) fn complete_held(&self) {
        self.end_held(io::OK);
    }

    /// Ends the held bios with a status.
    pub(super) fn end_held(&self, status: u32) {
        let mut bio = self.take_held().head;

        while !bio.is_null() {
            // SAFETY: The bios that the path held are ours, once.
            unsafe {
                let next = core::mem::replace(&mut (*bio).bi_next, core::ptr::null_mut());

                if status != io::OK {
                    (*bio).bi_status = status as u8;
                }
                bindings::bio_endio(bio);
                bio = next;
            }
        }
    }

    /// Gives the held bios back to the head, with a status that shows.
    pub(super) fn fail_held_over(&self) {
        self.fail_over(self.take_held());
    }

    /// Carries the held bios out as far as one can see, and ends them with an error. The block
    /// layer does the same with a write whose flush afterwards has failed.
    pub(super) fn spend_held(&self) {
        let mut bio = self.take_held().head;

        while !bio.is_null() {
            // SAFETY: The bios that the path held are ours, once.
            unsafe {
                let next = core::mem::replace(&mut (*bio).bi_next, core::ptr::null_mut());

                self.spend(bio);
                bio = next;
            }
        }
    }

    /// # Safety
    ///
    /// `bio` is valid, and the path's to end.
    unsafe fn spend(&self, bio: *mut bindings::bio) {
        // SAFETY: By this function's contract.
        unsafe {
            consume(bio);
            (*bio).bi_status = self.status.load(Relaxed) as u8;
            bindings::bio_endio(bio);
        }
    }

    /// Carries the held bios out as far as one can see, and gives them back.
    pub(super) fn fail_held_over_spent(&self) {
        let list = self.take_held();
        let mut bio = list.head;

        while !bio.is_null() {
            // SAFETY: The list owns its bios.
            unsafe {
                consume(bio);
                bio = (*bio).bi_next;
            }
        }
        self.fail_over(list);
    }

    /// Gives the held bios back to the head; the path may still carry them out until a fence opens.
    pub(super) fn fail_held_over_fenced(&self, fence: *mut bindings::mpath_fence) {
        self.fail_over_fenced(self.take_held(), fence);
    }

    /// Gives bios back to the head, with a status that shows. Any context.
    pub(super) fn fail_over(&self, list: bindings::bio_list) {
        self.fail_over_fenced(list, core::ptr::null_mut());
    }

    fn fail_over_fenced(&self, mut list: bindings::bio_list, fence: *mut bindings::mpath_fence) {
        let mut bio = list.head;

        while !bio.is_null() {
            // SAFETY: The list owns its bios. The status of a bio whose other pieces are on their
            // way belongs to those.
            unsafe {
                if (*bio).bi_flags & (1 << bindings::BIO_CHAIN) == 0 {
                    (*bio).bi_status = self.status.load(Relaxed) as u8;
                }
                bio = (*bio).bi_next;
            }
        }
        // SAFETY: The path is, or was, on a head with a disk, which it keeps.
        unsafe {
            if fence.is_null() {
                ffi::mpath_failover(self.dev(), &mut list);
            } else {
                ffi::mpath_failover_fenced(self.dev(), &mut list, fence);
            }
        }
        if !list.head.is_null() || !list.tail.is_null() {
            self.kept_bios.store(true, Relaxed);
        }
    }

    /// Takes a bio that has come.
    ///
    /// # Safety
    ///
    /// `bio` is valid, and the caller gives it up.
    unsafe fn take(&self, bio: *mut bindings::bio) {
        self.bios.count();
        // SAFETY: By this function's contract.
        let seen = unsafe { Seen::new(bio, self.disk) };

        if seen.opf & io::POLLED != 0 {
            // SAFETY: The bio is ours, and drivers below a path may set the cookie.
            unsafe { (*bio).__bindgen_anon_1.bi_cookie = COOKIE };
        }

        let mut log = self.log.lock();
        // The path does not remember bios that do not fit.
        let _ = log.seen.push_within_capacity(seen);
        let mut behaviour = self.behaviour.load(Relaxed);
        let to_fail = self.to_fail.load(Relaxed);
        if to_fail > 0 {
            self.to_fail.store(to_fail - 1, Relaxed);
            behaviour = Behaviour::FailOver as u32;
        }
        if behaviour == Behaviour::HoldBeyond as u32 && seen.sector != 0 {
            behaviour = Behaviour::Hold as u32;
        }
        if behaviour == Behaviour::FailOverBeyond as u32 && seen.sector != 0 {
            behaviour = Behaviour::FailOver as u32;
        }
        if behaviour == Behaviour::Hold as u32 {
            let counted = self.request_start();

            // A request that does not fit does not count.
            if log.counted.push_within_capacity(counted).is_err() {
                self.request_done(counted);
            }
            // SAFETY: The bio is ours now; the tail is, while it is on the list.
            unsafe {
                (*bio).bi_next = core::ptr::null_mut();
                if log.held.tail.is_null() {
                    log.held.head = bio;
                } else {
                    (*log.held.tail).bi_next = bio;
                }
            }
            log.held.tail = bio;
            return;
        }
        drop(log);

        let begin = Instant::<Monotonic>::now();
        while self.behaviour.load(Relaxed) == Behaviour::Dawdle as u32
            && begin.elapsed() < LONGEST_DAWDLE
        {
            core::hint::spin_loop();
        }
        if behaviour == Behaviour::FailOver as u32 {
            self.fail_over(bindings::bio_list {
                head: bio,
                tail: bio,
            });
            return;
        }
        if behaviour == Behaviour::Spend as u32 {
            // SAFETY: The bio is ours, once.
            unsafe { self.spend(bio) };
            return;
        }
        // SAFETY: The bio is ours, once.
        unsafe {
            if seen.opf & io::OPERATION == io::ZONE_APPEND {
                (*bio).bi_iter.bi_sector += APPENDED_AT;
            }
            if seen.opf & io::OPERATION == io::READ {
                fill(bio, self.partitioned.load(Relaxed));
            }
            bindings::bio_endio(bio);
        }
    }

    fn note(&self, bdev: *mut bindings::block_device) {
        self.operations.count();
        self.last_bdev.store(bdev, Relaxed);
    }
}

#[pinned_drop]
impl PinnedDrop for FakePath {
    fn drop(self: Pin<&mut Self>) {
        self.behave(Behaviour::Complete);
        self.complete_held();
        self.remove();
        if self.kept_bios.load(Relaxed) {
            complain(c"the list is empty after a failover");
        }
        // SAFETY: The disk is ours, and no head leads to it any more.
        unsafe {
            if self.disk_added.load(Relaxed) {
                bindings::del_gendisk(self.disk);
            }
            self.complete_held();
            bindings::put_disk(self.disk);
        }
    }
}

/// The cookie of a path that is polled.
pub(super) const COOKIE: u32 = 7;

/// How far behind the beginning of its zone a path appends.
pub(super) const APPENDED_AT: u64 = 24;

/// Changes a bio as drivers below a path may change it.
///
/// # Safety
///
/// `bio` is valid, and its path's.
unsafe fn consume(bio: *mut bindings::bio) {
    // SAFETY: By this function's contract. All data has been transferred. The block layer has
    // carried out a flush apart, and the flags that ask for one are gone.
    unsafe {
        let sectors = u64::from((*bio).bi_iter.bi_size) / 512;

        (*bio).bi_iter.bi_sector += sectors;
        (*bio).bi_iter.bi_size = 0;
        (*bio).bi_iter.bi_idx = (*bio).bi_vcnt.into();
        set_bvec_offset(&mut (*bio).bi_iter, 0);
        (*bio).bi_opf &= !(io::PREFLUSH | io::FUA);
    }
}

/// Answers a read: with zeroes, and a partition table in the first sector if there is to be one.
///
/// # Safety
///
/// `bio` is valid, and reads.
unsafe fn fill(bio: *mut bindings::bio, partitioned: bool) {
    // One partition of type Linux, sectors 64 to 1087.
    const ENTRY: [u8; 16] = [0, 0, 0, 0, 0x83, 0, 0, 0, 64, 0, 0, 0, 0, 4, 0, 0];

    // SAFETY: By this function's contract; the vectors from `bi_idx` on are the bio's. On machines
    // with 64 bits, their pages are in the kernel's map, one after the other.
    unsafe {
        let mut left = (*bio).bi_iter.bi_size as usize;
        let mut skip = bvec_offset(&(*bio).bi_iter) as usize;
        let mut vec = (*bio).bi_io_vec.add((*bio).bi_iter.bi_idx as usize);
        let mut is_first = (*bio).bi_iter.bi_sector == 0;

        while left > 0 {
            let length = ((*vec).bv_len as usize - skip).min(left);
            let page = bindings::kmap_local_page((*vec).bv_page).cast::<u8>();
            let to = page.add((*vec).bv_offset as usize + skip);

            core::ptr::write_bytes(to, 0, length);
            if core::mem::take(&mut is_first) && partitioned && length >= 512 {
                core::ptr::copy_nonoverlapping(ENTRY.as_ptr(), to.add(446), ENTRY.len());
                to.add(510).write(0x55);
                to.add(511).write(0xaa);
            }
            bindings::kunmap_local(page.cast());
            left -= length;
            skip = 0;
            vec = vec.add(1);
        }
    }
}

/// # Safety
///
/// Called by the block layer.
unsafe extern "C" fn submit_bio(bio: *mut bindings::bio) {
    // SAFETY: The block layer hands a bio of a fake path's disk over.
    unsafe { FakePath::of_bdev((*bio).bi_bdev).take(bio) }
}

/// The result of an operation of a path, so that one can see that it was the path's.
pub(super) const ANSWER: i32 = 1234;
/// The result of the compat operation of a path.
pub(super) const COMPAT_ANSWER: i32 = 1235;

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn ioctl(
    bdev: *mut bindings::block_device,
    _mode: bindings::blk_mode_t,
    _cmd: c_uint,
    _arg: c_ulong,
) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_bdev(bdev) }.note(bdev);
    ANSWER
}

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn compat_ioctl(
    bdev: *mut bindings::block_device,
    _mode: bindings::blk_mode_t,
    _cmd: c_uint,
    _arg: c_ulong,
) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_bdev(bdev) }.note(bdev);
    COMPAT_ANSWER
}

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn getgeo(
    disk: *mut bindings::gendisk,
    _geo: *mut bindings::hd_geometry,
) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_disk(disk).note((*disk).part0) };
    ANSWER
}

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn report_zones(
    disk: *mut bindings::gendisk,
    _sector: bindings::sector_t,
    _nr_zones: c_uint,
    _args: *mut bindings::blk_report_zones_args,
) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_disk(disk).note((*disk).part0) };
    ANSWER
}

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn get_unique_id(
    disk: *mut bindings::gendisk,
    _id: *mut u8,
    _kind: bindings::blk_unique_id,
) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_disk(disk).note((*disk).part0) };
    ANSWER
}

/// # Safety
///
/// Called by the engine, on a fake path's disk.
unsafe extern "C" fn pr_clear(bdev: *mut bindings::block_device, _key: u64) -> c_int {
    // SAFETY: By this function's contract.
    unsafe { FakePath::of_bdev(bdev) }.note(bdev);
    ANSWER
}

/// Persistent reservations, of which there is one operation.
static RESERVATIONS: Constant<bindings::pr_ops> = Constant(bindings::pr_ops {
    pr_register: None,
    pr_reserve: None,
    pr_release: None,
    pr_preempt: None,
    pr_clear: Some(pr_clear),
    pr_read_keys: None,
    pr_read_reservation: None,
});

/// The operations of a path that has them.
static FULL: Constant<bindings::block_device_operations> =
    Constant(bindings::block_device_operations {
        submit_bio: Some(submit_bio),
        ioctl: Some(ioctl),
        compat_ioctl: Some(compat_ioctl),
        getgeo: Some(getgeo),
        report_zones: Some(report_zones),
        get_unique_id: Some(get_unique_id),
        pr_ops: (&raw const RESERVATIONS.0).cast(),
        ..pin_init::zeroed()
    });

/// The operations of a path that has no others.
static BARE: Constant<bindings::block_device_operations> =
    Constant(bindings::block_device_operations {
        submit_bio: Some(submit_bio),
        ..pin_init::zeroed()
    });

/// `BLK_FEAT_WRITE_CACHE`.
pub(super) const WRITE_CACHE_FEATURE: bindings::blk_features_t = 1 << 0;
/// `BLK_FEAT_FUA`.
pub(super) const FUA_FEATURE: bindings::blk_features_t = 1 << 1;
/// `BLK_FEAT_NOWAIT`.
pub(super) const NOWAIT_FEATURE: bindings::blk_features_t = 1 << 7;
/// `BLK_FEAT_POLL`.
pub(super) const POLL_FEATURE: bindings::blk_features_t = 1 << 9;
/// `BLK_FEAT_ZONED`.
pub(super) const ZONED_FEATURE: bindings::blk_features_t = 1 << 10;
