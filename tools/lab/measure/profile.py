# SPDX-License-Identifier: GPL-2.0
"""Profiles: the counts of QEMU's plugins (tests/bench/profile.c, longest.c), function by function."""

import bisect
import collections
import re
import statistics

from lab.builds import toolchain
from lab.host import log
from lab.host import process

BARRIER, ATOMIC = "b", "a"
LINE_BYTES = 64
#: A table does not list fewer instructions per I/O than this in either variant.
WORTH_LISTING = 0.5
_MANGLED = re.compile(r"_R[A-Z]\w+")


#: A function whose cost varies by more than this part from one round to the next, without a head, does so by chance.
CHANCE = 0.01


class Profile:
    """The instructions executed between two marks, in one round or several, divided by the operation's `times`."""

    def __init__(self, rounds, symbols, times):
        rounds = [_Round(file, symbols, times) for file in rounds]
        #: Instructions of each function, the median of the rounds.
        self.functions = {name: statistics.median(one.functions[name] for one in rounds)
                          for name in {name for one in rounds for name in one.functions}}
        self._modules = symbols.modules
        #: Those that are not the same in all rounds.
        self.chance = {name for name in self.functions
                       if _spread([one.functions[name] for one in rounds]) > CHANCE}
        self._rounds = rounds

    def of_class(self, which) -> float:
        """How many instructions of a class were executed each time."""
        return statistics.median(one.classes[which] for one in self._rounds)

    def of_function(self, name) -> float:
        return self.functions.get(name, 0)

    def of_modules(self, names) -> float:
        """The instructions of functions in some modules."""
        return sum(count for function, count in self.functions.items() if self._modules.get(function) in names)

    def total(self, without=()) -> float:
        """All instructions but those of some functions."""
        return sum(count for name, count in self.functions.items() if name not in without)

    def stores(self, begin, end) -> collections.Counter:
        """How often each function stored to the lines of an object."""
        found = collections.Counter()
        for one in self._rounds:
            for (name, line), count in one.stores.items():
                if begin // LINE_BYTES * LINE_BYTES <= line < end:
                    found[name] += count / len(self._rounds)
        return found


class Wait:
    """The instructions executed while an I/O was not with its disk.

    `file` has all that was executed during the I/O, block by block. The disk has the I/O from the last time that the
    function `begin` was entered until `end` was.
    """

    def __init__(self, file, symbols, begin, end):
        blocks = [(symbols.name(int(address, 16)), int(size))
                  for address, size in map(str.split, file.read_text().splitlines())]
        names = [name for name, _ in blocks]
        if begin not in names or end not in names:
            log.fail(f"{file.name}: the longest read never came to {begin}() and {end}()")
        begun, ended = _last(names, begin), _last(names, end)
        self.functions = collections.Counter()
        for name, size in blocks[:begun] + blocks[ended:]:
            self.functions[name] += size

    def of_function(self, name) -> float:
        return self.functions[name]

    def total(self) -> float:
        return self.functions.total()


def _last(names, name) -> int:
    """Where a function was last entered."""
    return len(names) - 1 - names[::-1].index(name)


class _Round:
    def __init__(self, file, symbols, times):
        self.classes = collections.Counter()
        self.functions = collections.Counter()
        self.stores = collections.Counter()
        for line in file.read_text().splitlines():
            kind, address, *rest = line.split()
            name = symbols.name(int(address, 16))
            if kind == "i":
                self.functions[name] += int(rest[0]) / times
                self.classes[rest[1]] += int(rest[0]) / times
            else:
                self.stores[name, int(rest[0], 16)] += int(rest[1]) / times


def _spread(values) -> float:
    return (max(values) - min(values)) / max(values)


class Symbols:
    """The contents of /proc/kallsyms."""

    def __init__(self, file):
        rows = [line.split() for line in file.read_text().splitlines()]
        found = sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tTwW")
        #: The module of each function that is in one.
        self.modules = {row[2]: row[3].strip("[]") for row in rows if len(row) > 3}
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]
        self._known = {}

    def name(self, address) -> str:
        # Callers ask for most addresses more than once.
        if address not in self._known:
            self._known[address] = self._find(address)
        return self._known[address]

    def _find(self, address) -> str:
        place = bisect.bisect_right(self._addresses, address) - 1
        return self._names[place] if place >= 0 else hex(address)


def title(text, pair) -> str:
    return f"## {text}: {pair[0].total():.0f} and {pair[1].total():.0f} instructions\n\n"


def compare(pair, without=None, worth=WORTH_LISTING) -> str:
    """Two profiles, of stock and of ours, as a table side by side; `without` are their like without a head.

    With these, the table has only the instructions that each function has more than there. It leaves out functions with
    less than `worth` instructions.
    """
    return _table(pair, without, worth, _demangle({name for one in pair for name in one.functions}))


def readable(name) -> str:
    return _demangle([name])[name]


def _table(pair, without, worth, names) -> str:
    """The functions; with `without`, only by how much each exceeds the profiles without a head."""
    rows = []
    for name in {name for one in pair for name in one.functions}:
        counts = [one.of_function(name) - (without[side].of_function(name) if without else 0)
                  for side, one in enumerate(pair)]
        if max(map(abs, counts)) >= worth:
            rows.append((*counts, names[name]))
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
    demangled = dict(zip(mangled, process.output([tool, *mangled]).splitlines(), strict=True))
    return {name: demangled.get(name, name) for name in names}
