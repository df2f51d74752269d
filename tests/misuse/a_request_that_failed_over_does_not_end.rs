// SPDX-License-Identifier: GPL-2.0

//! A request that has failed over has no bio any more: it is not ended a second time.
//! Shows S-8.
//!
//! refused: E0382
//! says: use of moved value: `rq`

include!("driver.rs");

fn answered(rq: AnyRequest<Ram>, is_lost: bool) {
    if is_lost {
        rq.failover();
        #[cfg(not(misuse))]
        return;
    } else {
        #[cfg(not(misuse))]
        return rq.end_with(Ok(()));
    }
    #[cfg(misuse)]
    rq.end_with(Ok(()));
}
