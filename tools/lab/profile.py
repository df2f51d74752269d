# SPDX-License-Identifier: GPL-2.0
"""Profiles: what QEMU's plugin (tests/bench/profile.c) counted, function by function."""

import bisect
import collections
import re

from lab import process
from lab import toolchain

BARRIER, ATOMIC = "b", "a"
#: Fewer instructions per I/O than this in either variant are not listed.
WORTH_LISTING = 0.5
_MANGLED = re.compile(r"_R[A-Z]\w+")


class Profile:
    """What was executed between two marks, divided by how many `times` the same was done."""

    def __init__(self, counted, symbols, times):
        self._times = times
        self._classes = collections.Counter()
        #: Instructions of each function.
        self.functions = collections.Counter()
        table = _Symbols(symbols)
        for line in counted.read_text().splitlines():
            kind, address, *rest = line.split()
            if kind == "i":
                count, which = int(rest[0]), rest[1]
                self.functions[table.name(int(address, 16))] += count
                self._classes[which] += count

    def of_class(self, which) -> float:
        """How many instructions of a class were executed each time."""
        return self._classes[which] / self._times

    def of_function(self, name) -> float:
        return self.functions[name] / self._times

    def total(self) -> float:
        return self.functions.total() / self._times


class _Symbols:
    """What /proc/kallsyms says."""

    def __init__(self, file):
        rows = (line.split() for line in file.read_text().splitlines())
        found = sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tTwW")
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def name(self, address) -> str:
        place = bisect.bisect_right(self._addresses, address) - 1
        return self._names[place] if place >= 0 else hex(address)


def compare(stock, ours) -> str:
    """The profiles of both variants, by what was counted and policy, as tables side by side."""
    readable = _demangle({name for one in (*stock.values(), *ours.values()) for name in one.functions})
    texts = []
    for what, policy in ours:
        pair = stock[what, policy], ours[what, policy]
        texts.append(f"## {what}, {policy or 'no head'}: {pair[0].total():.0f} and {pair[1].total():.0f} instructions\n\n")
        texts.append(_table(pair, None, readable) if what == "choice" or not policy else
                     _table(pair, (stock[what, ""], ours[what, ""]), readable))
    return "\n".join(texts)


def _table(pair, without, readable) -> str:
    """The functions; with `without`, only how much more each has than in the profiles without a head."""
    rows = []
    for name in {name for one in pair for name in one.functions}:
        counts = [one.of_function(name) - (without[side].of_function(name) if without else 0)
                  for side, one in enumerate(pair)]
        if max(map(abs, counts)) >= WORTH_LISTING:
            rows.append((*counts, readable[name]))
    rows.sort(key=lambda row: (-max(row[:2]), row[2]))
    sums = [sum(row[side] for row in rows) for side in (0, 1)]
    lines = ["| stock | ours | function |", "|---:|---:|---|"]
    lines += [f"| {_number(one)} | {_number(other)} | {name} |" for one, other, name in rows]
    more = " (more than without a head)" if without else ""
    return "\n".join([*lines, f"| {_number(sums[0])} | {_number(sums[1])} | all of these{more} |"]) + "\n"


def _number(value) -> str:
    return f"{value:.1f}" if abs(value) >= 0.05 else ""


def _demangle(names) -> dict:
    """Rust's names as people write them."""
    mangled = sorted(name for name in names if _MANGLED.match(name))
    if not mangled:
        return {name: name for name in names}
    tool = toolchain.find().llvm.bin / "llvm-cxxfilt"
    readable = dict(zip(mangled, process.output([tool, *mangled]).splitlines()))
    return {name: readable.get(name, name) for name in names}
