# SPDX-License-Identifier: GPL-2.0
"""Hashes of all that a thing was made from: the user's cache keeps it under that hash."""

import hashlib
from pathlib import Path


def key(*inputs) -> str:
    """A hash of texts, and of files by name and content; the order counts."""
    digest = hashlib.sha256()
    for each in inputs:
        content = each.read_bytes() if isinstance(each, Path) else each.encode()
        name = each.name if isinstance(each, Path) else ""
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def named(files, below: Path) -> list:
    """Inputs that are these files, each by its path below a directory, and by its content."""
    return [part for file in files for part in (str(file.relative_to(below)), file)]
