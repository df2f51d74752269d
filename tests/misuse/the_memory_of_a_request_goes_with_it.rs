// SPDX-License-Identifier: GPL-2.0

//! When a part of a request has been carried out, its bios end, and their memory is their
//! submitters'.
//! Shows S-8.
//!
//! refused: E0502
//! says: cannot borrow `rq` as mutable because it is also borrowed as immutable

include!("driver.rs");

fn carry_out(mut rq: MpathRequest<Ram>) {
    let op = rq.op();

    #[cfg(misuse)]
    let _ = rq.end_part(512);
    if let BioOp::Read(all) = op {
        all.for_each(|part| part.zero());
    }
    #[cfg(not(misuse))]
    let _ = rq.end_part(512);
    rq.end();
}
