# SPDX-License-Identifier: GPL-2.0
"""Loading, unloading, and the effect of an open head on that."""

import os
import subprocess
import time

from tests.e2e.case import test
from tests.guest import modules
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")


@test
def the_modules_load_and_unload_ten_times():
    _load_and_unload(10)


@test(limit=900, long=True)
def the_modules_load_and_unload_two_hundred_times():
    _load_and_unload(200)


def _load_and_unload(times) -> None:
    for _ in range(times):
        modules.load("nvme-core")
        modules.unload()


@test(over=TRANSPORTS, limit=180)
def the_modules_unload_after_every_use(transport):
    for _ in range(3):
        with Target("modules", ports=(transport,) * 2) as target:
            target.connect_all()
        modules.unload()


@test(over=TRANSPORTS)
def an_open_head_pins_the_driver(transport):
    """Shows L-46."""
    with Target("modules", ports=(transport,)) as target:
        target.connect_all()
        before = modules.references("nvme_core")
        with Reader(target.head.device):
            assert modules.references("nvme_core") > before, "an open head does not hold the driver"
            target.disconnect()
            refused = subprocess.run(["rmmod", "nvme-core"], capture_output=True)
            assert refused.returncode, "the driver went away under an open head"
        wait.until(lambda: modules.references("nvme_core") <= before, "the driver to be let go")
    modules.unload()


@test(over=TRANSPORTS)
def an_open_head_does_not_delay_its_removal(transport):
    """Shows L-3, L-31."""
    alone = _time_of_removal(transport, hold=False)
    held = _time_of_removal(transport, hold=True)
    # A removal that waits for the holder never ends, so that the noise of a busy machine may be large.
    assert held < 5 * alone + 5, f"removal took {held:.1f} s instead of {alone:.1f} s"


def _time_of_removal(transport, hold) -> float:
    with Target("modules", ports=(transport,) * 2) as target:
        target.connect_all()
        device = target.head.device
        if not hold:
            return _remove(target, device)
        with Reader(device) as block, open(device.replace("nvme", "ng"), "rb"):
            seconds = _remove(target, device)
            block.start()
            # A removed disk has no size, so the read may end before the block that it asked for.
            outcome = block.outcome()
            assert outcome in ("EIO", "ENXIO", "ENODEV", "end of file"), f"the holder got {outcome}"
            return seconds


def _remove(target, device) -> float:
    begun = time.monotonic()
    target.disconnect()
    wait.until(lambda: not os.path.exists(device), "the head to go")
    return time.monotonic() - begun


@test(over=TRANSPORTS)
def a_head_that_is_held_open_makes_room_for_its_successor(transport):
    """Shows L-3."""
    with Target("modules", ports=(transport,)) as target:
        target.connect_all()
        with Reader(target.head.device) as old:
            target.disconnect()
            target.connect_all()
            with Reader(target.head.device) as new:
                new.start()
                assert new.outcome() == "data"
            old.start()
            assert old.outcome() != "data", "a file of the head that went reads from its successor"
