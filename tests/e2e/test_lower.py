# SPDX-License-Identifier: GPL-2.0
"""Paths that send clones of their head's bios on to lower devices: the driver rust_mpath_lower of samples/.

The lower devices are mapped devices over one disk. So every path leads to the same data.
"""

import errno
import fcntl
import os
import pathlib
import struct
import time

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import wait
from tests.guest.area import Area
from tests.guest.area import beside
from tests.guest.lower import LowerHead
from tests.guest.lower import Shared
from tests.guest.reader import Reader

#: The seconds for which a test watches whether something waits.
OBSERVED = 1
DEBUG = pathlib.Path("/sys/kernel/debug/multipath")
_BLKDISCARD = 0x1277


@test(limit=180)
def lower_paths_that_come_go_and_fail_cost_no_io():
    with Shared() as shared, LowerHead([shared.mapped(), shared.mapped()]) as head, fio.Load(head.device) as load:
        names = {path.name for path in head.all}
        load.wait_for_carriers(head, *names)
        for path in head.all:
            others = names - {path.name}
            path.pull()
            load.wait_for_carriers(head, *others)
            path.put_back()
            load.wait_for_carriers(head, *names)
            path.lower.fail()
            wait.until(lambda path=path: _of_path(head, path)["failovers"], "the path to fail bios")
            load.wait_for_io(head)
            path.lower.heal()
            load.wait_for_carriers(head, *names)
        assert load.finish().bytes_verified
        assert head.count("failed") == 0


@test
def lower_io_waits_while_every_lower_device_fails():
    with Shared() as shared, LowerHead([shared.mapped(), shared.mapped()]) as head, fio.Load(head.device) as load:
        load.wait_for_io(head)
        for path in head.all:
            path.lower.fail()
        # The library gives up a bio that fails everywhere, with two paths after five seconds.
        time.sleep(OBSERVED)
        assert load.running, "fio did not wait"
        for path in head.all:
            path.lower.heal()
        load.wait_for_io(head)
        assert load.finish().bytes_verified


@test
def lower_io_that_fails_everywhere_ends_with_an_error():
    with Shared() as shared, LowerHead([shared.mapped(), shared.mapped()]) as head, Reader(head.device) as reader:
        for path in head.all:
            path.lower.fail()
        reader.start()
        assert reader.outcome(seconds=60) == errno.errorcode[errno.ENOLINK]


@test
def lower_io_without_paths_waits_for_as_long_as_it_is_said_and_fails_then():
    with Shared() as shared, LowerHead([shared.mapped()]) as head:
        path = head.all[0]
        head.write("delayed_removal_secs", 600)
        with Reader(head.device) as reader:
            path.pull()
            assert head.is_there
            reader.start()
            wait.until(lambda: head.count("parked"), "a read to be parked")
            assert reader.done is None, "it did not wait"
            path.put_back()
            assert reader.outcome() == "data"
        with Reader(head.device) as reader:
            parked = head.count("parked")
            path.pull()
            reader.start()
            wait.until(lambda: head.count("parked") > parked, "a read to be parked")
            head.write("delayed_removal_secs", 0)
            assert reader.outcome() == "EIO"
            wait.until(lambda: not head.is_there, "the head to go")


@test
def lower_what_goes_leaves_nothing_behind():
    with Shared() as shared:
        with LowerHead([shared.mapped(), shared.mapped()]) as head:
            head.write("delayed_removal_secs", 600)
            with Area(head.device, fio.BLOCK) as area:
                area.write()
            assert _open_alone(head.all[0].lower) == errno.EBUSY
            for path in head.all:
                path.pull()
                assert _open_alone(path.lower) == 0, "a device is still open"
            # The end of the block removes the directories, and with them the head that would wait for a path.
            assert head.is_there
            lowers = [path.lower for path in head.all]
        assert not head.is_there
        assert not [entry.name for entry in DEBUG.iterdir() if entry.name.startswith(head.name)]
        assert not [entry.name for entry in shared.directory.parent.iterdir() if entry.name.startswith(head.name)]
        assert [_open_alone(lower) for lower in lowers] == [0, 0]


@test
def lower_a_path_that_goes_waits_for_what_its_device_has():
    with Shared() as shared, LowerHead([shared.mapped()]) as head, Reader(head.device) as reader:
        path = head.all[0]
        path.lower.suspend()
        reader.start()
        # A suspended device does not count the bios that wait for it.
        time.sleep(OBSERVED)
        with beside(path.pull) as pulling:
            time.sleep(OBSERVED)
            assert pulling.is_alive() and reader.done is None, "it did not wait"
            path.lower.resume()
            assert reader.outcome() == "data"


@test
def lower_devices_get_flushes_and_discards():
    with Shared(cache_size=1, discard=1) as shared, LowerHead([shared.mapped(), shared.mapped()]) as head:
        with Area(head.device, 64 * fio.BLOCK) as area:
            area.write()
            before = shared.flushed()
            area.flush()
            assert shared.flushed() == before + 1
            area.write(os.RWF_DSYNC)
            assert shared.flushed() > before + 1, "a write that must be on the medium is not"
            area.check()
            with open(head.device, "wb") as file:
                fcntl.ioctl(file, _BLKDISCARD, struct.pack("QQ", 0, 64 * fio.BLOCK))
            area.is_cleared()
            area.check()


@test
def lower_devices_tell_the_head_what_they_can_do():
    with Shared(blocksize=1024, max_sectors=64) as shared, \
            Shared("smaller", blocksize=512, max_sectors=16) as smaller, \
            LowerHead([shared.mapped()]) as head:
        assert head.limit("logical_block_size") == 1024
        assert head.limit("max_hw_sectors_kb") == 32
        # The new path leads to another disk, which nobody reads here.
        head.add(smaller.mapped()).put_back()
        assert head.limit("logical_block_size") == 1024
        assert head.limit("max_hw_sectors_kb") == 8


@test
def lower_devices_that_do_not_fit_are_refused():
    with Shared() as shared, Shared("large", mib=128) as large, Shared("coarse", blocksize=4096) as coarse, \
            LowerHead([shared.mapped()]) as head:
        path = head.add(large.mapped())
        assert _error_of(path.put_back) == errno.EINVAL
        path.lower = coarse.mapped()
        assert _error_of(path.put_back) == errno.EINVAL
        path.lower = head.all[0].lower
        assert _error_of(path.put_back) == errno.EBUSY
        assert _error_of(lambda: path.write("device", "/dev/is-not-there")) == errno.ENOENT
        assert _error_of(lambda: path.write("device", "/dev/null")) == errno.ENOTBLK
        # None of these attempts keeps a device open.
        assert [_open_alone(disk) for disk in (large.mapped(), coarse.mapped())] == [0, 0]
        path.lower = shared.mapped()
        path.put_back()
        assert head.paths() == head.all


def _of_path(head, path) -> dict:
    """The numbers that debugfs shows of a path."""
    text = (DEBUG / head.name).read_text().partition(f"path {path.name}\n")[2].partition("\npath ")[0]
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _open_alone(disk) -> int:
    """The errno of opening a disk exclusively; 0 when that succeeds."""
    try:
        os.close(os.open(disk.device, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        return error.errno
    return 0


def _error_of(action) -> int:
    try:
        action()
    except OSError as error:
        return error.errno
    return 0
