# SPDX-License-Identifier: GPL-2.0
"""The drivers of samples/, of which one can be loaded at a time."""

import errno
import time

from tests.guest import wait
from tests.guest.ram import RamDisk
from tests.guest.reader import Reader
from tests.storm.nvme import PATIENCE
from tests.storm.nvme import POLICIES
from tests.storm.plant import Event
from tests.storm.plant import Plant
from tests.storm.teardown import TornDown

PATHS, SMALL_PATHS = 3, 2
USABLE = ("optimized", "non-optimized")
STATES = ("optimized", *USABLE, "inaccessible")


class Ram(Plant):
    """The disk of one of the drivers, under I/O that must not fail."""

    pause = 0.05
    musts = ("flapping", "path failure")

    def __init__(self, driver, tally):
        super().__init__(tally)
        self.name = f"ram-{driver}"
        self._driver = driver

    def __enter__(self):
        self._disk = RamDisk(self._driver, PATHS)
        return self

    def __exit__(self, *exception):
        self._disk.__exit__(*exception)

    def heads(self):
        return [self._disk]

    def opened(self):
        return [self._disk.device]

    def events(self):
        return [
            Event("policy", self._choose_policy, 2),
            Event("access state", self._change_state, 6),
            Event("flapping", self._flap, 12),
            Event("path failure", self._fail, 4),
            Event("path recovery", self._recover, 6),
            Event("path out", self._pull, 4),
            Event("path back", self._put_back, 6),
            Event("removal delay", self._set_delay),
            Event("path's manners", self._change_manners, 3),
            Event("queue frozen", self._freeze, 2),
        ]

    def settle(self):
        for path in self._disk.all:
            path.write("access_state", "optimized")
            path.write("failure", "none")
            path.put_back()
        self._disk.write("delayed_removal_secs", 0)

    def _choose_policy(self, rng):
        self._disk.write("policy", rng.choice(POLICIES))

    def _change_state(self, rng):
        path, state = rng.choice(self._disk.all), rng.choice(STATES)
        if state == "inaccessible" and path.condition in USABLE:
            self.tally.flap()
        path.write("access_state", state)

    def _flap(self, rng):
        """One path comes and goes many times, under I/O that goes with it."""
        path = rng.choice(self._disk.paths() or self._disk.all)
        if path.condition not in USABLE:
            return False
        for _ in range(rng.randint(20, 120)):
            path.write("access_state", "inaccessible")
            self.tally.flap()
            time.sleep(0.01 * rng.random())
            path.write("access_state", "optimized")

    def _fail(self, rng):
        path = rng.choice(self._disk.all)
        if path.condition not in USABLE:
            return False
        path.write("failure", rng.choice(self._disk.failures))
        self.tally.flap()

    def _recover(self, rng):
        failing = [path for path in self._disk.all if path.read("failure") != "none"]
        if not failing:
            return False
        rng.choice(failing).write("failure", "none")

    def _pull(self, rng):
        live = self._disk.paths()
        # The disk is not to go, so a path must be left, or the disk must wait for one.
        waits = int(self._disk.read("delayed_removal_secs")) == PATIENCE
        if not live or len(live) == 1 and not waits:
            return False
        rng.choice(live).pull()
        self.tally.flap()

    def _put_back(self, rng):
        out = [path for path in self._disk.all if path.gone]
        if not out:
            return False
        rng.choice(out).put_back()

    def _freeze(self, rng):
        """Bios wait for the queue of a path; meanwhile the plant opens it, or takes the path away."""
        live = self._disk.paths()
        if not self._disk.can_freeze or not live:
            return False
        path = rng.choice(live)
        path.write("frozen", 1)
        time.sleep(0.1 * rng.random())
        if len(live) > 1 and rng.random() < 0.5:
            path.pull()
            self.tally.flap()
        else:
            path.write("frozen", 0)

    def _set_delay(self, rng):
        if not self._disk.paths():
            return False  # it waits because of what was set before
        self._disk.write("delayed_removal_secs", rng.choice((0, 1, PATIENCE)))

    def _change_manners(self, rng):
        path = rng.choice(self._disk.all)
        path.write("latency_us", rng.choice((0, 200, 5000)))
        path.write("queue_depth", rng.choice((1, 4, 1000)))
        path.write("numa_node", rng.choice((-1, 0, 1)))


class SmallRam(TornDown):
    """The disk of one of the drivers, which goes with its paths and comes with them."""

    def __init__(self, driver, tally):
        super().__init__(tally)
        self.name = f"small ram-{driver}"
        self._driver = driver

    def __enter__(self):
        self._disk = RamDisk(self._driver, SMALL_PATHS, mib=8)
        for path in self._disk.all:
            path.write("latency_us", 2000)  # so that there is I/O in flight when it goes
        self._remove_paths()
        return self

    def __exit__(self, *exception):
        self._disk.__exit__(*exception)

    def bring_up(self):
        for path in self._disk.all:
            path.put_back()

    def ways(self):
        return [Event("paths", self._remove_paths)]

    def restore(self):
        for path in self._disk.all:
            path.write("access_state", "optimized")

    def openers(self):
        return [Reader(self._disk.device)]

    def block(self):
        for path in self._disk.all:
            path.write("access_state", "inaccessible")
            self.tally.flap()
        self._disk.wait_for_parking()

    def delay(self, seconds):
        self._disk.write("delayed_removal_secs", seconds)

    def check_errors(self, rng):
        blocks = range(4)
        self._fail_all("medium")
        self.check_blocks(self._disk.device, [], blocks, errno.ENODATA)
        self._fail_all("none")
        self.check_submission(self._disk.device, [path.name for path in self._disk.all])
        self.check_blocks(self._disk.device, blocks, [], None)

    def _fail_all(self, failure):
        for path in self._disk.all:
            path.write("failure", failure)

    def _remove_paths(self, rng=None):
        for path in self._disk.all:
            path.pull()
        wait.until(lambda: not self._disk.is_there, f"{self._disk} to go")
