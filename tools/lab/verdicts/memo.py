# SPDX-License-Identifier: GPL-2.0
"""Results of computations that come to the same whenever they have the same inputs: kept in the cache, under a hash of
all of these, and not computed again.

Only for what no clock, no chance and no other process has a part in: herd7, loom, and what reads or compiles files
without running them. AGAIN=1 computes everything.
"""

import json
import os
import time
from pathlib import Path

from lab.host import paths

#: What nobody has asked for in so many days is removed.
KEPT_DAYS = 60
_DAY_SECONDS = 24 * 3600


def recall(kind: str, at: str):
    """What was kept under this key; None when there is nothing, or AGAIN=1 asks for it to be computed."""
    file = _file(kind, at)
    if os.environ.get("AGAIN"):
        return None
    try:
        value = json.loads(file.read_text())
        file.touch()
        return value
    except (OSError, ValueError):
        return None


def keep(kind: str, at: str, value) -> None:
    """Keeps what json can write, whole or not at all."""
    file = _file(kind, at)
    file.parent.mkdir(parents=True, exist_ok=True)
    _forget_old(file.parent)
    scratch = file.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(value))
    scratch.replace(file)


def _file(kind: str, at: str) -> Path:
    return paths.CACHE / "results" / kind / f"{at}.json"


def _forget_old(directory: Path) -> None:
    oldest = time.time() - KEPT_DAYS * _DAY_SECONDS
    for file in directory.iterdir():
        if file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)
