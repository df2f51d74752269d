// SPDX-License-Identifier: GPL-2.0

//! The parts that README's example in Rust leaves out: the imports, and the module. `make check`
//! puts the example beside it and builds the module; nobody loads it. `tests/kunit/face/example.rs`
//! has the same lines, and runs them.

use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    Mutex, //
};
use libmultipath::prelude::*;

module! {
    type: Module,
    name: "readme_rust",
    authors: ["The libmultipath authors"],
    description: "README's example in Rust",
    license: "GPL",
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

include!("example.rs");
