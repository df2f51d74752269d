// SPDX-License-Identifier: GPL-2.0

//! The RAM disk of `rust_mpath_ram.rs`, but its paths take requests, and fail in more ways:
//!
//! ```sh
//! cd /sys/kernel/config/mpath_ram/1
//! echo partial > failure              # or another one of FAILURES
//! cat events                          # counts of its effects, and of requests in batches
//! ```

#[macro_use]
mod attribute;

use attribute::*;
use kernel::configfs;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use kernel::sync::ArcBorrow;
use kernel::sync::Mutex;
use kernel::time::hrtimer::*;
use libmultipath::prelude::*;

module! {
    type: MpathRam,
    name: "rust_mpath_mq",
    authors: ["The libmultipath authors"],
    description: "RAM disk behind several paths that take requests",
    license: "GPL",
    params: {
        paths: u32 { default: 2, description: "Number of paths, 1 to 64", },
        size_mib: u32 { default: 64, description: "Size of the disk in MiB", },
        timeout_ms: u32 { default: 1000, description: "How long a path may keep a request", },
    },
}

struct Ram;

#[vtable]
impl MpathDriver for Ram {
    type HeadData = Arc<Storage>;
    type PathData = Arc<Lane>;
    const ATTRIBUTES: bool = true;

    fn stop(path: &MpathDevice<Self>) {
        path.port().set_state(PortState::Dead);
        path.data().sent.take_all().for_each(AnyRequest::failover);
    }

    fn unlink(head: &MpathHead<Self>) {
        let mut known = head.data().head.lock();
        // There may be a new one already.
        known.take_if(|known| core::ptr::eq(&**known, head));
    }
}

#[vtable]
impl MpathRequestDriver for Ram {
    /// The number of times that a request was requeued.
    type RequestData = u32;

    fn queue_rq(path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
        Lane::take(path.data(), rq.into());
    }

    fn flush(path: &MpathDevice<Self>, rq: MpathFlush<Self>, _is_last: bool) {
        Lane::take(path.data(), rq.into());
    }

    fn timeout(path: &MpathDevice<Self>, tag: u32) -> Timeout {
        // Others end when their time has come.
        path.data().sent.take(tag).map_or(Timeout::Again, |rq| {
            path.data().count("timed-out", 1);
            rq.failover();
            Timeout::Ended
        })
    }
}

/// The stored data, and the disk over it while it has paths.
#[pin_data]
struct Storage {
    #[pin]
    ram: Mutex<KVVec<u8>>,
    params: DiskParams,
    policy: Arc<MpathIoPolicy>,
    removal_secs: Atomic<u32>,
    #[pin]
    head: Mutex<Option<ARef<MpathHead<Ram>>>>,
    /// Held while a path comes or goes: a disk that comes has the name of the one that goes.
    #[pin]
    turn: Mutex<()>,
}

impl Storage {
    fn carry_out(&self, rq: &MpathRequest<Ram>) -> Result {
        let mut ram = self.ram.lock();
        match rq.op() {
            BioOp::Read(mut all) => all.try_for_each(|it| it.fill(&ram[it.range()])),
            BioOp::Write(mut all) => all.try_for_each(|it| it.store(&mut ram[it.range()])),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Adds a path to the head, or to a new one when the last one went with its last path.
    fn add_path(self: &Arc<Self>, lane: &Arc<Lane>) -> Result<Registration<Ram, Added>> {
        lane.port.set_state(PortState::Live);
        let node = Some(lane.numa_node.load(Relaxed)).filter(|node| *node >= 0);
        let add = |head: &MpathHead<Ram>| {
            let name = fmt!("mpram0c{}", lane.number);
            head.add_request_path(&lane.port, &lane.tags, name, node, lane.clone())
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
    tags: Arc<MpathTagSet<Ram>>,
    latency_us: Atomic<u32>,
    queue_depth: Atomic<u32>,
    failure: Atomic<u32>,
    access: Atomic<u32>,
    numa_node: Atomic<i32>,
    counts: [Atomic<u64>; 8],
    /// Requests without an answer, until they time out or the path goes.
    sent: MpathRequestTable<Ram>,
    /// Requests that have been carried out and whose time has not come: counted, then put in.
    late: MpathRequestQueue<Ram>,
    nr_late: Atomic<u32>,
    /// The timer that ends up to a queue's depth of them, again and again until none is left.
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    handle: Mutex<Option<ArcHrTimerHandle<Self>>>,
    #[pin]
    path: Mutex<Option<Registration<Ram>>>,
}

impl Lane {
    fn new(number: u32, storage: Arc<Storage>) -> Result<Arc<Self>> {
        let params = TagParams::new(64).queues(2).without_scheduler().may_sleep();
        let params = params.timeout_msecs(module_parameters::timeout_ms.value().clone());
        let tags = Arc::pin_init(MpathTagSet::new(params), GFP_KERNEL)?;
        let lane = try_pin_init!(Self {
            number,
            storage,
            port: Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?,
            sent: MpathRequestTable::new(&tags)?,
            tags,
            latency_us: Atomic::new(0),
            queue_depth: Atomic::new(u32::MAX),
            failure: Atomic::new(0),
            access: Atomic::new(0),
            numa_node: Atomic::new(-1),
            counts: [const { Atomic::new(0) }; 8],
            late: MpathRequestQueue::new(),
            nr_late: Atomic::new(0),
            timer <- HrTimer::new(),
            handle <- new_mutex!(None),
            path <- new_mutex!(None),
        }? Error);
        Arc::pin_init(lane, GFP_KERNEL)
    }

    fn count(&self, what: &str, more: u64) -> u64 {
        let at = COUNTS.iter().position(|it| *it == what);
        at.map_or(0, |at| self.counts[at].fetch_add(more, Relaxed))
    }

    fn does(&self, failure: &str) -> bool {
        FAILURES[self.failure.load(Relaxed) as usize] == failure
    }

    fn access(&self) -> AccessState {
        AccessState::from_raw(self.access.load(Relaxed))
    }

    fn latency(&self) -> kernel::time::Delta {
        kernel::time::Delta::from_micros(self.latency_us.load(Relaxed).into())
    }

    fn take(this: &Arc<Self>, rq: AnyRequest<Ram>) {
        match rq {
            rq if this.does("path") || this.port.state() == PortState::Dead => rq.failover(),
            rq if this.does("medium") => rq.fail(Failure::Medium),
            rq if this.does("timeout") => drop(this.sent.put(rq)),
            AnyRequest::Flush(rq) if this.does("flush") => rq.failover(),
            AnyRequest::Data(mut rq) if this.does("requeue") && *rq.data() < 2 => {
                *rq.data_mut() += 1;
                this.count("requeued", 1);
                rq.requeue(1);
            }
            AnyRequest::Data(mut rq) => {
                let half = rq.len() / 1024 * 512;
                *rq.data_mut() = 0;
                match this.storage.carry_out(&rq) {
                    Ok(()) if this.does("partial") && rq.end_part(half).is_ok() => {
                        this.count("split", 1);
                        this.count("bytes", half as u64);
                        rq.failover();
                    }
                    Ok(()) => Self::end_in_time(this, rq.into()),
                    error => rq.end_with(error),
                }
            }
            rq => Self::end_in_time(this, rq),
        }
    }

    fn end_in_time(this: &Arc<Self>, rq: AnyRequest<Ram>) {
        if this.latency_us.load(Relaxed) == 0 {
            return this.end(rq, &mut MpathBatch::new());
        }
        let others = this.nr_late.fetch_add(1, Full);
        this.late.push(rq);
        if others == 0 {
            let mut handle = this.handle.lock();
            // The timer has seen that there was none, and may still be about to stop: wait for it.
            drop(handle.take());
            *handle = Some(HrTimerPointer::start(this.clone(), this.latency()));
        }
    }

    fn end(&self, rq: AnyRequest<Ram>, batch: &mut MpathBatch<Ram>) {
        self.count("requests", 1);
        match rq {
            AnyRequest::Data(rq) => {
                self.count("bytes", rq.len() as u64);
                batch.end(rq);
            }
            AnyRequest::Flush(rq) => {
                self.count("flushes", 1);
                rq.flushed();
            }
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
}

impl HrTimerCallback for Lane {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut at: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let depth = this.queue_depth.load(Relaxed).max(1);
        let (mut taken, mut batch) = (0, MpathBatch::new());
        for rq in this.late.take() {
            taken += 1;
            if taken > depth {
                this.late.push(rq);
            } else if taken % 2 == 0 && this.does("batch") {
                this.count("broken", 1);
                rq.failover();
            } else {
                this.end(rq, &mut batch);
            }
        }
        drop(batch);
        let ended = taken.min(depth);
        this.count("batched", if ended > 1 { ended.into() } else { 0 });
        if this.nr_late.fetch_sub(ended, Full) == ended {
            return HrTimerRestart::NoRestart;
        }
        at.forward_now(this.latency());
        HrTimerRestart::Restart
    }
}

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Lane {
        mode: RelativeMode<kernel::time::Monotonic>, field: self.timer
    }
}

/// The directory of the disk in configfs, and the ways to it.
struct Disk(Arc<Storage>, KVec<Arc<Lane>>);

impl Disk {
    fn new() -> Result<Self> {
        let bytes = (module_parameters::size_mib.value().clone() as usize) << 20;
        let ram = KVVec::from_elem(0, bytes, GFP_KERNEL)?;
        let storage = try_pin_init!(Storage {
            ram <- new_mutex!(ram),
            params: DiskParams::new(bytes as u64 >> 9).write_cache(),
            policy: Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?,
            removal_secs: Atomic::new(0),
            head <- new_mutex!(None),
            turn <- new_mutex!(()),
        }? Error);
        let mut disk = Self(Arc::pin_init(storage, GFP_KERNEL)?, KVec::new());
        for number in 0..module_parameters::paths.value().clone().clamp(1, 64) {
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
                carried: 6, events: 7,
            ],
        };
        let number: usize = parse(name.to_bytes())?;
        let path = Path(self.1.get(number).ok_or(EINVAL)?.clone());
        Ok(configfs::Group::new(name.try_into()?, item_type, Ok(path)))
    }
}

struct Path(Arc<Lane>);

/// The ways to fail. `partial`: a path carries out half of a request, and fails the rest; `batch`:
/// it fails every other one; `requeue`: it wants each three times; `timeout`: it says nothing.
const FAILURES: [&str; 8] = [
    "none", "path", "medium", "partial", "batch", "flush", "requeue", "timeout",
];
const COUNTS: [&str; 8] = [
    "requests",
    "bytes",
    "flushes",
    "batched",
    "broken",
    "split",
    "requeued",
    "timed-out",
];
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
attribute!(Path, 1, queue_depth);
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
attribute!(Path, 6, it => fmt!("{} {} {}", it.count("requests", 0), it.count("bytes", 0),
    it.count("flushes", 0)));
attribute!(Path, 7, it => fmt!("batched {}\nbroken {}\nsplit {}\nrequeued {}\ntimed-out {}",
    it.count("batched", 0), it.count("broken", 0), it.count("split", 0), it.count("requeued", 0),
    it.count("timed-out", 0)));
