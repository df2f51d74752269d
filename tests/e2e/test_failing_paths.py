# SPDX-License-Identifier: GPL-2.0
"""Paths on which commands fail again and again, while the controllers behind them are well otherwise."""

import contextlib
import time

from tests.e2e.case import test
from tests.e2e.proxy import connected
from tests.e2e.test_io import set_policy
from tests.guest import fio
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.passthrough import READ
from tests.guest.reader import BLOCK
from tests.guest.reader import Reader
from tests.guest.target import Target

#: The status of a controller that could not do it, and says no more than that.
INTERNAL_ERROR = 0x300
#: How many reads there are between two that fail, and how many are to fail.
SELDOM, FAILURES = 100, 4
#: For how long a test watches a path that fails everything, in seconds, and how many commands it may get in one second.
OBSERVED, COMMANDS_A_SECOND = 2, 30
#: How many processes read at the same time blocks that every path fails. Each read pauses by itself, so one shows
#: nothing.
READERS = 16
#: The controller's error, with which a read ends that all paths fail; and how often the library may try it.
FAILED = "EIO"
MOST_TRIES = 200


@test
def an_error_now_and_then_has_nothing_wait_on_the_only_path():
    """Shows A-6."""
    with Target("failing", ports=("tcp",)) as target, connected(target) as (proxy,):
        (path,) = target.head.paths()
        proxy.refuse(READ, INTERNAL_ERROR, every=SELDOM)
        _read(target.head, SELDOM * FAILURES)
        assert proxy.refused(READ) >= FAILURES
        assert int(path.read("diag/multipath_failover_count")) == proxy.refused(READ)
        assert target.head.parked == 0, f"{target.head.parked} times there was no path to use"


@test
def an_error_now_and_then_moves_no_io_to_a_worse_path():
    """Shows A-6."""
    with Target("failing", ports=("tcp", "tcp")) as target, connected(target) as (proxy, _):
        target.ports[1].ana_state = "non-optimized"
        worse = wait.until(lambda: [path for path in target.head.paths() if path.read("ana_state") == "non-optimized"],
                           "the host to hear of it")[0]
        _read(target.head, 1)
        before = worse.completed()
        proxy.refuse(READ, INTERNAL_ERROR, every=SELDOM)
        _read(target.head, SELDOM * FAILURES)
        assert worse.completed() == before, f"{worse.completed()[0] - before[0]} reads were moved"
        assert proxy.refused(READ) >= FAILURES
        assert target.head.parked == 0, f"{target.head.parked} times there was no path to use"


@test
def a_path_that_fails_everything_costs_no_io_and_is_seldom_tried():
    """Shows A-6."""
    with (Target("failing", ports=("tcp", "tcp")) as target, connected(target) as (proxy, _),
          fio.Load(target.head.device) as load):
        set_policy(target.head, "round-robin")
        controllers = {path.controller for path in target.head.paths()}
        load.wait_for_carriers(target.head, *controllers)
        proxy.refuse(READ, INTERNAL_ERROR)
        proxy.refuse(passthrough.WRITE, INTERNAL_ERROR)
        wait.until(lambda: _refused(proxy) > 1, "commands to fail")
        load.wait_for_io(target.head)
        before, begin = _refused(proxy), time.monotonic()
        time.sleep(OBSERVED)
        rate = (_refused(proxy) - before) / (time.monotonic() - begin)
        assert rate < COMMANDS_A_SECOND, f"a path that fails everything gets {rate:.0f} commands a second"
        load.wait_for_io(target.head)
        proxy.accept(READ)
        proxy.accept(passthrough.WRITE)
        load.wait_for_carriers(target.head, *controllers)
        load.finish()


@test
def paths_that_fail_everything_are_seldom_tried():
    """Shows X-1."""
    with (Target("failing", ports=("tcp", "tcp")) as target, connected(target) as proxies,
          contextlib.ExitStack() as stack):
        set_policy(target.head, "round-robin")
        readers = [stack.enter_context(Reader(target.head.device)) for _ in range(READERS)]
        for proxy in proxies:
            proxy.refuse(READ, INTERNAL_ERROR)
        for reader in readers:
            reader.start()
        wait.until(lambda: all(proxy.refused(READ) for proxy in proxies), "the read to fail on both paths")
        before, begin = sum(proxy.refused(READ) for proxy in proxies), time.monotonic()
        time.sleep(OBSERVED)
        tries = sum(proxy.refused(READ) for proxy in proxies) - before
        rate = tries / (time.monotonic() - begin)
        assert not any(reader.done for reader in readers), f"a read ended after {before + tries} tries of all"
        assert 0 < rate < COMMANDS_A_SECOND * len(proxies), f"paths that fail everything get {rate:.0f} commands a second"
        for proxy in proxies:
            proxy.accept(READ)
        assert {reader.outcome() for reader in readers} == {"data"}


def _refused(proxy) -> int:
    return proxy.refused(READ) + proxy.refused(passthrough.WRITE)


@test
def a_read_that_every_path_fails_ends_and_holds_up_nobody():
    """Shows A-17."""
    with Target("failing", ports=("tcp", "tcp")) as target, connected(target) as proxies:
        bad = 1 << 20
        for proxy in proxies:
            proxy.refuse(READ, INTERNAL_ERROR, block=bad >> 9)
        with Reader(target.head.device, offset=bad) as reader, Reader(target.head.device) as other:
            other.start_until_failure()
            reader.start()
            outcome = reader.outcome()
            tries = sum(proxy.refused(READ) for proxy in proxies)
            assert outcome == FAILED, f"it ended with {outcome}"
            assert tries <= MOST_TRIES, f"it was tried {tries} times"
            before = target.head.completed()
            wait.until(lambda: target.head.completed() > before, "other reads")
            assert other.done is None, "another read has failed"
            for proxy in proxies:
                proxy.refuse(READ, 0x4002)
            assert other.outcome() != "data"


def _read(head, count) -> None:
    """Reads so many blocks, one after the other."""
    for _ in range(count):
        assert len(passthrough.read_directly(head.device)) == BLOCK
