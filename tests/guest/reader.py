# SPDX-License-Identifier: GPL-2.0
"""A process that does one thing with a device, such as to read a block, however long that takes."""

import ctypes
import errno
import mmap
import os
import time

from tests.guest import passthrough
from tests.guest import wait

BLOCK = 4096
#: Seconds between two reads of many: in a slow guest other processes must get a CPU, too.
PAUSE = 0.005 * (wait.SLOWNESS - 1)


class Reader:
    """Opens a device at once, reads from it, past the page cache, when told to.

    It is a process, so that one which hangs holds nothing else up.
    """

    #: The outcome when nothing is wrong.
    DONE = "data"

    def __init__(self, device, nowait=False, offset=0):
        self._flags = os.RWF_NOWAIT if nowait else 0
        self._offset = offset
        heard, self._orders = os.pipe()
        self._outcome, said = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._orders)
            os.close(self._outcome)
            self._read(device, heard, said)
        os.close(heard)
        os.close(said)
        os.set_blocking(self._outcome, False)
        wait.until(lambda: self._answer() == "open", f"{device} to be opened")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.write(self._orders, b"q")
        os.close(self._orders)
        os.close(self._outcome)
        # A reader that hangs is no reason to hide the exception.
        if not exception[0]:
            os.waitpid(self._pid, 0)

    def start(self) -> None:
        os.write(self._orders, b"r")

    def start_until_failure(self) -> None:
        """Does it again and again until that fails; the outcome is the name of the error."""
        os.write(self._orders, b"l")

    def outcome(self, seconds=30) -> str:
        """Waits for the end of a read: "data", or the name of the error."""
        return wait.until(self._answer, f"a {type(self).__name__} to end", seconds)

    @property
    def done(self) -> str | None:
        """The outcome, when there is one by now."""
        return self._answer()

    def _answer(self):
        try:
            return os.read(self._outcome, 64).decode() or "it died"
        except BlockingIOError:
            return None

    def _read(self, device, orders, outcome):
        """The child's life."""
        try:
            file = self._open(device)
            os.write(outcome, b"open")
            while (order := os.read(orders, 1)) in (b"r", b"l"):
                answer = self._try(file)
                while order == b"l" and answer == self.DONE:
                    time.sleep(PAUSE)
                    answer = self._try(file)
                os.write(outcome, answer.encode())
        finally:
            os._exit(0)

    def _try(self, file) -> str:
        try:
            return self.DONE if self._do_once(file) else "end of file"
        except OSError as error:
            return errno.errorcode.get(error.errno, "NVMe status")

    def _open(self, device) -> int:
        self._buffer = mmap.mmap(-1, BLOCK)
        return os.open(device, os.O_RDONLY | os.O_DIRECT)

    def _do_once(self, file) -> bool:
        return os.preadv(file, [self._buffer], self._offset, self._flags) == BLOCK


class CommandReader(Reader):
    """Reads by NVMe commands, for a character device."""

    def _open(self, device) -> int:
        self._buffer = ctypes.create_string_buffer(BLOCK)
        return os.open(device, os.O_RDONLY)

    def _do_once(self, file) -> bool:
        passthrough.command(file, passthrough.READ, data=self._buffer, dwords=(0, 0, BLOCK // 512 - 1))
        return True
