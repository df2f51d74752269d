# SPDX-License-Identifier: GPL-2.0
"""The library's promises, on drivers that have nothing in common with NVMe.

Their paths take bios, or requests. The test decides how a path behaves, and no device does. So these tests say exactly
which path must have carried which I/O. test_requests.py and test_rust_requests.py have the tests for requests only.
"""

import errno
import fcntl
import mmap
import os
import pathlib
import struct
import subprocess
import threading
import time

from tests.e2e.case import test
from tests.e2e.test_operations import IOC_PR_REGISTER
from tests.guest import disk_faults
from tests.guest import fio
from tests.guest import modules
from tests.guest import wait
from tests.guest.ram import BLOCK
from tests.guest.ram import DRIVERS
from tests.guest.ram import RamDisk
from tests.guest.reader import Reader

#: A node that no kernel has.
NO_NODE = 1 << 20
POLICIES = ("numa", "round-robin", "queue-depth")


@test(over=DRIVERS)
def ram_round_robin_uses_one_path_after_the_other(driver):
    with RamDisk(driver, paths=3) as disk, _Buffer(disk.device) as buffer, fio.pinned_to(0):
        disk.write("policy", "round-robin")
        assert _carriers(disk, 30, buffer.read) == [10, 10, 10]
        disk.all[1].write("access_state", "non-optimized")
        assert _carriers(disk, 30, buffer.read) == [15, 0, 15]


@test(over=DRIVERS)
def ram_numa_uses_the_near_path(driver):
    with RamDisk(driver) as disk:
        for node, path in enumerate(disk.all):
            path.write("numa_node", node)
            path.pull()
            path.put_back()
        with _Buffer(disk.device) as buffer:
            for node, expected in enumerate(([10, 0], [0, 10])):
                with fio.pinned_to(_cpu_of(node)):
                    assert _carriers(disk, 10, buffer.read) == expected


@test(over=DRIVERS)
def ram_queue_depth_spares_the_busy_path(driver):
    with RamDisk(driver) as disk:
        fast, slow = disk.all
        fast.write("latency_us", 2000)
        slow.write("latency_us", 40000)
        disk.write("policy", "queue-depth")
        with fio.Load(disk.device) as load:
            load.wait_for_carriers(disk, fast.name, slow.name)
            before = slow.completed()[0], disk.completed()[0]
            load.wait_for_io(disk, ios=300)
            share = (slow.completed()[0] - before[0]) / (disk.completed()[0] - before[1])
            load.finish()
        assert 0 < share < 0.4, f"the path that takes twenty times as long carried {share:.0%}"


@test(over=DRIVERS)
def ram_a_bio_that_the_disk_of_a_path_refuses_fails(driver):
    disk_faults.need()
    with RamDisk(driver) as disk:
        disk_faults.check_refused_bios(disk.device, [path.name for path in disk.all])


@test(over=DRIVERS)
def ram_access_states_decide(driver):
    with RamDisk(driver, paths=4) as disk, _Buffer(disk.device) as buffer:
        good, spare, other, never = disk.all
        never.write("access_state", "inaccessible")
        for policy in POLICIES:
            disk.write("policy", policy)
            for states, carriers in (
                    (("optimized", "non-optimized", "inaccessible"), {good}),
                    (("non-optimized", "non-optimized", "optimized"), {other}),
                    (("inaccessible", "non-optimized", "inaccessible"), {spare}),
                    (("inaccessible", "optimized", "non-optimized"), {spare})):
                for path, state in zip((good, spare, other), states, strict=True):
                    path.write("access_state", state)
                counts = _carriers(disk, 6, buffer.read)
                used = {path for path, count in zip(disk.all, counts, strict=True) if count}
                assert used == carriers, f"{policy}: {counts}"
        assert never.completed() == (0, 0), "an inaccessible path was used"


@test(over=DRIVERS)
def ram_io_waits_while_no_path_is_accessible(driver):
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        for path in disk.all:
            path.write("access_state", "inaccessible")
        reader.start()
        disk.wait_for_parking()
        assert reader.done is None, "a read without a path did not wait"
        disk.all[1].write("access_state", "non-optimized")
        assert reader.outcome() == "data"


@test(over=DRIVERS)
def ram_lost_paths_cost_no_io(driver):
    with RamDisk(driver, paths=3) as disk:
        for path in disk.all:
            path.write("latency_us", 500)
        with fio.Load(disk.device) as load:
            load.wait_for_io(disk)
            for policy in POLICIES:
                disk.write("policy", policy)
                _fail_paths(disk, load)
                _pull_paths(disk, load)
            load.finish()


def _fail_paths(disk, load):
    """Each path in turn fails all its I/O; then all do."""
    for failing in disk.all:
        others = [path.name for path in disk.all if path is not failing]
        failing.write("failure", "path")
        wait.until(lambda: load.carriers(disk) <= set(others), f"{failing} to carry nothing")
        failing.write("failure", "none")
    for path in disk.all:
        path.write("failure", "path")
    # Whether a bio is parked or pauses is chance. One that fails for ten seconds ends with an error.
    wait.until(lambda: _stands_still(disk), "I/O to stop")
    for path in disk.all:
        path.write("failure", "none")
    load.wait_for_io(disk, ios=20)


def _stands_still(disk) -> bool:
    """Does no path complete anything for a while?"""
    before = disk.completed()
    time.sleep(0.2)
    return disk.completed() == before


def _pull_paths(disk, load):
    """Takes each path out in turn, and brings it back."""
    for path in disk.all:
        path.pull()
        assert path.name not in disk.links()
        load.wait_for_io(disk, ios=5)
        path.put_back()
        assert path.name in disk.links()


@test(over=DRIVERS)
def ram_a_bio_that_failed_half_way_is_carried_out_whole(driver):
    """Shows S-8."""
    with RamDisk(driver) as disk:
        first, second = disk.all
        second.write("access_state", "non-optimized")
        with _Buffer(disk.device) as buffer:
            for round in range(1, 20):
                carried = first.completed(), second.completed()
                first.write("failure", "path")
                buffer.write(round)
                first.write("failure", "path")
                assert buffer.read() == round, "what was written is not what is read"
                assert first.completed() == carried[0], "a path that failed a bio says that it carried it"
                assert second.completed()[1] - carried[1][1] == 2 * _Buffer.SIZE


@test(over=DRIVERS)
def ram_a_flush_is_carried_out_by_a_path(driver):
    with RamDisk(driver) as disk, _Buffer(disk.device) as buffer:
        first, second = disk.all
        second.write("access_state", "non-optimized")
        assert _flushes(disk, buffer.flush) == [1, 0]
        assert _flushes(disk, lambda: buffer.write(1)) == [0, 0]
        # The block layer makes a write that must be on the medium a write and a flush, where paths take requests.
        of_write = 1 if driver.endswith("_mq") else 0
        assert _flushes(disk, lambda: buffer.write(2, os.RWF_DSYNC)) == [1 + of_write, 0]
        first.write("failure", "path")
        assert _flushes(disk, buffer.flush) == [0, 1], "the other path did not carry it out"


@test(over=DRIVERS)
def ram_a_flush_waits_for_a_path(driver):
    with RamDisk(driver) as disk, _Buffer(disk.device) as buffer:
        for path in disk.all:
            path.write("access_state", "inaccessible")
        before = [path.flushes for path in disk.all]
        flush = threading.Thread(target=buffer.flush)
        flush.start()
        disk.wait_for_parking()
        assert flush.is_alive() and [path.flushes for path in disk.all] == before, "a flush was made up"
        disk.all[1].write("access_state", "optimized")
        flush.join()
        assert [path.flushes for path in disk.all] == [before[0], before[1] + 1]


@test(over=DRIVERS)
def ram_a_flush_that_no_path_can_help_fails(driver):
    with RamDisk(driver) as disk, _Buffer(disk.device) as buffer:
        for path in disk.all:
            path.write("failure", "medium")
        try:
            buffer.flush()
        except OSError as error:
            assert error.errno == errno.ENODATA, f"it failed with {error}"
        else:
            raise AssertionError("a flush that failed has ended well")


@test(over=DRIVERS)
def ram_what_no_path_can_help_fails(driver):
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        for path in disk.all:
            path.write("failure", "medium")
        reader.start()
        assert reader.outcome() == "ENODATA"
        for path in disk.all:
            path.write("failure", "none")
        reader.start()
        assert reader.outcome() == "data"


@test(over=DRIVERS)
def ram_io_fails_when_the_last_path_goes(driver):
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        for path in disk.all:
            path.write("access_state", "inaccessible")
        reader.start()
        disk.wait_for_parking()
        disk.all[0].pull()
        assert reader.done is None, "the last path is still there"
        disk.all[1].pull()
        assert reader.outcome() == "EIO"
        assert not disk.is_there


@test(over=("rust", "rust_mq"))
def ram_a_head_whose_first_path_cannot_be_added_goes(driver):
    """The path is to be near to a node that cannot be."""
    with RamDisk(driver) as disk:
        for path in disk.all:
            path.write("numa_node", NO_NODE)
            path.pull()
        for path in disk.all:
            try:
                path.put_back()
            except OSError as error:
                assert error.errno == errno.EINVAL, f"it was refused with {error}"
            else:
                raise AssertionError(f"{path} is near to node {NO_NODE}")
        assert not disk.is_there
    # The library goes, too, and the kernel warns when it has left a head behind.
    modules.unload()


@test(over=DRIVERS)
def ram_a_disk_outlives_its_paths_for_the_time_asked(driver):
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        before = modules.references(disk.module)
        disk.write("delayed_removal_secs", 60)
        for returning in disk.all * 2:
            parked = disk.parked
            for path in disk.paths():
                path.pull()
            assert modules.references(disk.module) == before + 1, "an armed timer holds the driver once"
            reader.start()
            wait.until(lambda: disk.parked > parked, "the read to be parked")
            assert reader.done is None, "a read without a path did not wait"
            returning.put_back()
            assert reader.outcome() == "data"
            assert modules.references(disk.module) == before, "the timer still holds the driver"
        disk.write("delayed_removal_secs", 0)


@test(over=DRIVERS)
def ram_a_disk_goes_when_its_time_is_over(driver):
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        before = modules.references(disk.module)
        disk.write("delayed_removal_secs", 1)
        begun = time.monotonic()
        for path in disk.all:
            path.pull()
        reader.start()
        assert reader.outcome() == "EIO"
        # The kernel's timers count ticks, and an emulated CPU may be late with some of them.
        assert time.monotonic() - begun >= 0.5, "it went before its time"
        wait.until(lambda: not disk.is_there, "the disk to go")
        wait.until(lambda: modules.references(disk.module) == before, "the timer to let the driver go")
        disk.write("delayed_removal_secs", 0)


@test(over=DRIVERS)
def ram_storing_zero_removes_a_disk_without_paths(driver):
    """Shows L-19b, L-26."""
    with RamDisk(driver) as disk, Reader(disk.device) as reader:
        before = modules.references(disk.module)
        disk.write("delayed_removal_secs", 600)
        for path in disk.all:
            path.pull()
        reader.start()
        disk.wait_for_parking()
        assert disk.is_there and reader.done is None
        disk.write("delayed_removal_secs", 0)
        assert reader.outcome() == "EIO"
        wait.until(lambda: not disk.is_there, "the disk to go")
        wait.until(lambda: modules.references(disk.module) == before, "the timer to let the driver go")


@test(over=DRIVERS)
def ram_an_opener_does_not_delay_a_removal(driver):
    """Shows L-3."""
    with RamDisk(driver) as disk:
        alone = _time_of_removal(disk)
        for path in disk.all:
            path.put_back()
        with Reader(disk.device) as reader:
            held = _time_of_removal(disk)
            reader.start()
            outcome = reader.outcome()
            assert outcome in ("EIO", "ENXIO", "end of file"), f"the opener got {outcome}"
            # Its successor has the same name, and is another.
            for path in disk.all:
                path.put_back()
            with Reader(disk.device) as other:
                other.start()
                assert other.outcome() == "data"
            reader.start()
            assert reader.outcome() != "data", "a file of the disk that went reads from its successor"
        # A removal that waits for the opener never ends, so that the noise of a busy machine may be large.
        assert held < 5 * alone + 2, f"removal took {held:.1f} s instead of {alone:.1f} s"


@test(over=DRIVERS)
def ram_disks_come_and_go_with_readers_on_them(driver):
    """Shows L-19."""
    with RamDisk(driver) as disk:
        for round in range(16):
            readers = [Reader(disk.device) for _ in range(3)]
            if round % 2:
                for path in disk.all:
                    path.write("access_state", "inaccessible")
            for reader in readers:
                reader.start()
            for path in disk.all:
                path.pull()
            assert not disk.is_there
            for reader in readers:
                with reader:
                    reader.outcome()
            for path in disk.all:
                path.write("access_state", "optimized")
                path.put_back()


@test(over=DRIVERS)
def ram_a_head_has_the_attributes_that_its_users_expect(driver):
    with RamDisk(driver) as disk:
        policy, delay = BLOCK / disk.name / "iopolicy", BLOCK / disk.name / "delayed_removal_secs"
        assert policy.read_text() == "numa\n" and delay.read_text() == "0\n"
        policy.write_text("round-robin\n")
        assert policy.read_text() == "round-robin\n" and disk.read("policy") == "round-robin"
        delay.write_text("60\n")
        assert delay.read_text() == "60\n"
        delay.write_text("0\n")
        for file, text in ((policy, "nearest"), (policy, ""), (delay, "soon"), (delay, "-1")):
            try:
                os.write(descriptor := os.open(file, os.O_WRONLY), (text + "\n").encode())
            except OSError as error:
                assert error.errno in (errno.EINVAL, errno.ERANGE), f"{text!r} was refused with {error}"
            else:
                raise AssertionError(f"{file.name} has taken {text!r}")
            finally:
                os.close(descriptor)
        assert policy.read_text() == "round-robin\n" and delay.read_text() == "0\n"
        for path in disk.all:
            assert not (BLOCK / path.name / "iopolicy").exists()


@test(over=DRIVERS)
def ram_paths_that_come_and_go_at_once_leave_a_disk(driver):
    with RamDisk(driver) as disk:
        toggling = [threading.Thread(target=_toggle, args=(path, 40)) for path in disk.all]
        for thread in toggling:
            thread.start()
        for thread in toggling:
            thread.join()
        assert disk.paths() == disk.all, "a path did not come back"
        with Reader(disk.device) as reader:
            reader.start()
            assert reader.outcome() == "data"


def _toggle(path, times):
    for _ in range(times):
        path.pull()
        path.put_back()


@test(over=DRIVERS)
def ram_a_removal_delay_does_not_keep_a_module_that_goes(driver):
    with RamDisk(driver) as disk:
        disk.write("delayed_removal_secs", 600)
    # The module has been unloaded, with its paths and their head.
    assert not disk.is_there


@test(over=DRIVERS)
def ram_an_open_disk_pins_the_driver(driver):
    """Shows L-46."""
    with RamDisk(driver) as disk:
        before = modules.references(disk.module)
        with Reader(disk.device):
            assert modules.references(disk.module) == before + 1
            for path in disk.all:
                path.pull()
            assert modules.references(disk.module) == before + 1
            refused = subprocess.run(["rmmod", disk.module], capture_output=True)
            assert refused.returncode, "the driver went away under an open disk"
        wait.until(lambda: modules.references(disk.module) == before, "the driver to be let go")


@test(over=DRIVERS)
def ram_a_driver_that_has_not_asked_for_reservations_has_none(driver):
    """Shows L-33."""
    with RamDisk(driver) as disk, open(disk.device, "r+b") as file:
        _refuses_reservations(file)
        # The paths here have no reservations either. A disk that forwards them looks for a path first, and says when it
        # has none.
        disk.write("delayed_removal_secs", 600)
        for path in disk.all:
            path.pull()
        _refuses_reservations(file)
        disk.write("delayed_removal_secs", 0)


def _refuses_reservations(file):
    try:
        fcntl.ioctl(file, IOC_PR_REGISTER, struct.pack("=QQII", 0, 1, 0, 0))
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, f"it was refused with {error}"
    else:
        raise AssertionError("a reservation through one of several paths was made")


class _Buffer:
    """Memory of many pages, which goes to and comes from the disk as one bio."""

    SIZE = 64 << 10

    def __init__(self, device):
        self._memory = mmap.mmap(-1, self.SIZE)
        self._file = os.open(device, os.O_RDWR | os.O_DIRECT)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self._file)

    def write(self, byte, flags=0) -> None:
        self._memory[:] = bytes([byte]) * self.SIZE
        assert os.pwritev(self._file, [self._memory], 0, flags) == self.SIZE

    def flush(self) -> None:
        os.fsync(self._file)

    def read(self) -> int | None:
        """The byte that fills the disk, if one does."""
        self._memory[:] = bytes(self.SIZE)
        assert os.preadv(self._file, [self._memory], 0) == self.SIZE
        found = set(self._memory[:])
        return found.pop() if len(found) == 1 else None


def _carriers(disk, times, action) -> list[int]:
    """How much of an action, done so many times, each path carries."""
    before = [path.completed()[0] for path in disk.all]
    for _ in range(times):
        action()
    return [path.completed()[0] - count for path, count in zip(disk.all, before, strict=True)]


def _flushes(disk, action) -> list[int]:
    """How many flushes each path carries out while an action runs."""
    before = [path.flushes for path in disk.all]
    action()
    return [path.flushes - count for path, count in zip(disk.all, before, strict=True)]


def _cpu_of(node) -> int:
    (cpu,) = (cpu for cpu in range(os.cpu_count())
              if pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/node{node}").exists())
    return cpu


def _time_of_removal(disk) -> float:
    begun = time.monotonic()
    for path in disk.all:
        path.pull()
    assert not disk.is_there
    return time.monotonic() - begun
