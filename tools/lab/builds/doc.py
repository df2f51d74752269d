# SPDX-License-Identifier: GPL-2.0
"""The reference: the Rust face as rustdoc renders it, the C face as the kernel's kernel-doc does.

A warning is an error, and so is an exported function that the C face does not document.
"""

import re
import sys

from lab.builds import crate
from lab.builds import setup
from lab.builds import source
from lab.host import log
from lab.host import paths
from lab.host import process

DOC = paths.BUILD / "doc"
_HEADER = paths.ROOT / "include" / "linux" / "multipath.h"
_EXPORTS = paths.ROOT / "rust" / "exports.c"
#: Where the documentation of the kernel crate, which ours links to, is.
_KERNEL_CRATE = "https://rust.docs.kernel.org/"


def build() -> str:
    """Renders both; returns where they are."""
    setup.ensure(booting=False)
    library = crate.ensure()
    with log.step("doc-rust", "rendering the Rust face") as step:
        rust(step, library)
    with log.step("doc-c", "rendering the C face") as step:
        c(step, source.kernel().tree)
    return f"the documentation is {DOC / 'libmultipath' / 'index.html'} and {DOC / 'multipath.rst'}"


def rust(step, library) -> None:
    step.run(["rustdoc", *library.flags, "-Dwarnings", "--crate-name", "libmultipath", "--output", DOC,
              f"--extern-html-root-url=kernel={_KERNEL_CRATE}", paths.ROOT / "rust" / "libmultipath.rs"],
             cwd=library.directory, env=library.environment)


def c(step, tree) -> None:
    """Passes when the script is silent: its exit status does not count every warning."""
    step.run([sys.executable, tree / "scripts" / "kernel-doc", "-none", "-Wall", "-Werror", _HEADER])
    if b"warning" in step.log.read_bytes().partition(b"\n")[2].lower():
        step.failed("it warns")
    rendered = process.output([sys.executable, tree / "scripts" / "kernel-doc", "-rst", _HEADER])
    documented = set(re.findall(r"^\.\. c:(?:function|macro)::.*?\b(mpath_\w+)(?: *\(|;?$)", rendered, re.MULTILINE))
    operations = re.findall(r"\b(mpath_bdev_\w+)", _HEADER.read_text().partition("#define MPATH_BDEV_OPS")[2])
    exported = re.findall(r"EXPORT_SYMBOL_GPL\((mpath_(?!helper_)\w+)\)", _EXPORTS.read_text())
    if missing := sorted(set(exported) - documented - set(operations)):
        step.failed(f"{_HEADER.name} does not document {', '.join(missing)}")
    DOC.mkdir(parents=True, exist_ok=True)
    (DOC / "multipath.rst").write_text(rendered)
