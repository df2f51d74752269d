# SPDX-License-Identifier: GPL-2.0
"""Requests in Rust, on rust_mpath_mq of samples/: abilities of a driver whose paths take requests only.

The first of its two paths is preferred, so that it gets the I/O.
"""

import errno
import time
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import wait
from tests.guest.area import Area
from tests.guest.area import beside
from tests.guest.ram import BLOCK
from tests.guest.ram import RamDisk
from tests.guest.reader import Reader

IN_RUST = ("rust_mq",)
KIB = 1 << 10
#: The block layer makes one request of the first, and many of the second.
ONE, MANY = 64 * KIB, 4096 * KIB
#: So long that nothing times out while a test runs.
NEVER_MS = 60000


@test(over=IN_RUST)
def rust_rq_the_rest_of_a_request_that_failed_in_part_goes_to_another_path(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, ONE) as area:
        for _ in range(5):
            for action in (area.write, area.check):
                before = first.completed()[1], second.completed()[1]
                first.write("failure", "partial")
                action()
                # The rest comes to the first path once more, as a clone; the path carries out half of it. When this has
                # failed, too, the other path gets the rest of the clone.
                assert first.completed()[1] - before[0] == ONE // 2 + ONE // 4
                assert second.completed()[1] - before[1] == ONE // 4, "the other one has not carried out the rest"
        assert first.events()["split"] == 20


@test(over=IN_RUST)
def rust_rq_io_goes_on_while_a_path_fails_half_of_every_request(driver):
    with _disk(driver) as (disk, *both), fio.Load(disk.device) as load:
        load.wait_for_io(disk)
        for path in both:
            path.write("failure", "partial")
            load.wait_for_io(disk, ios=20)
            path.write("failure", "none")
        load.finish()
        assert both[0].events()["split"]


@test(over=IN_RUST)
def rust_rq_a_flush_that_fails_is_carried_out_by_another_path(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, ONE) as area:
        area.write()
        first.write("failure", "flush")
        area.flush()
        assert (first.flushes, second.flushes) == (0, 1), "a flush has been lost, or made up"
        for path in (first, second):
            path.write("failure", "flush")
        failed = []
        try:
            area.flush()
        except OSError as error:
            failed.append(error.errno)
        assert failed == [errno.ENOLINK], f"a flush that no path has carried out ended with {failed}"
        assert second.flushes == 1


@test(over=IN_RUST)
def rust_rq_an_error_in_a_batch_costs_the_others_nothing(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, MANY) as area:
        before = second.completed()
        first.write("latency_us", 20000)
        area.write()
        area.check()
        whole = first.events()
        assert whole["batched"] >= MANY // (256 * KIB), "no requests have ended together"
        assert whole["broken"] == 0 and second.completed() == before
        first.write("failure", "batch")
        area.write()
        area.check()
        assert first.events()["broken"] > 0, "no request has failed in the middle of a batch"
        assert first.events()["batched"] > whole["batched"], "no request of a batch with errors has ended well"
        assert second.completed() > before, "nothing went to the other path"


@test(over=IN_RUST)
def rust_rq_what_times_out_goes_elsewhere(driver):
    with _disk(driver, timeout_ms=500) as (disk, first, second), Area(disk.device, ONE) as area:
        begin = first.completed(), second.completed()
        for action in (area.write, area.check, area.flush):
            first.write("failure", "timeout")
            before, begun = first.events()["timed-out"], time.monotonic()
            action()
            assert time.monotonic() - begun > 0.25, "it has not waited for the path"
            assert first.events()["timed-out"] > before
        assert first.completed() == begin[0], "a path that says nothing says that it has carried something out"
        assert _since(second, begin[1])[1] == 2 * ONE and second.flushes == 1


@test(over=IN_RUST)
def rust_rq_what_takes_longer_than_its_time_is_not_taken_away(driver):
    with _disk(driver, timeout_ms=200) as (disk, first, second), Area(disk.device, ONE) as area:
        begin = first.completed(), second.completed()
        first.write("latency_us", 2000000)
        begun = time.monotonic()
        area.write()
        assert time.monotonic() - begun > 1
        assert first.events()["timed-out"] == 0 and second.completed() == begin[1]
        assert _since(first, begin[0]) == (1, ONE)


@test(over=IN_RUST)
def rust_rq_what_is_requeued_stays_on_its_path(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, MANY) as area:
        # The library counts requests in flight for this policy, and a count that is left over warns at the end.
        disk.write("policy", "queue-depth")
        begin = first.completed(), second.completed()
        first.write("failure", "requeue")
        area.write()
        area.check()
        assert first.events()["requeued"] == 2 * _since(first, begin[0])[0] > 0
        assert second.completed() == begin[1], "what the path would have carried out in the end went elsewhere"


@test(over=IN_RUST)
def rust_rq_a_path_that_hangs_can_be_taken_away(driver):
    with _disk(driver, timeout_ms=NEVER_MS) as (disk, first, second), Area(disk.device, ONE) as area:
        begin = first.completed(), second.completed()
        for action in (area.write, area.check, area.flush):
            first.write("failure", "timeout")
            with beside(action) as thread:
                # The block layer does not count flushes as in flight.
                if action != area.flush:
                    wait.until(lambda: _in_flight(first), "the path to have a request")
                time.sleep(0.3)
                assert thread.is_alive(), "a path that says nothing has carried something out"
                first.pull()
            first.write("failure", "none")
            first.put_back()
        assert first.completed() == begin[0] and _since(second, begin[1])[1] == 2 * ONE and second.flushes == 1


@test(over=IN_RUST)
def rust_rq_an_opener_outlives_paths_that_hang(driver):
    with _disk(driver, timeout_ms=NEVER_MS) as (disk, first, second):
        for path in (first, second):
            path.write("failure", "timeout")
        with Reader(disk.device) as reader:
            reader.start()
            wait.until(lambda: _in_flight(first), "the path to have a request")
            first.pull()
            wait.until(lambda: _in_flight(second), "the other path to have it")
            assert reader.done is None
            second.pull()
            assert reader.outcome() == "EIO"
            assert not disk.is_there
            reader.start()
            assert reader.outcome() in ("EIO", "ENXIO", "end of file")
            for path in (first, second):
                path.write("failure", "none")
                path.put_back()
            # Its successor has the same name, and is another.
            with Reader(disk.device) as other:
                other.start()
                assert other.outcome() == "data"


@test(over=IN_RUST)
def rust_rq_paths_come_and_go_whatever_fails_there(driver):
    with _disk(driver, timeout_ms=300) as (disk, first, second), fio.Load(disk.device) as load:
        load.wait_for_io(disk)
        for failure in disk.failures:
            for path in (first, second):
                path.write("latency_us", 2000)
                path.write("failure", failure)
                load.wait_for_io(disk, ios=5)
                path.pull()
                load.wait_for_io(disk, ios=5)
                path.write("failure", "none")
                path.put_back()
        load.finish()


@contextmanager
def _disk(driver, **parameters):
    """A disk with two paths, of which the second is used when the first cannot be."""
    with RamDisk(driver, **parameters) as disk:
        disk.all[1].write("access_state", "non-optimized")
        _let_settle(disk)
        yield disk, *disk.all


def _let_settle(disk) -> None:
    """Waits until nobody looks for partitions any more."""
    before = None
    while before != disk.completed():
        before = disk.completed()
        time.sleep(0.2 * wait.SLOWNESS)


def _since(path, before) -> tuple[int, int]:
    """The I/Os and bytes that a path has completed since it had completed so much."""
    ios, size = path.completed()
    return ios - before[0], size - before[1]


def _in_flight(path) -> bool:
    """Has a path's disk I/O that has not ended?"""
    return any(int(number) for number in (BLOCK / path.name / "inflight").read_text().split())
