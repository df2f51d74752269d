# SPDX-License-Identifier: GPL-2.0
"""The entries in sysfs, /dev and /proc: names, modes, values, and where links lead."""

import os
import pathlib
import re
import stat

from tests.guest import head as heads
from tests.parity.seen import content
from tests.parity.seen import outcome

MODULE = pathlib.Path("/sys/module/nvme_core")
DEBUG = pathlib.Path("/sys/kernel/debug/block")
NAME = re.compile(r"(nvme|ng)\d+((c\d+)?n\d+(p\d+)?)?")


def note_devices(seen, nqn) -> None:
    """Notes all entries that exist with one subsystem only."""
    note_subsystem(seen, nqn)
    note_nodes(seen)


def note_subsystem(seen, nqn) -> None:
    """Notes a subsystem, its heads and their paths, its controllers."""
    for directory in roots(nqn):
        _note_tree(seen, directory)


def roots(nqn) -> list[pathlib.Path]:
    links = [heads.SUBSYSTEMS / entry.name for entry in heads.SUBSYSTEMS.iterdir()
             if (entry / "subsysnqn").read_text().strip() == nqn]
    links += [heads.CONTROLLERS / name for name in heads.controllers_of_subsystem(nqn)]
    return [link.resolve() for link in links]


def _note_tree(seen, root, name=None) -> None:
    for directory, directories, files in os.walk(root):
        directories.sort()
        where = pathlib.Path(directory)
        seen.note("sysfs", f"{name or root.name}/{where.relative_to(root)}", _mode(where))
        for entry in sorted(directories + files):
            path = where / entry
            if path.is_symlink():
                seen.note("sysfs", f"{name or root.name}/{path.relative_to(root)}", f"-> {os.readlink(path)}")
            elif path.is_file():
                seen.note("sysfs", f"{name or root.name}/{path.relative_to(root)}", f"{_mode(path)} {_read(path)}")


def _mode(path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


def _read(path) -> str:
    return outcome(content, path)


def _names(root) -> list[str]:
    """The names and modes of a directory in debugfs; its values are counters and addresses."""
    return sorted(f"{path.relative_to(root)} {_mode(path)}" for path in root.rglob("*"))


def note_nodes(seen) -> None:
    """Notes the device nodes and the entries of /proc and debugfs about the disks."""
    for node in sorted(pathlib.Path("/dev").iterdir()):
        if NAME.fullmatch(node.name):
            found = node.stat()
            kind = "block" if stat.S_ISBLK(found.st_mode) else "char"
            seen.note("nodes", node.name, f"{kind} {found.st_mode & 0o7777:o} {os.major(found.st_rdev)}:"
                                          f"{os.minor(found.st_rdev)} {found.st_uid}:{found.st_gid}")
    lines = pathlib.Path("/proc/partitions").read_text().splitlines()
    seen.note("nodes", "/proc/partitions", "\n".join(line for line in lines if "nvme" in line))
    for disk in sorted(pathlib.Path("/sys/block").glob("nvme*")):
        if (disk / "bdi").exists():
            _note_tree(seen, (disk / "bdi").resolve(), f"{disk.name}/bdi")
        seen.note("debugfs", disk.name, "\n".join(_names(DEBUG / disk.name)))


def note_module(seen) -> None:
    """Notes the parameters of the module and its users."""
    for parameter in sorted((MODULE / "parameters").iterdir()):
        seen.note("module", f"parameters/{parameter.name}", f"{_mode(parameter)} {_read(parameter)}")
    seen.note("module", "holders", "\n".join(sorted(entry.name for entry in (MODULE / "holders").iterdir())))
