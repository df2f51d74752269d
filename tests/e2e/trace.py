# SPDX-License-Identifier: GPL-2.0
"""The events that the kernel traces while a block lasts.

    with Trace("nvme/nvme_setup_cmd") as trace:
        ...
    for event in trace.events(): ...
"""

import re
from dataclasses import dataclass
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
#: Room for each CPU's events. Events that do not fit are lost, and `Trace` notices that.
ROOM_KIB = 16384

_LINE = re.compile(r".*\s(\d+\.\d+): (\w+): (.*)")


@dataclass(frozen=True)
class Event:
    """An event. `time` is that of `time.monotonic()`, but for a microsecond."""

    time: float
    name: str
    text: str


class Trace:
    """Records events, "system/name", of which `filters` may choose some by an expression of the kernel's."""

    def __init__(self, *events, filters=None):
        self._directories = [TRACING / "events" / event for event in events]
        self._filters = filters or {}

    def __enter__(self):
        _set("buffer_size_kb", ROOM_KIB)
        # A buffer that changes its clock is emptied.
        _set("trace_clock", "mono")
        _set("trace", "")
        for directory in self._directories:
            _set(directory / "filter", self._filters.get(directory.name, "0"))
            _set(directory / "enable", 1)
        return self

    def __exit__(self, *exception):
        for directory in self._directories:
            _set(directory / "enable", 0)
            _set(directory / "filter", "0")
        _set("trace_clock", "local")

    def text(self) -> str:
        return (TRACING / "trace").read_text()

    def events(self) -> list[Event]:
        """The events up to now, in their order."""
        lost = [line for file in TRACING.glob("per_cpu/cpu*/stats") for line in file.read_text().splitlines()
                if line.startswith("overrun:") and line != "overrun: 0"]
        assert not lost, f"the buffer was too small: {lost}"
        found = (_LINE.fullmatch(line) for line in self.text().splitlines() if not line.startswith("#"))
        return sorted((Event(float(line[1]), line[2], line[3]) for line in found if line), key=lambda event: event.time)


def _set(name, value) -> None:
    (TRACING / name).write_text(str(value))
