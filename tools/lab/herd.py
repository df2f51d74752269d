# SPDX-License-Identifier: GPL-2.0
"""herd7, which tries every execution that the kernel's memory model allows.

Debian has a herd7 that is new enough for the model of Linux 7.3 in a suite that is newer than most machines. It is
unpacked into the cache, with the C library that it was linked to, and started by the loader of that.
"""

from pathlib import Path

from lab import apt
from lab import cache
from lab import log
from lab import paths
from lab import source

PACKAGE = "herdtools7"
#: The oldest that knows the variant of the model, and the pattern of a package that is no older.
MINIMUM = "7.58"
_VERSION = r"7\.(5[89]|[6-9]\d|\d{3})|[89]\."
#: What herd7 is linked to.
_LIBRARIES = ("libc6", "libgmp10")
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"


def command() -> list:
    """The words of a herd7 that reads a test of the kernel's memory model; to be run in `model()`."""
    root = _unpacked()
    libraries = ":".join(str(root / place) for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    return [str(root / _LOADER), "--library-path", libraries, str(root / "usr/bin/herd7"),
            "-set-libdir", str(root / "usr/share/herdtools7/herd"), "-conf", "linux-kernel.cfg"]


def model() -> Path:
    """The directory of the memory model, in the kernel's source."""
    return source.kernel().tree / "tools" / "memory-model"


def _unpacked() -> Path:
    """The directory in the cache that the packages are unpacked in."""
    with cache.lock(paths.CACHE / "herdtools", "herd7"):
        kept = sorted(paths.CACHE.glob("herdtools-*[0-9]"))
        return kept[-1] if kept else _fetch()


def _fetch() -> Path:
    if not apt.present():
        log.fail(f"{PACKAGE} {MINIMUM} cannot be had without apt")
    cache.need_space(paths.CACHE, 0.5, "herd7")
    with cache.scratch(paths.CACHE / "herdtools") as part, log.step("herdtools", f"fetching {PACKAGE}") as step:
        found = apt.fetch(PACKAGE, _VERSION, part / "root", step, beside=_LIBRARIES)
        if not found:
            log.fail(f"{PACKAGE} {MINIMUM} is in no suite of this machine's mirror")
        return (part / "root").rename(paths.CACHE / f"herdtools-{found}")
