# SPDX-License-Identifier: GPL-2.0
"""The interface of a driver to a storm: heads whose I/O must not fail, and events for their paths.

A class with the methods of `Plant` plugs a driver in; `tests/storm/run.py` does the rest.
"""

from dataclasses import dataclass
from collections.abc import Callable


@dataclass(frozen=True)
class Event:
    """An event. `happen(rng)` is False when it cannot happen just now."""

    name: str
    happen: Callable
    #: How often it happens, compared with the others.
    weight: int = 1


def choose(rng, events) -> Event:
    """One of them, by chance and by weight."""
    return rng.choices(events, [event.weight for event in events])[0]


class Plant:
    """Storage with several paths, set up for the time of a `with` block; its observations go to `tally`."""

    name = "?"
    #: The longest time between two events, in seconds.
    pause = 0.1
    #: The events that happen at least once, however short the storm is; tools/lab/suites/storm.py asks for them.
    musts = ()

    def __init__(self, tally):
        self.tally = tally

    def heads(self) -> list:
        """The heads (see tests/guest/head.py) whose I/O never fails, whatever happens."""
        return []

    def opened(self) -> list[str]:
        """Device nodes that are worth opening now; one may be gone before it is."""
        return []

    def events(self) -> list[Event]:
        """The events. The plant sees to it that no head in `heads()` is out of paths for good."""
        raise NotImplementedError

    def settle(self) -> None:
        """Brings every path back and waits until it can be used."""
        raise NotImplementedError
