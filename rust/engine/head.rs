// SPDX-License-Identifier: GPL-2.0

//! A head: its memory, and the operations on all of it.
//!
//! A head is one allocation. It has the part that C may see, the fields that every bio reads, and
//! those that I/O writes under load, on lines of their own. The rarely used fields follow, and at
//! the end the cache with one slot per possible node.
//!
//! References to it are in `references.rs`.

use super::cache::CurrentPath;
use super::group::Group;
use super::misuse::{
    misuse,
    CallbackTasks, //
};
use super::ops::Ops;
use super::path::MpathDevice;
use super::publish::Shortlist;
use super::record::{
    HeadRecord,
    HeadTimes, //
};
use super::registry::{
    self,
    Older, //
};
use crate::bindings;
use crate::compat::raw_try_init;
use crate::pure::alarm::Alarm;
use crate::pure::bring_up::BringUp;
use crate::pure::list::{
    Linked,
    RcuList, //
};
use crate::pure::parking::{
    self,
    Kick, //
};
use crate::pure::removal::Control;
use crate::pure::state::AtomicHeadWord;
use crate::pure::sync::Refcount;
use crate::wrap::bio::BioList;
use crate::wrap::debugfs::Entry;
use crate::wrap::disk::HeadDisk;
use crate::wrap::list_head;
use crate::wrap::node_slots;
use crate::wrap::slab::Slab;
use crate::wrap::srcu::SrcuFast;
use crate::wrap::tasks;
use crate::wrap::tracked::Reserve;
use crate::wrap::work::{
    ensure_queue,
    DelayedWork,
    HasWork,
    Work, //
};
use core::alloc::Layout;
use core::mem::offset_of;
use core::ptr::NonNull;
use kernel::alloc::allocator::Kmalloc;
use kernel::alloc::{
    Allocator,
    NumaNode, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    new_mutex,
    static_lock_class,
    Mutex,
    SetOnce, //
};
use kernel::task::might_sleep;
use kernel::types::Opaque;

/// The memory of heads, but for those of tests that have a map of nodes of their own.
pub(crate) static MEMORY: Slab = Slab::new(c"mpath_head");

/// The fields that I/O writes under load.
#[repr(C, align(64))]
#[pin_data]
pub(crate) struct Busy {
    /// The bios that wait for a path.
    pub(crate) list: BioList,
    /// How often the head parked a bio. As wide as an `atomic_long_t`.
    pub(crate) requeued: Atomic<isize>,
    /// How often a bio failed for want of a path to wait for.
    pub(crate) failed: Atomic<isize>,
    /// The number of bios in the list, and the tick since which there have been some.
    pub(crate) waiting: Atomic<i32>,
    /// The count of changes for the better. After one, bios that have failed end their pause.
    pub(crate) news: Atomic<u32>,
    pub(crate) waiting_since: Atomic<u64>,
    /// The time when the retry work runs.
    pub(crate) alarm: Alarm,
    /// Memory for tracking a bio, when there is no other.
    pub(crate) reserve: Reserve,
    /// The requeue worker, which submits parked bios.
    #[pin]
    pub(crate) requeue: Work<MpathHead, REQUEUE>,
    /// The work that gives paths that failed another try.
    #[pin]
    pub(crate) retry: DelayedWork<MpathHead, RETRY>,
    /// A rarely used field; here since there is room.
    pub(crate) older: Older,
    pub(super) record: HeadRecord,
    pub(crate) file: Entry,
}

pub(crate) const REQUEUE: u32 = 0;
pub(crate) const RETRY: u32 = 1;
pub(crate) const SCAN: u32 = 2;
pub(crate) const REMOVE: u32 = 3;

/// One block device over several paths: `struct mpath_head` and the memory behind it.
///
/// # Invariants
///
/// Lives in an allocation of [`MpathHead::alloc`] while `refs` is not 0.
#[repr(C)]
#[pin_data]
pub(crate) struct MpathHead {
    // `struct mpath_head`: `raw_disk` is `disk`, or null, for readers in C.
    pub(super) raw_disk: Atomic<*mut bindings::gendisk>,
    drvdata: *mut kernel::ffi::c_void,

    // Read for every bio.
    pub(crate) word: AtomicHeadWord,
    /// The number that tells it from all other heads.
    pub(crate) number: u32,
    group: NonNull<bindings::mpath_iopolicy>,
    #[pin]
    pub(crate) srcu: SrcuFast,
    #[pin]
    pub(crate) shortlist: Shortlist,
    #[pin]
    pub(crate) paths: RcuList<MpathDevice>,

    #[pin]
    pub(crate) busy: Busy,

    // Rarely used.
    pub(super) disk: SetOnce<HeadDisk>,
    pub(crate) ops: Ops,
    pub(super) refs: Refcount,
    /// The number of references that are the driver's to drop.
    pub(super) of_driver: Atomic<u32>,
    pub(crate) in_callback: CallbackTasks,
    pub(super) times: HeadTimes,
    #[pin]
    pub(crate) control: Mutex<Control>,
    #[pin]
    pub(crate) bring_up: Mutex<BringUp>,
    #[pin]
    pub(crate) scan: Work<MpathHead, SCAN>,
    #[pin]
    pub(crate) remove: DelayedWork<MpathHead, REMOVE>,
    in_group: Opaque<bindings::list_head>,

    // The last member: the slots follow.
    pub(crate) current_path: CurrentPath<MpathDevice>,
}

// The offsets of the part that C sees are those in C.
const _: () = {
    assert!(offset_of!(MpathHead, raw_disk) == offset_of!(bindings::mpath_head, disk));
    assert!(offset_of!(MpathHead, drvdata) == offset_of!(bindings::mpath_head, drvdata));
    assert!(align_of::<MpathHead>() >= align_of::<bindings::mpath_head>());
    assert!(
        offset_of!(MpathHead, current_path) + size_of::<CurrentPath<MpathDevice>>()
            <= size_of::<MpathHead>()
    );
};

impl MpathHead {
    fn layout(map: &node_slots::Map) -> Result<Layout> {
        CurrentPath::<MpathDevice>::layout(Layout::new::<Self>(), map).ok_or(EOVERFLOW)
    }

    /// Allocates memory for a head with the slots of `map`. May sleep.
    fn alloc(map: &'static node_slots::Map) -> Result<NonNull<Self>> {
        let layout = Self::layout(map)?;
        let memory = if core::ptr::eq(map, node_slots::map()) {
            MEMORY.alloc(layout)?
        } else {
            Kmalloc::alloc(layout, GFP_KERNEL, NumaNode::NO_NODE)?.cast()
        };

        Ok(memory.cast())
    }

    /// Frees a head's memory.
    ///
    /// # Safety
    ///
    /// `memory` came from [`MpathHead::alloc`] for the same map, and nobody uses it any more.
    pub(super) unsafe fn free(memory: NonNull<Self>, map: &'static node_slots::Map) {
        // SAFETY: By this function's contract.
        unsafe {
            if core::ptr::eq(map, node_slots::map()) {
                MEMORY.free(memory.cast());
            } else if let Ok(layout) = Self::layout(map) {
                Kmalloc::free(memory.cast(), layout);
            }
        }
    }

    /// Allocates a head without paths and without a disk, for the nodes that `map` knows. Sleeps.
    ///
    /// # Safety
    ///
    /// `group` is initialised and outlives the head.
    pub(crate) unsafe fn new(
        ops: Ops,
        group: NonNull<bindings::mpath_iopolicy>,
        drvdata: *mut kernel::ffi::c_void,
        map: &'static node_slots::Map,
    ) -> Result<ARef<Self>> {
        ensure_queue()?;
        tasks::ensure()?;

        let memory = Self::alloc(map)?;
        let init = Self::init(ops, group, drvdata, map);

        // SAFETY: `memory` is valid for writes of a head and its slots, and nobody moves it.
        if let Err(error) = unsafe { raw_try_init(memory.as_ptr(), init) } {
            // SAFETY: Allocated above for this map; the failed initialiser has left nothing behind.
            unsafe { Self::free(memory, map) };
            return Err(error);
        }

        // SAFETY: Initialised, with one reference, which is the caller's.
        let head = unsafe { ARef::from_raw(memory) };
        head.group().join(&head);
        registry::add(&head);
        Ok(head)
    }

    fn init(
        ops: Ops,
        group: NonNull<bindings::mpath_iopolicy>,
        drvdata: *mut kernel::ffi::c_void,
        map: &'static node_slots::Map,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw_disk: Atomic::new(core::ptr::null_mut()),
            drvdata,
            word: AtomicHeadWord::new(),
            number: registry::number(),
            group,
            srcu <- SrcuFast::new(),
            shortlist <- Shortlist::new(),
            paths <- list_head::new(),
            busy <- pin_init!(Busy {
                list: BioList::new(),
                requeued: Atomic::new(0),
                failed: Atomic::new(0),
                waiting: Atomic::new(0),
                news: Atomic::new(0),
                waiting_since: Atomic::new(0),
                alarm: Alarm::new(),
                reserve: Reserve::new(),
                requeue <- Work::new(c"mpath_requeue", static_lock_class!()),
                retry <- DelayedWork::new(
                    c"mpath_retry",
                    static_lock_class!(),
                    static_lock_class!(),
                ),
                older: Older::new(),
                record: HeadRecord::new(),
                file: Entry::new(),
            }),
            disk: SetOnce::new(),
            ops,
            refs: Refcount::new(),
            of_driver: Atomic::new(1),
            in_callback: CallbackTasks::new(),
            times: HeadTimes::new(),
            control <- new_mutex!(
                Control::default(),
                "MpathHead::control"
            ),
            bring_up <- new_mutex!(
                BringUp::default(),
                "MpathHead::bring_up"
            ),
            scan <- Work::new(c"mpath_scan", static_lock_class!()),
            remove <- DelayedWork::new(
                c"mpath_remove",
                static_lock_class!(),
                static_lock_class!(),
            ),
            in_group: Opaque::uninit(),
            current_path <- unsafe_init_cache(map),
        }? Error)
    }

    /// The head behind a C pointer.
    ///
    /// # Safety
    ///
    /// `raw` came from [`MpathHead::as_raw`], and somebody holds a reference to it for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::mpath_head) -> &'a Self {
        // SAFETY: By this function's contract.
        unsafe { &*raw.cast() }
    }

    /// The C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::mpath_head {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// The head of a head's disk.
    ///
    /// # Safety
    ///
    /// `disk` is a head's, and stays for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn of_disk<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: The private data of a head's disk is the head, which outlives it.
        unsafe { Self::from_raw((*disk).private_data.cast()) }
    }

    /// The policy that the head follows.
    #[inline(always)]
    pub(crate) fn group(&self) -> &Group {
        // SAFETY: By the contract of `new()` it outlives the head.
        unsafe { Group::from_raw(self.group.as_ptr()) }
    }

    /// The head's disk, if it has one.
    #[inline(always)]
    pub(crate) fn disk(&self) -> Option<&HeadDisk> {
        self.disk.as_ref()
    }

    /// Gives the head its disk. Sleeps.
    ///
    /// # Safety
    ///
    /// `lim` is valid.
    pub(crate) unsafe fn alloc_disk(
        &self,
        lim: *mut bindings::queue_limits,
        parent: Option<crate::wrap::disk::Parent>,
        node: i32,
    ) -> Result {
        let fops = self.ops.fops()?;
        let node = node_slots::to_allocate_on(node)?;
        // SAFETY: By this function's contract. The disk, which is ours, is gone before the head is.
        let disk =
            unsafe { HeadDisk::new(lim, node, parent, fops.as_ptr(), self.as_raw().cast()) }?;
        let raw = disk.as_raw();

        if !self.disk.populate(disk) {
            return Err(EEXIST);
        }
        self.raw_disk.store(raw, Relaxed);
        Ok(())
    }

    /// May the current task wait for readers, or for adding the disk? Warns when not.
    pub(crate) fn may_wait(&self) -> bool {
        let may_wait = !self.in_callback.has_current() && !self.srcu.is_known_to_be_read();

        if !may_wait {
            misuse("a callback waits for itself: it calls what must not be called from inside one");
        }
        may_wait
    }

    /// Waits for all read-side sections that have begun. Sleeps, not inside one.
    ///
    /// Waits also without a disk: attributes and the driver may look at the paths of any head.
    pub(crate) fn synchronize(&self) {
        might_sleep();
        if self.may_wait() {
            self.srcu.synchronize();
        }
    }

    /// Has the shortlist made anew and parked bios submitted again. Any context.
    pub(crate) fn choose_anew(&self) {
        self.shortlist.generation().add();
        self.kick();
    }
}

impl Kick for MpathHead {
    fn kick(&self) {
        self.busy.news.fetch_add(1, Relaxed);
        self.kick_others();
    }

    fn kick_others(&self) {
        parking::kick(self.busy.list.as_list(), || {
            self.busy.requeue.schedule_on_kblockd();
        });
    }
}

/// The initialiser of a cache that is the last member of a head's allocation.
fn unsafe_init_cache(map: &'static node_slots::Map) -> impl Init<CurrentPath<MpathDevice>> {
    // SAFETY: The closure initialises the whole cache. Only `MpathHead::init()` uses it, in an
    // allocation of the layout for the same map.
    unsafe {
        pin_init::init_from_closure(move |slot| {
            CurrentPath::init(slot, map);
            Ok(())
        })
    }
}

// SAFETY: All fields that change are atomic or under a lock.
unsafe impl Send for MpathHead {}
// SAFETY: As above.
unsafe impl Sync for MpathHead {}

// SAFETY: The offset is that of `in_group`, which is only used as links.
unsafe impl Linked for MpathHead {
    const OFFSET: usize = offset_of!(MpathHead, in_group);
}

// SAFETY: The offset is that of `busy.requeue`.
unsafe impl HasWork<REQUEUE> for MpathHead {
    const OFFSET: usize = offset_of!(MpathHead, busy) + offset_of!(Busy, requeue);

    fn run(&self) {
        self.submit_what_waits();
    }
}

// SAFETY: The offset is that of `busy.retry`.
unsafe impl HasWork<RETRY> for MpathHead {
    const OFFSET: usize = offset_of!(MpathHead, busy) + offset_of!(Busy, retry);

    fn run(&self) {
        self.retry_failed_paths();
    }
}

// SAFETY: The offset is that of `scan`.
unsafe impl HasWork<SCAN> for MpathHead {
    const OFFSET: usize = offset_of!(MpathHead, scan);

    fn run(&self) {
        // SAFETY: The caller that scheduled the scan gave it a reference.
        let head = unsafe { ARef::from_raw(NonNull::from(self)) };

        if let Some(disk) = head.disk() {
            disk.scan_partitions();
        }
    }
}

// SAFETY: The offset is that of `remove`.
unsafe impl HasWork<REMOVE> for MpathHead {
    const OFFSET: usize = offset_of!(MpathHead, remove);

    fn run(&self) {
        // SAFETY: The caller that armed the timer gave it a reference.
        self.removal_timer_expired(unsafe { ARef::from_raw(NonNull::from(self)) });
    }
}
