# SPDX-License-Identifier: GPL-2.0
"""A disk that is not multipathed, and a driver above it that passes on bios of a head with the head's mark."""

import pathlib
import threading
import time
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.guest.skip import Skip
from tests.guest.target import Target

_READ = pathlib.Path("/sys/kernel/debug/hold_bio/read")
_COMPLETED = pathlib.Path("/sys/kernel/tracing/events/block/block_bio_complete/enable")
#: For how long a test watches that a read waits, in seconds.
OBSERVED = 0.5
READS = 20
RESETS = 5


@test(over=("loop", "tcp"))
def the_mark_of_another_head_changes_nothing(transport):
    """Shows A-9."""
    with _disk(transport) as (_, _, read):
        _COMPLETED.write_text("1")
        for _ in range(READS):
            read()
        _COMPLETED.write_text("0")


@test(over=("loop", "tcp"))
def a_marked_read_is_retried_when_the_controller_is_reset(transport):
    """Shows A-9."""
    with _disk(transport) as (_, controller, read):
        for _ in range(RESETS):
            with _Reads(read) as reads:
                reads.wait_for_some()
                heads.reset_controller(controller)
                reads.wait_for_some()


@test
def a_marked_read_waits_for_the_controller():
    """Shows A-9."""
    with _disk("tcp") as (target, controller, read):
        target.ports[0].stop()
        heads.wait_for_state(controller, "connecting")
        with _Reads(read) as reads:
            time.sleep(OBSERVED)
            assert not reads.count, "a read was done without a controller"
            target.ports[0].start()
            reads.wait_for_some()


@contextmanager
def _disk(transport):
    """Yields a target, the controller that leads to it, and a function that reads the disk with the mark."""
    if not modules.ours():
        raise Skip("the kernel's own driver crashes")
    modules.unload()
    modules.load("nvme-core", multipath="N", iopolicy="queue-depth")
    with Target("mark", ports=(transport,)) as target:
        controller = target.connect(target.ports[0])
        (disk,) = wait.until(lambda: list(pathlib.Path("/sys/block").glob("nvme*n*")), "the disk")
        modules.load("hold_bio", disk=f"/dev/{disk.name}", mark="1")
        try:
            yield target, controller, lambda: _READ.write_text("1")
        finally:
            modules.unload("hold_bio")
    modules.unload()


class _Reads:
    """Reads again and again, in a thread, until the block is left; a read that fails, fails the block."""

    def __init__(self, read):
        self._read = read
        self._ends = False
        self._fault = None
        self.count = 0
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ends = True
        self._thread.join()
        assert not self._fault, f"a read failed: {self._fault}"

    def wait_for_some(self) -> None:
        target = self.count + READS
        wait.until(lambda: self.count >= target or self._fault, "reads")

    def _go_on(self):
        while not self._ends and not self._fault:
            try:
                self._read()
                self.count += 1
            except OSError as error:
                self._fault = error
