# SPDX-License-Identifier: GPL-2.0
"""Heads that nobody relies on: the plant takes them away all at once, with and without users."""

import contextlib
import errno
import time

from tests.guest import disk_faults
from tests.guest import passthrough
from tests.storm.plant import Event
from tests.storm.plant import Plant
from tests.storm.plant import choose

#: Seconds after which a removal, or a user's I/O, hangs; no measure of how long it should take.
LIMIT = 120
#: The errors of I/O on a head that goes; a character device without a path answers EAGAIN.
ERRORS = {"EIO", "ENXIO", "ENODEV", "EAGAIN", "NVMe status"}
#: Of a block device that has gone, the block layer says that it has no blocks.
GONE = ERRORS | {"end of file"}


class TornDown(Plant):
    """A disk that comes with all its paths and goes with all of them, again and again."""

    musts = ("teardown with an opener", "teardown with parked I/O")

    def __init__(self, tally):
        super().__init__(tally)
        #: The openers that still have open a device that has gone.
        self._lingering = contextlib.ExitStack()

    def events(self):
        return [Event("teardown with an opener", self._tear_down_in_use, 6),
                Event("teardown with parked I/O", self._tear_down_parked, 5),
                Event("teardown with nobody", self._tear_down, 2),
                Event("delayed teardown with an opener", self._tear_down_delayed),
                Event("errors", self._check_errors)]

    def settle(self):
        self._lingering.close()

    def bring_up(self) -> None:
        """Has the disk, with all its paths in use."""
        raise NotImplementedError

    def ways(self) -> list[Event]:
        """The ways to remove the disk completely; each returns when it has gone."""
        raise NotImplementedError

    def restore(self) -> None:
        """After a removal: makes `bring_up()` possible again."""

    def openers(self) -> list:
        """Readers (see tests/guest/reader.py), one of each device node."""
        raise NotImplementedError

    def block(self) -> None:
        """Makes every path unusable; returns when a user's I/O is parked."""
        raise NotImplementedError

    def delay(self, seconds) -> None:
        """Lets the disk outlive its last path for so long."""
        raise NotImplementedError

    def check_errors(self, rng) -> None:
        """Makes I/O on the disk fail for no reason of a path's, and checks which error arrives where."""
        raise NotImplementedError

    def check_blocks(self, device, whole, broken, error) -> None:
        """Reads these blocks: the whole ones can be read, the broken ones end with exactly this error."""
        for block in sorted([*whole, *broken]):
            expected = error if block in broken else 0
            got = _error_of_reading(device, block)
            assert got == expected, f"block {block} of {self.name}: {_name(got)} instead of {_name(expected)}"
            if expected:
                self.tally.sums["errors_as_injected"] += 1

    def check_submission(self, device, paths) -> None:
        """Checks that an I/O that a path refuses at submission is not tried on another path."""
        if disk_faults.possible():
            with disk_faults.switched(disk_faults.FAIL, paths):
                self.check_blocks(device, [], range(4), errno.EIO)

    def _tear_down(self, rng):
        self.bring_up()
        self._remove(rng, held=False)

    def _tear_down_in_use(self, rng):
        self._tear_down_with_openers(rng)

    def _tear_down_parked(self, rng):
        self._tear_down_with_openers(rng, parked=True)

    def _tear_down_delayed(self, rng):
        self._tear_down_with_openers(rng, delayed=True)

    def _check_errors(self, rng):
        self.bring_up()
        self.check_errors(rng)
        self._remove(rng, held=False)

    def _tear_down_with_openers(self, rng, parked=False, delayed=False):
        self.bring_up()
        # The old disk goes for good only now that its successor is there.
        self.settle()
        openers = [self._lingering.enter_context(opener) for opener in self.openers()]
        for opener in openers:
            opener.start_until_failure()
        if parked:
            self.block()
        if delayed:
            self.delay(1)
        self._remove(rng, held=True, timed=not delayed)
        for opener in openers:
            self._expect(opener, ERRORS if parked else GONE)
            opener.start()
            self._expect(opener, GONE)
        if delayed:
            self.delay(0)
        self.tally.sums["teardowns_with_opener"] += 1

    def _remove(self, rng, held, timed=True):
        way = choose(rng, self.ways())
        begun = time.monotonic()
        way.happen(rng)
        taken = time.monotonic() - begun
        assert taken < LIMIT, f"the removal of {self.name} took {taken:.0f} s"
        if timed:
            self.tally.removed(f"{self.name}: {way.name}", held, taken)
        self.restore()

    def _expect(self, opener, answers):
        answer = opener.outcome(LIMIT)
        assert answer in answers, f"an opener of {self.name}, which is gone, got {answer}"
        self.tally.answers[answer] += 1


def _error_of_reading(device, block) -> int:
    """Reads a block past the page cache; returns 0 or the number of the error."""
    try:
        passthrough.read_directly(device, block * 4096)
    except OSError as error:
        return error.errno
    return 0


def _name(error) -> str:
    return errno.errorcode[error] if error else "data"
