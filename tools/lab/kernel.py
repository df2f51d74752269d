# SPDX-License-Identifier: GPL-2.0
"""The kernel that the lab boots and builds modules against."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelBuild:
    """A built kernel. `image` need not exist for a kernel that the user gave with KDIR=."""

    image: Path
    build_dir: Path
    source: Path
    release: str


def ensure(name: str = "x86_64") -> KernelBuild:
    """The kernel of configuration `tools/kernel/<name>.config`, built when it is not there yet."""
    raise NotImplementedError
