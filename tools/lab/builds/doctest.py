# SPDX-License-Identifier: GPL-2.0
"""The examples in the documentation of the Rust face, as a KUnit suite in a module of its own.

The kernel does the same for its own crate (CONFIG_RUST_KERNEL_DOCTESTS) with rustdoc and two scripts. The lab uses both
scripts from the kernel's source as they are: one catches each example that rustdoc finds, the other writes one KUnit
case for each. They take the source that they read for rust/kernel/. So the library's source has that name here, and the
lab puts the names right in their output.
"""

import re
import shutil
from pathlib import Path

from lab.builds import cache
from lab.builds import crate
from lab.builds import reuse
from lab.builds import kernel
from lab.builds import modules
from lab.host import log
from lab.host import paths
from lab.host import patterns

MODULE = "libmultipath_doctests"
#: All of the project that goes into it; the built library goes into it, too.
_SOURCES = ("rust/**/*.rs", "include/**/*.h", "tests/kunit/face/example.rs", "tests/doctest/shared.rs")
_SCRIPTS = ("rustdoc_test_builder", "rustdoc_test_gen")
_WRITTEN = ("doctests_kernel_generated.rs", "doctests_kernel_generated_kunit.c")
_NAMES = {
    "`kernel` crate": "`libmultipath` crate",
    "rust_doctests_kernel": MODULE,
    "rust_doctest_kernel_": "doctest_",
    '"rust/kernel/': '"rust/',
    " rust/kernel/": " rust/",
}
#: The code that all examples may use: the driver of the README, and the code that the others need to run.
_SHARED = """
#[path = "{root}/tests/kunit/face/example.rs"]
mod example;
#[path = "{root}/tests/doctest/shared.rs"]
mod shared;
use ::libmultipath::prelude;
"""
_KBUILD = """obj-m := {module}.o
{module}-y := examples.o suite.o
RUSTFLAGS_examples.o := {extern} --remap-path-prefix={root}/= -Dwarnings -Adead_code
"""

_FACE = paths.ROOT / "rust" / "driver"
_CRATE = paths.ROOT / "rust" / "libmultipath.rs"
_METHOD = re.compile(r"^    pub (?:const )?fn (\w+)", re.MULTILINE)
_REEXPORT = re.compile(r"^pub use [\w:]+::(?:\{(.*?)\}|(\w+));", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^\s*//[/!] ```\n(.*?)^\s*//[/!] ```$", re.MULTILINE | re.DOTALL)
#: The line with which rustdoc announces an example.
_FOUND = re.compile(r"^test \S+ - (?:\w+::)*(\w+) \(line \d+\)", re.MULTILINE)


def ensure(name: str = kernel.PLAIN) -> Path:
    """The directory with the module that is the suite; libmultipath.ko of `modules.ensure_library()` goes first."""
    library = crate.ensure(name)
    home = kernel.place(name) / "doctests"
    files = patterns.files(*_SOURCES)
    with (cache.lock(home, f"doctests{kernel.suffix(name)}"),
          log.step(f"doctests{kernel.suffix(name)}", "building the documentation's examples") as step):
        of_library = reuse.key_of(library.directory)
        reuse.build(step, home / "module", lambda: of_library and reuse.key(library.built, of_library, *files),
                   (f"{MODULE}.ko",), lambda: _build(step, library, home), files, library.built.sanitizes)
    return home / "module"


def _build(step, library, home: Path) -> None:
    """Builds the module in `home / "module"`."""
    _catch(step, library, home)
    _check_complete(set(_FOUND.findall(step.log.read_text())))
    _lay_out(home / "module", library, home)
    step.run([*library.built.make(), f"M={home / 'module'}",
              f"KBUILD_EXTRA_SYMBOLS={library.directory / 'Module.symvers'}", "modules"],
             env=kernel.environment(), show=kernel.show)


def _check_complete(found: set) -> None:
    """Checks that every item of the face has an example, and that an example calls every method."""
    public = re.findall(r"\w+", " ".join(" ".join(names) for names in _REEXPORT.findall(_CRATE.read_text())))
    if missing := [name for name in public if name not in found]:
        log.fail(f"the documentation has no example of {', '.join(missing)}")
    sources = {file: file.read_text() for file in patterns.files("*.rs", place=_FACE)}
    examples = "\n".join(text for source in [*sources.values(), (_FACE.parent / "driver.rs").read_text()]
                         for text in _EXAMPLE.findall(source))
    missing = [f"{file.stem}: {name}" for file, source in sources.items() for name in _METHOD.findall(source)
               if not re.search(rf"\b{name}\(", examples)]
    if missing:
        log.fail(f"no example in the documentation calls {', '.join(missing)}")


def _catch(step, library, home: Path) -> None:
    """Has rustdoc find the examples, and the kernel's scripts write the suite."""
    scripts = library.built.source / "scripts"
    shutil.rmtree(home / "rust", ignore_errors=True)
    (home / "rust" / "test" / "doctests" / "kernel").mkdir(parents=True)
    (home / "rust" / "kernel").symlink_to(paths.ROOT / "rust")
    for script in _SCRIPTS:
        step.run(["rustc", "--edition=2021", "-O", scripts / f"{script}.rs", "-o", home / script])
    step.run(["rustdoc", "--test", *library.flags, library.extern, "--no-run",
              "--crate-name", "libmultipath", "--test-builder", home / _SCRIPTS[0],
              "rust/kernel/libmultipath.rs"], cwd=home, env=library.environment)
    step.run([home / _SCRIPTS[1]], cwd=home, env=library.environment | {"srctree": str(home)})


def _lay_out(module: Path, library, home: Path) -> None:
    """Makes the module's directory, touching no file that is already as it should be."""
    module.mkdir(parents=True, exist_ok=True)
    rust, suite = ((home / "rust" / name).read_text() for name in _WRITTEN)
    for kernels, ours in _NAMES.items():
        rust, suite = rust.replace(kernels, ours), suite.replace(kernels, ours)
    rust += _SHARED.format(root=paths.ROOT)
    suite = suite.replace('MODULE_LICENSE("GPL");', f'MODULE_DESCRIPTION("{MODULE}");\nMODULE_LICENSE("GPL");')
    modules.write(module / "examples.rs", rust.encode())
    modules.write(module / "suite.c", suite.encode())
    modules.write(module / "Kbuild", _KBUILD.format(module=MODULE, extern=library.extern, root=paths.ROOT).encode())
