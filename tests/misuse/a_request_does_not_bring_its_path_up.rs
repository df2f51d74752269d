// SPDX-License-Identifier: GPL-2.0

//! Bringing a path up sleeps, and needs its registration.
//! Shows L-43.
//!
//! refused: E0277
//! says: a path goes live once, by the `Registration<_, Added>` that it was added with

include!("driver.rs");

fn answered(rq: MpathRequest<Ram>) {
    #[cfg(misuse)]
    let _ = rq.path().set_live(AccessState::Optimized);
    #[cfg(not(misuse))]
    rq.path().set_access_state(AccessState::Optimized);
    rq.end();
}
