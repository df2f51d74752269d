# SPDX-License-Identifier: GPL-2.0
"""The guest's side of `make bench`: the cost of choosing a path and of whole I/Os, one JSON record a line.

The machine has one CPU whose cycle counter counts instructions (see vm.py). So each figure is the same each time, but
for the kernel's own work in between. Single choices run without interrupts, and of I/Os there are many.
"""

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest.target import Target

POLICIES = ("numa", "round-robin", "queue-depth")
#: How many paths there are, one after the other.
LEVELS = (1, 2, 4, 8, 32, 128)
#: How many when it must be quick, and always for figures that are not measured at each level.
FEW = 2

CHOICES = 1000
SAMPLES = 9
#: How long new disks are left alone: they are scanned for partitions. Nobody waits for that: idle time passes at once.
SETTLING_SECONDS = 30
#: The seconds that as many paths may take to come, or to hear of another state.
LONG_SECONDS = 600
#: I/Os of a sample.
IOS = 1024


@dataclass(frozen=True)
class Load:
    """The reads: so many bytes at a time, so many of these at once, from disks that take so much at most."""

    bytes: int
    depth: int
    largest_kib: int = 1024


#: About 32 requests are in flight with each: their number decides how long the block layer looks for a free tag.
LOADS = {
    "4 KiB": Load(4096, 32),
    "128 KiB": Load(131072, 32),
    "128 KiB, split in two": Load(131072, 16, largest_kib=64),
}
#: Flags of mpath_load and of the choices.
HOLD, MARK = 1, 2

#: A null_blk disk whose reads take so long that paths stay busy.
SLOW = {"memory_backed": 0, "irqmode": 2, "completion_nsec": 2_000_000_000, "hw_queue_depth": 1024}
FAST = {"memory_backed": 0, "irqmode": 0, "hw_queue_depth": 128}

CHOOSE = Path("/sys/module/nvme_core/parameters/bench")
OBJECTS = CHOOSE.with_name("bench_objects")
RUN = Path("/sys/module/mpath_load/parameters/run")


def main(directory, quick) -> int:
    shared = Path(directory)
    modules.install()
    os.sched_setaffinity(0, {0})
    modules.load("mpath_load")
    levels = (FEW,) if quick else LEVELS
    without_head(shared)
    modules.unload()
    modules.load("mpath_load")
    with_head(shared, levels)
    # Taking many controllers down takes long, and is no part of the measurement.
    return 0


def without_head(shared) -> None:
    """I/O on a namespace that has no head."""
    modules.load("nvme-core", multipath=0)
    with Target("bench", ports=("loop",), disk=FAST) as target:
        controller = target.connect(target.ports[0])
        name = wait.until(lambda: next((entry.name for entry in head.BLOCK.glob("nvme*n*")), None), "the disk")
        shutil.copyfile("/proc/kallsyms", shared / "symbols-without-head")
        measure_reads(head.Head(name), "", 1)
        head.delete_controller(controller)


def with_head(shared, levels) -> None:
    modules.load("nvme-core")
    target = Target("bench", ports=("loop",) * max(levels), namespaces=2, disk=FAST).__enter__()
    target.disable_namespace(2)
    target.remap(2, **SLOW)
    target.enable_namespace(2)
    connected = 0
    for level in levels:
        for port in target.ports[connected:level]:
            target.connect(port)
        connected = level
        target.wait_for_heads(level, LONG_SECONDS)
        time.sleep(SETTLING_SECONDS)
        measure_choices(target, level)
        if level == FEW:
            shutil.copyfile("/proc/kallsyms", shared / "symbols-with-head")
            profile_choices(target)
        if level in (FEW, max(levels)):
            measure_loads(target, level)


def measure_choices(target, level) -> None:
    fast, slow = target.heads()
    for state in ("optimized", "non-optimized"):
        target.set_ana_state(state, target.ports[:level], LONG_SECONDS)
        for policy in POLICIES:
            set_policy(fast, policy)
            say(type="choose", policy=policy, paths=level, state=state, busy=False, count=choices(fast))
        set_policy(fast, "queue-depth")
        hold(slow, level)
        for policy in reversed(POLICIES):
            set_policy(fast, policy)
            say(type="choose", policy=policy, paths=level, state=state, busy=True, count=choices(fast))
        release()
    target.set_ana_state("optimized", target.ports[:level], LONG_SECONDS)


def measure_loads(target, level) -> None:
    fast, _ = target.heads()
    for policy in POLICIES:
        set_policy(fast, policy)
        measure_reads(fast, policy, level)


def profile_choices(target) -> None:
    fast, _ = target.heads()
    for policy in POLICIES:
        set_policy(fast, policy)
        CHOOSE.write_text(f"{fast.device} {CHOICES} {MARK}")
        say(type="profile", policy=policy, times=CHOICES)
    say(type="objects", objects=[line.split(maxsplit=2) for line in OBJECTS.read_text().splitlines()])


def set_policy(disk, policy) -> None:
    (disk.subsystem / "iopolicy").write_text(policy)


def hold(disk, count) -> None:
    """Sends two reads for each path, by queue-depth, and leaves them there.

    Queue-depth looks at a few of many paths, so not each has two. One it has.
    """
    RUN.write_text(f"{disk.device} 4096 0 {2 * count} {2 * count} {HOLD}")
    depths = [int(path.read("queue_depth")) for path in disk.paths()]
    assert all(depths), f"not every path has an I/O in flight: {depths}"


def release() -> None:
    RUN.write_text("wait")


def choices(disk) -> float:
    """Instructions of one choice, the least of some rounds: the first ones meet cold caches of QEMU's."""
    return min(_choices(disk) for _ in range(SAMPLES))


def _choices(disk) -> float:
    CHOOSE.write_text(f"{disk.device} {CHOICES} 0")
    choosing, calling = map(int, CHOOSE.read_text().split())
    return (choosing - calling) / CHOICES


def measure_reads(disk, policy, paths) -> None:
    """Instructions of a read, in each of some rounds, for each load. The plugin leaves a profile of each round."""
    for name, load in LOADS.items():
        prepare(disk, load)
        read_some(disk, load)
        say(type="read", policy=policy, paths=paths, load=name, times=IOS,
            count=[read_some(disk, load, MARK) for _ in range(SAMPLES)])


def prepare(disk, load) -> None:
    for one in (disk, *disk.paths()):
        one.write("queue/max_sectors_kb", load.largest_kib)


def read_some(disk, load, flags=0) -> float:
    RUN.write_text(f"{disk.device} {load.bytes} 0 {IOS} {load.depth} {flags}")
    return int(RUN.read_text().split()[0]) / IOS


def say(**record) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "quick" in sys.argv[2:]))
