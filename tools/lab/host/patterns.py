# SPDX-License-Identifier: GPL-2.0
"""Lists of patterns for files: a pattern that no file matches is a mistake.

Such a list names the files to check, test or ship. When a file gets another name, its pattern would go on matching
nothing, and nobody would guard the file any more. So each pattern has to match.
"""

from pathlib import Path

from lab.host import log
from lab.host import paths


def files(*patterns: str, place: Path = paths.ROOT) -> list:
    """The files below `place` that these patterns match, sorted; fails when a pattern matches none."""
    found = set()
    for pattern in patterns:
        matched = [file for file in place.glob(pattern) if file.is_file()]
        if not matched:
            log.fail(f"no file is called {_name(place / pattern)}, which is listed")
        found.update(matched)
    return sorted(found)


def _name(file: Path) -> Path:
    return file.relative_to(paths.ROOT) if file.is_relative_to(paths.ROOT) else file
