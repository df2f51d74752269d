# SPDX-License-Identifier: GPL-2.0
"""Asymmetric access: the meaning of the paths' states for the I/O."""

import itertools
import os
import time
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import modules
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.skip import Skip
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: For how long a test watches a state that is to be quiet, in seconds.
OBSERVED = 2


@test(over=TRANSPORTS)
def io_follows_the_optimized_path(transport):
    with Target("ana", ports=(transport,) * 2) as target:
        first, second = target.connect_all()
        one, other = target.ports
        with fio.Load(target.head.device) as load:
            other.ana_state = "non-optimized"
            load.wait_for_carriers(target.head, first)
            one.ana_state, other.ana_state = "non-optimized", "optimized"
            load.wait_for_carriers(target.head, second)
            one.ana_state, other.ana_state = "optimized", "inaccessible"
            load.wait_for_carriers(target.head, first)
            load.finish()


@test(over=TRANSPORTS)
def a_non_optimized_path_is_used_when_there_is_no_better(transport):
    with Target("ana", ports=(transport,) * 2) as target:
        first, second = target.connect_all()
        one, other = target.ports
        with fio.Load(target.head.device) as load:
            one.ana_state, other.ana_state = "inaccessible", "non-optimized"
            load.wait_for_carriers(target.head, second)
            load.finish()


@test(over=TRANSPORTS)
def io_waits_while_every_path_is_inaccessible(transport):
    with Target("ana", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            target.set_ana_state("inaccessible")
            head.wait_for_parking()
            assert load.running, "fio did not wait"
            target.ports[1].ana_state = "optimized"
            load.wait_for_io(head)
            load.finish()


@test
def a_read_that_waited_for_a_path_returns_data():
    with _parked_read("loop", "tcp") as (target, reader):
        target.ports[0].ana_state = "non-optimized"
        assert reader.outcome() == "data"


@test
def parked_io_does_not_spin():
    with _parked_read("loop", "loop") as (target, reader):
        before = _tries(target.head)
        time.sleep(OBSERVED)
        tries = _tries(target.head) - before
        assert tries < 20, f"a parked read was tried {tries} times in {OBSERVED} s"
        target.set_ana_state("optimized")
        assert reader.outcome() == "data"


def _tries(head) -> int:
    """How often the head sent I/O to a path in vain, or found no path."""
    return head.parked + sum(int(path.read("diag/multipath_failover_count")) for path in head.paths())


@test
def a_nowait_read_does_not_wait_for_a_path():
    """Shows L-42."""
    if not modules.ours():
        raise Skip("the in-tree driver parks it")
    with Target("ana", ports=("loop", "loop")) as target:
        target.connect_all()
        with Reader(target.head.device, nowait=True) as reader:
            target.set_ana_state("inaccessible")
            reader.start()
            outcome = reader.outcome()
            target.set_ana_state("optimized")
            assert outcome == "EAGAIN", f"it returned {outcome}"


@test
def parked_io_fails_when_the_last_path_is_disconnected():
    """Shows L-19b."""
    with _parked_read("loop", "tcp") as (target, reader):
        head = target.head
        target.disconnect()
        assert reader.outcome() == "EIO"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")


@test(over=TRANSPORTS)
def a_change_of_state_that_lasts_costs_no_io(transport):
    with Target("ana", ports=(transport,) * 2) as target:
        first, second = target.connect_all()
        one, other = target.ports
        with fio.Load(target.head.device) as load:
            other.ana_state = "non-optimized"
            load.wait_for_carriers(target.head, first)
            one.ana_state = "change"
            load.wait_for_carriers(target.head, second)
            one.ana_state = "optimized"
            load.wait_for_carriers(target.head, first)
            load.finish()


@test(over=TRANSPORTS)
def restless_states_cost_no_io(transport):
    states = ("non-optimized", "inaccessible", "change", "optimized")
    with Target("ana", ports=(transport,) * 3) as target:
        target.connect_all()
        with fio.Load(target.head.device) as load:
            for state, port in itertools.product(states * 3, target.ports):
                port.ana_state = state
                # Sometimes no path is left, so the test only looks whether I/O still runs in between.
                if state == "optimized":
                    load.wait_for_io(target.head, ios=20)
            load.finish()


@test
def a_head_appears_only_with_a_path_that_can_be_used():
    with Target("ana", ports=("loop",)) as target:
        target.ports[0].ana_state = "inaccessible"
        target.connect(target.ports[0])
        assert not os.path.exists("/dev/nvme0n1") and not target.heads()
        target.ports[0].ana_state = "optimized"
        wait.until(target.heads, "the head to appear")
        with Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data"


@contextmanager
def _parked_read(*ports):
    """A target with these ports, and a Reader whose read waits for a path to it."""
    with Target("ana", ports=ports) as target:
        target.connect_all()
        with Reader(target.head.device) as reader:
            target.set_ana_state("inaccessible")
            reader.start()
            target.head.wait_for_parking()
            assert reader.done is None, "the read did not wait"
            yield target, reader
