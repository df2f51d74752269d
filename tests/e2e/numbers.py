# SPDX-License-Identifier: GPL-2.0
"""Processes that write ever higher numbers to blocks of their own, and see whether a block goes back."""

import itertools
import mmap
import os
import struct
import time

from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import PAUSE

BLOCK = 4096
#: How many processes there are, and how many blocks each has, which it takes in turn.
WRITERS, BLOCKS = 4, 8
#: The contents of a block: where it is, and its number.
_ENTRY = struct.Struct("<QQ")


class Numbers:
    """Writers on a device until the block is left."""

    #: The counts of each process: blocks that it wrote, and blocks with an earlier number than the last one written.
    #: Then blocks with contents that nobody wrote there, and I/Os that ended with an error.
    COUNTS = ("written", "back", "strange", "failed")

    def __init__(self, device):
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._counts = memoryview(self._memory).cast("q")
        self._children = []
        for number in range(WRITERS):
            child = os.fork()
            if child == 0:
                try:
                    self._run(device, number)
                finally:
                    os._exit(0)
            self._children.append(child)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._counts[0] = 1
        # A process that hangs is no reason to hide the exception.
        for child in self._children if not exception[0] else ():
            os.waitpid(child, 0)

    def count(self, what) -> int:
        return sum(self._counts[self._place(number, what)] for number in range(WRITERS))

    def wait_for_rounds(self, rounds=1, writers=WRITERS, seconds=30) -> None:
        """Waits until so many processes have written all of their blocks again, so many times."""
        places = [self._place(number, "written") for number in range(WRITERS)]
        before = [self._counts[place] for place in places]
        wait.until(lambda: sum(self._counts[place] >= count + rounds * BLOCKS
                               for place, count in zip(places, before, strict=True)) >= writers, "blocks to be written", seconds)

    def _place(self, writer, what) -> int:
        return 1 + writer * len(self.COUNTS) + self.COUNTS.index(what)

    def _add(self, writer, what) -> None:
        self._counts[self._place(writer, what)] += 1

    def _run(self, device, writer):
        """A child's life."""
        file = os.open(device, os.O_RDWR | os.O_DIRECT)
        # A write that is late must not find newer data in its memory.
        memory = [passthrough.aligned(BLOCK) for _ in range(BLOCKS)]
        last = {}
        for number in itertools.count(1):
            if self._counts[0]:
                return
            block = number % BLOCKS
            offset = (writer * BLOCKS + block) * BLOCK
            try:
                if block in last:
                    self._look(file, writer, offset, last[block])
                memory[block][:] = _ENTRY.pack(offset, number) * (BLOCK // _ENTRY.size)
                assert os.pwritev(file, [memory[block]], offset) == BLOCK
                last[block] = number
                self._add(writer, "written")
            except OSError:
                self._add(writer, "failed")
            time.sleep(PAUSE)

    def _look(self, file, writer, offset, last):
        memory = passthrough.aligned(BLOCK)
        assert os.preadv(file, [memory], offset) == BLOCK
        found = memory[:]
        memory.close()
        if found != _ENTRY.pack(offset, last) * (BLOCK // _ENTRY.size):
            where, number = _ENTRY.unpack_from(found)
            is_whole = found == found[:_ENTRY.size] * (BLOCK // _ENTRY.size)
            self._add(writer, "back" if is_whole and where == offset and number < last else "strange")
