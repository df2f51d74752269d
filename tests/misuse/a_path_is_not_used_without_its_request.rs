// SPDX-License-Identifier: GPL-2.0

//! A request keeps its path; a driver that has ended the request has the path no longer.
//! Shows S-8.
//!
//! refused: E0505
//! says: cannot move out of `rq` because it is borrowed

include!("driver.rs");

fn answered(rq: MpathRequest<Ram>) {
    let path = rq.path();

    #[cfg(not(misuse))]
    path.try_again();
    rq.end();
    #[cfg(misuse)]
    path.try_again();
}
