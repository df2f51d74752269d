# SPDX-License-Identifier: GPL-2.0
"""Results of computations that are the same whenever their inputs are: kept in the cache, under a hash of the inputs.

Only for computations in which no clock, no chance and no other process has a part. These are herd7, loom, and checks
that read or compile files without running them. AGAIN=1 computes everything.
"""

import json
import os
import time
from pathlib import Path

from lab.host import paths

#: The lab removes results for which nobody has asked in so many days.
KEPT_DAYS = 60
_DAY_SECONDS = 24 * 3600


def recall(kind: str, at: str):
    """The result under this key; None when there is none, or AGAIN=1 asks for a new computation."""
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
    """Keeps a value that json can write, whole or not at all."""
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
