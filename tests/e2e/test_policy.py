# SPDX-License-Identifier: GPL-2.0
"""How fair the policies are, and the counters of heads and paths."""

import os
import time

from tests.e2e.case import test
from tests.e2e.test_io import set_policy
from tests.guest import fio
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
BLOCK = 4096
#: The settings that make a null_blk disk take two seconds for every I/O.
SLOW = {"irqmode": 2, "completion_nsec": 2_000_000_000}


@test(over=TRANSPORTS)
def round_robin_is_exactly_fair(transport):
    with Target("policy", ports=(transport,) * 3) as target:
        target.connect_all()
        head = target.head
        _settle(head)
        set_policy(head, "round-robin")
        with fio.pinned_to(0):
            for count in (3, 30, 31, 32):
                shares = _shares(head, count)
                assert sum(shares) == count and max(shares) - min(shares) <= 1, f"{count} reads went {shares}"
            for policy in ("numa", "round-robin") * 2:
                set_policy(head, policy)
                shares = _shares(head, 30)
                expected = [10, 10, 10] if policy == "round-robin" else [0, 0, 30]
                assert sorted(shares) == expected, f"with {policy}, 30 reads went {shares}"


@test(over=TRANSPORTS)
def round_robin_is_fair_among_the_optimized_paths(transport):
    with Target("policy", ports=(transport,) * 3) as target:
        target.connect_all()
        head = target.head
        set_policy(head, "round-robin")
        target.ports[0].ana_state = "non-optimized"
        wait.until(lambda: "non-optimized" in [path.read("ana_state") for path in head.paths()], "the change")
        _settle(head)
        with fio.pinned_to(0):
            assert sorted(_shares(head, 40)) == [0, 20, 20]


def _shares(head, count) -> list[int]:
    """How many of some reads, one after the other, each path has done."""
    paths = head.paths()
    before = [path.completed()[0] for path in paths]
    _read(head, count)

    def shares():
        return [path.completed()[0] - ios for path, ios in zip(paths, before, strict=True)]
    # The driver counts a request just after its bios have ended, and the last read waits for those.
    wait.until(lambda: sum(shares()) >= count, f"{count} reads to be counted")
    return shares()


def _read(head, count):
    file = os.open(head.device, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = passthrough.aligned(BLOCK)
        for _ in range(count):
            assert os.preadv(file, [buffer], 0) == BLOCK
    finally:
        os.close(file)


def _settle(head):
    """Waits until the programs are done that look at every new disk."""
    counts = [None]
    wait.until(lambda: counts.append(head.completed()) or counts[-1] == counts[-2], "the head to be left alone",
               interval=0.3)


@test(over=TRANSPORTS)
def queue_depth_counts_all_namespaces_of_a_controller(transport):
    """Shows L-13."""
    with Target("policy", ports=(transport,) * 2, namespaces=2, mib=64) as target:
        busy, idle = _one_slow_namespace(target)
        set_policy(busy, "queue-depth")
        with Reader(busy.device) as reader, fio.pinned_to(0):
            reader.start()
            depths = wait.until(lambda: _depths(busy) if sum(_depths(busy)) else None, "a read in flight")
            assert sorted(depths) == [0, 1] and _depths(idle) == depths, f"the depths are {depths}, {_depths(idle)}"
            _let_this_cpu_look(idle)
            shares = _shares(idle, 20)
            assert _depths(busy) == depths, "the slow read has ended too early to show anything"
            assert shares == [0 if depth else 20 for depth in depths], f"with depths {depths} 20 reads went {shares}"
            assert reader.outcome() == "data"
        wait.until(lambda: _depths(busy) == [0, 0], "all queues to be empty")


def _one_slow_namespace(target):
    """Connects, and makes the second namespace one that takes long for every I/O."""
    target.disable_namespace(2)
    target.remap(2, **SLOW)
    target.enable_namespace(2)
    target.connect_all()
    idle, busy = target.heads()
    _settle(idle)
    wait.until(lambda: busy.read("inflight").split() == ["0", "0"], "the partition scan to end", interval=0.5)
    _settle(busy)
    return busy, idle


def _let_this_cpu_look(head):
    """Sends a read in each of some ticks: a CPU looks at the requests of others in flight when its turn comes."""
    for _ in range(10):
        _read(head, 1)
        time.sleep(0.02)


def _depths(head) -> list[int]:
    return [int(path.read("queue_depth")) for path in head.paths()]


@test(over=TRANSPORTS)
def the_statistics_of_the_head_are_exact(transport):
    with Target("policy", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        _settle(head)
        ios, size = head.completed()
        _read(head, 100)
        assert head.completed() == (ios + 100, size + 100 * BLOCK)
        passthrough.write_directly(head.device, 0, bytes(BLOCK))
        assert head.completed() == (ios + 101, size + 101 * BLOCK)
        assert head.read("inflight").split() == ["0", "0"]


@test(over=TRANSPORTS)
def io_that_fails_over_is_counted(transport):
    with Target("policy", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        set_policy(head, "round-robin")
        _settle(head)
        ios, size = head.completed()
        for _ in range(5):
            # The target refuses before the host has heard why.
            target.ports[0].ana_state = "inaccessible"
            _read(head, 20)
            target.ports[0].ana_state = "optimized"
            wait.until(lambda: [path.read("ana_state") for path in head.paths()] == ["optimized"] * 2, "both paths")
        failovers = sum(int(path.read("diag/multipath_failover_count")) for path in head.paths())
        done, bytes_done = head.completed()
        # Every try is an I/O of the head, as it is with the in-tree driver, but has no size when it failed.
        assert done - ios == 100 + failovers and bytes_done - size == 100 * BLOCK, \
            f"100 reads and {failovers} failovers count as {done - ios} reads and {bytes_done - size} bytes"
        assert head.read("diag/io_fail_no_available_path_count") == "0"
