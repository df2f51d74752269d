// SPDX-License-Identifier: GPL-2.0

//! Operations of users on a disk beside reading and writing: reservations, ioctls, zeroes, and
//! another size.

use super::bios::Io;
use crate::bindings;
use crate::compat::EOPNOTSUPP;
use crate::{
    AccessState,
    BioOp,
    DiskParams,
    IoPolicy,
    Ioctl,
    Live,
    MpathBio,
    MpathDevice,
    MpathDriver,
    MpathHead,
    MpathIoPolicy,
    MpathPort,
    PortState,
    Registration,
    Reservation,
    ReservationKind,
    ReservationStatus, //
};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    Mutex, //
};

/// A driver that knows two keys and one reservation, and an ioctl.
struct Answers;

#[derive(Default)]
struct Reserved {
    keys: [Option<u64>; 2],
    held: Option<(u64, ReservationKind)>,
    generation: u32,
}

struct Storage {
    reserved: Pin<KBox<Mutex<Reserved>>>,
    zeroed: Atomic<u64>,
}

/// The command of the ioctl, and the values that readers and writers get.
const COMMAND: u32 = 0x4d01;
const FOR_READERS: i32 = 17;
const FOR_WRITERS: i32 = 18;

#[vtable]
impl MpathDriver for Answers {
    type HeadData = Storage;
    type PathData = ();

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        if let BioOp::WriteZeroes = bio.op() {
            let bytes = bio.range().len() as u64;

            path.head().data().zeroed.fetch_add(bytes, Relaxed);
        }
        bio.end();
    }

    fn ioctl(path: &MpathDevice<Self>, ioctl: Ioctl) -> Result<i32> {
        let is_live = path.head().is_live();

        match (ioctl.command(), ioctl.argument(), ioctl.may_write()) {
            (COMMAND, 5, false) if is_live && !ioctl.is_on_partition() => Ok(FOR_READERS),
            (COMMAND, 5, true) if is_live && !ioctl.is_on_partition() => Ok(FOR_WRITERS),
            (COMMAND, _, _) => Err(EINVAL),
            _ => Err(ENOTTY),
        }
    }

    fn reservation(path: &MpathDevice<Self>, asked: Reservation<'_>) -> Result<ReservationStatus> {
        let mut it = path.head().data().reserved.lock();

        match asked {
            Reservation::Register {
                old_key, new_key, ..
            } => {
                let old = (old_key != 0).then_some(old_key);
                let Some(slot) = it.keys.iter().position(|key| *key == old) else {
                    return Ok(ReservationStatus::Conflict);
                };

                it.keys[slot] = (new_key != 0).then_some(new_key);
                it.generation += 1;
            }
            Reservation::Reserve { key, kind, .. } if it.held.is_none() => {
                it.held = Some((key, kind));
            }
            Reservation::Release { key, kind } if it.held == Some((key, kind)) => it.held = None,
            Reservation::Preempt {
                old_key,
                new_key,
                kind,
                abort: true,
            } => {
                it.keys
                    .iter_mut()
                    .filter(|key| **key == Some(old_key))
                    .for_each(|key| *key = None);
                it.held = Some((new_key, kind));
            }
            Reservation::Clear { .. } => *it = Reserved::default(),
            Reservation::ReadKeys(keys) => {
                keys.tell(it.generation, it.keys.iter().flatten().copied());
            }
            Reservation::ReadReservation(told) => told.tell(it.generation, it.held),
            _ => return Ok(ReservationStatus::Conflict),
        }
        Ok(ReservationStatus::Done)
    }
}

fn bring_up() -> Result<Registration<Answers, Live>> {
    let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::Numa), GFP_KERNEL)?;
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
    let params = DiskParams::new(2048).write_zeroes(1024);
    let storage = Storage {
        reserved: KBox::pin_init(new_mutex!(Reserved::default()), GFP_KERNEL)?,
        zeroed: Atomic::new(0),
    };
    let head =
        MpathHead::<Answers>::new(&policy, fmt!("mpanswers"), params, Ok::<_, Error>(storage))?;

    head.add_path(&port, fmt!("mpanswersc0"), None, ())?
        .set_live(AccessState::Optimized)
}

/// The operations that a head's disk has for reservations.
fn pr_ops<T: MpathDriver>(head: &MpathHead<T>) -> Option<&'static bindings::pr_ops> {
    // SAFETY: The disk stays with the head; its operations are constant.
    unsafe {
        (*(*(*head.as_raw()).disk).fops)
            .pr_ops
            .cast::<bindings::pr_ops>()
            .as_ref()
    }
}

fn part0<T: MpathDriver>(head: &MpathHead<T>) -> *mut bindings::block_device {
    // SAFETY: The disk stays with the head.
    unsafe { (*(*head.as_raw()).disk).part0 }
}

/// Returns the result of an ioctl on the head's disk.
fn ioctl<T: MpathDriver>(head: &MpathHead<T>, mode: u32, command: u32, argument: usize) -> i32 {
    // SAFETY: The disk stays with the head; its operations are constant.
    unsafe {
        match (*(*(*head.as_raw()).disk).fops).ioctl {
            Some(ioctl) => ioctl(part0(head), mode, command, argument),
            None => ENOTTY.to_errno(),
        }
    }
}

#[kernel::macros::kunit_tests(mpath_answers)]
mod suite {
    use super::super::example;
    use super::*;

    const CONFLICT: i32 = ReservationStatus::Conflict as i32;
    const EXCLUSIVE: u32 = ReservationKind::ExclusiveAccess as u32;
    const READ: u32 = 1;
    const WRITE: u32 = 1 << 1;

    #[test]
    fn a_reservation_is_made_read_and_given_up() -> Result {
        let path = bring_up()?;
        let bdev = part0(path.head());
        let Some(bindings::pr_ops {
            pr_register: Some(register),
            pr_reserve: Some(reserve),
            pr_release: Some(release),
            pr_preempt: Some(preempt),
            pr_clear: Some(clear),
            pr_read_reservation: Some(read),
            ..
        }) = pr_ops(path.head())
        else {
            return Err(EINVAL);
        };
        let mut held = bindings::pr_held_reservation::default();

        // SAFETY: The disk is there, and so is `held`, which is written to.
        unsafe {
            check!(register(bdev, 0, 7, 0) == 0);
            check!(register(bdev, 6, 8, 0) == CONFLICT);
            check!(reserve(bdev, 7, EXCLUSIVE, 0) == 0);
            check!(reserve(bdev, 7, EXCLUSIVE, 0) == CONFLICT);
            check!(reserve(bdev, 7, 99, 0) == EINVAL.to_errno());
            check!(read(bdev, &mut held) == 0);
            check!(held.key == 7 && held.type_ == EXCLUSIVE && held.generation == 1);
            check!(release(bdev, 7, EXCLUSIVE + 1) == CONFLICT);
            check!(release(bdev, 7, EXCLUSIVE) == 0);
            check!(preempt(bdev, 7, 9, EXCLUSIVE, false) == CONFLICT);
            check!(preempt(bdev, 7, 9, EXCLUSIVE, true) == 0);
            check!(read(bdev, &mut held) == 0 && held.key == 9);
            check!(clear(bdev, 9) == 0);
            check!(read(bdev, &mut held) == 0 && held.key == 0 && held.type_ == 0);
        }
        Ok(())
    }

    #[test]
    fn keys_are_told_as_far_as_there_is_room() -> Result {
        /// C's structure, with room for one key and something behind it.
        #[repr(C)]
        struct Keys {
            head: bindings::pr_keys,
            keys: [u64; 2],
        }
        let path = bring_up()?;
        let bdev = part0(path.head());
        let (Some(register), Some(read)) = (
            pr_ops(path.head()).and_then(|ops| ops.pr_register),
            pr_ops(path.head()).and_then(|ops| ops.pr_read_keys),
        ) else {
            return Err(EINVAL);
        };
        let mut keys = Keys {
            head: bindings::pr_keys::default(),
            keys: [0xaa; 2],
        };

        keys.head.num_keys = 1;
        // SAFETY: The disk is there, and so is the room.
        unsafe {
            check!(register(bdev, 0, 7, 0) == 0 && register(bdev, 0, 8, 0) == 0);
            check!(read(bdev, (&raw mut keys).cast()) == 0);
        }
        check!(keys.head.num_keys == 2 && keys.head.generation == 2);
        check!(keys.keys == [7, 0xaa]);
        Ok(())
    }

    #[test]
    fn an_ioctl_comes_to_the_driver() -> Result {
        let path = bring_up()?;

        check!(ioctl(path.head(), READ, COMMAND, 5) == FOR_READERS);
        check!(ioctl(path.head(), READ | WRITE, COMMAND, 5) == FOR_WRITERS);
        check!(ioctl(path.head(), READ, COMMAND, 6) == EINVAL.to_errno());
        check!(ioctl(path.head(), READ, COMMAND + 1, 5) == ENOTTY.to_errno());
        Ok(())
    }

    /// Shows L-33.
    #[test]
    fn a_driver_without_reservations_and_ioctls_has_none() -> Result {
        let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
        let path = example::bring_up(ram, DiskParams::new(2048))?;

        check!(pr_ops(path.head()).is_none());
        check!(ioctl(path.head(), READ, COMMAND, 5) == ENOTTY.to_errno());
        Ok(())
    }

    #[test]
    fn zeroes_are_asked_for_as_such_where_the_driver_takes_that() -> Result {
        const NO_FALLBACK: u32 = 1 << 1;
        let zero = |bdev| {
            let gfp = bindings::GFP_KERNEL;

            // SAFETY: The disk is there.
            unsafe { bindings::blkdev_issue_zeroout(bdev, 8, 1024, gfp, NO_FALLBACK) }
        };
        let path = bring_up()?;
        check!(zero(part0(path.head())) == 0);
        check!(path.head().data().zeroed.load(Relaxed) == 1024 * 512);

        let ram = KVVec::from_elem(0, 1 << 20, GFP_KERNEL)?;
        let path = example::bring_up(ram, DiskParams::new(2048))?;
        check!(zero(part0(path.head())) == EOPNOTSUPP.to_errno());
        Ok(())
    }

    #[test]
    fn a_path_is_used_when_it_is_as_large_as_its_head() -> Result {
        let path = bring_up()?;
        let head = path.head();

        check!(head.capacity() == 2048);
        head.set_capacity(4096);
        check!(head.capacity() == 4096);
        check!(head.on_path(|_| ()) == Err(EAGAIN));
        let io = Io::write(head, 4088, 0)?;
        check!(!io.is_done());
        path.set_capacity(4096);
        check!(io.wait() == 0);
        check!(head.on_path(|_| ()) == Ok(()));

        // A path that comes later is as large as the head is now.
        let late = head.add_path(path.port(), fmt!("mpanswersc1"), None, ())?;
        let late = late.set_live(AccessState::Optimized)?;
        drop(path);
        check!(Io::write(late.head(), 4088, 0)?.wait() == 0);
        Ok(())
    }
}
