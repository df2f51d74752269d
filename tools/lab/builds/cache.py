# SPDX-License-Identifier: GPL-2.0
"""Expensive things, which one run at a time makes once, and whole.

A directory in the cache is either complete or will be redone. It is made in a `scratch()` and gets its name at the end;
where a thing must be made in place, `finish()` stamps it.
"""

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from lab.host import log

GIB = 1 << 30
_STAMP = ".complete"


@contextmanager
def lock(path: Path, what: str):
    """Lets one run at a time work on `path`; says so when that means waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info(f"{what}: waiting for another run that is at it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(path: Path):
    """Yields an empty directory next to `path`, on the same file system, that is gone afterwards."""
    part = path.with_name(path.name + ".part")
    remove(part)
    part.mkdir(parents=True)
    try:
        yield part
    finally:
        remove(part)


def finished(path: Path) -> bool:
    return (path / _STAMP).exists()


def finish(path: Path) -> None:
    (path / _STAMP).touch()


def remove(path: Path) -> None:
    """Removes a directory, stamp first, so that no run takes an interrupted removal for a complete directory."""
    (path / _STAMP).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def need_space(path: Path, gib: float, what: str) -> None:
    """Fails unless the file system that will hold `path` has `gib` GiB free."""
    existing = next(place for place in (path, *path.parents) if place.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < gib:
        log.fail(f"{what} needs {gib:g} GiB in {path}, there are {free:.1f} GiB free "
                 "(XDG_CACHE_HOME= moves the cache)")
    if not os.access(existing, os.W_OK):
        log.fail(f"{what} needs to write to {path}, which is not allowed")
