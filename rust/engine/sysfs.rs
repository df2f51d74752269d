// SPDX-License-Identifier: GPL-2.0

//! The attributes of a head and its paths in sysfs.

use super::head::MpathHead;
use super::path::MpathDevice;
use crate::bindings;
use crate::pure::nodes::Node;
use crate::pure::policy::{
    Candidates,
    IoPolicy, //
};
use crate::wrap::node_slots;
use kernel::error::to_result;
use kernel::prelude::*;

/// The directory with the links to the paths.
pub(crate) const GROUP_NAME: &CStr = c"multipath";

impl MpathHead {
    /// Writes the nodes that `path` serves to a page, and returns the number of bytes.
    ///
    /// # Safety
    ///
    /// `page` is a page from sysfs.
    pub(crate) unsafe fn show_nodes(
        &self,
        path: &MpathDevice,
        page: *mut kernel::ffi::c_char,
    ) -> isize {
        if self.group().policy() != IoPolicy::Numa {
            return 0;
        }

        let mut nodes = bindings::nodemask_t::default();
        let section = self.read();
        let shortlist = section.inside().listed();
        let serves = |node: &Node| {
            shortlist
                .nearest(*node)
                .is_some_and(|nearest| core::ptr::eq(nearest, path))
        };

        for node in node_slots::online().filter(serves) {
            let (word, bit) = (node.0 as usize / BITS, node.0 as usize % BITS);

            nodes.bits[word] |= 1 << bit;
        }
        // SAFETY: By this function's contract.
        unsafe { bindings::mpath_helper_emit_nodes(page, &nodes) }
    }

    /// Sets the removal delay to the seconds that a page names.
    ///
    /// # Safety
    ///
    /// `page` is a page from sysfs, which ends with a zero byte.
    pub(crate) unsafe fn store_removal_delay(&self, page: *const kernel::ffi::c_char) -> Result {
        let mut secs = 0;

        // SAFETY: By this function's contract.
        to_result(unsafe { bindings::kstrtouint(page, 0, &mut secs) })?;
        self.set_removal_delay(secs)
    }
}

const BITS: usize = usize::BITS as usize;
