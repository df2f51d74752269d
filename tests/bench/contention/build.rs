// SPDX-License-Identifier: GPL-2.0

//! Takes the functions that choose a path out of `drivers/nvme/host/multipath.c` of a kernel source
//! tree, and compiles them for the host. `kernel.h` stands for the kernel around them. The build
//! leaves that text beside its other output, and nowhere else.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{
    Path,
    PathBuf, //
};
use std::process::Command;

/// The environment variable that names the tree.
const TREE: &str = "KERNEL_SOURCE";
const SOURCE: &str = "drivers/nvme/host/multipath.c";

/// The functions from here to [`END`] choose: the policies, and the checks whether a path is
/// usable.
const BEGIN: &str = "static bool nvme_path_is_disabled(";
const END: &str = "static bool nvme_available_path(";

/// The kernel's flags for the compiler, as far as they matter here.
const FLAGS: [&str; 9] = [
    "-std=gnu11",
    "-fgnu89-inline",
    "-O2",
    "-Wall",
    "-Werror",
    "-Wno-static-in-inline",
    "-fno-strict-aliasing",
    "-fno-stack-protector",
    "-fPIE",
];

fn main() {
    println!("cargo::rerun-if-env-changed={TREE}");
    println!("cargo::rerun-if-env-changed=CC");
    for file in ["build.rs", "kernel.c", "kernel.h", "stock.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    // A tool that only reads the crate, such as clippy, needs no tree.
    if let Some(tree) = env::var_os(TREE) {
        build(&Path::new(&tree).join(SOURCE));
    }
}

fn build(file: &Path) {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let source = fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{TREE}=: {}: {error}", file.display()));
    let library = out.join("libstock.a");

    fs::write(out.join("find_path.h"), what_chooses(&source)).unwrap();
    let objects = ["kernel", "stock"].map(|name| compile(&out, name));
    let _ = fs::remove_file(&library);
    run(Command::new("ar").arg("crs").arg(library).args(objects));
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=stock");
    println!("cargo::rerun-if-changed={}", file.display());
}

fn what_chooses(source: &str) -> &str {
    let find = |text: &str| {
        assert_eq!(source.matches(text).count(), 1, "{SOURCE}: {text}");
        source.find(text).unwrap()
    };

    &source[find(BEGIN)..find(END)]
}

fn compile(out: &Path, name: &str) -> PathBuf {
    let object = out.join(format!("{name}.o"));
    let compiler = env::var_os("CC").unwrap_or_else(|| OsStr::new("cc").into());

    run(Command::new(compiler)
        .args(FLAGS)
        .arg("-I")
        .arg(out)
        .arg("-c")
        .arg(format!("{name}.c"))
        .arg("-o")
        .arg(&object));
    object
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| {
        panic!("{command:?}: {error}");
    });

    assert!(status.success(), "{command:?}: {status}");
}
