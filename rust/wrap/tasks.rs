// SPDX-License-Identifier: GPL-2.0

//! Waiting for tasks to leave what they are in the middle of.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::bindings;
use kernel::task::might_sleep;

/// Waits until every other task that was running, or was preempted, has slept, has run in user
/// space, or has ended. Sleeps, for some hundredths of a second at least where tasks are running.
///
/// In a kernel that does not preempt tasks an ordinary grace period is enough, and is what is
/// waited for. So it is in one that preempts them and was configured without `CONFIG_TASKS_RCU`,
/// and there it is not enough.
pub(crate) fn synchronize() {
    might_sleep();
    // SAFETY: May be called wherever sleeping is allowed.
    unsafe { bindings::mpath_helper_synchronize_tasks() }
}
