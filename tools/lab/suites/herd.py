# SPDX-License-Identifier: GPL-2.0
"""herd7, which tries every execution that the kernel's memory model allows.

The model of Linux 7.3 wants a newer herd7 than Debian's stable suite has. The lab unpacks the package of a newer suite
into the cache, with the C library that it was linked to, and starts it by the loader of that.
"""

import re
from pathlib import Path

from lab.builds import apt
from lab.builds import cache
from lab.builds import source
from lab.builds import toolchain
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import process

PACKAGE = "herdtools7"
#: The oldest version that knows the variant of the model, and the pattern of packages that are no older.
MINIMUM = (7, 58)
_VERSION = r"7\.(5[89]|[6-9]\d|\d{3})|[89]\."
_COMMAND = "herd7"
#: The libraries that it is linked to.
_LIBRARIES = ("libc6", "libgmp10")
#: The options for the kernel's model, in its directory.
_MODEL = ("-conf", "linux-kernel.cfg")
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"


def command() -> list:
    """The words of a herd7 that reads a test of the kernel's memory model; to be run in `model()`."""
    return [*_program(), *_MODEL]


def _program() -> list:
    if _is_installed():
        return [_COMMAND]
    root = _unpacked()
    libraries = ":".join(str(root / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    return [str(root / _LOADER), "--library-path", libraries, str(root / "usr" / "bin" / _COMMAND),
            "-set-libdir", str(root / "usr/share/herdtools7/herd")]


def identity() -> str:
    """All that a result depends on besides the test: the version of herd7, its options, and a hash of the model."""
    return f"{process.output([*_program(), '-version'])} {_MODEL} {digest.key(*_files_of_model())}"


def _files_of_model() -> list:
    return sorted(file for file in model().iterdir() if file.suffix in (".bell", ".cat", ".cfg", ".def"))


def model() -> Path:
    """The directory of the memory model, in the kernel's source."""
    return source.kernel().tree / "tools" / "memory-model"


def _is_installed() -> bool:
    """Is there a herd7 in PATH that is new enough?"""
    if not toolchain.have(_COMMAND):
        return False
    said = re.match(r"(\d+)\.(\d+)", process.output([_COMMAND, "-version"]))
    return said is not None and tuple(map(int, said.groups())) >= MINIMUM


def _unpacked() -> Path:
    """The directory in the cache where the packages are unpacked."""
    with cache.lock(paths.CACHE / "herdtools", "herd7"):
        kept = sorted(paths.CACHE.glob("herdtools-*[0-9]"))
        return kept[-1] if kept else _fetch()


def _fetch() -> Path:
    if not apt.present():
        log.fail(f"{PACKAGE} {_wanted()} cannot be had without apt; put a herd7 of that version into PATH")
    cache.need_space(paths.CACHE, 0.5, "herd7")
    with cache.scratch(paths.CACHE / "herdtools") as part, log.step("herdtools", f"fetching {PACKAGE}") as step:
        found = apt.fetch(PACKAGE, _VERSION, part / "root", step, beside=_LIBRARIES)
        if not found:
            log.fail(f"{PACKAGE} {_wanted()} {apt.NOWHERE}")
        for tool in (part / "root" / "usr" / "bin").iterdir():
            if tool.name != _COMMAND:
                tool.unlink()  # each is as large
        return (part / "root").rename(paths.CACHE / f"herdtools-{found}")


def _wanted() -> str:
    return ".".join(map(str, MINIMUM))
