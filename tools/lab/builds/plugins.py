# SPDX-License-Identifier: GPL-2.0
"""The plugins of the project with which QEMU watches or supplements the instructions that it emulates."""

from pathlib import Path

from lab.builds import cache
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns

_COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC")
_OURS = paths.ROOT / "tests" / "qemu"


def barriers() -> Path:
    """The plugin for guests whose barriers QEMU leaves out."""
    return ensure(_OURS / "barriers.c")


def ensure(source: Path) -> Path:
    """The plugin that is compiled from this file and the headers of its directory and of tests/qemu."""
    headers = patterns.files("*.h", place=_OURS)
    if source.parent != _OURS:
        headers += patterns.files("*.h", place=source.parent)
    plugin = paths.BUILD / "plugins" / f"{source.stem}-{digest.key(*_COMPILE, source, *headers)[:12]}.so"
    with cache.lock(plugin, f"QEMU's plugin {source.stem}"):
        if not plugin.exists():
            part = plugin.with_suffix(".part")
            with log.step(f"plugin {source.stem}", "compiling") as step:
                step.run([*_COMPILE, "-o", part, source])
            part.rename(plugin)
    return plugin
