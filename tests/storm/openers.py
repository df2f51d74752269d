# SPDX-License-Identifier: GPL-2.0
"""Openers of device nodes at any time, which use them, and close them later or never."""

import errno
import fcntl
import os

NVME_IOCTL_ID = 0x4E40
BLKGETSIZE64 = 0x80081272
#: The answers of a device that has gone, has no path, or is not that kind of device.
ANSWERS = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.EAGAIN, errno.ENOTTY, errno.EINVAL, errno.ENOENT}


class Openers:
    """A few open files, each used and in the end closed at random."""

    def __init__(self, most=6):
        self._most = most
        self._files = []
        self.opens = 0

    def act(self, rng, nodes) -> None:
        """Opens one of `nodes`, or uses or closes a file that is open."""
        if self._files and (len(self._files) == self._most or rng.random() < 0.4):
            os.close(self._files.pop(rng.randrange(len(self._files))))
        elif nodes:
            self._expect(self._open, rng.choice(nodes))
        for file in self._files:
            self._expect(fcntl.ioctl, file, rng.choice((NVME_IOCTL_ID, BLKGETSIZE64)), bytes(8))

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())

    def _open(self, node):
        # Without O_NONBLOCK, as everybody opens. The opener reads nothing, as that may wait for a path.
        self._files.append(os.open(node, os.O_RDONLY))
        self.opens += 1

    def _expect(self, function, *arguments):
        try:
            function(*arguments)
        except OSError as error:
            assert error.errno in ANSWERS, f"a device node answered {error}"
