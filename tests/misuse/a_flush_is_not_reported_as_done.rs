// SPDX-License-Identifier: GPL-2.0

//! The call that ends a request with data does not end a flush: a driver says that it has flushed.
//! Shows A-1.
//!
//! refused: E0277
//! says: a flush does not end like a request with data
//! says: `flushed()` says so, and `failover()` has another path flush

include!("driver.rs");

fn carry_out(rq: AnyRequest<Ram>) {
    match rq {
        AnyRequest::Data(rq) => rq.end(),
        #[cfg(misuse)]
        AnyRequest::Flush(rq) => rq.end(),
        #[cfg(not(misuse))]
        AnyRequest::Flush(rq) => rq.flushed(),
    }
}
