# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail: where the kernel makes them, and how to have a chosen one fail.

The kernel's fault injection fails an allocation in any context when a given address is on its stack (failslab,
fail_page_alloc). Or it fails the n-th one that the current thread makes below a range of code (fail-nth).
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEBUG = Path("/sys/kernel/debug")
TRACING = Path("/sys/kernel/tracing")
_NTH = Path("/proc/thread-self/fail-nth")
_WHOLE = 2**64 - 1
#: The functions of the kernel's that show a stack when there is no memory.
_REFUSES = re.compile(r" (warn_alloc|__kmem_cache_create_args)\+")

#: The events of allocations, each with the fault injection that makes that kind fail. Per-CPU memory comes from a pool
#: of its own that no fault injection knows of.
KINDS = {"kmalloc": "failslab", "kmem_cache_alloc": "failslab", "mm_page_alloc": "fail_page_alloc",
         "percpu_alloc_percpu": None}
_EVENTS = ("kmem/kmalloc", "kmem/kmem_cache_alloc", "kmem/mm_page_alloc", "percpu/percpu_alloc_percpu")
#: The kernel's functions for its own bookkeeping: they allocate a slab, or the notes of debug options.
_BOOKKEEPING = ("allocate_slab", "new_slab", "fill_pool", "debug_object", "kmemleak", "stack_depot", "lockdep")

#: Prints the event and the first frame of ours of each stack in a trace. CPUs take turns in it.
_FIRST_FRAMES = r"""
BEGIN { count = split(glue, names, " "); for (i = 1; i <= count; i++) of_glue[names[i]] = 1
        count = split(modules, list, " "); for (i = 1; i <= count; i++) whole["[" list[i] "]"] = 1
        count = split(bookkeeping, notes, " ") }
/^ => / { if (!open) next
          for (i = 1; i <= count; i++) if (index($2, notes[i]) == 1) { open = 0; next }
          name = $2; sub(/\+.*/, "", name)
          if (($3 in whole) || ($3 == "[nvme_core]" && (name in of_glue))) { print event, $2, $3; open = 0 }
          next }
/<stack trace>/ { if (match($0, /\[[0-9]+\]/)) { event = last[substr($0, RSTART, RLENGTH)]; open = (event != "") }
                  next }
{ if (match($0, /\[[0-9]+\]/)) { cpu = substr($0, RSTART, RLENGTH); last[cpu] = ""
      if (match($0, /: (kmalloc|kmem_cache_alloc|mm_page_alloc|percpu_alloc_percpu): /))
          last[cpu] = substr($0, RSTART + 2, RLENGTH - 4) } }
"""


@dataclass(frozen=True, order=True)
class Site:
    """A call in our code below which memory is allocated: "symbol+0x12" in a module, and the fault injection for it."""

    module: str
    place: str
    kind: str | None

    def __str__(self):
        return f"{self.place} [{self.module}]" + (f" by {self.kind}" if self.kind else " per CPU")

    def range(self) -> tuple:
        """The addresses of that call now: modules move from one load to the next."""
        symbol, _, offset = self.place.partition("+")
        address = symbols(self.module)[symbol] + int(offset, 16)
        return address, address + 1


def symbols(module=None) -> dict:
    """The addresses of a module's symbols, or of the kernel's own."""
    found = {}
    condition = f'$4 == "[{module}]"' if module else "NF == 3"
    for line in _output(["awk", f"{condition} {{ print $1, $3 }}", "/proc/kallsyms"]).splitlines():
        address, name = line.split()
        found[name] = int(address, 16)
    return found


def function(name) -> tuple:
    """The address of a function of the kernel's own, and the address behind it."""
    lines = _output(["awk", f"wanted && NF == 3 {{ print $1; exit }} $3 == \"{name}\" {{ print $1; wanted = 1 }}",
                     "/proc/kallsyms"]).split()
    return tuple(int(word, 16) for word in lines)


def text_of(*modules) -> tuple:
    """A range of addresses that the code of these modules is in."""
    rows = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    ranges = [(int(row[5], 16), int(row[5], 16) + int(row[1])) for row in rows if row[0] in modules]
    assert len(ranges) == len(modules), f"{modules} are not all loaded"
    return min(begin for begin, _ in ranges), max(end for _, end in ranges)


class Trace:
    """Notes down every allocation in the kernel, for the time of a block, and which call in our code asked for it."""

    def __init__(self, modules, glue):
        self._modules = modules
        self._glue = glue
        self.sites = set()

    def __enter__(self):
        self._set(tracing_on=0, trace="", buffer_size_kb=49152, **{"options/stacktrace": 1, "options/sym-offset": 1})
        for event in _EVENTS:
            self._set(**{f"events/{event}/enable": 1})
        self._set(tracing_on=1)
        return self

    def __exit__(self, *exception):
        self._set(tracing_on=0)
        for event in _EVENTS:
            self._set(**{f"events/{event}/enable": 0})
        lost = [int(line.split()[1]) for file in TRACING.glob("per_cpu/cpu*/stats")
                for line in file.read_text().splitlines() if line.startswith("overrun:")]
        assert not any(lost), f"the trace has lost events: {lost}"
        lines = _output(["awk", "-v", f"glue={' '.join(self._glue)}", "-v", f"modules={' '.join(self._modules)}",
                         "-v", f"bookkeeping={' '.join(_BOOKKEEPING)}", _FIRST_FRAMES, str(TRACING / "trace")])
        for line in set(lines.splitlines()):
            event, place, module = line.split()
            self.sites.add(Site(module.strip("[]"), place.partition("/")[0], KINDS[event]))
        self._set(trace="", buffer_size_kb=16, **{"options/stacktrace": 0, "options/sym-offset": 0})

    def _set(self, **values):
        for name, value in values.items():
            (TRACING / name).write_text(str(value))


@dataclass(frozen=True)
class Below:
    """The calls of a function of a module, and how to make an allocation below them fail."""

    module: str
    name: str
    kind: str = "failslab"

    def range(self) -> tuple:
        of_module = symbols(self.module)
        begin = of_module[self.name]
        return begin, min(address for address in of_module.values() if address > begin)


class Failing:
    """Has the first allocation below a site fail, or so many, during a block; `happened` says whether one did."""

    def __init__(self, site, times=1):
        self._directory = DEBUG / site.kind
        self._range = site.range()
        self._times = times

    def __enter__(self):
        _limit(self._directory, self._range)
        _set(self._directory, times=self._times, probability=100)
        return self

    def has_happened(self) -> bool:
        return int((self._directory / "times").read_text()) < self._times

    def __exit__(self, *exception):
        self.happened = self.has_happened()
        _set(self._directory, probability=0)
        _limit(self._directory, (0, _WHOLE))


class FailingNth:
    """Has the n-th allocation that this thread makes below some code fail, for the time of a block.

    An allocation below the function of the kernel's that `without` names does not count.
    """

    def __init__(self, number, code, without="fill_pool"):
        self._number = number
        self._code = code
        self._without = without

    def __enter__(self):
        for kind in set(KINDS.values()) - {None}:
            _limit(DEBUG / kind, self._code, self._without)
            _set(DEBUG / kind, times=-1, probability=0)
        with open(_NTH, "w") as file:
            file.write(str(self._number))
        return self

    def __exit__(self, *exception):
        self.happened = _NTH.read_text().strip() == "0"
        with open(_NTH, "w") as file:
            file.write("0")
        for kind in set(KINDS.values()) - {None}:
            _limit(DEBUG / kind, (0, _WHOLE))


def without_refusals(lines) -> list[str]:
    """The kernel's log without the stacks that allocators log for memory that they were made to refuse."""
    return [line for number, line in enumerate(lines)
            if not ("Call Trace:" in line and any(_REFUSES.search(each) for each in lines[number:number + 5]))]


def _limit(directory, code, without="fill_pool") -> None:
    """Has only allocations below a range of addresses count, and none below a function: the debug options' own."""
    begin, end = code != (0, _WHOLE) and function(without) or (0, 0)
    _set(directory, **{"require-start": code[0], "require-end": code[1], "reject-start": begin, "reject-end": end,
                       "stacktrace-depth": 32, "verbose": 1, "ignore-gfp-wait": "N"})
    if directory.name == "failslab":
        _set(directory, **{"cache-filter": "N"})
    else:
        _set(directory, **{"min-order": 0, "ignore-gfp-highmem": "N"})


def _set(directory, **values) -> None:
    for name, value in values.items():
        (directory / name).write_text(str(value))


def _output(words) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{words[0]}: {done.stderr}"
    return done.stdout
