# SPDX-License-Identifier: GPL-2.0
"""The soak's guest side: for some minutes, whatever can happen to paths happens at random under verified I/O.

    python3 -m tests.soak.run MINUTES SEED PLANT...

It goes in rounds. In each, every steady head is written to and read back all the time; at its end all paths
are brought back, and everything that was written in it is verified. Records, one JSON object a line, go to
standard output; tools/lab/soak.py shows them.
"""

import faulthandler
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

from tests.e2e import fio
from tests.e2e import modules
from tests.e2e.kernel_log import KernelLog
from tests.e2e.kernel_log import problems
from tests.soak.nvme import PLANTS
from tests.soak.openers import Openers

#: Length of a round, in seconds; a load must not run out of blocks in it.
ROUND = 25
MIB = 48
RATE = 200
#: The longest time between two events, in seconds.
PAUSE = 0.4
#: How long the I/O of a head may stand still once all its paths are back.
STALL = 60
TAIL_LINES = 60

_start = time.monotonic()


def main(minutes, seed, names) -> int:
    faulthandler.register(signal.SIGUSR1, file=sys.stdout)
    modules.install()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    log = KernelLog()
    soak = _Soak(random.Random(seed), log)
    try:
        with ExitStack() as stack:
            plants = [stack.enter_context(PLANTS[name]()) for name in names]
            deadline = time.monotonic() + 60 * minutes
            while time.monotonic() < deadline:
                soak.round(plants, min(deadline, time.monotonic() + ROUND))
        modules.unload()
        soak.check_log()
    except Exception as fault:
        _record(type="failure", what=f"{type(fault).__name__}: {fault}", kernel=log.new_lines()[-TAIL_LINES:])
        raise
    return 0


class _Soak:
    """The chance, and the sums."""

    def __init__(self, rng, log):
        self._rng = rng
        self._log = log
        self._openers = Openers()
        self._counts = Counter()
        self._sums = Counter()

    def round(self, plants, deadline) -> None:
        """Lets things happen until `deadline`, then brings all paths back and verifies."""
        with ExitStack() as stack:
            steady = [head for plant in plants for head in plant.heads()]
            loads = [(head, stack.enter_context(self._load(head))) for head in steady]
            for head, load in loads:
                load.wait_for_io(head, ios=20, seconds=STALL)
            while time.monotonic() < deadline:
                self._step(plants)
                for head, load in loads:
                    assert load.running, f"the I/O of {head} has ended"
                time.sleep(self._rng.random() * PAUSE)
            self._openers.close()
            for plant in plants:
                plant.settle()
            for head, load in loads:
                load.wait_for_io(head, ios=20, seconds=STALL)
                self._add(load.finish())
        self.check_log()
        self._sums["rounds"] += 1
        self._sums["opens"] = self._openers.opens
        _record(type="round", events=dict(self._counts), **self._sums)

    def check_log(self) -> None:
        found = problems(self._log.new_lines())
        assert not found, "the kernel's log has " + "\n".join(found)

    def _load(self, head):
        return fio.Load(head.device, jobs=1, mib=MIB, rate=RATE, seed=self._rng.randrange(1 << 30))

    def _step(self, plants):
        plant = self._rng.choice(plants)
        events = plant.events()
        event = self._rng.choices(events, [event.weight for event in events])[0]
        if event.happen(self._rng) is not False:
            self._counts[f"{plant.name}: {event.name}"] += 1
        self._openers.act(self._rng, [node for plant in plants for node in plant.opened()])

    def _add(self, report):
        self._sums["ios"] += report.ios
        self._sums["bytes_verified"] += report.bytes_verified
        self._sums["slowest_ms"] = max(self._sums["slowest_ms"], report.slowest_ms)


def _record(**fields) -> None:
    print(json.dumps({"t": round(time.monotonic() - _start, 1), **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
