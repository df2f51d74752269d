# SPDX-License-Identifier: GPL-2.0
"""Multipath heads, their paths and their controllers, as sysfs shows them."""

import contextlib
import os
import pathlib
import re
import sys

from tests.guest import wait

BLOCK = pathlib.Path("/sys/block")
CONTROLLERS = pathlib.Path("/sys/class/nvme")
SUBSYSTEMS = pathlib.Path("/sys/class/nvme-subsystem")


class Disk:
    """A block device, with counters that are cheap to read and outlive it."""

    def __init__(self, name):
        self.name = name
        self.directory = BLOCK / name
        #: True once the device was found to have gone.
        self.gone = False
        self._stat = open(self.directory / "stat", "rb", buffering=0)
        self._fields = [0] * 17

    def __repr__(self):
        return self.name

    @property
    def device(self) -> str:
        return f"/dev/{self.name}"

    def read(self, attribute) -> str:
        return (self.directory / attribute).read_text().strip()

    def write(self, attribute, value) -> None:
        (self.directory / attribute).write_text(str(value))

    def completed(self) -> tuple[int, int]:
        """How many reads and writes it has completed, and their bytes."""
        fields = self._counters()
        return fields[0] + fields[4], (fields[2] + fields[6]) * 512

    def flushed(self) -> int:
        """How many flushes it has completed, be that with an error."""
        return self._counters()[15]

    def _counters(self):
        try:
            data = os.pread(self._stat.fileno(), 4096, 0)
            self._fields = [int(field) for field in data.split()]
        except OSError:
            self.gone = True
        return self._fields


class Path(Disk):
    """A hidden disk below a head: one way to its namespace."""

    @property
    def controller(self) -> str:
        return "nvme" + re.fullmatch(r"nvme\d+c(\d+)n\d+", self.name).group(1)

    @property
    def address(self) -> str:
        """Where its controller is; raises OSError when the controller is going."""
        return address(self.controller)

    @property
    def condition(self) -> str:
        """The condition of the path, in a word."""
        state = controller_state(self.controller)
        if self.gone or state == "gone":
            return "gone"
        if state != "live":
            return state
        try:
            return self.read("ana_state")
        except OSError:
            return "live"


class Head(Disk):
    """The disk that users see."""

    def paths(self) -> list[Path]:
        subsystem, namespace = re.fullmatch(r"nvme(\d+)n(\d+)", self.name).groups()
        return _present(Path, sorted(entry.name for entry in BLOCK.glob(f"nvme{subsystem}c*n{namespace}")))

    @property
    def parked(self) -> int:
        """How often I/O had to wait for a path."""
        return int(self.read("diag/io_requeue_no_usable_path_count"))

    def wait_for_parking(self) -> None:
        """Waits until there is I/O that had to wait for a path."""
        wait.until(lambda: self.parked, "I/O to be parked")

    @property
    def subsystem(self) -> pathlib.Path:
        return SUBSYSTEMS / ("nvme-subsys" + re.match(r"nvme(\d+)n", self.name).group(1))


def of_subsystem(nqn) -> list[Head]:
    """The heads of a subsystem, by the number of their namespace."""
    names = {entry.name for directory in subsystems_of(nqn)
             for entry in directory.glob("nvme*n*") if re.fullmatch(r"nvme\d+n\d+", entry.name)}
    # Heads are numbered in the order in which the driver found them, which need not be that of their namespaces.
    return sorted(_present(Head, names), key=_nsid)


def _nsid(head) -> int:
    try:
        return int(head.read("nsid"))
    except OSError:
        return sys.maxsize  # it is going, and comes last


def controllers_of_subsystem(nqn) -> list[str]:
    """The controllers of a subsystem, in any state."""
    found = []
    for controller in CONTROLLERS.glob("nvme*"):
        try:
            if (controller / "subsysnqn").read_text().strip() == nqn:
                found.append(controller.name)
        except OSError:
            pass  # it went between the two looks
    return sorted(found)


def fabrics_controllers() -> list[str]:
    """All connected controllers."""
    return sorted(entry.parent.name for entry in CONTROLLERS.glob("nvme*/delete_controller"))


def controller_state(name) -> str:
    """"live", "connecting", ..., or "gone"."""
    try:
        return (CONTROLLERS / name / "state").read_text().strip()
    except OSError:
        return "gone"


def address(controller) -> str:
    """Where a controller is, in a few words that are the same when it comes back there."""
    directory = CONTROLLERS / controller
    transport = (directory / "transport").read_text().strip()
    where = (directory / "address").read_text().strip()
    if transport == "pcie":
        return f"pcie {where.removeprefix('0000:')} on node {(directory / 'numa_node').read_text().strip()}"
    parts = dict(part.split("=", 1) for part in where.split(",") if "=" in part)
    return f"{transport} " + ":".join(parts[key] for key in ("traddr", "trsvcid") if key in parts)


def delete_controller(name) -> None:
    """Disconnects a fabrics controller, as `nvme disconnect` does."""
    try:
        (CONTROLLERS / name / "delete_controller").write_text("1")
    except OSError:
        assert not (CONTROLLERS / name).exists(), f"{name} cannot be deleted"


def reset_controller(name) -> None:
    """Resets a controller as `nvme reset` does, and returns when the reset is done."""
    (CONTROLLERS / name / "reset_controller").write_text("1")


def rescan_controller(name) -> None:
    """Has the driver look for namespaces in the background, as `nvme ns-rescan` does."""
    with contextlib.suppress(OSError):
        (CONTROLLERS / name / "rescan_controller").write_text("1")  # unless it is going


def wait_for_state(controller, *states) -> None:
    wait.until(lambda: controller_state(controller) in states,
               f"{controller} to be {' or '.join(states)}")


def _present(kind, names) -> list:
    """The disks of these names, without those that are only coming or already going."""
    found = []
    for name in names:
        try:
            found.append(kind(name))
        except OSError:
            pass
    return found


def subsystems_of(nqn) -> list[pathlib.Path]:
    """The entry of a subsystem in sysfs: a directory, or nothing."""
    found = []
    for directory in SUBSYSTEMS.glob("nvme-subsys*"):
        with contextlib.suppress(OSError):  # it went between the two looks
            if (directory / "subsysnqn").read_text().strip() == nqn:
                found.append(directory)
    return found
