# SPDX-License-Identifier: GPL-2.0
"""The kernel modules under test: those in the directory $MODULES."""

import os
import subprocess
from pathlib import Path

from tests.guest import pci


def install() -> None:
    """Makes modprobe find the modules; the guest's root is its own to change."""
    release = os.uname().release
    tree = Path("/lib/modules") / release
    tree.parent.mkdir(parents=True, exist_ok=True)
    tree.symlink_to(os.environ["MODULES"])
    subprocess.run(["depmod", release], check=True, stderr=subprocess.DEVNULL)


def load(*names, **parameters) -> None:
    """Loads modules and those that they depend on; `parameters` belong to the last of them."""
    for name in names[:-1]:
        if not _is_live(name):
            _modprobe(name)
    if parameters or not _is_live(names[-1]):
        _modprobe(names[-1], *(f"{key}={value}" for key, value in parameters.items()))


def unload(*only) -> bool:
    """Unloads all modules, or those that are named, or fails. Returns whether there were any."""
    found = False
    while loaded := {name: users for name, users in _loaded().items() if name in only or not only}:
        idle = [name for name, users in loaded.items() if not users]
        assert idle, f"all modules are in use: {loaded}"
        subprocess.run(["rmmod", *idle], check=True, capture_output=True, text=True)
        found = True
    return found


def ours() -> bool:
    """Whether NVMe is the one on the library, and not the kernel's own."""
    return available("libmultipath")


def available(name) -> bool:
    """Whether a module is among those under test."""
    return Path(os.environ["MODULES"], f"{name}.ko").exists()


def depends(name) -> list[str]:
    """The modules that a module needs."""
    file = Path(os.environ["MODULES"], f"{name}.ko")
    said = subprocess.run(["modinfo", "-F", "depends", file], check=True, capture_output=True, text=True).stdout
    return said.strip().split(",") if said.strip() else []


def references(name) -> int:
    """How many times a module is held."""
    return int(Path("/sys/module", name, "refcnt").read_text())


def lines() -> list[str]:
    """The lines of /proc/modules about the modules under test."""
    names = _loaded()
    return [line for line in Path("/proc/modules").read_text().splitlines()
            if line.split()[0] in names]


def _loaded() -> dict[str, int]:
    """The modules under test that are loaded, with the number of their users."""
    ours = {file.stem.replace("-", "_") for file in Path(os.environ["MODULES"]).glob("*.ko")}
    rows = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    return {row[0]: int(row[2]) for row in rows if row[0] in ours}


def _is_live(name) -> bool:
    """Whether it is loaded and ready: modprobe would take long for this in an emulated CPU."""
    try:
        return Path("/sys/module", name.replace("-", "_"), "initstate").read_text() == "live\n"
    except FileNotFoundError:
        return False


def _modprobe(*words) -> None:
    pci.place()
    done = subprocess.run(["modprobe", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"modprobe {' '.join(words)}: {done.stderr.strip()}"
