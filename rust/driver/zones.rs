// SPDX-License-Identifier: GPL-2.0

//! Zones: the limits of a zoned disk, and its zones as a driver reports them.

use crate::bindings;
use crate::compat::EOPNOTSUPP;
use core::marker::PhantomData;
use kernel::block::SECTOR_SHIFT;
use kernel::error::to_result;
use kernel::prelude::*;

pub(super) const ZONED: u32 = bindings::mpath_helper_features_MPATH_FEAT_ZONED;

/// The limits of a zoned disk: [`DiskParams::zones`](super::DiskParams::zones).
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// let limits = ZoneLimits { size: 128, max_open: 4, max_active: 8, max_append: 64 };
/// assert!(DiskParams::new(2048).zones(limits).is_ok());
///
/// // Each of these is refused, and the log says why.
/// let refused = |limits| DiskParams::new(2048).zones(limits).err() == Some(EINVAL);
/// assert!(refused(ZoneLimits { size: 100, ..limits }));
/// assert!(refused(ZoneLimits { max_open: 9, ..limits }));
/// assert!(refused(ZoneLimits { max_append: 0, ..limits }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimits {
    /// The number of sectors of 512 bytes in each zone, a power of two. The last zone may be
    /// smaller.
    pub size: u32,
    /// The number of zones that may be open at once, 0 for any number.
    pub max_open: u32,
    /// The number of zones that may be active at once, which are those that are open or closed; 0
    /// for any number. Not less than `max_open`.
    pub max_active: u32,
    /// The most sectors of one [append](super::BioOp::ZoneAppend): 1 to the size of a zone.
    pub max_append: u32,
}

impl ZoneLimits {
    /// Fails with `EINVAL`, and says in the log which value is wrong.
    #[inline]
    pub(super) fn check(&self) -> Result {
        let (size, append) = (self.size, self.max_append);
        let (open, active) = (self.max_open, self.max_active);

        if !size.is_power_of_two() {
            pr_err!("zones of {size} sectors: only a power of two is allowed\n");
        } else if active != 0 && open > active {
            pr_err!("{open} zones may be open, but only {active} may be active\n");
        } else if !(1..=size).contains(&append) {
            pr_err!(
                "appends of {append} sectors: only 1 to {size}, the size of a zone, are allowed\n"
            );
        } else {
            return Ok(());
        }
        Err(EINVAL)
    }
}

/// The places where a zone may be written, `enum blk_zone_type`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// May a write begin here?
/// fn may_begin(zone: &Zone, sector: u64) -> bool {
///     match zone.kind {
///         ZoneKind::Conventional => true,
///         ZoneKind::Sequential => sector == zone.write_pointer,
///     }
/// }
///
/// assert!(may_begin(&Zone::conventional(0, 128), 5));
/// assert!(!may_begin(&Zone::empty(128, 128, 96), 133));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ZoneKind {
    /// Anywhere, as a disk without zones. It has no write pointer.
    Conventional = bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL as u8,
    /// Only at its write pointer.
    Sequential = bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_REQ as u8,
}

/// The condition of a zone, `enum blk_zone_cond`.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// Does a zone in this condition count as open?
/// fn is_open(condition: ZoneCondition) -> bool {
///     matches!(condition, ZoneCondition::ImplicitOpen | ZoneCondition::ExplicitOpen)
/// }
///
/// assert!(!is_open(ZoneCondition::Closed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ZoneCondition {
    /// The zone has no write pointer: the condition of each [conventional](ZoneKind::Conventional)
    /// zone, and of no other.
    NoWritePointer = bindings::blk_zone_cond_BLK_ZONE_COND_NOT_WP as u8,
    /// Nothing has been written since it was reset.
    Empty = bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY as u8,
    /// A write has opened it.
    ImplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN as u8,
    /// [`BioOp::ZoneOpen`](super::BioOp::ZoneOpen) has opened it.
    ExplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN as u8,
    /// It has been written in part, and is not open.
    Closed = bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED as u8,
    /// It can be read only, for good.
    ReadOnly = bindings::blk_zone_cond_BLK_ZONE_COND_READONLY as u8,
    /// No more can be written before it is reset.
    Full = bindings::blk_zone_cond_BLK_ZONE_COND_FULL as u8,
    /// It can be neither read nor written, for good.
    Offline = bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE as u8,
}

/// A zone, in sectors of 512 bytes.
///
/// # Examples
///
/// ```
/// use libmultipath::prelude::*;
///
/// /// What 8 sectors leave of a zone that they are written to.
/// fn write(zone: &mut Zone) {
///     zone.write_pointer += 8;
///     zone.condition = match zone.write_pointer - zone.start == zone.capacity {
///         true => ZoneCondition::Full,
///         false => ZoneCondition::ImplicitOpen,
///     };
/// }
///
/// let mut zone = Zone::empty(128, 128, 8);
/// assert_eq!(zone.write_pointer, 128);
/// write(&mut zone);
/// assert_eq!(zone.condition, ZoneCondition::Full);
/// assert_eq!(Zone::conventional(0, 128).condition, ZoneCondition::NoWritePointer);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its first sector.
    pub start: u64,
    /// How many sectors it has.
    pub len: u64,
    /// How many of them can be written: the same number in each sequential zone but the last.
    pub capacity: u64,
    /// The place of the next write. It has no meaning in a conventional zone, nor in one that is
    /// full, can be read only, or is offline.
    pub write_pointer: u64,
    /// May it be written anywhere?
    pub kind: ZoneKind,
    /// Its condition.
    pub condition: ZoneCondition,
}

impl Zone {
    /// A conventional zone.
    #[inline]
    pub const fn conventional(start: u64, len: u64) -> Self {
        Self {
            start,
            len,
            capacity: len,
            write_pointer: u64::MAX,
            kind: ZoneKind::Conventional,
            condition: ZoneCondition::NoWritePointer,
        }
    }

    /// A sequential zone that is empty.
    #[inline]
    pub const fn empty(start: u64, len: u64, capacity: u64) -> Self {
        Self {
            start,
            len,
            capacity,
            write_pointer: start,
            kind: ZoneKind::Sequential,
            condition: ZoneCondition::Empty,
        }
    }
}

/// The place where a driver tells which zones there are: [`MpathDriver::report_zones`].
///
/// # Invariants
///
/// `disk` is valid for `'a`. The block layer wants `args` passed on with each zone.
///
/// # Examples
///
/// A RAM disk whose zones take appends.
///
/// ```
/// use kernel::new_mutex;
/// use kernel::sync::{
///     Arc,
///     Mutex, //
/// };
/// use libmultipath::prelude::*;
///
/// struct Zoned;
///
/// const SIZE: u64 = 128;
///
/// struct Storage {
///     ram: KVVec<u8>,
///     zones: [Zone; 16],
/// }
///
/// #[vtable]
/// impl MpathDriver for Zoned {
///     type HeadData = Mutex<Storage>;
///     type PathData = ();
///
///     fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
///         let mut storage = path.head().data().lock();
///         let Storage { ram, zones } = &mut *storage;
///         let zone = &mut zones[(bio.sector() / SIZE) as usize];
///         let result = match bio.op() {
///             BioOp::Read(mut all) => all.try_for_each(|part| part.fill(&ram[part.range()])),
///             BioOp::ZoneAppend(mut all) => {
///                 let at = zone.write_pointer;
///                 // Where the bio begins is only the zone's first sector.
///                 let behind = (at - zone.start) as usize * 512;
///                 let stored = all.try_for_each(|part| {
///                     let range = part.range();
///                     part.store(&mut ram[range.start + behind..range.end + behind])
///                 });
///                 if let Err(error) = stored {
///                     return bio.end_with(Err(error));
///                 }
///                 zone.write_pointer += bio.len() as u64 / 512;
///                 zone.condition = ZoneCondition::ImplicitOpen;
///                 return bio.appended_at(at);
///             }
///             BioOp::ZoneReset => Ok(*zone = Zone::empty(zone.start, SIZE, SIZE)),
///             BioOp::ZoneFinish => Ok(zone.condition = ZoneCondition::Full),
///             _ => Err(EOPNOTSUPP),
///         };
///         bio.end_with(result);
///     }
///
///     fn report_zones(
///         path: &MpathDevice<Self>,
///         sector: u64,
///         report: &mut ZoneReport<'_>,
///     ) -> Result {
///         // A copy: the one who asks may need the disk before it has all of them.
///         let zones = path.head().data().lock().zones;
///         pr_debug!("up to {} zones\n", report.room());
///         report.tell(zones[(sector / SIZE) as usize..].iter().copied())
///     }
/// }
///
/// let storage = Storage {
///     ram: KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?,
///     zones: core::array::from_fn(|number| Zone::empty(number as u64 * SIZE, SIZE, SIZE)),
/// };
/// let limits = ZoneLimits { size: 128, max_open: 0, max_active: 0, max_append: 64 };
/// let params = DiskParams::new(2048).zones(limits)?;
/// let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?;
/// let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
/// let head = MpathHead::<Zoned>::new(&policy, fmt!("mpdoc"), params, new_mutex!(storage))?;
/// let path = head.add_path(&port, fmt!("mpdocc0"), None, ())?;
///
/// let path = path.set_live(AccessState::Optimized)?;
/// // The storage has been formatted: it has other zones.
/// path.revalidate_zones()?;
/// # Ok::<(), Error>(())
/// ```
///
/// [`MpathDriver::report_zones`]: super::MpathDriver::report_zones
pub struct ZoneReport<'a> {
    disk: *mut bindings::gendisk,
    args: *mut bindings::blk_report_zones_args,
    /// A sector of the zone that is told next.
    next: u64,
    room: u32,
    told: u32,
    _call: PhantomData<&'a mut bindings::blk_report_zones_args>,
}

impl ZoneReport<'_> {
    /// # Safety
    ///
    /// `disk` is valid for as long as the result is used. `args` came with a request to report up
    /// to `room` of its zones, beginning with the one that has `sector`.
    #[inline]
    pub(super) unsafe fn new(
        disk: *mut bindings::gendisk,
        sector: u64,
        room: u32,
        args: *mut bindings::blk_report_zones_args,
    ) -> Self {
        // INVARIANT: By this function's contract.
        Self {
            disk,
            args,
            next: sector,
            room,
            told: 0,
            _call: PhantomData,
        }
    }

    /// How many zones have been told.
    #[inline]
    pub(super) fn told(&self) -> u32 {
        self.told
    }

    /// How many zones the caller of the report asks for, beyond those that have been told.
    #[inline]
    pub fn room(&self) -> u32 {
        self.room - self.told
    }

    /// Tells zones. The first one has the sector that the caller of the report asks for, and each
    /// other zone begins where the one before it ends. Takes no more of them than the caller asks
    /// for.
    ///
    /// Fails with `EIO` for other zones, which the log names, and with the error of the caller's
    /// function that takes the zones. That function may sleep, and may do I/O to this very disk. So
    /// this may, too, and the driver holds no lock that a bio needs.
    #[inline]
    pub fn tell(&mut self, zones: impl IntoIterator<Item = Zone>) -> Result {
        for zone in zones.into_iter().take(self.room() as usize) {
            let end = zone.start.saturating_add(zone.len);
            let follows = match self.told {
                0 => (zone.start..end).contains(&self.next),
                _ => zone.start == self.next && zone.len != 0,
            };

            if !follows {
                pr_err!(
                    "the driver told a zone from {} to {end}, where that of sector {} follows\n",
                    zone.start,
                    self.next
                );
                return Err(EIO);
            }
            self.pass_on(zone)?;
            self.next = end;
            self.told += 1;
        }
        Ok(())
    }

    #[inline]
    fn pass_on(&self, zone: Zone) -> Result {
        let mut raw = bindings::blk_zone {
            start: zone.start,
            len: zone.len,
            wp: zone.write_pointer,
            type_: zone.kind as u8,
            cond: zone.condition as u8,
            capacity: zone.capacity,
            ..Default::default()
        };

        if cfg!(CONFIG_BLK_DEV_ZONED) {
            // SAFETY: By the type invariant; the zone is copied.
            to_result(unsafe {
                bindings::disk_report_zone(self.disk, &mut raw, self.told, self.args)
            })
        } else {
            Err(EOPNOTSUPP)
        }
    }
}

/// Has the block layer read the zones of a disk, if it is zoned: for the first time, or `anew`.
/// Sleeps, and waits for the bios and requests that the disk has.
///
/// # Safety
///
/// `disk` is of a head or of a path of a driver in Rust, and stays for the time of the call.
#[inline]
pub(super) unsafe fn read_zones(disk: *mut bindings::gendisk, anew: bool) -> Result {
    #[cfg(CONFIG_BLK_DEV_ZONED)]
    // SAFETY: By this function's contract. A zoned disk has the operation that reports zones, since
    // a head is not made without it.
    unsafe {
        let is_zoned = (*(*disk).queue).limits.features & ZONED != 0;

        if is_zoned && (anew || (*disk).nr_zones == 0) {
            return to_result(bindings::blk_revalidate_disk_zones(disk));
        }
    }
    let _ = (disk, anew);
    Ok(())
}

/// Can an operation of `len` bytes on the zone that begins at `start`, which `is_append`, have been
/// written at `sector`? Logs when not.
///
/// # Safety
///
/// `disk` is valid.
#[inline]
pub(super) unsafe fn can_be_at(
    is_append: bool,
    disk: *mut bindings::gendisk,
    start: u64,
    sector: u64,
    len: usize,
) -> bool {
    // SAFETY: By this function's contract.
    let size = u64::from(unsafe { (*(*disk).queue).limits.chunk_sectors });
    let end = sector
        .checked_sub(start)
        .and_then(|offset| offset.checked_add((len >> SECTOR_SHIFT) as u64));
    let can_be = is_append && end.is_some_and(|end| end <= size);

    if !can_be {
        pr_err!(
            "data for sector {start} cannot have been appended at {sector}: the operation fails\n"
        );
    }
    can_be
}

/// Says in the log that a driver has ended an append without saying where it has written.
#[inline]
pub(super) fn say_nowhere(start: u64) {
    pr_err!("an append to the zone at {start} fails: the driver did not say where it wrote\n");
}
