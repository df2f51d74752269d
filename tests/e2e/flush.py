# SPDX-License-Identifier: GPL-2.0
"""Threads that ask for data to be stored, and the flushes that there were for that."""

import bisect
import itertools
import os
import re
import threading
import time

from tests.e2e.trace import Trace
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader

BLOCK = 4096
#: Seconds by which a traced time may be off: the trace rounds it to microseconds.
ROUNDED = 2e-6


class Syncer:
    """A thread that writes a block and calls fsync(), then calls it again, over and over until the block is left.

    A write is numbered, and its block is full of the number. The thread runs on one CPU where one is named, and writes
    nothing if so told.
    """

    BLOCKS = 64

    def __init__(self, device, cpu=None, writes=True):
        self._file = os.open(device, os.O_RDWR | os.O_DIRECT)
        self._memory = passthrough.aligned(BLOCK)
        self._cpu = cpu
        self._writes = writes
        #: When each fsync() that has returned without an error was called, and when it returned.
        self.calls = []
        #: For each block that was written, the number of the last write, and of the last that was stored since.
        self.written = {}
        self.stored = {}
        self._fault = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        if not exception[0]:
            self.stop()
        self._stop = True
        os.close(self._file)

    def stop(self) -> None:
        """Returns after its last fsync()."""
        self._stop = True
        wait.until(lambda: not self._thread.is_alive(), "fsync() to return")
        if self._fault:
            raise self._fault

    def wait_for_calls(self, count=1) -> None:
        """Waits until so many more have returned."""
        begin = len(self.calls)
        wait.until(lambda: self._fault or len(self.calls) >= begin + count, f"{count} more fsync() to return")
        if self._fault:
            raise self._fault

    def _run(self):
        try:
            if self._cpu is not None:
                os.sched_setaffinity(0, {self._cpu})
            for number in itertools.count(1):
                if self._stop:
                    return
                if self._writes:
                    self._write(number)
                    self._sync()
                    self.stored |= self.written
                self._sync()
        except Exception as fault:
            self._fault = fault

    def _write(self, number):
        block = number % self.BLOCKS
        self._memory[:] = number.to_bytes(8, "little") * (BLOCK // 8)
        self.written[block] = number
        assert os.pwritev(self._file, [self._memory], block * BLOCK) == BLOCK

    def _sync(self):
        begin = time.monotonic()
        os.fsync(self._file)
        self.calls.append((begin, time.monotonic()))


def lost(syncer, device) -> dict:
    """Blocks without the stored number, with the number that they have and the one that they should have."""
    found = {block: passthrough.read_directly(device, block * BLOCK) for block in syncer.stored}
    numbers = {block: int.from_bytes(data[:8], "little") for block, data in found.items()}
    assert all(data == data[:8] * (BLOCK // 8) for data in found.values()), "a block was torn"
    # Data that came later may have been stored although no fsync() asked for it.
    return {block: f"{number} instead of {syncer.stored[block]}" for block, number in numbers.items()
            if not syncer.stored[block] <= number <= syncer.written[block]}


class _Flushes:
    """The flushes that begin while a block lasts."""

    _events = ()
    _filters = {}

    def __init__(self):
        self._trace = Trace(*self._events, filters=self._filters)

    def __enter__(self):
        self._trace.__enter__()
        return self

    def __exit__(self, *exception):
        self._trace.__exit__(*exception)

    def done(self) -> list:
        """When each that has ended without an error began, and when it ended."""
        done, pending = [], {}
        for event in self._trace.events():
            flush = self._flush(event)
            if flush is None:
                continue
            if event.name == self._begin:
                pending[flush] = event.time
            elif flush in pending:
                begin = pending.pop(flush)
                if event.text.endswith(self._success):
                    done.append((begin, event.time))
        return sorted(done)

    def check(self, calls) -> None:
        """Fails when a call of fsync() has returned without a flush that began after the call."""
        done = self.done()
        alone = [call for call in calls if not _has_flush(call, done)]
        assert not alone, (f"{len(alone)} of {len(calls)} fsync() returned without a flush, the first after "
                           f"{(alone[0][1] - alone[0][0]) * 1000:.1f} ms; {len(done)} flushes were done")


def _has_flush(call, done) -> bool:
    first = bisect.bisect_left(done, (call[0] - ROUNDED, 0))
    return any(end <= call[1] + ROUNDED for _, end in itertools.takewhile(lambda each: each[0] < call[1], done[first:]))


class DiskFlushes(_Flushes):
    """The flushes that a disk has done, one after the other."""

    _events = ("block/block_rq_issue", "block/block_rq_complete")
    _filters = {event.partition("/")[2]: 'rwbs ~ "FF*"' for event in _events}
    _begin = "block_rq_issue"
    _success = "[0]"

    def __init__(self, disk):
        super().__init__()
        self._device = disk.read("dev").replace(":", ",") + " "

    def _flush(self, event):
        return self._device if event.text.startswith(self._device) else None


class PathFlushes(_Flushes):
    """The flushes that the host has told controllers to do, and that they have done."""

    _events = ("nvme/nvme_setup_cmd", "nvme/nvme_complete_rq")
    _begin = "nvme_setup_cmd"
    _success = "status=0x0"
    _COMMAND = re.compile(r"(nvme\d+: )disk=\S+ (qid=\d+, cmdid=\d+)")

    def _flush(self, event):
        if event.name == self._begin and "nvme_cmd_flush" not in event.text:
            return None
        return (found := self._COMMAND.match(event.text)) and found.groups()


class Fsync(Reader):
    """Calls fsync() when told to start; "done" says how that ends."""

    DONE = "done"

    def _open(self, device) -> int:
        return os.open(device, os.O_RDWR)

    def _do_once(self, file) -> bool:
        os.fsync(file)
        return True


class SyncedWrite(Reader):
    """Writes a block in a way that stores it before the call returns."""

    DONE = "done"

    def _open(self, device) -> int:
        self._buffer = passthrough.aligned(BLOCK)
        return os.open(device, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)

    def _do_once(self, file) -> bool:
        return os.pwritev(file, [self._buffer], 0) == BLOCK
