# SPDX-License-Identifier: GPL-2.0
"""The drivers of samples/: a RAM disk behind several paths, which configfs changes."""

import os
import pathlib

from tests.guest import modules
from tests.guest import wait
from tests.guest.configfs import Item
from tests.guest.skip import Skip

CONFIGURATION = pathlib.Path("/sys/kernel/config/mpath_ram")
BLOCK = pathlib.Path("/sys/block")
#: The module of each driver. Its name begins with the language; "_mq": its paths take requests instead of bios.
MODULES = {"rust": "rust_mpath_ram", "rust_mq": "rust_mpath_mq", "c": "c_mpath_ram", "c_mq": "c_mpath_mq"}
DRIVERS = tuple(MODULES)
#: The failures of a path for which another path helps, or the same one a little later.
FAILURES = {
    "rust_mq": ("path", "partial", "batch", "flush", "requeue", "timeout"),
    "c_mq": ("path", "partial", "batch", "flush", "requeue", "busy", "timeout"),
}
#: The drivers that can freeze the queues of their paths.
FREEZING = ("c", "c_mq")


class RamPath(Item):
    """One way to the RAM disk. It can be out, and is the same when it comes back."""

    def __init__(self, number):
        super().__init__(f"mpram0c{number}", CONFIGURATION / str(number))

    def completed(self) -> tuple[int, int]:
        """How many bios it has completed, and their bytes."""
        ios, size, _ = self.read("carried").split()
        return int(ios), int(size)

    @property
    def flushes(self) -> int:
        """How many flushes it has completed."""
        return int(self.read("carried").split()[2])

    @property
    def address(self) -> str:
        return self.name

    @property
    def condition(self) -> str:
        """The condition of the path, in a word."""
        if self.gone:
            return "gone"
        return "failing" if self.read("failure") != "none" else self.read("access_state")

    @property
    def gone(self) -> bool:
        return not self.is_live

    @property
    def is_live(self) -> bool:
        return self.read("live") == "1"

    def events(self) -> dict[str, int]:
        """The counters of the path's events, by name."""
        return {name: int(count) for name, count in (line.split() for line in self.read("events").splitlines())}

    def pull(self) -> None:
        """Takes it out; returns when it is gone."""
        self.write("live", 0)

    def put_back(self) -> None:
        self.write("live", 1)


class RamDisk:
    """The disk of one of the drivers, from loading the module to unloading it."""

    name = "mpram0"
    device = "/dev/mpram0"

    def __init__(self, driver, paths=2, mib=64, **parameters):
        self.module = MODULES[driver]
        self.failures = FAILURES.get(driver, ("path",))
        self.can_freeze = driver in FREEZING
        if not modules.available(self.module):
            raise Skip("the drivers of samples/ are on the library")
        modules.load(self.module, paths=paths, size_mib=mib * os.cpu_count(), **parameters)
        self.all = [RamPath(number) for number in range(paths)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Unloads the module, which is part of every test: it fails while anything of the driver is in use."""
        for path in self.all:
            path.forget()
        if exception[0] in (None, Skip):
            wait.until(lambda: modules.references(self.module) == 0, f"{self.module} to be let go")
            modules.unload(self.module)

    def __repr__(self):
        return self.name

    @property
    def is_there(self) -> bool:
        return (BLOCK / self.name).exists()

    def paths(self) -> list[RamPath]:
        """The paths that are not out."""
        return [path for path in self.all if path.is_live]

    def completed(self) -> tuple[int, int]:
        """The bios and bytes that all paths have completed."""
        ios, sizes = zip(*(path.completed() for path in self.all), strict=True)
        return sum(ios), sum(sizes)

    def read(self, attribute) -> str:
        return (CONFIGURATION / attribute).read_text().strip()

    def write(self, attribute, value) -> None:
        (CONFIGURATION / attribute).write_text(str(value))

    @property
    def parked(self) -> int:
        """How many bios of the disk had to wait for a path, while there is a disk."""
        return int(self.read("parked"))

    def wait_for_parking(self) -> None:
        """Waits until there is a bio that had to wait for a path."""
        wait.until(lambda: self.parked, "I/O to be parked")

    def links(self) -> set[str]:
        """The paths in the disk's own directory."""
        return {entry.name for entry in (BLOCK / self.name / "multipath").iterdir()}
