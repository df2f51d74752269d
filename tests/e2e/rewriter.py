# SPDX-License-Identifier: GPL-2.0
"""A process that writes old data and, when that has ended, new data to the same place."""

import dataclasses
import errno
import fcntl
import os
import struct
import time

from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader

BLOCK = 4096
#: The byte that is all over the old data, and the one of the new data.
OLD, NEW = 0xAA, 0xBB
BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F


@dataclasses.dataclass
class Rewritten:
    """How the two writes ended, "done" or with the name of an error; when the first did; the data read afterwards."""

    first: str
    when: float
    second: str
    found: str


class Rewriter(Reader):
    """Opens a device at once. When told to, writes `size` bytes twice and reads them, past the page cache.

    The old data is that of a write, or of an ioctl that erases. A `flush` comes between the two; with `stored`, each
    write ends when it is stored.
    """

    def __init__(self, device, offset=0, size=BLOCK, flush=False, nowait=False, stored=False, erase=None):
        self._device = device
        self._size = size
        self._flush = flush
        self._stored = os.O_DSYNC if stored else 0
        self._erase = erase
        self._result = None
        super().__init__(device, nowait, offset)

    @property
    def block(self) -> int:
        """Where it writes, in blocks of 512 bytes."""
        return self._offset >> 9

    @property
    def result(self) -> Rewritten | None:
        """How it went, when it has ended by now."""
        if not self._result and (answer := self.done):
            assert answer.count(" ") == 3, answer
            first, when, second, found = answer.split()
            self._result = Rewritten(first, float(when), second, found)
        return self._result

    def wait(self, seconds=30) -> Rewritten:
        return wait.until(lambda: self.result, "two writes to end", seconds)

    def read_again(self) -> str:
        """The contents that are there now."""
        return contents(passthrough.read_directly(self._device, self._offset, self._size))

    def _open(self, device) -> int:
        self._buffer = passthrough.aligned(self._size)
        return os.open(device, os.O_RDWR | os.O_DIRECT | self._stored)

    def _try(self, file) -> str:
        first = _outcome(lambda: self._write_old(file))
        when = time.monotonic()
        if self._flush:
            os.fsync(file)
        return f"{first} {when} {_outcome(lambda: self._write(file, NEW))} {self._found(file)}"

    def _write_old(self, file) -> bool:
        if not self._erase:
            return self._write(file, OLD, self._flags)
        fcntl.ioctl(file, self._erase, struct.pack("=QQ", self._offset, self._size))
        return True

    def _write(self, file, byte, flags=0) -> bool:
        self._buffer[:] = bytes([byte]) * self._size
        return os.pwritev(file, [self._buffer], self._offset, flags) == self._size

    def _found(self, file) -> str:
        self._buffer[:] = bytes(self._size)
        outcome = _outcome(lambda: os.preadv(file, [self._buffer], self._offset) == self._size)
        return contents(self._buffer[:]) if outcome == "done" else outcome


def contents(data) -> str:
    """The kind of this data: "old", "new", "old,new", other bytes."""
    names = {OLD: "old", 0: "old", NEW: "new"}
    return ",".join(sorted({names.get(byte, f"{byte:#x}") for byte in set(data)}))[:16]


def _outcome(function) -> str:
    try:
        return "done" if function() else "short"
    except OSError as error:
        return errno.errorcode[error.errno]
