// SPDX-License-Identifier: GPL-2.0

//! A driver whose paths send the bios of their head on to block devices that are there already.
//! These devices have to lead to the same storage. Nobody checks that. In configfs the user says:
//!
//! ```sh
//! cd /sys/kernel/config/mpath_lower
//! mkdir 0 0/a 0/b                         # the head /dev/mplower0, and two paths of it
//! echo /dev/nullb0 > 0/a/device           # the first path has a device: the head appears
//! echo non-optimized > 0/a/access_state   # optimized, non-optimized, inaccessible
//! echo 1 > 0/a/numa_node                  # -1: near to all nodes; for the next device
//! echo > 0/a/device                       # the path goes, and with the last one the head
//! ```
//! The policy and the removal delay are attributes of the head's disk. After an error that may be
//! the path's, another path carries the bio out. A device is open as long as its path is there.
//! Taking a path away waits for the bios of its device: for ever, if the device never answers.

#[macro_use]
mod attribute;

use attribute::{
    parse,
    parse_name, //
};
use core::ptr::NonNull;
use kernel::bindings;
use kernel::configfs;
use kernel::error::{
    from_err_ptr,
    to_result, //
};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    aref::ARef,
    Arc,
    Mutex, //
};
use kernel::types::Opaque;
use libmultipath::prelude::*;

module! {
    type: MpathLower,
    name: "rust_mpath_lower",
    authors: ["The libmultipath authors"],
    description: "Paths over lower block devices",
    license: "GPL",
}

/// The driver, as the library knows it.
struct Lower;

#[vtable]
impl MpathDriver for Lower {
    type HeadData = Arc<Storage>;
    type PathData = Opened;
    const ATTRIBUTES: bool = true;

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.submit_clone(|lower| lower);
    }

    fn unlink(head: &MpathHead<Self>) {
        let mut known = head.data().head.lock();

        // The driver may know a new head already.
        known.take_if(|known| core::ptr::eq(&**known, head));
    }
}

/// An open block device, which is closed when this is dropped.
struct File(NonNull<bindings::file>);

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: The file is open, and nobody uses it after the drop.
        unsafe { bindings::bdev_fput(self.0.as_ptr()) }
    }
}

/// A `struct bio_set`: initialised, or zeroed.
struct Clones(Pin<KBox<Opaque<bindings::bio_set>>>);

impl Drop for Clones {
    fn drop(&mut self) {
        // SAFETY: `bioset_exit()` takes an initialised set and a zeroed one. No clone is left: the
        // library frees each before its bio ends, and drops the path's data only after all bios.
        unsafe { bindings::bioset_exit(self.0.get()) }
    }
}

/// A block device that the driver has opened for one path. The kernel crate has no such type.
struct Opened {
    file: File,
    clones: Clones,
}

impl Opened {
    /// `BLK_OPEN_READ` and `BLK_OPEN_WRITE`.
    const READ_WRITE: bindings::blk_mode_t = 1 << 0 | 1 << 1;
    /// The number of clones that can be in flight, however little memory there is.
    const RESERVE: u32 = 16;

    fn new(name: &CStr) -> Result<Self> {
        let clones = Clones(KBox::pin(Opaque::zeroed(), GFP_KERNEL)?);
        let (name, holder) = (name.as_char_ptr(), clones.0.get().cast());

        // SAFETY: The memory is zeroed and pinned, and nobody else has its address.
        to_result(unsafe { bindings::bioset_init(clones.0.get(), Self::RESERVE, 0, 0) })?;
        // SAFETY: The name ends with a NUL. The holder is an address that nobody else has.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_path(name, Self::READ_WRITE, holder, core::ptr::null())
        })?;
        let file = File(NonNull::new(file).ok_or(ENODEV)?);

        Ok(Self { file, clones })
    }

    /// The capacity of the device, in sectors of 512 bytes.
    fn capacity(&self) -> u64 {
        // SAFETY: The device is there while it is open.
        unsafe { (*self.device()).bd_nr_sectors }
    }
}

// SAFETY: The device is open, and the bio_set is initialised, until the value is dropped. Nobody
// else has the bio_set.
unsafe impl LowerDevice for Opened {
    fn device(&self) -> *mut bindings::block_device {
        // SAFETY: The file is open.
        unsafe { bindings::file_bdev(self.file.0.as_ptr()) }
    }

    fn clones(&self) -> *mut bindings::bio_set {
        self.clones.0.get()
    }
}

// SAFETY: Any thread that may sleep may close a file and give a bio_set up.
unsafe impl Send for Opened {}
// SAFETY: Any number of threads may do at once all that a shared reference allows.
unsafe impl Sync for Opened {}

/// The storage, and the head that leads to it while it has paths.
#[pin_data]
struct Storage {
    name: CString,
    policy: Arc<MpathIoPolicy>,
    #[pin]
    head: Mutex<Option<ARef<MpathHead<Lower>>>>,
    /// Held while a path comes or goes, since a new disk has the name of the one that goes.
    #[pin]
    turn: Mutex<()>,
}

impl Storage {
    fn new(name: &CStr) -> Result<Arc<Self>> {
        let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;

        Arc::pin_init(
            try_pin_init!(Self {
                name: name.try_into()?,
                policy,
                head <- new_mutex!(None),
                turn <- new_mutex!(()),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Adds a path to the head. Makes a new head when there is none, or when the last one is going.
    fn add_path(self: &Arc<Self>, way: &Way, device: &CStr) -> Result<Registration<Lower>> {
        let lower = Opened::new(device)?;
        let mut known = self.head.lock();
        let head = match known.as_ref() {
            Some(head) => head.clone(),
            None => MpathHead::new(
                &self.policy,
                fmt!("mplower{}", &*self.name),
                DiskParams::stacked(lower.capacity(), &lower)?,
                self.clone(),
            )?,
        };

        if lower.capacity() != head.capacity() {
            return Err(EINVAL);
        }
        head.stack_limits(&lower)?;
        let name = fmt!("mplower{}c{}", &*self.name, &*way.name);
        let node = way.numa_node.load(Relaxed);
        let path = head.add_path(&way.port, name, (node >= 0).then_some(node), lower)?;
        *known = Some(head);
        // `set_live()` waits for reads, and for `unlink()` if the path cannot go live. The latter
        // takes the lock.
        drop(known);
        path.set_live(way.access())
    }
}

/// One way to the storage, with its path while it has one.
#[pin_data]
struct Way {
    name: CString,
    storage: Arc<Storage>,
    port: Arc<MpathPort>,
    access: Atomic<u32>,
    numa_node: Atomic<i32>,
    #[pin]
    path: Mutex<Option<(CString, Registration<Lower>)>>,
}

impl Way {
    fn access(&self) -> AccessState {
        AccessState::from_raw(self.access.load(Relaxed))
    }

    /// Takes the path away. Adds one to the device that `page` names, if it names one.
    fn set_device(&self, page: &[u8]) -> Result {
        let _turn = self.storage.turn.lock();
        let mut path = self.path.lock();
        let device = core::str::from_utf8(page)?.trim();

        *path = None;
        if !device.is_empty() {
            let device = CString::try_from_fmt(fmt!("{device}"))?;
            let added = self.storage.add_path(self, &device)?;
            *path = Some((device, added));
        }
        Ok(())
    }
}

/// The module's directory in configfs.
struct Root;

impl Root {
    fn new() -> Result<Self> {
        Ok(Self)
    }
}

#[vtable]
impl configfs::GroupOperations for Root {
    type Child = Disk;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<Disk>, Error>> {
        let item_type = configfs::configfs_attrs! {
            container: configfs::Group<Disk>,
            data: Disk,
            child: Path,
            attributes: [parked: 0, failed: 1],
        };
        let disk = Disk(Storage::new(name)?);

        Ok(configfs::Group::new(name.try_into()?, item_type, Ok(disk)))
    }
}

/// The directory of a head.
struct Disk(Arc<Storage>);

impl Drop for Disk {
    fn drop(&mut self) {
        // A head that waits for a path would keep the name all that time.
        let known = self.0.head.lock();
        known.iter().for_each(|head| head.set_removal_delay(0));
    }
}

#[vtable]
impl configfs::GroupOperations for Disk {
    type Child = Path;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<Path>, Error>> {
        let item_type = configfs::configfs_attrs! {
            container: configfs::Group<Path>,
            data: Path,
            attributes: [device: 0, access_state: 1, numa_node: 2],
        };
        let way = KBox::pin_init(
            try_pin_init!(Way {
                name: name.try_into()?,
                storage: self.0.clone(),
                port: Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?,
                access: Atomic::new(0),
                numa_node: Atomic::new(-1),
                path <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )?;

        let path = Ok(Path(way));

        Ok(configfs::Group::new(name.try_into()?, item_type, path))
    }
}

/// The directory of a path.
struct Path(Pin<KBox<Way>>);

impl Drop for Path {
    fn drop(&mut self) {
        let _ = self.0.set_device(b"");
    }
}

const ACCESS_STATES: [&str; 3] = ["optimized", "non-optimized", "inaccessible"];

configuration!(MpathLower, c"mpath_lower", Root, Disk, []);
attribute!(Disk, 0, it => it.head.lock().as_ref().map_or(0, |head| head.requeue_count()));
attribute!(Disk, 1, it => it.head.lock().as_ref().map_or(0, |head| head.fail_count()));
attribute!(Path, 0, it, it.path.lock().as_ref().map_or(c"", |(device, _)| &**device),
    page => it.set_device(page)?);
attribute!(Path, 1, it, ACCESS_STATES[it.access.load(Relaxed) as usize], page => {
    it.access.store(parse_name(page, &ACCESS_STATES)?, Relaxed);
    it.path.lock().iter().for_each(|(_, path)| path.set_access_state(it.access()))
});
attribute!(Path, 2, numa_node);
