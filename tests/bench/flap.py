# SPDX-License-Identifier: GPL-2.0
"""The guest's fourth side of `make bench`: reads of heads beside a controller that they do not use, and that flaps.

There are a thousand heads on eight controllers, two for each subsystem. The controller changes its state between
the reads, so that only the instructions of reads count.
"""

import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.guest import FAST
from tests.bench.guest import POLICIES
from tests.bench.guest import RUN
from tests.bench.guest import say
from tests.bench.guest import set_policy
from tests.bench.life import disks
from tests.bench.life import many
from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest.target import Target

SUBSYSTEMS = 4
NAMESPACES = 250
SETTLING_SECONDS = 30

#: How often the controller changes its state, and for how many changes.
PER_SECOND = 100
CHANGES = 99
#: Live, resetting, connecting.
STATES = 3
#: Reads between two changes, one at a time: most of a hundredth of a second.
READS = 768

CHANGE = Path("/sys/module/nvme_core/parameters/bench_change")


def main() -> int:
    modules.install()
    os.sched_setaffinity(0, {0})
    modules.load("mpath_load")
    modules.load("nvme-core")
    with ExitStack() as stack:
        targets = [stack.enter_context(Target(f"flap{number}", ports=("loop", "loop"), disk=FAST))
                   for number in range(SUBSYSTEMS)]
        for target in targets:
            many(target, NAMESPACES)
            for port in target.ports:
                # A controller that seems to be in a reset for long keeps nobody alive.
                target.connect(port, keep_alive_tmo=0)
        wait.until(lambda: disks() == 3 * SUBSYSTEMS * NAMESPACES, "all paths", seconds=36000, interval=1)
        time.sleep(SETTLING_SECONDS)
        flapping, *others = targets
        beside = [disk for target in others for disk in target.heads()]
        for policy in POLICIES:
            for target in others:
                set_policy(target.head, policy)
            measure_busy(flapping.head, beside[0], policy)
            measure_first(lambda: change(flapping.head), beside, policy, "change")
            come_back(flapping.head)
        measure_first(lambda: reset(flapping), beside, policy, "reset")
        sys.stdout.flush()
        # Taking all of that down takes long, and is no part of the measurement.
        os._exit(0)


def change(disk) -> None:
    """Has the controller of the first path to a disk go on to the next state of a reset."""
    CHANGE.write_text(disk.device)


def changes() -> int:
    return int(CHANGE.read_text())


def come_back(disk) -> None:
    """Has the controller go on until it is live."""
    while changes() % STATES:
        change(disk)


def reset(target) -> None:
    head.reset_controller(head.controllers_of_subsystem(target.nqn)[0])
    time.sleep(SETTLING_SECONDS)


def read(disk, count, flags=0) -> int:
    """The instructions of so many reads, one at a time."""
    RUN.write_text(f"{disk.device} 4096 0 {count} 1 {flags}")
    return int(RUN.read_text().split()[0])


def measure_busy(flapping, disk, policy) -> None:
    """Reads of one head, with a change before each hundredth of a second of them, and without."""
    read(disk, READS)
    counts = {}
    for flaps in (False, True):
        before, begun = changes(), time.monotonic()
        counts[flaps] = []
        for number in range(CHANGES):
            time.sleep(max(begun + number / PER_SECOND - time.monotonic(), 0))
            if flaps:
                change(flapping)
            counts[flaps].append(read(disk, READS) / READS)
        seconds = time.monotonic() - begun
        say(type="busy", policy=policy, flaps=flaps, count=statistics.mean(counts[flaps]),
            per_second=(changes() - before) / seconds)


def measure_first(happen, beside, policy, what) -> None:
    """The first read of each head after an event, less a later one, which finds nothing new.

    There are two paths, so every other read by round-robin takes the same one.
    """
    for disk in beside:
        read(disk, 1)
    happen()
    first, _, second = ([read(disk, 1) for disk in beside] for _ in range(3))
    say(type="first", policy=policy, what=what, first=statistics.median(first), second=statistics.median(second),
        more=statistics.median(one - other for one, other in zip(first, second, strict=True)), heads=len(beside))


if __name__ == "__main__":
    sys.exit(main())
