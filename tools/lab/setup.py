# SPDX-License-Identifier: GPL-2.0
"""The machine: the packages, the bindgen and the Python environment that the lab needs."""

from pathlib import Path


def ensure() -> None:
    """Makes every tool available, or fails with one line that names what is missing."""
    raise NotImplementedError


def venv() -> Path:
    """The Python environment's directory: `venv() / "bin" / "vng"`, and matplotlib in its python3."""
    raise NotImplementedError
