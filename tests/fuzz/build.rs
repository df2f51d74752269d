// SPDX-License-Identifier: GPL-2.0

//! Takes the ANA parser out of `drivers/nvme/host/multipath_lib.c`, and compiles it for the host: as it
//! is, and with one mistake each. `ana.h` stands for the kernel below it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{
    Path,
    PathBuf, //
};
use std::process::Command;

const SOURCE: &str = "../../drivers/nvme/host/multipath_lib.c";

/// The parser is from here to there: all code that touches the log, or says how long it is.
const BEGIN: &str = "#define for_each_ana_group(";
const END: &str = "/* Attributes */\n";

/// The mistakes: a name, a text of the parser, and the text that replaces it.
const MISTAKES: [(&str, &str, &str); 6] = [
    (
        "reads_groups_beyond_the_end",
        "if (left < sizeof(*desc))",
        "if (0)",
    ),
    (
        "believes_the_number_of_nsids",
        "if (le32_to_cpu(desc->nnsids) > left / sizeof(desc->nsids[0]))",
        "if (0)",
    ),
    (
        "forgets_the_header",
        "ctrl->ana_log_size - sizeof(*ctrl->ana_log_buf)",
        "ctrl->ana_log_size",
    ),
    (
        "keeps_a_log_that_is_not_valid",
        "ctrl->ana_log_buf->ngrps = 0;",
        ";",
    ),
    (
        "searches_nsids_beyond_the_end",
        "while (n < nr_nsids &&",
        "while (",
    ),
    (
        "keeps_the_size_of_an_old_log",
        "ctrl->ana_log_size = size;",
        "ctrl->ana_log_size = ctrl->ana_log_size ?: size;",
    ),
];

/// With traps, undefined behaviour needs no library of gcc's. Pointers into a log need not be
/// aligned: the kernel is for machines that do not mind.
const FLAGS: [&str; 8] = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-Wall",
    "-Werror",
    "-fsanitize=undefined",
    "-fno-sanitize=alignment",
    "-fsanitize-undefined-trap-on-error",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let source = fs::read_to_string(SOURCE).unwrap();
    let begin = source.find(BEGIN).expect("the parser begins elsewhere");
    let end = source.find(END).expect("the parser ends elsewhere");
    let parser = &source[begin..end];

    let mut objects = vec![compile(&out, Path::new("host.c"), "host")];
    objects.push(compile_parser(&out, "as_it_is", parser));
    for (name, right, wrong) in MISTAKES {
        assert_eq!(parser.matches(right).count(), 1, "{name}: {right}");
        objects.push(compile_parser(&out, name, &parser.replace(right, wrong)));
    }

    let library = out.join("libana.a");
    let _ = fs::remove_file(&library);
    run(Command::new("ar").arg("crs").arg(library).args(objects));
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=ana");
    for file in [SOURCE, "build.rs", "ana.h", "host.c", "host.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
}

fn compile_parser(out: &Path, name: &str, parser: &str) -> PathBuf {
    let file = out.join(format!("{name}.c"));

    fs::write(
        &file,
        format!("#define PARSER ana_{name}\n#include \"ana.h\"\n{parser}\n#include \"ana.h\"\n"),
    )
    .unwrap();
    compile(out, &file, name)
}

fn compile(out: &Path, file: &Path, name: &str) -> PathBuf {
    let object = out.join(format!("{name}.o"));
    let compiler = env::var_os("CC").unwrap_or_else(|| OsStr::new("cc").into());

    run(Command::new(compiler)
        .args(FLAGS)
        .args(["-I", ".", "-c"])
        .arg(file)
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
