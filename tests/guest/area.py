# SPDX-License-Identifier: GPL-2.0
"""A part of a disk and its contents, and actions beside it, for tests that look at single writes."""

import mmap
import os
import threading
from contextlib import contextmanager

from tests.guest import wait


@contextmanager
def beside(action):
    """Runs an action in a thread, which must have done it well soon after the block."""
    failed = []

    def act():
        try:
            action()
        except BaseException as error:
            failed.append(error)
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield thread
    thread.join(30 * wait.SLOWNESS)
    assert not thread.is_alive(), "it does not end"
    assert not failed, f"it failed: {failed[0]!r}"


class Area:
    """The beginning of a disk, and the data that a test wrote there last."""

    def __init__(self, device, size):
        self._memory = mmap.mmap(-1, size)
        self._written = bytes(size)
        self._file = os.open(device, os.O_RDWR | os.O_DIRECT)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self._file)

    def write(self, flags=0) -> None:
        written = os.urandom(len(self._memory))
        self._memory[:] = written
        assert os.pwritev(self._file, [self._memory], 0, flags) == len(written)
        self._written = written

    def flush(self) -> None:
        os.fsync(self._file)

    def is_cleared(self) -> None:
        """From now on zeroes are to be there."""
        self._written = bytes(len(self._memory))

    def check(self) -> None:
        """Checks that the disk has the data that was written."""
        self._memory[:] = bytes(len(self._memory))
        assert os.preadv(self._file, [self._memory], 0) == len(self._written)
        assert self._memory[:] == self._written, "what was written is not what is read"
