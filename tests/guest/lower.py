# SPDX-License-Identifier: GPL-2.0
"""Paths over lower block devices: the driver rust_mpath_lower of samples/, over mapped devices that share a disk.

    with Shared() as shared, LowerHead(shared.mapped() for _ in range(2)) as head:
        head.all[0].pull()
"""

import os
import pathlib
import subprocess
from contextlib import ExitStack

from tests.guest import modules
from tests.guest import wait
from tests.guest.configfs import Item
from tests.guest.head import Disk
from tests.guest.skip import Skip

MODULE = "rust_mpath_lower"
CONFIGURATION = pathlib.Path("/sys/kernel/config/mpath_lower")
NULL_BLK = pathlib.Path("/sys/kernel/config/nullb")
BLOCK = pathlib.Path("/sys/block")


class Shared(Disk):
    """A disk in memory, and mapped devices that each are all of it."""

    def __init__(self, name="shared", mib=64, **attributes):
        self._configuration = NULL_BLK / name
        self._configuration.mkdir()
        self._devices = ExitStack()
        self._numbers = iter(range(100))
        for key, value in {"size": mib * os.cpu_count(), "memory_backed": 1, **attributes, "power": 1}.items():
            (self._configuration / key).write_text(str(value))
        super().__init__(name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # After an error a device may still be in use; a second error would hide the first.
        if not exception[0]:
            self._devices.close()
            self._configuration.rmdir()

    def mapped(self) -> "Mapped":
        """One more device that is all of the disk."""
        return self._devices.enter_context(Mapped(f"{self.name}-{next(self._numbers)}", self))


class Mapped(Disk):
    """A device of the device mapper that is all of a disk, or fails everything."""

    def __init__(self, name, disk):
        self._mapped = name
        self._sectors = disk.read("size")
        self._linear = f"0 {self._sectors} linear {disk.device} 0"
        _dmsetup("create", name, "--table", self._linear)
        super().__init__(_dmsetup("info", "-c", "--noheadings", "-o", "blkdevname", name).strip())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        _dmsetup("remove", self._mapped)

    def fail(self) -> None:
        """Every I/O fails from now on."""
        self._become(f"0 {self._sectors} error")

    def heal(self) -> None:
        self._become(self._linear)

    def suspend(self) -> None:
        """I/O that comes from now on waits."""
        _dmsetup("suspend", self._mapped)

    def resume(self) -> None:
        _dmsetup("resume", self._mapped)

    def _become(self, table) -> None:
        _dmsetup("load", self._mapped, "--table", table)
        self.suspend()
        self.resume()


class LowerPath(Item):
    """One way to the shared disk, over a device of its own. A test can take it out, and put the same one back."""

    def __init__(self, head, number, lower):
        super().__init__(f"{head}c{number}", CONFIGURATION / "0" / str(number))
        self.lower = lower

    def completed(self) -> tuple[int, int]:
        """The reads and writes that the device below has completed, and their bytes."""
        return self.lower.completed()

    def pull(self) -> None:
        """Takes the path out; returns when the path is gone."""
        self.write("device", "")

    def put_back(self) -> None:
        self.write("device", self.lower.device)


class LowerHead:
    """The head over some devices, from loading the driver to unloading it."""

    name = "mplower0"
    device = f"/dev/{name}"

    def __init__(self, lowers):
        if not modules.available(MODULE):
            raise Skip("the drivers of samples/ are on the library")
        modules.load(MODULE)
        self._directory = CONFIGURATION / "0"
        self._directory.mkdir()
        self.all = []
        for lower in lowers:
            self.add(lower).put_back()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Unloads the driver, as part of every test: that fails while anybody holds anything of it."""
        for path in self.all:
            path.forget()
        self._directory.rmdir()
        if not exception[0]:
            wait.until(lambda: modules.references(MODULE) == 0, f"{MODULE} to be let go")
            modules.unload(MODULE)

    def __repr__(self):
        return self.name

    def add(self, lower) -> LowerPath:
        """Adds one more path, which is out."""
        self.all.append(LowerPath(self.name, len(self.all), lower))
        return self.all[-1]

    @property
    def is_there(self) -> bool:
        return (BLOCK / self.name).exists()

    def paths(self) -> list[LowerPath]:
        """The paths that are not out."""
        return [path for path in self.all if path.read("device")]

    def completed(self) -> tuple[int, int]:
        """The reads and writes that all devices below have completed, and their bytes."""
        ios, sizes = zip(*(path.completed() for path in self.all), strict=True)
        return sum(ios), sum(sizes)

    def count(self, name) -> int:
        """The number of bios that the head has "parked" or "failed" for want of a path, while it is there."""
        return int((self._directory / name).read_text())

    def write(self, attribute, value) -> None:
        """Sets an attribute of the disk."""
        (BLOCK / self.name / attribute).write_text(str(value))

    def limit(self, name) -> int:
        return int((BLOCK / self.name / "queue" / name).read_text())


def _dmsetup(*words) -> str:
    """Runs dmsetup without udev: in the guest only the kernel makes device nodes."""
    done = subprocess.run(["dmsetup", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env=os.environ | {"DM_DISABLE_UDEV": "1"})
    assert done.returncode == 0, f"dmsetup {' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
