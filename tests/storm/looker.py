# SPDX-License-Identifier: GPL-2.0
"""One of the processes of a storm: reads the debugfs file of every head, again and again."""

import time

from tests.guest import inside
from tests.guest import modules
from tests.guest import wait
from tests.storm.tally import Tally

#: Seconds between two looks at all heads.
PAUSE = 0.05 * wait.SLOWNESS
#: The keys that the file has for every path, whatever happens to it meanwhile.
KEYS = {"usable", "port_state", "access", "trust", "failures", "flushes"}


class Looker:
    """Looks at heads; `report` is given the sums now and then."""

    def __init__(self, report):
        self._report = report
        self._tally = Tally()

    def act(self, deadline) -> None:
        while time.monotonic() < deadline:
            for file in inside.DIRECTORY.glob("*"):
                self._look(file)
            self._report(self._tally)
            time.sleep(PAUSE)
        assert self._tally.sums["looks"] or not modules.ours(), "there was no head to be looked at"

    def _look(self, file):
        try:
            text = file.read_text()
        except OSError:
            return  # the head has gone
        seen = inside.parse(text)
        assert "state" in seen and all(KEYS <= set(lines.values) for lines in seen.paths.values()), text
        self._tally.sums["looks"] += 1
