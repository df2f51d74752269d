# SPDX-License-Identifier: GPL-2.0
"""The guest's third side of `make bench`: one of two paths is lost under reads, of which the longest counts.

The clock is that of life.py. A plugin of QEMU's (longest.c) leaves the blocks that the kernel executed during the
longest read of all. The copy of /proc/kallsyms, in the directory that is the argument, says to which functions these
belong.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from tests.bench.guest import HOLD
from tests.bench.guest import RUN
from tests.bench.guest import say
from tests.bench.guest import set_policy
from tests.bench.life import DISK
from tests.bench.life import STREAM
from tests.bench.life import disks
from tests.bench.life import many
from tests.bench.life import take_apart
from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest.target import Target

#: How many namespaces there are, and how often they lose a path: chance decides when within a read it happens.
NAMESPACES = (1, 16, 256)
TIMES = 24


def main(directory) -> int:
    modules.install()
    os.sched_setaffinity(0, {0})
    modules.load("mpath_load")
    modules.load("nvme-core")
    for count in NAMESPACES:
        lose_path(count)
    shutil.copyfile("/proc/kallsyms", Path(directory) / "symbols-loss")
    return 0


def lose_path(count) -> None:
    """Deletes a controller while the last namespace has one read at a time, again and again."""
    with Target("loss", ports=("loop", "loop"), disk=DISK) as target:
        many(target, count)
        target.connect(target.ports[1])
        longest = [longest_read_while_lost(target, count) / 1e6 for _ in range(TIMES)]
        say(type="losses", namespaces=count, longest=longest)
        target.disconnect()
        take_apart(target, count)


def longest_read_while_lost(target, count) -> int:
    controller = target.connect(target.ports[0])
    wait.until(lambda: disks() == 3 * count, f"{count} namespaces", seconds=3600, interval=0.1)
    time.sleep(10)
    disk = target.heads()[-1]
    set_policy(disk, "round-robin")
    RUN.write_text(f"{disk.device} 4096 0 4000000 1 {HOLD | STREAM}")
    time.sleep(0.1)
    head.delete_controller(controller)
    time.sleep(0.5)
    RUN.write_text("stop")
    _, longest, _ = map(int, RUN.read_text().split())
    return longest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
