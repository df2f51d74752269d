# SPDX-License-Identifier: GPL-2.0
"""Zoned namespaces: the head manages zones, writes and appends to them."""

import errno
import os
import re
import subprocess
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.target import Target
from tests.guest.target import ZONED

TRANSPORTS = ("loop", "tcp")
MIB = 64
ZONE = ZONED["zone_size"] << 20
SECTORS = ZONE >> 9
BLOCK = 4096
CHUNK = 1 << 20
EMPTY, IMPLICITLY_OPEN, EXPLICITLY_OPEN, CLOSED, FULL = "em", "oi", "oe", "cl", "fu"
PCIE = "nqn.2019-08.org.qemu:more"


@test(over=TRANSPORTS)
def zones_are_managed_through_the_head(transport):
    with Target("zoned", ports=(transport,) * 2, mib=MIB, disk=ZONED) as target:
        target.connect_all()
        head = target.head
        assert head.read("queue/zoned") == "host-managed"
        assert int(head.read("queue/chunk_sectors")) == SECTORS
        assert int(head.read("queue/nr_zones")) == len(_report(head)) == MIB // ZONED["zone_size"]
        _manage(head)


@test
def zones_are_managed_through_a_pcie_head():
    with _pcie() as head:
        _zone(head, "open", 1)
        _zone(head, "finish", 2)
        assert _conditions(head)[:4] == [EMPTY, EXPLICITLY_OPEN, FULL, EMPTY]
        for zone in (1, 2):
            _zone(head, "reset", zone)
        assert _conditions(head)[:4] == [EMPTY] * 4


def _manage(head):
    """Takes the zones through their conditions."""
    assert _conditions(head)[:4] == [EMPTY] * 4
    _write(head, 0)
    assert _report(head)[0] == (IMPLICITLY_OPEN, BLOCK >> 9)
    _zone(head, "open", 1)
    _zone(head, "finish", 2)
    _zone(head, "close", 0)
    assert _conditions(head)[:4] == [CLOSED, EXPLICITLY_OPEN, FULL, EMPTY]
    assert _refusal(head, 0) == errno.EIO, "a write that is not at the write pointer was accepted"
    _zone(head, "reset", 0)
    _write(head, 0)
    for zone in range(3):
        _zone(head, "reset", zone)
    assert _conditions(head)[:4] == [EMPTY] * 4


@test(over=TRANSPORTS)
def appends_return_where_they_went(transport):
    with Target("zoned", ports=(transport,) * 2, mib=MIB, disk=ZONED) as target:
        target.connect_all()
        _append(target.head)


@test
def appends_return_where_they_went_over_pcie():
    with _pcie() as head:
        _append(head)
        _zone(head, "reset", 1)


def _append(head):
    """Appends to a zone and reads back the data at the places that the appends returned."""
    size = int(head.read("queue/logical_block_size"))
    start = ZONE // size
    with open(passthrough.character_device(head), "r+b", buffering=0) as device:
        places = [passthrough.append(device, zone=start, data=bytes([number]) * size) for number in range(8)]
    assert places == list(range(start, start + 8)), f"the appends went to {places}"
    with open(head.device, "rb") as disk:
        disk.seek(start * size)
        assert disk.read(8 * size) == b"".join(bytes([number]) * size for number in range(8))


@test(over=TRANSPORTS)
def zones_are_the_same_through_every_path(transport):
    with Target("zoned", ports=(transport,) * 2, mib=MIB, disk=ZONED) as target:
        controllers = target.connect_all()
        head = target.head
        _write(head, 3)
        _zone(head, "finish", 5)
        before = _report(head)
        assert before[3] == (IMPLICITLY_OPEN, BLOCK >> 9) and before[5][0] == FULL
        heads.delete_controller(controllers[0])
        wait.until(lambda: len(head.paths()) == 1, "the path to go")
        assert _report(head) == before
        _write(head, 3, block=1)
        heads.reset_controller(controllers[1])
        heads.wait_for_state(controllers[1], "live")
        _zone(head, "reset", 5)
        target.connect(target.ports[0])
        wait.until(lambda: len(head.paths()) == 2, "the path to be back")
        after = _report(head)
        assert after[3] == (IMPLICITLY_OPEN, 2 * BLOCK >> 9) and after[5] == (EMPTY, 0)


@test(over=TRANSPORTS)
def zones_are_not_reported_without_a_path(transport):
    with Target("zoned", ports=(transport,), mib=MIB, disk=ZONED) as target:
        target.connect_all()
        target.ports[0].ana_state = "inaccessible"
        wait.until(lambda: target.head.paths()[0].read("ana_state") == "inaccessible", "the path to be unusable")
        done = subprocess.run(["blkzone", "report", target.head.device], capture_output=True, text=True)
        assert done.returncode and os.strerror(errno.EAGAIN) in done.stderr, f"blkzone says {done.stderr}"
        target.ports[0].ana_state = "optimized"
        wait.until(lambda: target.head.paths()[0].read("ana_state") == "optimized", "the path to be usable")
        assert _report(target.head)


@test(over=TRANSPORTS)
def zones_are_filled_through_whichever_path_is_there(transport):
    # Only whole zones: the block layer keeps a zone's write pointer for each path by itself. So a path that changes in
    # the middle of a zone is an error, with the in-tree driver too.
    with Target("zoned", ports=(transport,) * 2, mib=MIB, disk=ZONED) as target:
        controllers = target.connect_all()
        head = target.head
        for zone in range(4):
            index = zone % 2
            heads.delete_controller(controllers[index])
            wait.until(lambda: len(head.paths()) == 1, "the path to go")
            for begin in range(0, ZONE, CHUNK):
                passthrough.write_directly(head.device, zone * ZONE + begin, _chunk(zone, begin))
            controllers[index] = target.connect(target.ports[index])
            wait.until(lambda: len(head.paths()) == 2, "the path to be back")
        assert _conditions(head)[:5] == [FULL] * 4 + [EMPTY]
        for zone in range(4):
            for begin in range(0, ZONE, CHUNK):
                data = passthrough.read_directly(head.device, zone * ZONE + begin, CHUNK)
                assert data == _chunk(zone, begin), f"zone {zone} has lost what was written at {begin}"


def _chunk(zone, begin) -> bytes:
    return f"{zone}-{begin:010}-".encode().ljust(16, b"x") * (CHUNK // 16)


@contextmanager
def _pcie():
    modules.load("nvme")
    wait.until(lambda: heads.of_subsystem(PCIE) and len(heads.of_subsystem(PCIE)[0].paths()) == 2, "both paths")
    yield heads.of_subsystem(PCIE)[0]
    modules.unload()


def _report(head) -> list[tuple[str, int]]:
    """The condition of each zone, and how many sectors of it are written."""
    text = _blkzone("report", head)
    return [(condition, int(written, 16))
            for written, condition in re.findall(r"wptr (0x[0-9a-f]+) .* zcond: *\d+\((\w+)\)", text)]


def _conditions(head) -> list[str]:
    return [condition for condition, _ in _report(head)]


def _zone(head, action, number):
    _blkzone(action, head, "-o", str(number * SECTORS), "-c", "1")


def _blkzone(action, head, *words) -> str:
    return subprocess.run(["blkzone", action, *words, head.device], check=True, capture_output=True, text=True).stdout


def _write(head, zone, block=0):
    """Writes a block of a zone, past the page cache."""
    passthrough.write_directly(head.device, zone * ZONE + block * BLOCK, bytes([zone + 1]) * BLOCK)


def _refusal(head, zone):
    try:
        _write(head, zone)
    except OSError as error:
        return error.errno
    return None
