# SPDX-License-Identifier: GPL-2.0
"""The storm's guest side: for some time, all that can happen to paths happens at random under verified I/O.

    python3 -m tests.storm.run SECONDS SEED ACTOR...

Each actor is a process of its own, with its own chance. It sets up its plants in turn and goes in rounds. In each round
it writes to every steady head and reads back all the time. At the end of a round it brings all paths back, and verifies
everything that it wrote in that round. It tears other heads down, with and without an opener. At the end the storm
unloads all modules, and nothing may be left of them. Records, one JSON object a line, go to standard output;
tools/lab/suites/storm.py shows them.
"""

import faulthandler
import json
import os
import pathlib
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import time
import traceback
from functools import partial

from tests.guest import disk_faults
from tests.guest import modules
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.kernel_log import problems
from tests.guest.ram import DRIVERS
from tests.storm import objects
from tests.storm.actor import Actor
from tests.storm.actor import Pace
from tests.storm.looker import Looker
from tests.storm.nvme import Fabrics
from tests.storm.nvme import Pcie
from tests.storm.nvme import SmallNvme
from tests.storm.samples import Ram
from tests.storm.samples import SmallRam
from tests.storm.tally import Tally
from tests.storm.tally import total

#: The plants of each actor.
ACTORS = {
    **{transport: [partial(Fabrics, transport)] for transport in ("loop", "tcp")},
    "pcie": [Pcie],
    **{f"small-{transport}": [partial(SmallNvme, transport)] for transport in ("loop", "tcp")},
    "ram": [partial(kind, driver) for driver in DRIVERS for kind in (Ram, SmallRam)],
}
#: The process that looks at heads meanwhile.
LOOKER = "looker"
NVME = ("nvme", "nvme-loop", "nvmet-tcp", "nvme-tcp")
#: The fence setting of a new controller that names no quiesce time, as here none does.
FENCE = pathlib.Path("/sys/module/nvme_core/parameters/fence")
FENCE_SECONDS = "1"
#: Seconds between two records, and the delay that actors may have at the end, in a kernel that checks nothing.
RECORD_SECONDS = 5
LATE_SECONDS = 150
TAIL_LINES = 60

_begin = time.monotonic()


class Broken(Exception):
    """The fault, for the reader of the record."""


def main(seconds, seed, names) -> int:
    faulthandler.register(signal.SIGUSR1, file=sys.stdout)
    modules.install()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    before = objects.Objects()
    log = KernelLog()
    if disk_faults.possible():
        disk_faults.arm()
    storm = _Storm(log, names)
    try:
        modules.load(*NVME)
        if FENCE.exists():
            FENCE.write_text(FENCE_SECONDS)
        storm.run(seconds, seed, Pace())
        modules.unload()
        storm.record("end", left=before.left())
        storm.check_log()
    except Exception as fault:
        storm.record("failure", what=f"{type(fault).__name__}: {fault}", kernel=log.new_lines()[-TAIL_LINES:])
        return 1
    return 0


class _Storm:
    """The actors, their last records, and the kernel's log."""

    def __init__(self, log, names):
        self._log = log
        self._tallies = {name: Tally() for name in names}

    def run(self, seconds, seed, pace) -> None:
        """Returns when all actors have ended well."""
        deadline = time.monotonic() + seconds
        children = {}
        with selectors.DefaultSelector() as said:
            makers = {name: partial(Actor, number, name, ACTORS[name], seed, pace)
                      for number, name in enumerate(self._tallies)}
            for name, make in {**makers, LOOKER: Looker}.items():
                children[name], pipe = _start(make, deadline)
                said.register(pipe, selectors.EVENT_READ, name)
            recorded = 0
            while said.get_map():
                for key, _ in said.select(1):
                    if not self._hear(key.data, key.fileobj):
                        said.unregister(key.fileobj)
                self.check_log()
                if time.monotonic() > recorded + RECORD_SECONDS:
                    recorded = time.monotonic()
                    self.record("sums")
                if recorded > deadline + LATE_SECONDS * wait.SLOWNESS:
                    self._give_up(children, [key.data for key in said.get_map().values()])
        for pid in children.values():
            os.waitpid(pid, 0)

    def check_log(self) -> None:
        lines = self._log.new_lines()
        if found := problems(lines):
            first = lines.index(found[0])
            raise Broken("the kernel reports\n" + "\n".join(lines[first:first + TAIL_LINES]))

    def record(self, kind, **fields) -> None:
        sums = total(self._tallies.values()).fields()
        print(json.dumps({"type": kind, "t": round(time.monotonic() - _begin, 1),
                          "faults_possible": disk_faults.possible(), **sums, **fields}), flush=True)

    def _hear(self, name, pipe) -> bool:
        """Takes the messages of an actor; False when there are no more."""
        message = _receive(pipe)
        if message == "done":
            return False
        if not isinstance(message, Tally):
            raise Broken(f"{name}: {message or 'it died'}")
        self._tallies[name] = message
        return True

    def _give_up(self, children, late):
        """Shows the tasks that hang."""
        for name in late:
            os.kill(children[name], signal.SIGUSR1)
        with open("/proc/sysrq-trigger", "w") as trigger:
            trigger.write("w")
        time.sleep(2)
        raise Broken(f"{' and '.join(late)} did not end")


def _start(make, deadline):
    """Starts the process that `make` makes; returns its number, and the pipe that it reports to."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    os.close(ours)
    try:
        make(partial(_send, theirs)).act(deadline)
        _send(theirs, "done")
    except BaseException as fault:
        _send(theirs, f"{type(fault).__name__}: {fault}\n{traceback.format_exc()}")
    finally:
        os._exit(0)


def _send(pipe, message) -> None:
    data = pickle.dumps(message)
    data = struct.pack("=I", len(data)) + data
    while data:
        data = data[os.write(pipe, data):]


def _receive(pipe):
    """The next message, or None when its sender has died."""
    head = _read(pipe, 4)
    return pickle.loads(_read(pipe, struct.unpack("=I", head)[0])) if head else None


def _read(pipe, size) -> bytes:
    data = b""
    while len(data) < size and (more := os.read(pipe, size - len(data))):
        data += more
    return data


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
