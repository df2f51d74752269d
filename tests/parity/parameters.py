# SPDX-License-Identifier: GPL-2.0
"""Module parameters: the values that they refuse, their lines in modinfo, and a disk under each."""

import os
import pathlib
import subprocess

from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.parity import ioctls
from tests.parity import tools
from tests.parity import traced_io
from tests.parity import tree
from tests.parity.events import Events
from tests.parity.topology import Parity

#: Values of parameters, good and bad.
VALUES = {
    "multipath": ("0", "1", "maybe", "", "2"),
    "multipath_always_on": ("0", "1", "maybe", ""),
    "iopolicy": ("numa", "round-robin", "queue-depth", "fastest", "", "num", "numa2"),
}
#: One after the other, on a command line.
COMBINATIONS = (
    "multipath_always_on=Y multipath=N", "multipath=N multipath_always_on=Y", "multipath", "multipath_always_on",
    "iopolicy", "iopolicy=numa iopolicy=round-robin",
)


def _values(seen):
    for field in ("parm", "license", "alias", "depends"):
        seen.note("modinfo", field, _said("modinfo", "-F", field, "nvme-core"))
    words = [f"{name}={value}" for name, values in VALUES.items() for value in values] + list(COMBINATIONS)
    for text in words:
        events = Events()
        seen.note("modprobe", text, _said("modprobe", "nvme-core", *text.split(" ")))
        if tree.MODULE.exists():
            seen.note("modprobe", f"{text}: then", "\n".join(
                f"{name}={(tree.MODULE / 'parameters' / name).read_text().strip()}" for name in VALUES))
            modules.unload()
        events.note(seen, f"modprobe {text}: ")


def _said(*command) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return f"{done.stdout}{done.stderr}exit {done.returncode}"


def _without_multipath(seen):
    _with_parameters(seen, multipath="N")


def _always_on(seen):
    _with_parameters(seen, multipath_always_on="Y", iopolicy="round-robin")


def _with_parameters(seen, **parameters):
    modules.load("nvme-core", **parameters)
    events = Events()
    with Parity("plain", ports=("loop",)) as target:
        target.partition()
        target.connect(target.ports[0])
        disk = wait.until(_visible_disks, "the disk")[0]
        character = disk.device.replace("nvme", "ng")
        wait.until(lambda: os.path.exists(character) and os.path.exists(f"{disk.device}p1"), "all of it")
        tree.note_devices(seen, target.nqn)
        tree.note_module(seen)
        for name, device in (("disk", disk.device), ("partition", f"{disk.device}p1"), ("character device", character)):
            ioctls.note(seen, f"ioctl on the {name}", device, os.O_RDWR)
            ioctls.note_reservations(seen, f"reservations on the {name}", device)
        tools.note_shape(seen, disk)
        traced_io.note_of_one(seen, disk, "one path")
    wait.until(lambda: not list(heads.SUBSYSTEMS.iterdir()), "the subsystem to go")
    modules.unload()
    events.note(seen)


def _visible_disks() -> list:
    """The heads, or the disks of controllers where there are no heads."""
    return [heads.Disk(entry.name) for entry in pathlib.Path("/sys/block").glob("nvme*n*")
            if "c" not in entry.name]


ACTS = {"parameters": _values, "without multipath": _without_multipath, "always on": _always_on}
