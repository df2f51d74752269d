# SPDX-License-Identifier: GPL-2.0
"""The guest's fifth side of `make bench`: how evenly several CPUs spread their requests over four paths.

The machine has four CPUs, of which one executes at a time; the clock is that of life.py and counts the instructions of
all. While the load runs (mpath_crowd.c) a timer in the driver looks at all paths at one instant (nvme.c).
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.guest import say
from tests.bench.guest import set_policy
from tests.bench.life import DISK
from tests.bench.life import disks
from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest.target import Target

PATHS = 4
#: Disks that take so long that the emulated CPUs have time left.
DISKS = {"loop": DISK, "tcp": {**DISK, "completion_nsec": 10_000_000}}
CPUS = 4
#: How often each case runs, by policy; how long the timer waits before it looks, and for how long it looks then.
TIMES = {"queue-depth": 6, "round-robin": 3}
SETTLING_SECONDS = 0.1
SECONDS = 0.5
#: The pause after each event beside the load.
PAUSE_SECONDS = {"unplug_cpu": 0.02, "reset": 0.1, "flap": 0.01}

#: Where a request ends: where the path's disk likes it to, or where it began.
ANYWHERE, AT_HOME = 0, 2

RUN = Path("/sys/module/mpath_crowd/parameters/run")
FLIGHT = Path("/sys/module/nvme_core/parameters/bench_flight")
CHANGE = FLIGHT.with_name("bench_change")


@dataclass(frozen=True)
class Case:
    """So many reads in flight from each CPU, and the event beside them, which is a method of `Stage`."""

    name: str
    depths: tuple
    transport: str = "loop"
    beside: str = "nothing"
    ends: int = AT_HOME


#: Where submitters are alike, none can spread its own reads evenly, but for the first case; all together can.
CASES = (
    Case("1 submitter of 32", (32,)),
    Case("2 submitters of 18", (18,) * 2),
    Case("8 submitters of 5", (5,) * 8),
    Case("a submitter of 1 beside one of 128", (1, 128)),
    Case("8 submitters of 5, a CPU goes offline and comes back", (5,) * 8, beside="unplug_cpu"),
    Case("8 submitters of 5, a controller is reset", (5,) * 8, beside="reset"),
    Case("8 submitters of 5, a controller of others flaps", (5,) * 8, beside="flap"),
    Case("8 submitters of 5, nvme-tcp, reads end on another CPU", (5,) * 8, transport="tcp", ends=ANYWHERE),
)


def main() -> int:
    modules.install()
    os.sched_setaffinity(0, {0})
    subprocess.run("ip link set lo up".split(), check=True)
    modules.load("mpath_crowd")
    modules.load("nvme-core")
    for transport, disk in DISKS.items():
        with Target("other", ports=("loop", "loop"), disk=DISK) as other, \
             Target("flight", ports=(transport,) * PATHS, disk=disk) as target:
            # A controller that seems to be in a reset for long keeps nobody alive.
            connect(other, keep_alive_tmo=0)
            # With one queue for all CPUs a request of nvme-tcp ends on the CPU of the queue.
            connect(target, **({"nr_io_queues": 1} if transport == "tcp" else {}))
            for case in CASES:
                if case.transport == transport:
                    measure(Stage(target, other), case)
            for one in (other, target):
                one.disconnect()
            wait.until(lambda: not disks(), "the disks to go")
    return 0


def connect(target, **options) -> None:
    for port in target.ports:
        target.connect(port, **options)
    target.wait_for_heads(len(target.ports))
    time.sleep(10)


def measure(stage, case) -> None:
    disk = stage.target.head
    for path in disk.paths():
        path.write("queue/rq_affinity", case.ends)
    for policy, times in TIMES.items():
        for _ in range(times):
            set_policy(disk, policy)
            measure_once(stage, case, policy)


def measure_once(stage, case, policy) -> None:
    disk = stage.target.head
    RUN.write_text(f"{disk.device} " + " ".join(f"{number % CPUS}:{depth}" for number, depth in enumerate(case.depths)))
    time.sleep(SETTLING_SECONDS)
    before = reads()
    with stage.beside(case.beside):
        FLIGHT.write_text(disk.device)
        begun = time.monotonic()
        time.sleep(SECONDS)
        FLIGHT.write_text("stop")
        seconds = time.monotonic() - begun
    done, elsewhere, failed = (after - first for after, first in zip(reads(), before, strict=True))
    RUN.write_text("stop")
    assert not failed, f"{failed} reads have failed"
    looks, spread, squares, *flight = map(int, FLIGHT.read_text().split())
    say(type="flight", case=case.name, policy=policy, spread=spread / looks, squares=squares / looks, looks=looks,
        flight=[one / looks for one in flight], per_second=done / seconds, elsewhere=elsewhere / done,
        happened=stage.happened)
    set_policy(disk, "queue-depth")
    depths = [int(path.read("queue_depth")) for path in disk.paths()]
    assert not any(depths), f"nothing is in flight, but is counted: {depths}"


def reads() -> list:
    """How many reads have ended, on another CPU than they began on, and with an error."""
    return [int(word) for word in RUN.read_text().split()]


class Stage:
    """The disk that the load reads, another one, and the events meanwhile."""

    def __init__(self, target, other):
        self.target = target
        self._other = other
        self.happened = 0

    @contextlib.contextmanager
    def beside(self, what):
        """The event happens again and again, for the time of a block."""
        self.happened = 0
        ended = threading.Event()
        thread = threading.Thread(target=self._repeat, args=(getattr(self, f"_{what}"), ended))
        thread.start()
        yield
        ended.set()
        thread.join()

    def _repeat(self, what, ended) -> None:
        while not ended.is_set() and what():
            self.happened += 1

    def _nothing(self) -> bool:
        return False

    def _unplug_cpu(self) -> bool:
        online = Path(f"/sys/devices/system/cpu/cpu{CPUS - 1}/online")
        for state in ("0", "1"):
            online.write_text(state)
            time.sleep(PAUSE_SECONDS["unplug_cpu"])
        return True

    def _reset(self) -> bool:
        head.reset_controller(head.controllers_of_subsystem(self.target.nqn)[0])
        time.sleep(PAUSE_SECONDS["reset"])
        return True

    def _flap(self) -> bool:
        for _ in range(3):
            CHANGE.write_text(self._other.head.device)
            time.sleep(PAUSE_SECONDS["flap"])
        return True


if __name__ == "__main__":
    sys.exit(main())
