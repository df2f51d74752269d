# SPDX-License-Identifier: GPL-2.0
"""The kernel modules: the library, NVMe on top of it, and NVMe as the kernel has it."""

from pathlib import Path


def ensure(which: str) -> Path:
    """The directory with the .ko files of "ours" (libmultipath.ko included) or of "stock"."""
    raise NotImplementedError
