# SPDX-License-Identifier: GPL-2.0
"""The guest's side of `make bench` on the drivers of samples/: what a read of each costs, one JSON record a line.

Each driver keeps its disk in memory and has the same disk, so that the twins in C and in Rust can be compared.
"""

import sys

from tests.bench import guest
from tests.guest import modules
from tests.guest import wait
from tests.guest.ram import DRIVERS
from tests.guest.ram import RamDisk

#: Rounds before those that count: the first ones meet cold caches, and disks that are scanned for partitions.
WARM_UP = 3


def main() -> int:
    modules.install()
    modules.load("mpath_load")
    for driver in DRIVERS:
        with RamDisk(driver, paths=guest.FEW) as disk:
            measure(driver, disk)
    return 0


def measure(driver, disk) -> None:
    """Instructions of a read, in each of some rounds, for each load that is no larger than the disk's limits."""
    wait.until(lambda: all(path.is_live for path in disk.all), "the paths")
    for name in ("4 KiB", "128 KiB"):
        load = guest.LOADS[name]
        for _ in range(WARM_UP):
            guest.read_some(disk, load)
        guest.say(type="sample", driver=driver, load=name,
                  count=[guest.read_some(disk, load) for _ in range(guest.SAMPLES)])


if __name__ == "__main__":
    sys.exit(main())
