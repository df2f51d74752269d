// SPDX-License-Identifier: GPL-2.0

/// Appended to a copy of `rust/ffi.rs`: chooses a path as a bio does, and calls `cb` with it.
///
/// # Safety
///
/// `head` is valid, and has a disk; `cb` is not null.
#[no_mangle]
pub unsafe extern "C" fn mpath_bench_choose(
    head: *mut mpath_head,
    cb: Option<unsafe extern "C" fn(*mut mpath_device, *mut c_void) -> c_int>,
) -> c_int {
    // SAFETY: By this function's contract.
    let section = unsafe { MpathHead::from_raw(head) }.read();

    match section.inside().choose_trusted() {
        // SAFETY: By this function's contract; the path stays until the section ends.
        Some(path) => unsafe { cb.unwrap_unchecked()(path.as_raw(), core::ptr::null_mut()) },
        None => EAGAIN.to_errno(),
    }
}
