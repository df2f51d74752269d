# SPDX-License-Identifier: GPL-2.0
"""A process whose ioctl cannot end, or be begun in earnest, for as long as one likes.

Its argument is in memory that belongs to a disk, which has not delivered it yet. The kernel waits for the argument
where it copies it: the NVMe driver does that when it has a path.
"""

import ctypes
import errno
import mmap
import os
import signal
from pathlib import Path

from tests.guest import passthrough
from tests.guest import wait

#: Where on the disk the argument is. Nobody reads ahead to there.
OFFSET = 64 << 20
#: The number of ioctl(), as the kernel writes it.
IOCTL = {"x86_64": "16", "aarch64": "29"}[os.uname().machine]


class HeldIoctl:
    """Calls ioctl() on a device with an argument that the head of `disk`, a target, delivers later."""

    def __init__(self, device, request, argument, disk):
        self._disk = disk
        passthrough.write_directly(disk.head.device, OFFSET, bytes(argument).ljust(mmap.PAGESIZE, b"\0"))
        disk.set_ana_state("inaccessible")
        self._outcome, said = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._outcome)
            self._call(device, request, said)
        os.close(said)
        os.set_blocking(self._outcome, False)
        # A parked bio does not say so: a scan for partitions that comes late is parked, too.
        wait.until(self._waits_for_its_argument, "the argument to be waited for")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._disk.set_ana_state("optimized")
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._outcome)

    def outcome(self) -> str:
        """Lets the ioctl go on; returns its result: "0", "status 0x..." or the name of an error."""
        self._disk.set_ana_state("optimized")
        return wait.until(self._answer, "the ioctl to end")

    def _waits_for_its_argument(self) -> bool:
        """Is the process inside its ioctl, where it waits for I/O?"""
        # The number, "running" while it runs; and the state, after the name in parentheses.
        call = Path(f"/proc/{self._pid}/syscall").read_text().split()[0]
        state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        return (call, state) == (IOCTL, "D")

    def _answer(self):
        try:
            return os.read(self._outcome, 64).decode() or "it died"
        except BlockingIOError:
            return None

    def _call(self, device, request, said):
        """The child's life."""
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            disk = os.open(self._disk.head.device, os.O_RDWR)
            memory = mmap.mmap(disk, mmap.PAGESIZE, offset=OFFSET)
            argument = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            status = libc.ioctl(os.open(device, os.O_RDONLY), ctypes.c_ulong(request), ctypes.c_void_p(argument))
            outcome = errno.errorcode[ctypes.get_errno()] if status < 0 else f"status {status:#x}" if status else "0"
            os.write(said, outcome.encode())
        finally:
            os._exit(0)
