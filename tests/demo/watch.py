# SPDX-License-Identifier: GPL-2.0
"""Watches a head while I/O runs: the load of each path, and the times when nothing completes.

A stall is the time in which at least one look finds the head's count of completed I/Os unchanged.
A time without a look, because the watcher itself got no CPU, is not a stall.
"""

import threading

#: Seconds between two looks at the head, and between two at its paths.
LOOK = 0.01
SAMPLE = 0.25
#: A shorter stall cannot be told from the time between two looks.
SHORTEST_STALL = 2 * LOOK


class Watch(threading.Thread):
    """Calls `report(record)` with samples and stalls, until `stop()`."""

    def __init__(self, head, report, now):
        super().__init__(daemon=True)
        self._head = head
        self._report = report
        self._now = now
        self._ended = threading.Event()
        self._paths = {}
        self._before = {}

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        sampled = 0.0
        count, since, still = self._head.completed()[0], self._now(), False
        while not self._ended.wait(LOOK):
            current, now = self._head.completed()[0], self._now()
            if current == count:
                still = True
            else:
                if still and now - since >= SHORTEST_STALL:
                    self._report({"type": "stall", "begin": since, "end": now})
                count, since, still = current, now, False
            if now - sampled >= SAMPLE:
                self._sample(now)
                sampled = now

    def _sample(self, now) -> None:
        for path in self._head.paths():
            self._notice(path)
        totals = {name: self._total(name) for name in self._paths}
        states = {address: path.condition for address, path in self._paths.items()}
        self._report({"type": "sample", "t": now, "paths": totals, "states": states})

    def _notice(self, path) -> None:
        """Takes a path in, or back: one that returns may have another name at the same address."""
        try:
            address = path.address
        except OSError:
            return  # it is going
        known = self._paths.get(address)
        if known is None or known.gone or known.name != path.name:
            if known is not None:
                self._before[address] = self._total(address)
            self._paths[address] = path

    def _total(self, address) -> list[int]:
        """The I/Os and bytes of a path since the start, over all its lives."""
        before = self._before.get(address, (0, 0))
        return [now + then for now, then in zip(self._paths[address].completed(), before, strict=True)]
