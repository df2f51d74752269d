// SPDX-License-Identifier: GPL-2.0

//! A driver whose paths take requests. A test says how they treat writes and flushes. Reads, which
//! the scan of partitions makes when it likes, end at once and do not count.

use crate::{
    AccessState,
    AnyRequest,
    BioOp,
    DiskParams,
    Live,
    MpathDevice,
    MpathDriver,
    MpathFence,
    MpathFlush,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    MpathRequest,
    MpathRequestDriver,
    MpathRequestQueue,
    MpathRequestTable,
    MpathTagSet,
    Registration,
    TagParams,
    Timeout, //
};
use core::ops::Range;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    SpinLock, //
};
use kernel::time::delay::fsleep;
use kernel::time::Delta;

pub(super) struct Asked;

/// The ways to treat a write.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Mode {
    /// It ends at once.
    End,
    /// It waits, by its tag, until it times out, or the test or the path's end ends it.
    Keep,
    /// It waits in a queue, until the test ends it.
    Queue,
    /// It fails for a reason of the path.
    FailOver,
    /// The path carries its first page out. The rest fails for a reason of the path, or all of it,
    /// if it is no longer than a page.
    Part,
    /// It ends well if `end_part()` takes no wrong number of bytes for a part of it.
    NoPart,
    /// It comes again three times, and then ends.
    Again,
    /// It ends in soft interrupt context.
    Complete,
    /// It is dropped.
    Drop,
}

const MODES: [Mode; 9] = [
    Mode::End,
    Mode::Keep,
    Mode::Queue,
    Mode::FailOver,
    Mode::Part,
    Mode::NoPart,
    Mode::Again,
    Mode::Complete,
    Mode::Drop,
];

/// The driver's data of a path.
#[pin_data]
pub(super) struct Path {
    mode: Atomic<u32>,
    arrived: Atomic<u32>,
    flushes: Atomic<u32>,
    completed: Atomic<u32>,
    timeouts: Atomic<u32>,
    /// The range of the longest write that has arrived, and the lowest byte at which one began.
    #[pin]
    seen: SpinLock<(Range<usize>, usize)>,
    kept: MpathRequestTable<Asked>,
    queued: MpathRequestQueue<Asked>,
}

impl Path {
    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u32, Relaxed);
    }

    fn mode(&self) -> Mode {
        MODES[self.mode.load(Relaxed) as usize]
    }

    /// The number of writes that have come.
    pub(super) fn arrived(&self) -> u32 {
        self.arrived.load(Relaxed)
    }

    /// The number of flushes that have ended well.
    pub(super) fn flushes(&self) -> u32 {
        self.flushes.load(Relaxed)
    }

    /// The number of writes that have ended in soft interrupt context.
    pub(super) fn completed(&self) -> u32 {
        self.completed.load(Relaxed)
    }

    /// The number of writes that have timed out.
    pub(super) fn timeouts(&self) -> u32 {
        self.timeouts.load(Relaxed)
    }

    /// The range of the longest write that has come.
    pub(super) fn longest(&self) -> Range<usize> {
        self.seen.lock().0.clone()
    }

    /// The lowest byte of the disk at which a write began.
    pub(super) fn lowest(&self) -> usize {
        self.seen.lock().1
    }

    fn see(&self, range: Range<usize>) {
        let (longest, lowest) = &mut *self.seen.lock();

        *lowest = range.start.min(*lowest);
        if range.len() > longest.len() {
            *longest = range;
        }
    }

    /// Does a condition hold, now or within a while?
    pub(super) fn eventually(&self, condition: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..20_000 {
            if condition(self) {
                return true;
            }
            fsleep(Delta::from_millis(1));
        }
        false
    }

    pub(super) fn end_kept(&self) {
        self.kept.take_all().for_each(|rq| rq.end_with(Ok(())));
    }

    /// Ends the requests that wait in the queue, and returns their pages, in order.
    pub(super) fn end_queued(&self) -> Result<KVec<usize>> {
        let mut pages = KVec::new();

        for rq in self.queued.take() {
            if let AnyRequest::Data(rq) = &rq {
                pages.push(rq.range().start / kernel::page::PAGE_SIZE, GFP_KERNEL)?;
            }
            rq.end_with(Ok(()));
        }
        Ok(pages)
    }

    /// Fails kept requests over that the hardware may still carry out.
    pub(super) fn fail_kept_over(&self, fence: &MpathFence) {
        self.kept
            .take_all()
            .for_each(|rq| rq.failover_fenced(fence));
    }

    /// Does an answer of the hardware to this tag, which nobody has sent, find a request?
    pub(super) fn knows(&self, tag: u32) -> bool {
        self.kept.take(tag).is_some()
    }
}

#[vtable]
impl MpathDriver for Asked {
    type HeadData = ();
    type PathData = Path;
    /// More failovers than are counted: a bio that waits, waits.
    const MAX_FAILOVERS: u32 = 100_000;

    fn stop(path: &MpathDevice<Self>) {
        path.data().set(Mode::End);
        path.data().end_kept();
    }
}

#[vtable]
impl MpathRequestDriver for Asked {
    /// How often the request has come.
    type RequestData = u32;

    fn queue_rq(path: &MpathDevice<Self>, mut rq: MpathRequest<Self>, _is_last: bool) {
        let path = path.data();

        if !matches!(rq.op(), BioOp::Write(_)) {
            return rq.end();
        }
        path.arrived.add(1, Relaxed);
        path.see(rq.range());
        match path.mode() {
            Mode::End => rq.end(),
            Mode::Keep => {
                let _ = path.kept.put(rq);
            }
            Mode::Queue => path.queued.push(rq),
            Mode::FailOver => rq.failover(),
            Mode::Part => {
                let _ = rq.end_part(kernel::page::PAGE_SIZE);
                rq.failover();
            }
            Mode::NoPart => {
                let none = rq.end_part(0).is_ok()
                    && rq.end_part(100) == Err(EINVAL)
                    && rq.end_part(rq.len()) == Err(EINVAL)
                    && rq.end_part(rq.len() + 512) == Err(EINVAL)
                    && rq.len() == kernel::page::PAGE_SIZE;
                rq.end_with(if none { Ok(()) } else { Err(EIO) });
            }
            Mode::Again if *rq.data() < 3 => {
                *rq.data_mut() += 1;
                rq.requeue(1);
            }
            Mode::Again => {
                *rq.data_mut() = 0;
                rq.end();
            }
            Mode::Complete => rq.complete(),
            Mode::Drop => drop(rq),
        }
    }

    fn flush(path: &MpathDevice<Self>, rq: MpathFlush<Self>, _is_last: bool) {
        match path.data().mode() {
            Mode::FailOver => rq.failover(),
            _ => {
                path.data().flushes.add(1, Relaxed);
                rq.flushed();
            }
        }
    }

    fn complete(rq: AnyRequest<Self>) {
        rq.path().data().completed.add(1, Relaxed);
        rq.end_with(Ok(()));
    }

    fn timeout(path: &MpathDevice<Self>, tag: u32) -> Timeout {
        let path = path.data();

        path.kept.take(tag).map_or(Timeout::Again, |rq| {
            path.timeouts.add(1, Relaxed);
            rq.failover();
            Timeout::Ended
        })
    }
}

impl Asked {
    pub(super) fn params() -> DiskParams {
        DiskParams::new(2048).write_cache()
    }

    pub(super) fn head(policy: &Arc<MpathIoPolicy>) -> Result<ARef<MpathHead<Self>>> {
        MpathHead::new(policy, fmt!("mpasked"), Self::params(), ())
    }

    pub(super) fn tags(params: TagParams) -> Result<Arc<MpathTagSet<Self>>> {
        Arc::pin_init(MpathTagSet::new(params), GFP_KERNEL)
    }

    /// A path that is live.
    pub(super) fn path(
        head: &MpathHead<Self>,
        port: &Arc<MpathPort>,
        tags: &Arc<MpathTagSet<Self>>,
        number: u32,
        state: AccessState,
    ) -> Result<Registration<Self, Live>> {
        let data = try_pin_init!(Path {
            mode: Atomic::new(Mode::End as u32),
            arrived: Atomic::new(0),
            flushes: Atomic::new(0),
            completed: Atomic::new(0),
            timeouts: Atomic::new(0),
            seen <- new_spinlock!((0..0, usize::MAX)),
            kept: MpathRequestTable::new(tags)?,
            queued: MpathRequestQueue::new(),
        }? Error);

        head.add_request_path(port, tags, fmt!("mpaskedc{number}"), None, data)?
            .set_live(state)
    }
}
