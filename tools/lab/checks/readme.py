# SPDX-License-Identifier: GPL-2.0
"""README's examples compile: a check adds the parts that each leaves out (tests/readme/), and builds it as a module.

The C example's declarations end where its first comment begins; the rest are statements.
"""

import re
from pathlib import Path

from lab.builds import crate
from lab.builds import kernel
from lab.builds import modules
from lab.host import log
from lab.host import paths
from lab.host import patterns

_README = paths.ROOT / "README.md"
_HEADER = paths.ROOT / "include" / "linux" / "multipath.h"
_PLACE = paths.ROOT / "tests" / "readme"
_TESTED = paths.ROOT / "tests" / "kunit" / "face" / "example.rs"
#: Where the statements begin.
_COMMENT = "\n/* "
_INITIALISER = re.compile(r"^(?:void|int) (mpath_\w+_init)\(", re.MULTILINE)
_KBUILD = """obj-m := readme_c.o readme_rust.o
ccflags-y += -I{include} -Werror
RUSTFLAGS_readme_rust.o := {extern} -Dwarnings -Adead_code
"""


def sources() -> list:
    """All files of the project that the examples are built from; the library is built into them, too."""
    return [_README, _HEADER, _TESTED, Path(__file__), *patterns.files("*", place=_PLACE)]


def check(step) -> None:
    """Builds both."""
    c, rust = examples(_README.read_text())
    library = crate.ensure()
    home = paths.BUILD / "readme"
    declarations, comment, statements = c.partition(_COMMENT)
    files = {"declarations.h": declarations, "statements.h": comment + statements, "example.rs": rust,
             "Kbuild": _KBUILD.format(include=_HEADER.parents[1], extern=library.extern)}
    files |= {f"readme_{name}.{suffix}": (_PLACE / f"driver.{suffix}").read_text()
              for name, suffix in (("c", "c"), ("rust", "rs"))}
    home.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        modules.write(home / name, text.encode())
    step.run([*library.built.make(), f"M={home}", f"KBUILD_EXTRA_SYMBOLS={library.directory / 'Module.symvers'}",
              "modules"], why="an example of README.md does not build", env=kernel.environment(), show=kernel.show)


def examples(text: str, header: str = _HEADER.read_text(), tested: str = _TESTED.read_text()) -> tuple:
    """The example in C and the one in Rust; fails when one is absent, or differs from the file that it names."""
    found = {language: re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
             for language in ("c", "rust")}
    for language, blocks in found.items():
        if len(blocks) != 1:
            log.fail(f"{_README.name} has {len(blocks)} examples in {language}")
    (c,), (rust,) = found.values()
    if _COMMENT not in c:
        log.fail(f"the example in C of {_README.name} has no comment, with which its statements begin")
    initialisers = _INITIALISER.findall(header)
    if not initialisers:
        log.fail(f"{_HEADER.name} initialises nothing")
    if missing := [name for name in initialisers if f"{name}(" not in c]:
        log.fail(f"the example in C of {_README.name} does not call {', '.join(missing)}")
    # Visibility depends on where the example is.
    if rust not in tested.replace("pub(super) ", ""):
        log.fail(f"the example in Rust of {_README.name} is not in {_TESTED.relative_to(paths.ROOT)}")
    return c, rust
