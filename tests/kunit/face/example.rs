// SPDX-License-Identifier: GPL-2.0

//! The example of the README, all but the imports: a RAM disk behind a path.

use crate::prelude::*;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    Mutex, //
};

pub(super) struct Ram;

#[vtable]
impl MpathDriver for Ram {
    type HeadData = Mutex<KVVec<u8>>;
    type PathData = ();

    fn submit(path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        let mut ram = path.head().data().lock();
        let result = match bio.op() {
            BioOp::Read(mut all) => all.try_for_each(|part| part.fill(&ram[part.range()])),
            BioOp::Write(mut all) => all.try_for_each(|part| part.store(&mut ram[part.range()])),
            _ => Err(EOPNOTSUPP),
        };
        bio.end_with(result); // or, when the path is to blame, bio.failover()
    }
}

/// Brings a disk over `ram` up, which goes when what is returned is dropped.
pub(super) fn bring_up(ram: KVVec<u8>, params: DiskParams) -> Result<Registration<Ram>> {
    let policy = Arc::pin_init(MpathIoPolicy::new(IoPolicy::RoundRobin), GFP_KERNEL)?;
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;
    let head = MpathHead::<Ram>::new(&policy, fmt!("mpram"), params, new_mutex!(ram))?;
    let path = head.add_path(&port, fmt!("mpramc0"), None, ())?;

    path.set_live(AccessState::Optimized)
}
