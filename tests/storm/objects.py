# SPDX-License-Identifier: GPL-2.0
"""The objects of the modules under test in the kernel: none, once they are unloaded.

tests/sanitize/guest.py looks for lost memory, in a kernel that can find it.
"""

from pathlib import Path

#: Directories that have an entry for each object of some kind; one that a kernel has not is empty.
DIRECTORIES = [Path(name) for name in (
    "/sys/block", "/sys/class/bdi", "/sys/class/nvme", "/sys/class/nvme-subsystem", "/sys/class/nvme-generic",
    "/sys/devices/virtual/workqueue", "/sys/kernel/config", "/sys/kernel/config/nullb", "/sys/kernel/debug",
    "/sys/kernel/debug/block", "/sys/kernel/slab", "/sys/module", "/dev")]


class Objects:
    """Notes the objects at the start; boot is over, and no module under test was loaded."""

    def __init__(self):
        self._before = _look()

    def left(self) -> list[str]:
        """The objects that exist now and did not at the start."""
        return sorted(_look() - self._before)


def _look() -> set[str]:
    found = {str(entry) for directory in DIRECTORIES if directory.exists() for entry in directory.iterdir()}
    return found | {f"kernel thread {name}" for name in _kernel_threads()}


def _kernel_threads():
    """The threads of a driver or a workqueue; the workers that all share come and go."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name = (directory / "comm").read_text().strip()
            of_kernel = not (directory / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if of_kernel and (not name.startswith("kworker/") or name.startswith("kworker/R-")):
            yield name
