// SPDX-License-Identifier: GPL-2.0

//! A bio fails over on the path that it came to, not on one of another head.
//!
//! refused: E0061
//! says: this method takes 0 arguments but 1 argument was supplied

include!("driver.rs");

fn fail_over(bio: MpathBio<Ram>, path_of_another_head: &MpathDevice<Ram>) {
    path_of_another_head.try_again();
    #[cfg(misuse)]
    bio.failover(path_of_another_head);
    #[cfg(not(misuse))]
    bio.failover();
}
