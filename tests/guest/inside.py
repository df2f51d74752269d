# SPDX-License-Identifier: GPL-2.0
"""The inside of a head, by debugfs: the file multipath/<disk>, read as docs/operating.md describes it."""

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

DIRECTORY = Path("/sys/kernel/debug/multipath")
#: The key that a path may have several lines of.
REASON = "reason"


@dataclass
class Lines:
    """Keys and their values; of reasons, how many milliseconds there has been each."""

    values: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)

    def __getitem__(self, key) -> str:
        return self.values[key]

    def __contains__(self, key) -> bool:
        return key in self.values

    def number(self, key) -> int:
        return int(self.values[key])

    def add(self, line) -> None:
        key, _, value = line.partition(" ")
        assert key and value, f"no key with a value: {line!r}"
        if key == REASON:
            name, _, msecs = value.partition(" ")
            self.reasons[name] = int(msecs)
        else:
            assert key not in self.values, f"{key} is there twice"
            self.values[key] = value.strip('"')


@dataclass
class Inside(Lines):
    """A head, and its paths by the names of their disks."""

    text: str = ""
    paths: dict = field(default_factory=dict)


def parse(text) -> Inside:
    inside = Inside(text=text)
    lines = inside
    for line in text.splitlines():
        if line.startswith("path "):
            lines = inside.paths.setdefault(line.removeprefix("path "), Lines())
        else:
            assert line.startswith("  ") == (lines is not inside), f"of whom is {line!r}?"
            lines.add(line.strip())
    return inside


def file(name) -> Path:
    return DIRECTORY / name


def read(name) -> Inside:
    """Reads the file of the head whose disk has this name."""
    return parse(file(name).read_text())
