# SPDX-License-Identifier: GPL-2.0
"""The driver of tests/bad/, which does everything wrong, and another driver beside it, which must not notice."""

import errno
import mmap
import os
import pathlib
import threading
from contextlib import contextmanager

from tests.guest import modules
from tests.guest import wait
from tests.guest.ram import RamDisk
from tests.guest.skip import Skip
from tests.guest.target import NULL_BLK

MODULE = "bad_mpath"
_DO = pathlib.Path("/sys/kernel/debug/mpath_bad/do")
_DISKS = ("mpbad0", "mpbad1")
#: Where an error has two names, the kernel's.
_ERRORS = errno.errorcode | {errno.EDEADLK: "EDEADLK", errno.EOPNOTSUPP: "EOPNOTSUPP"}


@contextmanager
def loaded():
    """The bad driver, beside the other one; both are unloaded afterwards."""
    if not modules.available(MODULE):
        raise Skip("the bad driver is on the library")
    with RamDisk("c"):
        modules.load(MODULE)
        yield
        modules.unload(MODULE)


def make(mistake, lower="") -> str:
    """Makes a mistake while the other driver's disk is used; returns the name of the error that it got, or "ok".

    `lower` is the disk that the paths send clones of their bios to, if the mistake wants one. The mistake is made
    within `loaded()`. Afterwards the bad driver has taken apart what it had, so that it could be unloaded.
    """
    with Bystander(RamDisk.device) as bystander:
        bystander.wait_for_io()
        outcome = _outcome(f"{mistake} {lower}".strip())
        bystander.wait_for_io()
    wait.until(lambda: modules.references(MODULE) == 0, f"{MODULE} to be let go")
    left = [name for name in _DISKS if pathlib.Path("/sys/block", name).exists()]
    assert not left, f"the bad driver left {left}"
    return outcome


def _outcome(mistake) -> str:
    # A file object of Python's would write once more the data that could not be written.
    file = os.open(_DO, os.O_WRONLY)
    try:
        os.write(file, mistake.encode())
    except OSError as error:
        return _ERRORS[error.errno]
    finally:
        os.close(file)
    return "ok"


@contextmanager
def broken_disk():
    """A disk whose first sectors cannot be read."""
    disk = NULL_BLK / "badlower"
    disk.mkdir()
    try:
        for key, value in {"size": 16, "blocksize": 512, "memory_backed": 1, "badblocks": "+0-7", "power": 1}.items():
            (disk / key).write_text(str(value))
        yield f"/dev/{disk.name}"
    finally:
        disk.rmdir()


class Bystander:
    """Writes blocks of a disk and reads them back, in a thread, and fails when one is not as it was written."""

    BLOCK = 4096
    BLOCKS = 64

    def __init__(self, device):
        self._file = os.open(device, os.O_RDWR | os.O_DIRECT)
        self._memory = mmap.mmap(-1, self.BLOCK)
        self._verified = 0
        self._fault = None
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop = True
        self._thread.join()
        os.close(self._file)
        if not exception[0] and self._fault:
            raise self._fault

    def wait_for_io(self) -> None:
        """Waits until some more blocks have been verified."""
        begin = self._verified
        wait.until(lambda: self._fault or self._verified > begin + self.BLOCKS, "I/O beside the bad driver's")
        if self._fault:
            raise self._fault

    def _run(self):
        try:
            while not self._stop:
                self._verify(self._verified)
                self._verified += 1
        except Exception as fault:
            self._fault = fault

    def _verify(self, number):
        block = number.to_bytes(8, "little") * (self.BLOCK // 8)
        offset = number % self.BLOCKS * self.BLOCK
        self._memory[:] = block
        assert os.pwritev(self._file, [self._memory], offset) == self.BLOCK
        self._memory[:] = bytes(self.BLOCK)
        assert os.preadv(self._file, [self._memory], offset) == self.BLOCK
        assert self._memory[:] == block, f"block {number} is not as it was written"
