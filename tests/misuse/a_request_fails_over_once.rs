// SPDX-License-Identifier: GPL-2.0

//! A request fails over once.
//!
//! refused: E0382
//! says: use of moved value: `rq`

include!("driver.rs");

fn fail_over(rq: MpathRequest<Ram>) {
    rq.failover();
    #[cfg(misuse)]
    rq.failover();
}
