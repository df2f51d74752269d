// SPDX-License-Identifier: GPL-2.0

//! A driver whose storage has zones, over bios and over requests, and the tests of these zones.

use super::bios::Io;
use crate::bindings;
use crate::{
    AccessState,
    Added,
    BioOp,
    DisableReason,
    DiskParams,
    Failure,
    IoPolicy,
    Live,
    MpathBatch,
    MpathBio,
    MpathDevice,
    MpathDriver,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    MpathRequest,
    MpathRequestDriver,
    MpathTagSet,
    PortState,
    Registration,
    TagParams,
    Zone,
    ZoneCondition,
    ZoneLimits,
    ZoneReport, //
};
use kernel::ffi::{
    c_int,
    c_uint,
    c_void, //
};
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

/// The first zone is conventional.
const ZONES: usize = 8;
const ZONE: u64 = 64;
/// The sectors of a zone that can be written.
const CAPACITY: u64 = 48;
/// The sectors of a page.
const PAGE: u64 = 8;
const LIMITS: ZoneLimits = ZoneLimits {
    size: ZONE as u32,
    max_open: 2,
    max_active: 3,
    max_append: 16,
};

struct Zoned;

/// The behaviour of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Mode {
    /// It does as it is asked.
    Good,
    /// It fails all but reads.
    FailOver,
    /// It ends appends without saying where they are.
    Nowhere,
    /// It ends appends that are requests in a batch.
    Batch,
    /// It says that writes and appends have gone to the beginning of the next zone.
    Elsewhere,
    /// It cannot report zones now.
    Silent,
    /// It reports zones of which nothing can be written.
    Nonsense,
    /// It leaves out a zone.
    Gap,
}

const MODES: [Mode; 8] = [
    Mode::Good,
    Mode::FailOver,
    Mode::Nowhere,
    Mode::Batch,
    Mode::Elsewhere,
    Mode::Silent,
    Mode::Nonsense,
    Mode::Gap,
];

struct Lane(Atomic<u32>);

impl Lane {
    fn set(&self, mode: Mode) {
        self.0.store(mode as u32, Relaxed);
    }

    fn mode(&self) -> Mode {
        MODES[self.0.load(Relaxed) as usize]
    }
}

struct Storage {
    ram: KVVec<u8>,
    zones: [Zone; ZONES],
}

fn empty(number: usize) -> Zone {
    match number {
        0 => Zone::conventional(0, ZONE),
        _ => Zone::empty(number as u64 * ZONE, ZONE, CAPACITY),
    }
}

/// Moves the write pointer of a zone over what is written at `sector`.
fn advance(zone: &mut Zone, sector: u64, sectors: u64) -> Result<(), Failure> {
    let left = zone.start + zone.capacity - zone.write_pointer;

    if sector != zone.write_pointer || sectors > left || zone.condition == ZoneCondition::Full {
        return Err(Failure::IoError);
    }
    zone.write_pointer += sectors;
    zone.condition = match left == sectors {
        true => ZoneCondition::Full,
        false => ZoneCondition::ImplicitOpen,
    };
    Ok(())
}

impl Storage {
    fn new() -> Result<Self> {
        Ok(Self {
            ram: KVVec::from_elem(0, ZONES * ZONE as usize * 512, GFP_KERNEL)?,
            zones: core::array::from_fn(empty),
        })
    }

    /// Returns where an append was written.
    fn carry_out(
        &mut self,
        op: BioOp<'_>,
        sector: u64,
        len: usize,
    ) -> Result<Option<u64>, Failure> {
        let Self { ram, zones } = self;
        let sectors = len as u64 / 512;
        let is_open = |zone: &&Zone| zone.condition == ZoneCondition::ExplicitOpen;
        let open = zones.iter().filter(is_open).count() as u32;
        let zone = &mut zones[(sector / ZONE) as usize];
        let mut at = None;

        let result = match op {
            BioOp::Read(mut all) => all.try_for_each(|part| part.fill(&ram[part.range()])),
            BioOp::Write(mut all) => {
                if zone.condition != ZoneCondition::NoWritePointer {
                    advance(zone, sector, sectors)?;
                }
                all.try_for_each(|part| part.store(&mut ram[part.range()]))
            }
            BioOp::ZoneAppend(mut all) => {
                let place = zone.write_pointer;
                let behind = (place - sector) as usize * 512;

                advance(zone, place, sectors)?;
                at = Some(place);
                all.try_for_each(|part| {
                    let range = part.range();

                    part.store(&mut ram[range.start + behind..range.end + behind])
                })
            }
            BioOp::ZoneOpen if open == LIMITS.max_open => return Err(Failure::ZoneOpenResource),
            BioOp::ZoneOpen => Ok(zone.condition = ZoneCondition::ExplicitOpen),
            BioOp::ZoneClose => Ok(zone.condition = ZoneCondition::Closed),
            BioOp::ZoneFinish => Ok(zone.condition = ZoneCondition::Full),
            BioOp::ZoneReset => Ok(*zone = empty((sector / ZONE) as usize)),
            BioOp::ZoneResetAll => Ok(*zones = core::array::from_fn(empty)),
            _ => return Err(Failure::NotSupported),
        };
        result.map(|()| at).map_err(|_| Failure::IoError)
    }
}

/// Treats a bio or a request as the path's mode says.
macro_rules! carry_out {
    ($path:ident, $it:ident) => {{
        let storage = $path.head().data();
        let (op, sector, len) = ($it.op(), $it.sector(), $it.len());
        let is_read = matches!(op, BioOp::Read(_));
        let is_data = matches!(op, BioOp::ZoneAppend(_) | BioOp::Write(_));
        let done = match $path.data().mode() {
            Mode::FailOver if !is_read => return $it.failover(),
            Mode::Elsewhere if is_data => return $it.appended_at(sector + ZONE),
            _ => storage.lock().carry_out(op, sector, len),
        };

        match done {
            Ok(Some(_)) if $path.data().mode() == Mode::Nowhere => $it.end(),
            Ok(Some(_)) if $path.data().mode() == Mode::Batch => Zoned::end_in_batch($it),
            Ok(Some(at)) => $it.appended_at(at),
            Ok(None) => $it.end(),
            Err(failure) => $it.fail(failure),
        }
    }};
}

/// A bio or a request that `Mode::Batch` ends.
trait EndsInBatch {
    fn end_in_batch(self);
}

impl EndsInBatch for MpathBio<Zoned> {
    fn end_in_batch(self) {
        self.end_with(Ok(()));
    }
}

impl EndsInBatch for MpathRequest<Zoned> {
    fn end_in_batch(self) {
        MpathBatch::new().end(self);
    }
}

impl Zoned {
    fn end_in_batch(it: impl EndsInBatch) {
        it.end_in_batch();
    }
}

#[vtable]
impl MpathDriver for Zoned {
    type HeadData = SpinLock<Storage>;
    type PathData = Lane;

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        carry_out!(path, bio)
    }

    fn report_zones(path: &MpathDevice<Self>, sector: u64, report: &mut ZoneReport<'_>) -> Result {
        let mode = path.data().mode();
        let there = (path.head().capacity() / ZONE) as usize;
        // A copy: `tell()` may sleep.
        let mut zones = path.head().data().lock().zones;

        match mode {
            Mode::Silent => return Err(EAGAIN),
            Mode::Nonsense => zones[1].capacity = 0,
            Mode::Gap => zones.copy_within(2.., 1),
            _ => {}
        }
        report.tell(
            zones[..there]
                .iter()
                .skip((sector / ZONE) as usize)
                .copied(),
        )
    }
}

#[vtable]
impl MpathRequestDriver for Zoned {
    type RequestData = ();

    fn queue_rq(path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
        carry_out!(path, rq)
    }
}

/// The kind of I/O that paths take.
#[derive(Clone, Copy)]
enum Takes {
    Bios,
    Requests,
}

const KINDS: [Takes; 2] = [Takes::Bios, Takes::Requests];

fn params() -> DiskParams {
    DiskParams::new(ZONES as u64 * ZONE)
}

fn new_head<T: MpathDriver>(
    params: DiskParams,
    data: impl PinInit<T::HeadData>,
) -> Result<ARef<MpathHead<T>>> {
    let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;

    MpathHead::new(&policy, fmt!("mpzoned"), params, data)
}

fn head() -> Result<ARef<MpathHead<Zoned>>> {
    new_head(params().zones(LIMITS)?, new_spinlock!(Storage::new()?))
}

fn path(
    head: &MpathHead<Zoned>,
    takes: Takes,
    number: u32,
    mode: Mode,
) -> Result<Registration<Zoned, Added>> {
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
    let name = fmt!("mpzonedc{number}");
    let lane = Ok::<_, Error>(Lane(Atomic::new(mode as u32)));

    match takes {
        Takes::Bios => head.add_path(&port, name, None, lane),
        Takes::Requests => {
            let tags = Arc::pin_init(MpathTagSet::new(TagParams::new(16)), GFP_KERNEL)?;

            head.add_request_path(&port, &tags, name, None, lane)
        }
    }
}

fn live(head: &MpathHead<Zoned>, takes: Takes, mode: Mode) -> Result<Registration<Zoned, Live>> {
    path(head, takes, 0, mode)?.set_live(AccessState::Optimized)
}

fn head_disk(head: &MpathHead<Zoned>) -> *mut bindings::gendisk {
    // SAFETY: The disk stays with the head.
    unsafe { (*head.as_raw()).disk }
}

fn part0(head: &MpathHead<Zoned>) -> *mut bindings::block_device {
    // SAFETY: The disk stays with the head.
    unsafe { (*head_disk(head)).part0 }
}

/// Has the head's disk carry out an operation on zones.
fn manage(head: &MpathHead<Zoned>, op: bindings::req_op, zone: u64, count: u64) -> i32 {
    // SAFETY: The disk stays with the head.
    unsafe { bindings::blkdev_zone_mgmt(part0(head), op, zone * ZONE, count * ZONE) }
}

/// The result of a report of the head's disk: up to `room` zones, from `sector` on.
fn report(head: &MpathHead<Zoned>, sector: u64, room: u32) -> (i32, KVec<bindings::blk_zone>) {
    /// # Safety
    ///
    /// Called with a zone, and with the pointer that `blkdev_report_zones()` gets below.
    unsafe extern "C" fn note(
        zone: *mut bindings::blk_zone,
        index: c_uint,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: By this function's contract.
        let (zone, zones) = unsafe { (*zone, &mut *data.cast::<KVec<bindings::blk_zone>>()) };

        match zones.len() == index as usize && zones.push(zone, GFP_KERNEL).is_ok() {
            true => 0,
            false => EINVAL.to_errno(),
        }
    }
    let mut zones = KVec::new();

    // SAFETY: The disk stays with the head, and the zones stay for the time of the call.
    let told = unsafe {
        bindings::blkdev_report_zones(
            part0(head),
            sector,
            room,
            Some(note),
            (&raw mut zones).cast(),
        )
    };
    (told, zones)
}

/// Does the block layer refuse operations on zones that it does not know, and on conventional
/// zones? From Linux 7.3 on it does; before, it passes them on.
const REFUSES: bool = cfg!(not(mpath_before_7_3));

#[kernel::macros::kunit_tests(mpath_zones)]
mod suite {
    use super::super::example::Ram;
    use super::*;
    use kernel::new_mutex;

    const OPEN: u32 = bindings::req_op_REQ_OP_ZONE_OPEN;
    const CLOSE: u32 = bindings::req_op_REQ_OP_ZONE_CLOSE;
    const FINISH: u32 = bindings::req_op_REQ_OP_ZONE_FINISH;
    const RESET: u32 = bindings::req_op_REQ_OP_ZONE_RESET;
    const IOERR: u32 = Failure::IoError as u32;

    fn condition(head: &MpathHead<Zoned>, zone: usize) -> ZoneCondition {
        head.data().lock().zones[zone].condition
    }

    #[test]
    fn limits_arrive_at_the_head_and_at_its_paths() -> Result {
        for takes in KINDS {
            let head = head()?;
            let path = live(&head, takes, Mode::Good)?;

            for disk in [head_disk(&head), path.disk.as_raw()] {
                // SAFETY: Both disks stay with their owners.
                let (disk, limits) = unsafe { (&*disk, &(*(*disk).queue).limits) };

                check!(limits.features & 1 << 10 != 0);
                check!(limits.chunk_sectors == 64);
                check!(limits.max_open_zones == 2 && limits.max_active_zones == 3);
                check!(limits.max_zone_append_sectors == 16);
                check!(disk.nr_zones == ZONES as u32);
                check!(u64::from(disk.zone_capacity) == CAPACITY);
            }
        }
        Ok(())
    }

    #[test]
    fn limits_that_are_not_allowed_are_refused() -> Result {
        let is_refused = |limits| params().zones(limits).err() == Some(EINVAL);

        for size in [0, 63, 96] {
            check!(is_refused(ZoneLimits { size, ..LIMITS }));
        }
        for max_append in [0, 65] {
            check!(is_refused(ZoneLimits {
                max_append,
                ..LIMITS
            }));
        }
        check!(is_refused(ZoneLimits {
            max_open: 4,
            ..LIMITS
        }));
        check!(!is_refused(ZoneLimits {
            max_open: 4,
            max_active: 0,
            max_append: 64,
            ..LIMITS
        }));

        let is_refused = |params: DiskParams| {
            let head = new_head::<Zoned>(params, new_spinlock!(Storage::new()?));
            Ok::<_, Error>(matches!(head, Err(error) if error == EINVAL))
        };
        let small = ZoneLimits {
            size: 4,
            max_append: 4,
            ..LIMITS
        };
        check!(is_refused(params().zones(LIMITS)?.chunk_sectors(128))?);
        check!(is_refused(params().chunk_sectors(32).zones(LIMITS)?)?);
        check!(is_refused(
            params().logical_block_size(4096)?.zones(small)?
        )?);
        check!(!is_refused(params().chunk_sectors(64).zones(LIMITS)?)?);
        Ok(())
    }

    #[test]
    fn a_driver_that_reports_no_zones_has_no_zoned_disk() -> Result {
        let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
        let head = new_head::<Ram>(params().zones(LIMITS)?, new_mutex!(ram));

        check!(matches!(head, Err(error) if error == EINVAL));
        Ok(())
    }

    #[test]
    fn zones_are_reported_through_the_head() -> Result {
        for takes in KINDS {
            let head = head()?;
            let path = live(&head, takes, Mode::Good)?;

            check!(Io::append(&head, 2 * ZONE, 1)?.wait() == 0);
            let (told, zones) = report(&head, 0, u32::MAX);
            check!(told == ZONES as i32 && zones.len() == ZONES);
            check!(zones[0].type_ == 1 && zones[0].cond == 0 && zones[0].capacity == ZONE);
            for (number, zone) in zones.iter().enumerate() {
                check!(zone.start == number as u64 * ZONE && zone.len == ZONE);
            }
            for zone in &zones[1..] {
                let (wp, cond) = match zone.start {
                    128 => (128 + PAGE, 2),
                    start => (start, 1),
                };
                check!(zone.type_ == 2 && zone.capacity == CAPACITY);
                check!(zone.wp == wp && zone.cond == cond);
            }

            // The report begins with the zone that has the sector, and has no more zones than are
            // asked for.
            let (told, zones) = report(&head, 2 * ZONE + 5, 2);
            check!(told == 2 && zones.len() == 2 && zones[0].start == 2 * ZONE);

            path.data().set(Mode::Gap);
            check!(report(&head, 0, 8).0 == EIO.to_errno());
            path.disable(DisableReason::StatePending);
            check!(report(&head, 0, 8).0 == EAGAIN.to_errno());
        }
        Ok(())
    }

    #[test]
    fn where_an_append_has_written_comes_back() -> Result {
        for takes in KINDS {
            let head = head()?;
            let _path = live(&head, takes, Mode::Good)?;

            for number in 0..CAPACITY / PAGE {
                let at = 3 * ZONE + number * PAGE;
                let io = Io::append(&head, 3 * ZONE, number as u8 + 1)?;

                check!(io.wait() == 0);
                check!(io.sector() == at);
                let io = Io::read(&head, at)?;
                check!(io.wait() == 0 && io.holds(number as u8 + 1)?);
            }
            check!(condition(&head, 3) == ZoneCondition::Full);
            check!(Io::append(&head, 3 * ZONE, 0)?.wait() == IOERR);
        }
        Ok(())
    }

    #[test]
    fn an_append_that_fails_on_one_path_is_written_through_another() -> Result {
        for takes in KINDS {
            let head = head()?;
            let _bad = live(&head, takes, Mode::FailOver)?;
            let good = path(&head, takes, 1, Mode::Good)?;
            let _good = good.set_live(AccessState::Optimized)?;

            for number in 0..CAPACITY / PAGE {
                let at = ZONE + number * PAGE;
                let io = Io::append(&head, ZONE, number as u8 + 1)?;

                check!(io.wait() == 0);
                check!(io.sector() == at);
                let io = Io::read(&head, at)?;
                check!(io.wait() == 0 && io.holds(number as u8 + 1)?);
            }
            check!(manage(&head, RESET, 1, 1) == 0);
            check!(condition(&head, 1) == ZoneCondition::Empty);
            check!(head.fail_count() == 0);
        }
        Ok(())
    }

    #[test]
    fn an_append_that_is_nowhere_fails() -> Result {
        for takes in KINDS {
            let head = head()?;
            let path = live(&head, takes, Mode::Good)?;

            for mode in [Mode::Nowhere, Mode::Batch, Mode::Elsewhere] {
                path.data().set(mode);
                check!(Io::append(&head, ZONE, 1)?.wait() == IOERR);
            }
            // A write goes where it was sent: the library accepts no other place.
            check!(Io::write(&head, 0, 1)?.wait() == IOERR);
            path.data().set(Mode::Good);
            check!(Io::append(&head, ZONE, 1)?.wait() == 0);
        }
        Ok(())
    }

    #[test]
    fn a_zone_is_written_in_order() -> Result {
        for takes in KINDS {
            let head = head()?;
            let _path = live(&head, takes, Mode::Good)?;

            check!(Io::write(&head, 16, 1)?.wait() == 0);
            for number in 0..CAPACITY / PAGE {
                check!(Io::write(&head, ZONE + number * PAGE, 7)?.wait() == 0);
            }
            check!(condition(&head, 1) == ZoneCondition::Full);
            let io = Io::read(&head, ZONE + PAGE)?;
            check!(io.wait() == 0 && io.holds(7)?);
            check!(Io::write(&head, 2 * ZONE + PAGE, 7)?.wait() == IOERR);
        }
        Ok(())
    }

    #[test]
    fn zones_are_opened_closed_finished_and_reset() -> Result {
        for takes in KINDS {
            let head = head()?;
            let _path = live(&head, takes, Mode::Good)?;

            check!(manage(&head, OPEN, 1, 2) == 0);
            check!(condition(&head, 2) == ZoneCondition::ExplicitOpen);
            check!(manage(&head, OPEN, 3, 1) == -(bindings::ETOOMANYREFS as i32));
            check!(manage(&head, CLOSE, 1, 1) == 0);
            check!(condition(&head, 1) == ZoneCondition::Closed);
            check!(manage(&head, OPEN, 3, 1) == 0);
            check!(manage(&head, FINISH, 4, 1) == 0);
            check!(condition(&head, 4) == ZoneCondition::Full);
            check!(manage(&head, RESET, 4, 1) == 0);
            check!(condition(&head, 4) == ZoneCondition::Empty);
            check!(condition(&head, 3) == ZoneCondition::ExplicitOpen);
            check!(manage(&head, RESET, 0, ZONES as u64) == 0);
            check!((1..ZONES).all(|zone| condition(&head, zone) == ZoneCondition::Empty));
            // Nobody can reset a conventional zone.
            check!(!REFUSES || manage(&head, RESET, 0, 1) == EIO.to_errno());
        }
        Ok(())
    }

    #[test]
    fn a_path_with_zones_that_cannot_be_does_not_go_live() -> Result {
        for takes in KINDS {
            for (mode, error) in [(Mode::Nonsense, ENODEV), (Mode::Gap, EIO)] {
                let head = head()?;

                check!(live(&head, takes, mode).err() == Some(error));
                check!(!head.is_live());
            }
        }
        Ok(())
    }

    #[test]
    fn zones_that_cannot_be_told_now_are_told_later() -> Result {
        for takes in KINDS {
            let head = head()?;
            let path = live(&head, takes, Mode::Silent)?;

            check!(head.is_live());
            check!(!REFUSES || manage(&head, FINISH, 1, 1) == EIO.to_errno());
            check!(path.revalidate_zones() == Err(EAGAIN));
            path.data().set(Mode::Good);
            check!(path.revalidate_zones() == Ok(()));
            check!(manage(&head, FINISH, 1, 1) == 0);
        }
        Ok(())
    }

    #[test]
    fn a_head_without_a_usable_path_learns_its_zones_later() -> Result {
        for takes in KINDS {
            let head = head()?;
            let first = path(&head, takes, 0, Mode::Good)?.set_live(AccessState::Other)?;

            check!(!REFUSES || manage(&head, FINISH, 1, 1) == EIO.to_errno());
            // The head learns its zones by itself, when the next path goes live.
            let second = path(&head, takes, 1, Mode::Good)?;
            let second = second.set_live(AccessState::Optimized)?;
            check!(manage(&head, FINISH, 1, 1) == 0);

            // The head keeps the zones that it knows when a path goes live that it cannot ask.
            second.disable(DisableReason::StatePending);
            drop(first);
            let third = path(&head, takes, 2, Mode::Good)?.set_live(AccessState::Other)?;
            drop(third);
            second.enable(DisableReason::StatePending);
            check!(manage(&head, FINISH, 2, 1) == 0);
        }
        Ok(())
    }

    #[test]
    fn zones_follow_the_capacity() -> Result {
        for takes in KINDS {
            let head = head()?;
            let path = live(&head, takes, Mode::Good)?;

            head.set_capacity(4 * ZONE);
            path.set_capacity(4 * ZONE);
            check!(path.revalidate_zones() == Ok(()));
            for disk in [head_disk(&head), path.disk.as_raw()] {
                // SAFETY: Both disks stay with their owners.
                check!(unsafe { (*disk).nr_zones } == 4);
            }
        }
        Ok(())
    }
}
