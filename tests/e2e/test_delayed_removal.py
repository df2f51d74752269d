# SPDX-License-Identifier: GPL-2.0
"""Heads that stay for a while after their last path, as delayed_removal_secs asks."""

import os

from tests.e2e.case import test
from tests.guest import modules
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.skip import Skip
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
ATTRIBUTE = "delayed_removal_secs"


@test(over=TRANSPORTS)
def a_head_outlives_its_paths_for_the_time_asked(transport):
    """Shows L-22."""
    with Target("delay", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        references = modules.references("nvme_core")
        head.write(ATTRIBUTE, 60)
        with Reader(head.device) as reader:
            target.disconnect()
            assert os.path.exists(head.device), "the head is gone"
            reader.start()
            head.wait_for_parking()
            assert reader.done is None, "a read without a path did not wait"
            target.connect(target.ports[0])
            assert reader.outcome() == "data"
        wait.until(lambda: modules.references("nvme_core") == references,
                   f"nvme_core to be held {references} times again")
        head.write(ATTRIBUTE, 0)


@test(over=TRANSPORTS)
def a_head_goes_when_its_time_is_over(transport):
    """Shows L-22."""
    with Target("delay", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        head.write(ATTRIBUTE, 2)
        with Reader(head.device) as reader:
            target.disconnect()
            reader.start()
            assert reader.outcome() == "EIO"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
    modules.unload()


@test(over=TRANSPORTS)
def storing_zero_removes_a_head_without_paths(transport):
    """Shows L-19b, L-26."""
    if not modules.ours():
        raise Skip("the in-tree driver keeps it until the time is over, with the parked I/O")
    with Target("delay", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        head.write(ATTRIBUTE, 600)
        with Reader(head.device) as reader:
            target.disconnect()
            reader.start()
            head.wait_for_parking()
            head.write(ATTRIBUTE, 0)
            assert reader.outcome() == "EIO"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
    modules.unload()


@test(over=TRANSPORTS)
def a_head_with_a_path_stays_whatever_is_stored(transport):
    with Target("delay", ports=(transport,)) as target:
        target.connect_all()
        for seconds in (5, 1, 0):
            target.head.write(ATTRIBUTE, seconds)
            assert target.head.read(ATTRIBUTE) == str(seconds)
        try:
            target.head.write(ATTRIBUTE, "soon")
        except OSError:
            pass
        else:
            raise AssertionError("a time that is no number was accepted")
        with Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data"
