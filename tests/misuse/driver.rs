// SPDX-License-Identifier: GPL-2.0

// A driver, for each of the cases to misuse: they include it.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use libmultipath::prelude::*;

module! {
    type: Module,
    name: "misuse",
    authors: ["The libmultipath authors"],
    description: "How not to use libmultipath",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

struct Ram;

#[vtable]
impl MpathDriver for Ram {
    type HeadData = ();
    type PathData = ();

    fn submit(_path: &MpathDevice<Self>, bio: MpathBio<Self>) {
        bio.end();
    }
}

#[vtable]
impl MpathRequestDriver for Ram {
    type RequestData = ();

    fn queue_rq(_path: &MpathDevice<Self>, rq: MpathRequest<Self>, _is_last: bool) {
        rq.end();
    }
}

type Head = ARef<MpathHead<Ram>>;

fn add_path(head: &Head) -> Result<Registration<Ram, Added>> {
    let port = Arc::pin_init(MpathPort::new(PortState::Live), GFP_KERNEL)?;

    head.add_path(&port, fmt!("misuse0c0"), None, ())
}
