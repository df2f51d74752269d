// SPDX-License-Identifier: GPL-2.0

//! Policy names, as sysfs and module parameters hand them over: strings of C.

use crate::config;
use core::ffi::{
    c_void,
    CStr, //
};
use libmultipath::policy::IoPolicy;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

extern "C" {
    fn guarded_alloc(size: usize) -> *mut c_void;
    fn guarded_free(memory: *mut c_void);
}

/// Has `f` read a string that ends where memory does.
fn at_the_end<R>(string: &[u8], f: impl FnOnce(&CStr) -> R) -> R {
    let size = string.len() + 1;
    // SAFETY: The memory has the size of the string and its zero byte, and `f` keeps none of it.
    unsafe {
        let memory = guarded_alloc(size).cast::<u8>();

        assert!(!memory.is_null());
        memory.copy_from_nonoverlapping(string.as_ptr(), string.len());
        memory.add(string.len()).write(0);
        let result = f(CStr::from_ptr(memory.cast()));
        guarded_free(memory.cast());
        result
    }
}

/// A name with several changes.
fn nearly_a_name() -> impl Strategy<Value = Vec<u8>> {
    let names = IoPolicy::ALL.map(|policy| policy.name().as_bytes().to_vec());
    let change = (any::<prop::sample::Index>(), 1u8.., 0..5);

    (
        prop::sample::select(names.to_vec()),
        prop::collection::vec(change, 0..3),
    )
        .prop_map(|(mut name, generation)| {
            for (at, byte, kind) in generation {
                let at = at.index(name.len() + 1);

                match kind {
                    0 if at < name.len() => name[at] = byte,
                    0 | 1 => name.insert(at, byte),
                    2 => name.truncate(at),
                    3 => name.push(b'\n'),
                    _ => name.extend_from_within(..at),
                }
            }
            name
        })
}

#[test]
fn a_string_is_a_policy_s_name_or_refused() {
    let any_string = prop_oneof![
        3 => nearly_a_name(),
        1 => prop::collection::vec(1u8.., 0..4096),
    ];
    let result = TestRunner::new(config("policy name")).run(&any_string, |string| {
        let parsed = at_the_end(&string, |string| IoPolicy::parse(string.to_bytes()));
        let line = string.strip_suffix(b"\n").unwrap_or(&string);
        let named = IoPolicy::ALL
            .into_iter()
            .find(|policy| policy.name().as_bytes() == line);

        prop_assert_eq!(parsed, named);
        Ok(())
    });

    if let Err(failure) = result {
        panic!("{failure}");
    }
}
