// SPDX-License-Identifier: GPL-2.0

//! The choice of a path for a bio that needs care.
//!
//! Most bios go to the path that the policy chooses. A bio that needs care, or meets a path that
//! has failed bios lately, takes the first of these:
//!
//! 1. After a second failure, the next usable path behind the one that failed it last, of any
//!    access class: every path has its share.
//! 2. A usable path of the best access class that wants a bio, to find out whether it works.
//! 3. The one of the usable paths of the best access class that the policy chooses.
//!
//! Where only one bio may try a path, another submitter may have taken it meanwhile. Then the next
//! of the three counts.

use crate::pure::state::PathState;
use crate::pure::trust::{
    goes_elsewhere,
    Attempt,
    Trust, //
};

/// A head, as a bio that needs care sees it for `'a`.
pub trait Chooser<'a>: Copy {
    /// The type of a path.
    type Path: 'a;

    /// All paths, in the order in which they were added.
    fn paths(self) -> impl Iterator<Item = &'a Self::Path>;

    /// The usable paths of the best access class.
    fn candidates(self) -> impl Iterator<Item = &'a Self::Path>;

    /// The one of the candidates that the policy chooses.
    fn choose(self) -> Option<&'a Self::Path>;

    /// The state of a path now.
    fn state_of(path: &Self::Path) -> PathState;

    /// May I/O use the path, and its port?
    fn is_usable(path: &Self::Path) -> bool;

    /// Takes the right to send a bio to a path that is not trusted: [`crate::pure::parking::take`].
    fn take(self, path: &'a Self::Path) -> Option<Attempt>;
}

/// The path for a bio that has failed so often, the last time on the path that is `last`. Also says
/// how the head sends it there; `None` when the bio has to wait.
pub fn choose<'a, C: Chooser<'a>>(
    head: C,
    failures: u32,
    last: impl Fn(&C::Path) -> bool,
) -> Option<(&'a C::Path, Attempt)> {
    let elsewhere = || match goes_elsewhere(failures) {
        true => next_after(head, last),
        false => None,
    };
    let asking = || {
        head.candidates()
            .find(|path| C::state_of(path).trust().asks_for_a_bio())
    };

    take(head, elsewhere())
        .or_else(|| take(head, asking()))
        .or_else(|| take(head, head.choose()))
}

/// The next usable path after `last`, in turn, and not `last` itself.
fn next_after<'a, C: Chooser<'a>>(head: C, last: impl Fn(&C::Path) -> bool) -> Option<&'a C::Path> {
    let is_usable = |path: &&C::Path| C::is_usable(path);
    let mut behind = head.paths().skip_while(|path| !last(path)).skip(1);

    behind.find(is_usable).or_else(|| {
        let mut before = head.paths().take_while(|path| !last(path));

        before.find(is_usable)
    })
}

fn take<'a, C: Chooser<'a>>(head: C, path: Option<&'a C::Path>) -> Option<(&'a C::Path, Attempt)> {
    let path = path?;
    let attempt = match C::state_of(path).trust() {
        Trust::Trusted => Attempt::Plain,
        _ => head.take(path)?,
    };

    Some((path, attempt))
}
