# SPDX-License-Identifier: GPL-2.0
"""A process that reads one block of a device, however long that takes."""

import errno
import mmap
import os

from tests.e2e import wait

BLOCK = 4096


class Reader:
    """Opens a device at once, reads from it, past the page cache, when told to.

    It is a process, so that one which hangs holds nothing else up.
    """

    def __init__(self, device, nowait=False):
        self._flags = os.RWF_NOWAIT if nowait else 0
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
        os.waitpid(self._pid, 0)

    def start(self) -> None:
        os.write(self._orders, b"r")

    def outcome(self, seconds=30) -> str:
        """Waits for the end of a read: "data", or the name of the error."""
        return wait.until(self._answer, "a read to end", seconds)

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
        buffer = mmap.mmap(-1, BLOCK)
        try:
            file = os.open(device, os.O_RDONLY | os.O_DIRECT)
            os.write(outcome, b"open")
            while os.read(orders, 1) == b"r":
                os.write(outcome, self._read_once(file, buffer).encode())
        finally:
            os._exit(0)

    def _read_once(self, file, buffer) -> str:
        try:
            return "data" if os.preadv(file, [buffer], 0, self._flags) == BLOCK else "end of file"
        except OSError as error:
            return errno.errorcode[error.errno]
