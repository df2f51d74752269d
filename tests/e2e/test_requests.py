# SPDX-License-Identifier: GPL-2.0
"""Abilities of paths that take requests only: fail a part of one, or one of many, or say nothing, or ask again.

The driver is c_mpath_mq of samples/. The first of its paths is preferred, so that it gets the I/O.
"""

import os
import time
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import inside
from tests.guest import wait
from tests.guest.area import Area
from tests.guest.area import beside
from tests.guest.ram import BLOCK
from tests.guest.ram import DRIVERS
from tests.guest.ram import FAILURES
from tests.guest.ram import RamDisk
from tests.guest.reader import Reader

#: The drivers whose paths take requests, and those in C, which have the same attributes.
ON_REQUESTS = ("c_mq",)
IN_C = tuple(driver for driver in DRIVERS if driver.startswith("c"))
KIB = 1 << 10
#: The block layer makes one request of the first, and many of the second.
ONE, MANY = 64 * KIB, 4096 * KIB
#: So long that nothing ends because of it while a test runs.
NEVER_MS = 60000


@test(over=ON_REQUESTS)
def mq_another_path_finishes_a_request_that_has_failed_in_part(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, ONE) as area:
        for _ in range(5):
            for action in (area.write, area.check):
                before = first.completed()[1], second.completed()[1]
                first.write("failure", "partial")
                action()
                # The first path gets the rest once more, and carries out a half of that, before it goes elsewhere.
                assert first.completed()[1] - before[0] == ONE // 2 + ONE // 4
                assert second.completed()[1] - before[1] == ONE // 4, "the other one has not carried out the rest"
        # The head sends clones to a path that has failed lately. Those go on where they have come to, too.
        before = first.completed()[1] + second.completed()[1]
        area.write()
        area.check()
        assert first.completed()[1] + second.completed()[1] - before == 2 * ONE, "a part has been carried out twice"
        assert first.events()["split"] >= 12


@test(over=ON_REQUESTS)
def mq_no_io_fails_while_every_path_fails_half_of_every_request(driver):
    with _disk(driver) as (disk, *both), fio.Load(disk.device) as load:
        for _ in range(3):
            load.wait_for_io(disk)
            for path in both:
                path.write("failure", "partial")
            # A bio that fails for five seconds ends with an error.
            wait.until(lambda: all(path.events()["split"] for path in both), "both paths to fail")
            for path in both:
                path.write("failure", "none")
        load.finish()


@test(over=ON_REQUESTS)
def mq_a_flush_that_fails_is_carried_out_by_another_path(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, ONE) as area:
        first.write("failure", "flush")
        area.flush()
        assert (first.flushes, second.flushes) == (0, 1), "a flush has been lost, or made up"
        # A write that must be on the medium is a write and a flush. The flush fails when the write has ended.
        first.write("failure", "flush")
        area.write(os.RWF_DSYNC)
        assert first.flushes == 0 and second.flushes > 1
        assert second.completed()[1] == ONE, "the write was not sent again with its flush"
        first.write("failure", "none")
        area.check()


@test(over=ON_REQUESTS)
def mq_an_error_in_a_batch_costs_the_others_nothing(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, MANY) as area:
        first.write("latency_us", 20000)
        area.write()
        area.check()
        whole = first.events()
        assert whole["listed"] >= MANY // (256 * KIB), "the block layer has handed over no list of requests"
        assert whole["batched"] >= MANY // (256 * KIB), "no requests have ended in a batch"
        assert whole["broken"] == second.completed()[0] == 0
        first.write("failure", "batch")
        area.write()
        area.check()
        seen = first.events()
        assert seen["broken"] > 0, "no request has failed in the middle of a batch"
        assert seen["batched"] > whole["batched"], "no request of a batch with errors has ended well"
        assert second.completed()[0] > 0, "nothing went to the other path"


@test(over=ON_REQUESTS)
def mq_what_times_out_goes_elsewhere(driver):
    with _disk(driver, timeout_ms=500) as (disk, first, second), Area(disk.device, ONE) as area:
        carried = first.completed()
        for action in (area.write, area.check, area.flush):
            first.write("failure", "timeout")
            before = first.events()["timed-out"]
            begun = time.monotonic()
            action()
            assert time.monotonic() - begun > 0.25, "it has not waited for the path"
            assert first.events()["timed-out"] > before
        assert first.completed() == carried, "a path that says nothing says that it has carried something out"
        assert second.completed()[1] == 2 * ONE and second.flushes == 1


@test(over=ON_REQUESTS)
def mq_what_is_requeued_stays_on_its_path(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, MANY) as area:
        # The library counts requests in flight for this policy, and a count that is left over warns at the end.
        disk.write("policy", "queue-depth")
        first.write("failure", "requeue")
        for action in (area.write, area.check, area.flush):
            before = first.events()["requeued"]
            action()
            assert first.events()["requeued"] >= before + 2
        assert second.completed() == (0, 0), "what the path would have carried out in the end went elsewhere"


@test(over=ON_REQUESTS)
def mq_what_is_turned_away_waits_for_its_path_as_long_as_that_is_there(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, MANY) as area:
        for action in (area.write, area.check, area.flush):
            first.write("failure", "busy")
            with beside(action) as thread:
                wait.until(lambda: first.events()["turned-away"], "the device to turn a request away")
                time.sleep(0.1)
                assert thread.is_alive(), "a device that takes nothing has carried something out"
                first.write("failure", "none")
        assert second.completed() == (0, 0), "what the path would have carried out in the end went elsewhere"
        before = first.completed()
        for action in (area.write, area.check, area.flush):
            first.write("failure", "busy")
            turned_away = first.events()["turned-away"]
            with beside(action):
                wait.until(lambda: first.events()["turned-away"] > turned_away, "the device to turn a request away")
                first.pull()
            first.write("failure", "none")
            first.put_back()
        assert first.completed() == before
        assert second.completed()[1] == 2 * MANY and second.flushes == 1


@test(over=ON_REQUESTS)
def mq_a_path_that_hangs_can_be_taken_away(driver):
    with _disk(driver, timeout_ms=NEVER_MS) as (disk, first, second), Area(disk.device, ONE) as area:
        carried = first.completed()
        for action in (area.write, area.check, area.flush):
            first.write("failure", "timeout")
            with beside(action) as thread:
                wait.until(lambda: _in_flight(first), "the path to have a request")
                time.sleep(0.1)
                assert thread.is_alive(), "a path that says nothing has carried something out"
                first.pull()
            first.write("failure", "none")
            first.put_back()
        assert first.completed() == carried and second.completed()[1] == 2 * ONE and second.flushes == 1


@test(over=ON_REQUESTS)
def mq_an_opener_outlives_paths_that_hang(driver):
    with _disk(driver, timeout_ms=NEVER_MS) as (disk, first, second):
        first.write("failure", "timeout")
        second.write("failure", "timeout")
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


@test(over=IN_C)
def ram_what_waits_for_a_queue_that_is_frozen_goes_elsewhere_when_its_path_goes(driver):
    with _disk(driver) as (disk, first, second), Area(disk.device, ONE) as area:
        area.write()
        for action in (area.check, area.write, area.flush):
            first.write("frozen", 1)
            before = first.completed()[0] + second.completed()[0]
            with beside(action) as thread:
                time.sleep(0.3)
                assert thread.is_alive(), "it has not waited for the queue"
                first.pull()
            # Without one pass the bio is in the queue when the test lets that go, and its path carries it out before it
            # goes.
            assert first.completed()[0] + second.completed()[0] > before
            first.put_back()
        first.write("frozen", 1)
        with beside(area.check):
            time.sleep(0.1)
            first.write("frozen", 0)
        area.check()


@test(over=FAILURES["c_mq"])
def mq_paths_come_and_go_while_they_fail(failure):
    for driver in ON_REQUESTS:
        with _disk(driver, timeout_ms=300) as (disk, first, second), fio.Load(disk.device, rate=50) as load:
            load.wait_for_io(disk, ios=20)
            for path in (first, second):
                path.write("latency_us", 2000)
                path.write("failure", failure)
                time.sleep(0.3)
                path.pull()
                load.wait_for_io(disk, ios=5)
                path.write("failure", "none")
                path.put_back()
            load.finish()


#: Fewer hardware queues than there are CPUs, and more.
QUEUES = (1, 3, 16)


@test(over=QUEUES)
def mq_any_number_of_hardware_queues_will_do(queues):
    for driver in ON_REQUESTS:
        with _disk(driver, hw_queues=queues) as (disk, first, second), fio.Load(disk.device) as load:
            found = len(list((BLOCK / first.name / "mq").iterdir()))
            # sysfs does not show a queue that no CPU is mapped to. Reads have queues of their own.
            cpus = os.cpu_count()
            assert found == min(queues - queues // 2, cpus) + min(queues // 2, cpus), f"there are {found}"
            for path in (first, second):
                load.wait_for_io(disk, ios=20)
                path.pull()
                load.wait_for_io(disk, ios=20)
                path.put_back()
            load.finish()


@test(over=IN_C)
def ram_the_limits_of_a_path_hold_on_the_head(driver):
    with _disk(driver) as (disk, first, _):
        for limit in ("max_hw_sectors_kb", "max_segments", "write_cache", "logical_block_size"):
            of_head, of_path = ((BLOCK / name / "queue" / limit).read_text() for name in (disk.name, first.name))
            assert of_head == of_path, f"{limit} is {of_head.strip()}, and {of_path.strip()} on a path"


@contextmanager
def _disk(driver, **parameters):
    """A disk with two paths, of which the second is used when the first cannot be.

    The first one has carried out the kernel's reads of a new disk, the second one nothing.
    """
    with RamDisk(driver, **parameters) as disk:
        disk.all[1].write("access_state", "non-optimized")
        wait.until(lambda: disk.completed()[0] and _is_quiet(disk), "the partitions to be scanned")
        yield disk, *disk.all


def _is_quiet(disk) -> bool:
    before = disk.completed()
    time.sleep(0.2 * wait.SLOWNESS)
    return disk.completed() == before


def _in_flight(path) -> bool:
    """Has a path a request that has not ended? The block layer does not count flushes, the library does."""
    return inside.read(RamDisk.name).paths[path.name].number("port_in_flight") > 0
