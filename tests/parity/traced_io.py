# SPDX-License-Identifier: GPL-2.0
"""The trace events of single I/Os through a head, and the counters after them."""

import mmap
import os
import pathlib
import re

from tests.guest import head as heads
from tests.parity.seen import outcome

TRACING = pathlib.Path("/sys/kernel/tracing")
EVENTS = ("block/enable", "nvme/enable")
POLICIES = ("numa", "round-robin", "queue-depth")

_LINE = re.compile(r".*? \[\d+\] \S+ +\d+\.\d+: (\w+: .*)")
#: The queue for administration, where keep-alive commands come at any time.
_IGNORED = re.compile(r"block_\w+: 0,0 N|nvme_\w+: .*qid=0,")
#: Numbers of commands and slots of queues, in the trace of NVMe. They depend on earlier commands, and chance decides
#: which CPU looked for partitions.
_COUNT = re.compile(r"(cmdid|head|tail)=\d+")
#: The name of the process in block events, which is that of some worker when a bio was deferred.
_PROCESS = re.compile(r" \[[^]]*\](?= \d+$|$)")

BLOCK = 4096
#: The CPU that everything runs on, since it decides about paths and queues.
HOME = 0


def note(seen, head, when="", start=1 << 20) -> None:
    """Notes the trace of a read, a write from `start` on, and a flush under every policy."""
    before = (head.subsystem / "iopolicy").read_text()
    for number, policy in enumerate(POLICIES):
        (head.subsystem / "iopolicy").write_text(policy)
        note_of_one(seen, head, f"{when}{policy}", start + number * BLOCK)
    (head.subsystem / "iopolicy").write_text(before)


def note_of_one(seen, disk, when, start=1 << 20) -> None:
    for name, request in {
        "read": lambda file: os.preadv(file, [mmap.mmap(-1, BLOCK)], 0),
        "write": lambda file: os.pwritev(file, [mmap.mmap(-1, BLOCK)], start),
        "flush": os.fsync,
    }.items():
        seen.note("trace", f"{when}: {name}", _traced(disk, request))


def of_a_read(head, cpu=HOME) -> str:
    return _traced(head, lambda file: os.preadv(file, [mmap.mmap(-1, BLOCK)], 0), cpu)


def _traced(disk, request, cpu=HOME) -> str:
    """The events of a request on a CPU, and its outcome."""
    os.sched_setaffinity(0, {cpu})
    with open(os.open(disk.device, os.O_RDWR | os.O_DIRECT), "r+b", buffering=0) as file:
        (TRACING / "trace").write_text("")
        for event in EVENTS:
            (TRACING / "events" / event).write_text("1")
        result = outcome(request, file.fileno())
        for event in EVENTS:
            (TRACING / "events" / event).write_text("0")
    os.sched_setaffinity(0, {HOME})
    found = (_LINE.fullmatch(line) for line in (TRACING / "trace").read_text().splitlines())
    below = f": {_major('nullb')},"
    lines = [_PROCESS.sub("", _COUNT.sub(r"\1=N", line[1])) for line in found
             if line and not _IGNORED.match(line[1]) and below not in line[1]]
    return "\n".join([*lines, result])


def _major(driver) -> str:
    """The number of a driver's disks, here of the one below the target: it depends on the drivers that came before."""
    return re.search(rf"^ *(\d+) {driver}$", pathlib.Path("/proc/devices").read_text(), re.MULTILINE)[1]


def note_counters(seen, head) -> None:
    """Notes the counters of the head and its paths after so many I/Os."""
    before = _counters(head)
    with open(os.open(head.device, os.O_RDWR | os.O_DIRECT), "r+b", buffering=0) as file:
        for number in range(24):
            os.preadv(file.fileno(), [mmap.mmap(-1, BLOCK)], number * BLOCK)
        for number in range(10):
            os.pwritev(file.fileno(), [mmap.mmap(-1, 2 * BLOCK)], (1 << 20) + number * BLOCK)
        os.fsync(file.fileno())
        os.preadv(file.fileno(), [mmap.mmap(-1, 2 << 20)], 0)
    for name, fields in _counters(head).items():
        seen.note("counters", name, " ".join(str(now - then) for now, then in zip(fields, before[name], strict=True)))


def _counters(head) -> dict:
    """Completed, merged and sectors of reads, writes and discards, and flushes; never how long they took."""
    found = {}
    for line in pathlib.Path("/proc/diskstats").read_text().splitlines():
        words = line.split()
        if words[2].startswith(head.name):
            found[words[2]] = [int(words[index]) for index in (3, 4, 5, 7, 8, 9, 11, 14, 15, 16, 18)]
    for path in head.paths():
        fields = (heads.BLOCK / path.name / "stat").read_text().split()
        found[path.name] = [int(fields[index]) for index in (0, 1, 2, 4, 5, 6, 8, 11, 12, 13, 15)]
    return found
