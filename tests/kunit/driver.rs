// SPDX-License-Identifier: GPL-2.0

//! A driver of the library's: a policy, a template whose callbacks count, and a head.

use super::check::{
    complain,
    eventually, //
};
use super::fake::{
    FakePath,
    Options,
    GARBAGE, //
};
use super::io::{
    Io,
    WRITE, //
};
use super::opener::Opener;
use crate::bindings;
use crate::compat::this_module;
use crate::engine::group::Group;
use crate::engine::head::MpathHead;
use crate::engine::ops::Ops;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use crate::wrap::node_slots;
use core::ptr::NonNull;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::ffi::c_int;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    Mutex, //
};
use kernel::types::Opaque;

/// The capacity of heads and paths in sectors.
pub(super) const CAPACITY: u64 = 2048;

/// All policies.
pub(super) const ALL_POLICIES: u32 =
    IoPolicy::Numa.bit() | IoPolicy::RoundRobin.bit() | IoPolicy::QueueDepth.bit();

/// Gives every disk a name of its own.
static DISKS: Atomic<u32> = Atomic::new(0);

/// Names a disk that has not been added.
///
/// # Safety
///
/// `disk` is valid, and nobody else uses it.
pub(super) unsafe fn name_disk(disk: *mut bindings::gendisk, prefix: &str) {
    let number = DISKS.fetch_add(1, Relaxed);
    // SAFETY: By this function's contract.
    let name = unsafe { &mut (*disk).disk_name };
    let mut digits = [0; 10];
    let mut rest = number;
    let mut count = 0;

    while count == 0 || rest > 0 {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    digits[..count].reverse();
    let bytes = [prefix.as_bytes(), &digits[..count], &[0]];
    for (to, from) in name.iter_mut().zip(bytes.into_iter().flatten()) {
        *to = *from as _;
    }
}

/// A counter of events.
#[repr(transparent)]
pub(super) struct Counter(Atomic<u32>);

impl Counter {
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Full);
    }

    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// A policy that heads may share.
#[pin_data]
pub(super) struct FakePolicy {
    #[pin]
    raw: Opaque<bindings::mpath_iopolicy>,
}

impl FakePolicy {
    /// A group without heads.
    pub(super) fn new(policy: IoPolicy, supported: u32) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                raw <- Opaque::try_ffi_init(|raw: *mut bindings::mpath_iopolicy| {
                    // SAFETY: `raw` is valid for writes, and pinned.
                    to_result(unsafe {
                        raw.write_bytes(GARBAGE, 1);
                        ffi::mpath_iopolicy_init(raw, policy as u32, supported)
                    })
                }),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mpath_iopolicy {
        self.raw.get()
    }

    /// The policy in force.
    pub(super) fn in_force(&self) -> IoPolicy {
        // SAFETY: Initialised.
        unsafe { Group::from_raw(self.as_raw()) }.policy()
    }

    /// Stores a policy, as sysfs would.
    pub(super) fn set(&self, policy: IoPolicy) -> c_int {
        // SAFETY: Initialised.
        unsafe { ffi::mpath_iopolicy_set(self.as_raw(), policy as u32) }
    }
}

// SAFETY: The engine serialises all callers.
unsafe impl Send for FakePolicy {}
// SAFETY: As above.
unsafe impl Sync for FakePolicy {}

/// The data that the driver keeps for a head; `drvdata` of the head owns a reference to it.
#[pin_data]
pub(super) struct Driver {
    template: bindings::mpath_head_template,
    policy: Arc<FakePolicy>,
    /// Has the driver its reference to the head? Changed under the lock under which a driver looks
    /// heads up.
    #[pin]
    owns: Mutex<bool>,
    /// The result of `add_cdev`.
    pub(super) cdev_error: Atomic<i32>,
    /// How often each callback was called.
    pub(super) released: Counter,
    pub(super) asked_to_remove: Counter,
    pub(super) removed: Counter,
    pub(super) cdevs_added: Counter,
    pub(super) cdevs_deleted: Counter,
    /// How often other callbacks began and ended, and their last arguments.
    pub(super) entered: Counter,
    pub(super) left: Counter,
    pub(super) last_bdev: Atomic<*mut bindings::block_device>,
    pub(super) last_arg: Atomic<usize>,
    /// Whether a callback that takes long may go on.
    pub(super) go_on: Atomic<bool>,
}

// SAFETY: The template does not change, the rest is atomic or under a lock.
unsafe impl Send for Driver {}
// SAFETY: As above.
unsafe impl Sync for Driver {}

impl Driver {
    /// The driver of a head.
    ///
    /// # Safety
    ///
    /// `head` is one of [`TestHead`], and not gone.
    pub(super) unsafe fn of<'a>(head: *mut bindings::mpath_head) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*(*head).drvdata.cast() }
    }

    /// The driver's reference is the test's from now on.
    pub(super) fn forget(&self) {
        *self.owns.lock() = false;
    }

    /// Does what a driver does when a head has lost its last path. Returns whether the head has
    /// gone.
    ///
    /// # Safety
    ///
    /// `head` is this driver's, and stays for the time of the call.
    pub(super) unsafe fn try_remove(&self, head: *mut bindings::mpath_head) -> bool {
        {
            let mut owns = self.owns.lock();

            // SAFETY: By this function's contract.
            if !*owns || !unsafe { ffi::mpath_try_remove_head(head) } {
                return false;
            }
            *owns = false;
        }
        self.removed.count();
        // SAFETY: The reference was the driver's, which has forgotten the head.
        unsafe {
            ffi::mpath_remove_head(head);
            ffi::mpath_put_head(head);
        }
        true
    }
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn release(head: *mut bindings::mpath_head) {
    // SAFETY: `drvdata` owned a reference; the library does not call again.
    let driver = unsafe { Arc::<Driver>::from_raw((*head).drvdata.cast()) };

    driver.released.count();
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn remove_head(head: *mut bindings::mpath_head) {
    // SAFETY: The library keeps the head for the time of the call.
    unsafe {
        let driver = Driver::of(head);

        driver.asked_to_remove.count();
        driver.try_remove(head);
    }
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn add_cdev(head: *mut bindings::mpath_head) -> c_int {
    // SAFETY: The library keeps the head for the time of the call.
    let driver = unsafe { Driver::of(head) };

    driver.cdevs_added.count();
    driver.cdev_error.load(Relaxed)
}

/// # Safety
///
/// Called by the library.
unsafe extern "C" fn del_cdev(head: *mut bindings::mpath_head) {
    // SAFETY: The library keeps the head for the time of the call.
    unsafe { Driver::of(head) }.cdevs_deleted.count();
}

/// A constant that refers to constants only.
#[repr(transparent)]
pub(super) struct Constant<T>(pub(super) T);

// SAFETY: By its purpose.
unsafe impl<T> Sync for Constant<T> {}

/// `MPATH_BDEV_OPS(THIS_MODULE)` and persistent reservations.
static OPERATIONS: Constant<bindings::block_device_operations> =
    Constant(bindings::block_device_operations {
        owner: this_module::<crate::Multipath>().as_ptr(),
        submit_bio: Some(ffi::mpath_bdev_submit_bio),
        open: Some(ffi::mpath_bdev_open),
        release: Some(ffi::mpath_bdev_release),
        ioctl: Some(ffi::mpath_bdev_ioctl),
        compat_ioctl: Some(ffi::mpath_bdev_compat_ioctl),
        getgeo: Some(ffi::mpath_bdev_getgeo),
        get_unique_id: Some(ffi::mpath_bdev_get_unique_id),
        report_zones: Some(ffi::mpath_bdev_report_zones),
        pr_ops: (&raw const ffi::mpath_pr_ops).cast(),
        ..pin_init::zeroed()
    });

/// The groups of a head's disk, and of a path's.
pub(super) static GROUPS: Constant<[*const bindings::attribute_group; 2]> =
    Constant([(&raw const ffi::mpath_attr_group).cast(), core::ptr::null()]);

/// How a head is set up.
pub(super) struct Setup {
    /// The policy; a group of its own that follows numa when there is none.
    pub(super) policy: Option<Arc<FakePolicy>>,
    /// Has it got a disk?
    pub(super) disk: bool,
    /// May the disk have partitions?
    pub(super) partitions: bool,
    /// Changes the template.
    pub(super) template: fn(&mut bindings::mpath_head_template),
    /// Changes the limits of the disk.
    pub(super) limits: fn(&mut bindings::queue_limits),
    /// The nodes that there can be, if not this machine's.
    pub(super) map: Option<&'static node_slots::Map>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: None,
            disk: true,
            partitions: false,
            template: |_| (),
            limits: |_| (),
            map: None,
        }
    }
}

/// Does what `mpath_alloc_head()` does, for other nodes than this machine's.
///
/// # Safety
///
/// As for `mpath_alloc_head()`.
unsafe fn on_map(
    template: &bindings::mpath_head_template,
    group: *mut bindings::mpath_iopolicy,
    drvdata: *const Driver,
    map: &'static node_slots::Map,
) -> *mut bindings::mpath_head {
    // SAFETY: By this function's contract.
    let head = unsafe { Ops::new(template) }.and_then(|ops| {
        let group = NonNull::new(group).ok_or(EINVAL)?;

        // SAFETY: As above.
        unsafe { MpathHead::new(ops, group, drvdata.cast_mut().cast(), map) }
    });

    match head {
        Ok(head) => ARef::into_raw(head).cast().as_ptr(),
        Err(error) => error.to_ptr(),
    }
}

/// A head of the driver's. Dropping it removes it, after its paths have gone.
pub(super) struct TestHead {
    raw: *mut bindings::mpath_head,
    driver: Arc<Driver>,
}

impl TestHead {
    /// A head that follows a policy.
    pub(super) fn following(policy: IoPolicy) -> Result<Self> {
        Self::new(Setup {
            policy: Some(FakePolicy::new(policy, ALL_POLICIES)?),
            ..Setup::default()
        })
    }

    /// A head without paths.
    pub(super) fn new(setup: Setup) -> Result<Self> {
        let policy = match setup.policy {
            Some(policy) => policy,
            None => FakePolicy::new(IoPolicy::Numa, ALL_POLICIES)?,
        };
        let mut template = bindings::mpath_head_template {
            owner: this_module::<crate::Multipath>().as_ptr(),
            fops: &raw const OPERATIONS.0,
            disk_groups: (&raw const GROUPS.0).cast_mut().cast(),
            release: Some(release),
            remove_head: Some(remove_head),
            add_cdev: Some(add_cdev),
            del_cdev: Some(del_cdev),
            ..Default::default()
        };
        (setup.template)(&mut template);

        let driver = Arc::pin_init(
            try_pin_init!(Driver {
                template,
                policy,
                owns <- new_mutex!(true),
                cdev_error: Atomic::new(0),
                released: Counter::new(),
                asked_to_remove: Counter::new(),
                removed: Counter::new(),
                cdevs_added: Counter::new(),
                cdevs_deleted: Counter::new(),
                entered: Counter::new(),
                left: Counter::new(),
                last_bdev: Atomic::new(core::ptr::null_mut()),
                last_arg: Atomic::new(0),
                go_on: Atomic::new(false),
            }),
            GFP_KERNEL,
        )?;
        let drvdata = Arc::into_raw(driver.clone());
        let group = driver.policy.as_raw();
        // SAFETY: Template and policy are the driver's, which the head keeps.
        let raw = unsafe {
            match setup.map {
                Some(map) => on_map(&driver.template, group, drvdata, map),
                None => ffi::mpath_alloc_head(&driver.template, group, drvdata.cast_mut().cast()),
            }
        };

        from_err_ptr(raw).inspect_err(|_| {
            // SAFETY: The head that was to own it is not.
            drop(unsafe { Arc::<Driver>::from_raw(drvdata) });
        })?;
        let head = Self { raw, driver };
        if setup.disk {
            head.alloc_disk(setup.limits, setup.partitions)?;
        }
        Ok(head)
    }

    fn alloc_disk(&self, limits: fn(&mut bindings::queue_limits), partitions: bool) -> Result {
        let mut lim = bindings::queue_limits::default();

        limits(&mut lim);
        // SAFETY: The head is there; its disk is nobody else's until it is added.
        unsafe {
            to_result(ffi::mpath_alloc_head_disk(
                self.raw,
                &mut lim,
                core::ptr::null_mut(),
                -1,
            ))?;
            name_disk(self.disk(), "mpk");
            if !partitions {
                (*self.disk()).flags |= bindings::GENHD_FL_NO_PART as i32;
            }
            bindings::set_capacity(self.disk(), CAPACITY);
        }
        Ok(())
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mpath_head {
        self.raw
    }

    /// The driver, which the head may not outlive.
    pub(super) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// The policy that the head follows.
    pub(super) fn policy(&self) -> &FakePolicy {
        &self.driver.policy
    }

    /// One more reference, and a look at the engine.
    pub(super) fn engine(&self) -> ARef<MpathHead> {
        // SAFETY: The driver has its reference, or the test has one.
        ARef::from(unsafe { MpathHead::from_raw(self.raw) })
    }

    /// The head's disk.
    pub(super) fn disk(&self) -> *mut bindings::gendisk {
        // SAFETY: The head is there.
        unsafe { (*self.raw).disk }
    }

    /// The head's disk as a block device.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: The head's disk is there.
        unsafe { (*self.disk()).part0 }
    }

    /// The first partition of the head's disk, or null.
    pub(super) fn partition(&self) -> *mut bindings::block_device {
        // SAFETY: The head's disk is there; a partition stays as long as it, unless scanned anew.
        unsafe { bindings::xa_load(&raw mut (*self.disk()).part_tbl, 1).cast() }
    }

    /// Opens the head's disk.
    pub(super) fn open(&self) -> Result<Opener> {
        // SAFETY: The head's disk is there.
        Opener::open(unsafe { (*self.bdev()).bd_dev })
    }

    /// A path that is live and optimized, through a port of its own.
    pub(super) fn path(&self) -> Result<Arc<FakePath>> {
        self.path_with(Options::default())
    }

    /// A path that is live.
    pub(super) fn path_with(&self, options: Options) -> Result<Arc<FakePath>> {
        let path = FakePath::new(options)?;

        path.add(self)?;
        path.go_live();
        self.settle();
        Ok(path)
    }

    /// Waits until nothing is on its way that belongs to a path which went live.
    pub(super) fn settle(&self) {
        let engine = self.engine();

        engine.scan.flush();
        engine.busy.requeue.flush();
    }

    /// Submits a write of a page.
    pub(super) fn write(&self, sector: u64) -> Result<Arc<Io>> {
        Io::submit(self.bdev(), WRITE, sector)
    }

    /// Submits `count` writes, one after the other, and waits for each. Returns how many ended
    /// well.
    pub(super) fn write_many(&self, count: u32) -> Result<u32> {
        let mut good = 0;

        for _ in 0..count {
            good += u32::from(self.write(0)?.wait() == super::io::OK);
        }
        Ok(good)
    }

    pub(super) fn is_live(&self) -> bool {
        // SAFETY: The head is there.
        unsafe { ffi::mpath_head_is_live(self.raw) }
    }

    /// Has the requeue work submit the bios that wait, and waits until it has done that.
    pub(super) fn kick(&self) {
        // SAFETY: The head is there.
        unsafe { ffi::mpath_kick_requeue(self.raw) };
        self.engine().busy.requeue.flush();
    }

    /// Waits for all readers that may see the head's paths.
    pub(super) fn synchronize(&self) {
        // SAFETY: The head is there.
        unsafe { ffi::mpath_synchronize(self.raw) }
    }

    /// How many bios the head has parked for want of a usable path.
    pub(super) fn requeued(&self) -> isize {
        self.engine().busy.requeued.load(Relaxed)
    }

    /// How many bios have failed for want of an available path.
    pub(super) fn failed(&self) -> isize {
        self.engine().busy.failed.load(Relaxed)
    }

    /// Does what a driver does when the head has lost its last path. Returns whether it has gone.
    pub(super) fn try_remove(&self) -> bool {
        // SAFETY: While the driver owns the head, which it looks at under its lock, the head stays:
        // it only goes by way of `try_remove()`.
        unsafe { self.driver.try_remove(self.raw) }
    }

    /// Stores a removal delay, as sysfs would.
    pub(super) fn store_delay(&self, text: &CStr) -> isize {
        // sysfs keeps the disk for the time of the call, too.
        let _reference = self.engine();

        // SAFETY: The head is there.
        unsafe {
            ffi::mpath_delayed_removal_secs_store(
                self.raw,
                text.as_char_ptr(),
                text.to_bytes().len(),
            )
        }
    }
}

impl Drop for TestHead {
    fn drop(&mut self) {
        let engine = {
            let owns = self.driver.owns.lock();

            owns.then(|| self.engine())
        };

        if let Some(engine) = engine {
            // An armed timer goes off now; where none can be armed there is none.
            let _ = engine.set_removal_delay(0);
            eventually(|| self.try_remove() || !*self.driver.owns.lock());
        }
        if !eventually(|| self.driver.released.get() == 1) {
            complain(c"the head has been released");
        }
    }
}

// SAFETY: A head may be used from any thread.
unsafe impl Send for TestHead {}
// SAFETY: As above, also at the same time.
unsafe impl Sync for TestHead {}
