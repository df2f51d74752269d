# SPDX-License-Identifier: GPL-2.0
"""The events of a storm, in figures."""

from collections import Counter


class Tally:
    """The sums of one process of the storm, or of several added up."""

    def __init__(self):
        #: How often each event happened, and each answer that an opener got from a head that went.
        self.events = Counter()
        self.answers = Counter()
        #: path_flaps, teardowns_with_opener, errors_as_injected, opens, ios, bytes_verified, rounds, writes_fenced
        self.sums = Counter()
        self.slowest_ms = 0
        #: How long removals took, in ms: by the thing removed and how, "held" by an opener and "alone".
        self.removals = {}

    def flap(self, paths=1) -> None:
        """Counts paths that could be used, and no longer can."""
        self.sums["path_flaps"] += paths

    def removed(self, how, held, seconds) -> None:
        kinds = self.removals.setdefault(how, {"held": [], "alone": []})
        kinds["held" if held else "alone"].append(round(1000 * seconds))

    def verified(self, report) -> None:
        self.sums["ios"] += report.ios
        self.sums["bytes_verified"] += report.bytes_verified
        self.slowest_ms = max(self.slowest_ms, report.slowest_ms)

    def fields(self) -> dict:
        return {**self.sums, "events": self.events, "answers": self.answers, "slowest_ms": self.slowest_ms,
                "removals": self.removals}


def total(tallies) -> Tally:
    """The sums of all of them."""
    whole = Tally()
    for tally in tallies:
        whole.events += tally.events
        whole.answers += tally.answers
        whole.sums += tally.sums
        whole.slowest_ms = max(whole.slowest_ms, tally.slowest_ms)
        whole.removals |= tally.removals  # no two processes remove the same
    return whole
