// SPDX-License-Identifier: GPL-2.0

//! A driver that ends requests of both kinds by the result of a transfer reports no flush as done.
//! Shows A-1.
//!
//! refused: E0277
//! says: a flush does not end like a request with data
//! says: `flushed()` says so, and `failover()` has another path flush

include!("driver.rs");

fn carry_out(rq: AnyRequest<Ram>, result: Result) {
    match rq {
        AnyRequest::Data(rq) => rq.end_with(result),
        #[cfg(misuse)]
        AnyRequest::Flush(rq) => rq.end_with(result),
        #[cfg(not(misuse))]
        AnyRequest::Flush(rq) => match result {
            Ok(()) => rq.flushed(),
            Err(_) => rq.failover(),
        },
    }
}
