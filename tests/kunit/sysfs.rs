// SPDX-License-Identifier: GPL-2.0

//! The attributes and links of heads and paths in sysfs.

use super::driver::{
    Setup,
    TestHead, //
};
use super::fake::{
    FakePath,
    Options, //
};
use crate::bindings;
use crate::ffi;
use crate::pure::policy::IoPolicy;
use kernel::page::Page;
use kernel::prelude::*;

/// A node of sysfs, with a reference.
struct Node(*mut bindings::kernfs_node);

impl Node {
    fn child(&self, name: *const kernel::ffi::c_char) -> Option<Self> {
        // SAFETY: The node is there; the name is a string.
        let node = unsafe { bindings::kernfs_find_and_get_ns(self.0, name, core::ptr::null()) };

        (!node.is_null()).then_some(Self(node))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::kernfs_put(self.0) }
    }
}

/// The directory "multipath" of a disk that has been added.
fn directory(disk: *mut bindings::gendisk) -> Option<Node> {
    // SAFETY: An added disk has a directory, and the test only looks at it. The reference to it is
    // not ours, so nothing drops it here.
    let dir = core::mem::ManuallyDrop::new(Node(unsafe { (*(*disk).part0).bd_device.kobj.sd }));

    dir.child(c"multipath".as_char_ptr())
}

/// Is there a link to the path in the directory of the head?
pub(super) fn has_link(head: &TestHead, path: &FakePath) -> bool {
    // SAFETY: The path's disk has a name.
    let name = unsafe { &raw const (*path.disk()).disk_name }.cast();

    directory(head.disk()).is_some_and(|dir| dir.child(name).is_some())
}

/// The nodes that a path shows.
fn nodes_of(path: &FakePath, page: &Page) -> Result<[u8; 8]> {
    show(page, |buf| {
        // SAFETY: The path is on a head, the buffer is a page.
        unsafe { ffi::mpath_numa_nodes_show(path.dev(), buf) }
    })
}

/// The text that an attribute writes to a page: its first bytes, and zeroes after them.
fn show(page: &Page, show: impl FnOnce(*mut kernel::ffi::c_char) -> isize) -> Result<[u8; 8]> {
    let mut text = [0; 8];
    // SAFETY: The page is ours, and mapped for as long as it is used.
    let buf = unsafe { bindings::kmap_local_page(page.as_ptr()) };
    let length = show(buf.cast());

    // SAFETY: As above.
    unsafe {
        core::ptr::copy_nonoverlapping(
            buf.cast(),
            text.as_mut_ptr(),
            text.len().min(length.max(0) as usize),
        );
        bindings::kunmap_local(buf);
    }
    if length < 0 {
        return Err(EINVAL);
    }
    Ok(text)
}

#[kunit_tests(mpath_sysfs)]
mod tests {
    use super::*;

    /// Shows L-6.
    #[test]
    fn every_path_has_a_link_until_it_goes() -> Result {
        let head = TestHead::new(Setup::default())?;
        let (a, b) = (head.path()?, head.path()?);

        check!(has_link(&head, &a) && has_link(&head, &b));
        a.remove();
        check!(!has_link(&head, &a) && has_link(&head, &b));
        a.add(&head)?;
        check!(!has_link(&head, &a));
        a.go_live();
        check!(has_link(&head, &a));
        Ok(())
    }

    /// Shows L-6.
    #[test]
    fn paths_that_were_there_before_the_disk_are_linked_with_the_first() -> Result {
        let head = TestHead::new(Setup::default())?;
        let early = FakePath::new(Options::default())?;

        early.add(&head)?;
        let first = head.path()?;
        check!(has_link(&head, &first) && has_link(&head, &early));
        Ok(())
    }

    #[test]
    fn a_path_without_a_place_in_sysfs_is_linked_later() -> Result {
        let head = TestHead::new(Setup::default())?;
        let hidden = head.path_with(Options {
            added: false,
            ..Options::default()
        })?;

        check!(!has_link(&head, &hidden));
        hidden.add_disk()?;
        // SAFETY: The head is there.
        unsafe { ffi::mpath_add_sysfs_links(head.as_raw()) };
        check!(has_link(&head, &hidden));
        Ok(())
    }

    #[test]
    fn links_wait_for_the_disk() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = FakePath::new(Options::default())?;

        path.add(&head)?;
        // SAFETY: The head is there.
        unsafe { ffi::mpath_add_sysfs_links(head.as_raw()) };
        path.go_live();
        check!(has_link(&head, &path));
        Ok(())
    }

    /// Shows A-13.
    #[test]
    fn a_head_without_the_directory_has_no_links() -> Result {
        let head = TestHead::new(Setup {
            template: |template| template.disk_groups = core::ptr::null_mut(),
            ..Setup::default()
        })?;
        let (a, b) = (head.path()?, head.path()?);

        check!(directory(head.disk()).is_none());
        check!(!a.engine().is_linked() && !b.engine().is_linked());
        // SAFETY: The head is there.
        unsafe { ffi::mpath_add_sysfs_links(head.as_raw()) };
        check!(!a.engine().is_linked());
        check_eq!(head.write_many(2)?, 2);
        a.remove();
        check_eq!(head.write_many(2)?, 2);
        Ok(())
    }

    #[test]
    fn only_heads_have_the_directory() -> Result {
        let head = TestHead::new(Setup::default())?;
        let path = head.path()?;

        check!(directory(head.disk()).is_some());
        check!(directory(path.disk()).is_none());
        Ok(())
    }

    #[test]
    fn a_path_shows_the_nodes_that_it_serves() -> Result {
        let head = TestHead::following(IoPolicy::Numa)?;
        let page = Page::alloc_page(GFP_KERNEL)?;
        let a = head.path()?;

        if crate::wrap::node_slots::possible().count() == 2 {
            check!(nodes_of(&a, &page)? == *b"0-1\n\0\0\0\0");
            let b = head.path_with(Options {
                node: 1,
                ..Options::default()
            })?;
            check!(nodes_of(&b, &page)? == *b"\n\0\0\0\0\0\0\0");
        } else {
            check!(nodes_of(&a, &page)?[0] == b'0');
        }
        head.policy().set(IoPolicy::RoundRobin);
        check!(nodes_of(&a, &page)? == [0; 8]);
        Ok(())
    }

    #[test]
    fn the_delay_is_shown_as_it_was_stored() -> Result {
        let head = TestHead::new(Setup::default())?;
        let page = Page::alloc_page(GFP_KERNEL)?;
        let delay = || {
            show(&page, |buf| {
                // SAFETY: The head is there, the buffer is a page.
                unsafe { ffi::mpath_delayed_removal_secs_show(head.as_raw(), buf) }
            })
        };

        check!(delay()? == *b"0\n\0\0\0\0\0\0");
        check_eq!(head.store_delay(c"1234\n"), 5);
        check!(delay()? == *b"1234\n\0\0\0");
        Ok(())
    }
}
