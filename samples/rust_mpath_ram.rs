// SPDX-License-Identifier: GPL-2.0

//! A RAM disk behind several paths, `/dev/mpram0`. A user can change their behaviour under I/O, and
//! so try every policy and every failover without hardware. In configfs
//!
//! ```sh
//! cd /sys/kernel/config/mpath_ram
//! cat policy delayed_removal_secs     # of the disk; parked: how often a bio waited
//! mkdir 1; cd 1                       # path 1 of the disk
//! echo 500 > latency_us               # bios take this long at most,
//! echo 4 > queue_depth                # and longer when there are more of them than this
//! echo path > failure                 # none; path: bios go to another path; medium: they fail
//! echo non-optimized > access_state   # optimized, non-optimized, inaccessible
//! echo 1 > numa_node                  # -1: near to all nodes; from when it is live next
//! echo 0 > live                       # pulls the path out; 1: it comes back
//! cat carried                         # the bios that it has ended, their bytes, and the flushes
//! ```
//! The data stays when the last path is gone. It is stable: the driver only counts flushes.

#[macro_use]
mod attribute;

use attribute::{
    parse,
    parse_name, //
};
use kernel::configfs;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    Mutex, //
};
use kernel::time::hrtimer;
use libmultipath::prelude::*;

module! {
    type: MpathRam,
    name: "rust_mpath_ram",
    authors: ["The libmultipath authors"],
    description: "RAM disk behind several paths",
    license: "GPL",
    params: {
        paths: u32 { default: 2, description: "Number of paths, 1 to 64", },
        size_mib: u32 { default: 64, description: "Size of the disk in MiB", },
    },
}

/// The driver that the library knows.
struct Ram;

#[vtable]
impl MpathDriver for Ram {
    type HeadData = Arc<Storage>;
    type PathData = Arc<Lane>;
    const ATTRIBUTES: bool = true;

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        let lane = path.data();
        match FAILURES[lane.failure.load(Relaxed) as usize] {
            "path" => bio.failover(),
            "medium" => bio.fail(Failure::Medium),
            _ => match lane.storage.carry_out(&bio) {
                Ok(()) => Lane::end_in_time(lane, bio),
                error => bio.end_with(error),
            },
        }
    }

    fn unlink(head: &MpathHead<Self>) {
        let mut known = head.data().head.lock();

        // There may be a new one already.
        known.take_if(|known| core::ptr::eq(&**known, head));
    }
}

/// The stored data, and the disk over it while it has paths.
#[pin_data]
struct Storage {
    chunks: KVec<Pin<KBox<Mutex<KVVec<u8>>>>>,
    params: DiskParams,
    policy: Arc<MpathIoPolicy>,
    removal_secs: Atomic<u32>,
    #[pin]
    head: Mutex<Option<kernel::sync::aref::ARef<MpathHead<Ram>>>>,
    /// Held while a path comes or goes: a disk that comes has the name of the one that goes.
    #[pin]
    turn: Mutex<()>,
}

impl Storage {
    const CHUNK_SECTORS: u32 = 256;
    const CHUNK: usize = Self::CHUNK_SECTORS as usize * kernel::block::SECTOR_SIZE as usize;

    fn new(mib: u32) -> Result<Arc<Self>> {
        let mut chunks = KVec::new();

        for _ in 0..((mib as usize) << 20) / Self::CHUNK {
            let memory = KVVec::from_elem(0, Self::CHUNK, GFP_KERNEL)?;
            chunks.push(KBox::pin_init(new_mutex!(memory), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                chunks,
                // No bio crosses a chunk, so one lock is enough.
                params: DiskParams::new(u64::from(mib) << 11)
                    .chunk_sectors(Self::CHUNK_SECTORS)
                    .write_cache(),
                policy: Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?,
                removal_secs: Atomic::new(0),
                head <- new_mutex!(None),
                turn <- new_mutex!(()),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn carry_out(&self, bio: &MpathBio<Ram>) -> Result {
        let chunk = (bio.sector() / u64::from(Self::CHUNK_SECTORS)) as usize;
        let begin = chunk * Self::CHUNK;
        let local = |range: core::ops::Range<usize>| range.start - begin..range.end - begin;
        let mut ram = self.chunks.get(chunk).ok_or(EINVAL)?.lock();

        match bio.op() {
            BioOp::Read(mut all) => all.try_for_each(|it| it.fill(&ram[local(it.range())])),
            BioOp::Write(mut all) => all.try_for_each(|it| it.store(&mut ram[local(it.range())])),
            BioOp::Flush => Ok(()),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Adds a path to the head, or to a new one when the last one went with its last path.
    fn add_path(self: &Arc<Self>, lane: &Arc<Lane>) -> Result<Registration<Ram, Added>> {
        let (number, node) = (lane.number, lane.numa_node.load(Relaxed));
        let node = (node >= 0).then_some(node);
        let add = |head: &MpathHead<Ram>| {
            head.add_path(&lane.port, fmt!("mpram0c{number}"), node, lane.clone())
        };
        let mut known = self.head.lock();
        let added = known.as_deref().map_or(Err(ENXIO), add);
        if !matches!(&added, Err(error) if *error == ENXIO) {
            return added;
        }
        let head = MpathHead::new(&self.policy, fmt!("mpram0"), self.params, self.clone())?;
        head.set_removal_delay(self.removal_secs.load(Relaxed));
        let path = add(&head)?;
        *known = Some(head);
        Ok(path)
    }
}

/// One way to the storage: its properties, and the path, while it is live.
#[pin_data]
struct Lane {
    number: u32,
    storage: Arc<Storage>,
    port: Arc<MpathPort>,
    latency_us: Atomic<u32>,
    queue_depth: Atomic<u32>,
    failure: Atomic<u32>,
    access: Atomic<u32>,
    numa_node: Atomic<i32>,
    carried: [Atomic<u64>; 3],
    /// Bios that have been carried out, and whose time has not come. The lane counts a bio, then
    /// puts it in.
    late: MpathBioQueue<Ram>,
    nr_late: Atomic<u32>,
    /// The timer that ends as many of them as the queue is deep, again and again until there are
    /// none.
    #[pin]
    timer: hrtimer::HrTimer<Self>,
    #[pin]
    handle: Mutex<Option<hrtimer::ArcHrTimerHandle<Self>>>,
    #[pin]
    path: Mutex<Option<Registration<Ram>>>,
}

impl Lane {
    fn new(number: u32, storage: Arc<Storage>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                number,
                storage,
                port: Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?,
                latency_us: Atomic::new(0),
                queue_depth: Atomic::new(u32::MAX),
                failure: Atomic::new(0),
                access: Atomic::new(0),
                numa_node: Atomic::new(-1),
                carried: [const { Atomic::new(0) }; 3],
                late: MpathBioQueue::new(),
                nr_late: Atomic::new(0),
                timer <- hrtimer::HrTimer::new(),
                handle <- new_mutex!(None),
                path <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn latency(&self) -> kernel::time::Delta {
        kernel::time::Delta::from_micros(self.latency_us.load(Relaxed).into())
    }

    fn end_in_time(this: &Arc<Self>, bio: MpathBio<Ram>) {
        this.carried[0].fetch_add(1, Relaxed);
        this.carried[1].fetch_add(bio.len() as u64, Relaxed);
        this.carried[2].fetch_add(matches!(bio.op(), BioOp::Flush).into(), Relaxed);
        if this.latency_us.load(Relaxed) == 0 {
            return bio.end();
        }
        let others = this.nr_late.fetch_add(1, Full);
        this.late.push(bio);
        if others == 0 {
            let mut handle = this.handle.lock();

            // The timer has seen that there was none, and may still be about to stop: wait for it.
            drop(handle.take());
            *handle = Some(hrtimer::HrTimerPointer::start(this.clone(), this.latency()));
        }
    }

    fn set_live(this: &Arc<Self>, live: bool) -> Result {
        let _turn = this.storage.turn.lock();
        let mut path = this.path.lock();
        match (live, path.is_some()) {
            (true, false) => *path = Some(this.storage.add_path(this)?.set_live(this.access())?),
            (false, true) => *path = None,
            _ => {}
        }
        Ok(())
    }

    fn access(&self) -> AccessState {
        AccessState::from_raw(self.access.load(Relaxed))
    }
}

impl hrtimer::HrTimerCallback for Lane {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: kernel::sync::ArcBorrow<'_, Self>,
        mut context: hrtimer::HrTimerCallbackContext<'_, Self>,
    ) -> hrtimer::HrTimerRestart {
        let mut ended = 0;
        for bio in this.late.take() {
            if ended < this.queue_depth.load(Relaxed) {
                bio.end();
                ended += 1;
            } else {
                this.late.push(bio);
            }
        }
        if this.nr_late.fetch_sub(ended, Full) == ended {
            return hrtimer::HrTimerRestart::NoRestart;
        }
        context.forward_now(this.latency());
        hrtimer::HrTimerRestart::Restart
    }
}

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Lane {
        mode: hrtimer::RelativeMode<kernel::time::Monotonic>, field: self.timer
    }
}

/// The directory of the disk in configfs, and the ways to it.
struct Disk(Arc<Storage>, KVec<Arc<Lane>>);

impl Disk {
    fn new() -> Result<Self> {
        // Linux 7.2 lends the values, newer kernels give them: both can be cloned.
        let size_mib = module_parameters::size_mib.value().clone();
        let paths = module_parameters::paths.value().clone();
        let storage = Storage::new(size_mib)?;
        let mut disk = Self(storage, KVec::new());

        for number in 0..paths.clamp(1, 64) {
            let lane = Lane::new(number, disk.0.clone())?;
            disk.1.push(lane.clone(), GFP_KERNEL)?;
            Lane::set_live(&lane, true)?;
        }
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for lane in &self.1 {
            *lane.path.lock() = None; // which owns the lane, and so does the other
            *lane.handle.lock() = None;
        }
    }
}

#[vtable]
impl configfs::GroupOperations for Disk {
    type Child = Path;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<Path>, Error>> {
        let item_type = configfs::configfs_attrs! {
            container: configfs::Group<Path>,
            data: Path,
            attributes: [
                latency_us: 0, queue_depth: 1, failure: 2, access_state: 3, numa_node: 4, live: 5,
                carried: 6,
            ],
        };
        let number: usize = parse(name.to_bytes())?;
        let path = Path(self.1.get(number).ok_or(EINVAL)?.clone());
        Ok(configfs::Group::new(name.try_into()?, item_type, Ok(path)))
    }
}

/// The directory of a path in configfs.
struct Path(Arc<Lane>);

const FAILURES: [&str; 3] = ["none", "path", "medium"];
const ACCESS_STATES: [&str; 3] = ["optimized", "non-optimized", "inaccessible"];

configuration!(MpathRam, c"mpath_ram", Disk, Path, [policy: 0, delayed_removal_secs: 1, parked: 2]);
attribute!(Disk, 0, it, it.policy.get().name(),
    page => it.policy.set(IoPolicy::parse(page).ok_or(EINVAL)?)?);
attribute!(Disk, 1, it, it.removal_secs.load(Relaxed), page => {
    it.removal_secs.store(parse(page)?, Relaxed);
    it.head.lock().iter().for_each(|head| head.set_removal_delay(it.removal_secs.load(Relaxed)))
});
attribute!(Disk, 2, it => it.head.lock().as_ref().map_or(0, |head| head.requeue_count()));
attribute!(Path, 0, latency_us);
attribute!(Path, 1, it, it.queue_depth.load(Relaxed),
    page => it.queue_depth.store(parse::<u32>(page)?.max(1), Relaxed));
attribute!(Path, 2, it, FAILURES[it.failure.load(Relaxed) as usize], page => {
    it.failure.store(parse_name(page, &FAILURES)?, Relaxed);
    it.path.lock().iter().for_each(|path| path.try_again())
});
attribute!(Path, 3, it, ACCESS_STATES[it.access.load(Relaxed) as usize], page => {
    it.access.store(parse_name(page, &ACCESS_STATES)?, Relaxed);
    it.path.lock().iter().for_each(|path| path.set_access_state(it.access()))
});
attribute!(Path, 4, numa_node);
attribute!(Path, 5, it, u32::from(it.path.lock().is_some()),
    page => Lane::set_live(it, parse::<u32>(page)? != 0)?);
attribute!(Path, 6, it => fmt!("{} {} {}", it.carried[0].load(Relaxed),
    it.carried[1].load(Relaxed), it.carried[2].load(Relaxed)));
