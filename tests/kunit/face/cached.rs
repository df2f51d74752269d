// SPDX-License-Identifier: GPL-2.0

//! A driver whose storage has a volatile write cache: tests ask it which data a loss of power would
//! leave. A test may have a path fail all but reads.

use crate::compat::EOPNOTSUPP;
use crate::{
    AccessState,
    MpathIoPolicy, //
};
use crate::{
    BioOp,
    DiskParams,
    Live,
    MpathBio,
    MpathDevice,
    MpathDriver,
    MpathHead,
    MpathPort,
    Registration, //
};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    Mutex, //
};

pub(super) struct Cached;

/// The data as reads see it and as a loss of power leaves it, and the number of flushes.
pub(super) struct Memory {
    cached: KVVec<u8>,
    stable: KVVec<u8>,
    flushes: u32,
}

impl Memory {
    const SIZE: usize = 1 << 20;

    fn new() -> Result<Self> {
        Ok(Self {
            cached: KVVec::from_elem(0, Self::SIZE, GFP_KERNEL)?,
            stable: KVVec::from_elem(0, Self::SIZE, GFP_KERNEL)?,
            flushes: 0,
        })
    }

    fn flush(&mut self) {
        self.stable.copy_from_slice(&self.cached);
    }

    fn carry_out(&mut self, bio: &MpathBio<Cached>) -> Result {
        match bio.op() {
            BioOp::Read(mut all) => all.try_for_each(|it| it.fill(&self.cached[it.range()])),
            BioOp::Flush => {
                self.flush();
                self.flushes += 1;
                Ok(())
            }
            BioOp::Write(mut all) => {
                if bio.is_preflush() {
                    self.flush();
                }
                all.try_for_each(|it| {
                    it.store(&mut self.cached[it.range()])?;
                    if bio.is_fua() {
                        self.stable[it.range()].copy_from_slice(&self.cached[it.range()]);
                    }
                    Ok(())
                })
            }
            _ => Err(EOPNOTSUPP),
        }
    }
}

/// The driver's data of a path.
pub(super) struct Path {
    fails: Atomic<bool>,
    /// How often the last write or flush that came had failed over.
    moves: Atomic<u32>,
}

impl Path {
    pub(super) fn set_failing(&self, fails: bool) {
        self.fails.store(fails, Relaxed);
    }

    pub(super) fn moves(&self) -> u32 {
        self.moves.load(Relaxed)
    }
}

#[vtable]
impl MpathDriver for Cached {
    type HeadData = Mutex<Memory>;
    type PathData = Path;

    const MAX_FAILOVERS: u32 = 3;

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        if !matches!(bio.op(), BioOp::Read(_)) {
            path.data().moves.store(bio.failovers(), Relaxed);
            if path.data().fails.load(Relaxed) {
                return bio.failover();
            }
        }
        let result = path.head().data().lock().carry_out(&bio);

        bio.end_with(result);
    }
}

impl Cached {
    /// A head whose disk says that it has a cache.
    pub(super) fn head(policy: &Arc<MpathIoPolicy>) -> Result<ARef<MpathHead<Self>>> {
        let params = DiskParams::new((Memory::SIZE / 512) as u64).write_cache();

        MpathHead::new(policy, fmt!("mpcached"), params, new_mutex!(Memory::new()?))
    }

    /// A path that is live.
    pub(super) fn path(
        head: &MpathHead<Self>,
        port: &Arc<MpathPort>,
        number: u32,
        state: AccessState,
    ) -> Result<Registration<Self, Live>> {
        let data = Path {
            fails: Atomic::new(false),
            moves: Atomic::new(0),
        };

        head.add_path(port, fmt!("mpcachedc{number}"), None, Ok::<_, Error>(data))?
            .set_live(state)
    }

    /// Is the page at `sector` full of `byte` after a loss of power?
    pub(super) fn is_stable(head: &MpathHead<Self>, sector: usize, byte: u8) -> bool {
        let begin = sector * 512;

        head.data().lock().stable[begin..begin + kernel::page::PAGE_SIZE]
            .iter()
            .all(|is| *is == byte)
    }

    /// The number of flushes that have come and were nothing else.
    pub(super) fn flushes(head: &MpathHead<Self>) -> u32 {
        head.data().lock().flushes
    }
}
