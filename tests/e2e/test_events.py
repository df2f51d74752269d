# SPDX-License-Identifier: GPL-2.0
"""The view that others have of heads: uevents, traces, identity, scans for partitions, file systems."""

import fcntl
import os
import pathlib
import struct
import subprocess
import uuid
from contextlib import contextmanager

from tests.e2e.case import test
from tests.e2e.test_operations import EXTENDED
from tests.e2e.test_operations import partition_table
from tests.e2e.trace import Trace
from tests.e2e.uevents import Uevents
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
HDIO_GETGEO = 0x0301
EVENTS = ("nvme/nvme_setup_cmd", "nvme/nvme_complete_rq")
NGUID = "5e0ab9a4-7a2f-4d3f-8d53-0b1e2a3c4d5e"
#: The settings that make a null_blk disk take a second for every I/O.
SLOW = {"irqmode": 2, "completion_nsec": 1_000_000_000}


@test(over=TRANSPORTS)
def userspace_hears_of_heads_and_their_changes(transport):
    with Target("events", ports=(transport,) * 2) as target, Uevents() as events:
        target.connect(target.ports[0])
        head = wait.until(target.heads, "the head")[0]
        events.wait_for("add", head.name)
        target.connect(target.ports[1])
        wait.until(lambda: len(head.paths()) == 2, "both paths")
        # A path that is back may mean another answer to the question what the head can do.
        for path in head.paths():
            heads.reset_controller(path.controller)
            events.wait_for("change", head.name)
        target.disconnect()
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
        events.wait_for("remove", head.name)


@test(over=TRANSPORTS)
def commands_are_traced_with_the_path_that_carries_them(transport):
    with Target("events", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with Trace(*EVENTS) as trace:
            passthrough.read_directly(head.device)
            events = trace.events()
        (used,) = {path.name for path in head.paths() if any(f"disk={path.name}" in event.text for event in events)}
        names = {f"nvme/{event.name}" for event in events if f"disk={used}" in event.text}
        assert names == set(EVENTS), f"the trace is: {events}"


@test(over=TRANSPORTS)
def the_head_says_which_namespace_it_is(transport):
    name = str(uuid.uuid4())
    with Target("events", ports=(transport,) * 2, mib=64) as target:
        target.disable_namespace()
        target.configure(device_uuid=name, device_nguid=NGUID)
        target.enable_namespace()
        target.connect_all()
        for disk in (target.head, *target.head.paths()):
            assert (disk.read("uuid"), disk.read("nguid")) == (name, NGUID), f"{disk} says {disk.read('uuid')}"
            assert disk.read("wwid") == f"uuid.{name}" and disk.read("nsid") == "1"
        blocks = int(target.head.read("size"))
        assert target.head.read("nuse") == str(blocks)
        with open(target.head.device, "rb") as file:
            heads_, sectors, cylinders, start = struct.unpack("=BBHxxxxQ", fcntl.ioctl(file, HDIO_GETGEO, bytes(16)))
        # The geometry that NVMe has always made up.
        assert (heads_, sectors, cylinders, start) == (64, 32, blocks >> 11, 0)


@test(over=TRANSPORTS)
def geometry_needs_no_path(transport):
    with Target("events", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        with open(head.device, "rb") as file:
            before = fcntl.ioctl(file, HDIO_GETGEO, bytes(16))
            target.ports[0].ana_state = "inaccessible"
            wait.until(lambda: head.paths()[0].read("ana_state") == "inaccessible", "the path to be unusable")
            assert fcntl.ioctl(file, HDIO_GETGEO, bytes(16)) == before


@test(over=TRANSPORTS)
def a_scan_for_partitions_that_loses_its_path_holds_nobody_up(transport):
    with Target("events", ports=(transport,) * 2, disk=SLOW) as target:
        one, other = target.ports
        # So that the scan has something to read a second time.
        table = partition_table(first=2048, size=4096, kind=EXTENDED)
        passthrough.write_directly(target.configured("device_path"), 0, table.ljust(4096, b"\0"))
        first = target.connect(one)
        head = wait.until(target.heads, "the head")[0]
        wait.until(lambda: head.read("inflight").split()[0] != "0", "the scan to read")
        one.ana_state = "inaccessible"
        # Its next read waits for a path; neither a path that comes nor one that goes may wait for the scan.
        head.wait_for_parking()
        second = target.connect(other)
        wait.until(lambda: len(head.paths()) == 2, "the second path")
        heads.delete_controller(first)
        wait.until(lambda: heads.controller_state(first) == "gone", "the first path to go")
        other.ana_state = "inaccessible"
        heads.delete_controller(second)
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
        other.ana_state = "optimized"
        target.connect(other)
        with Reader(wait.until(target.heads, "the head to be back")[0].device) as reader:
            reader.start()
            assert reader.outcome() == "data"


@test(over=TRANSPORTS)
def a_mounted_head_pins_the_driver_and_its_files_survive_lost_paths(transport):
    with Target("events", ports=(transport,) * 2) as target:
        controllers = target.connect_all()
        head = target.head
        before = modules.references("nvme_core")
        with mounted(head.device) as directory:
            assert modules.references("nvme_core") > before, "a mounted head does not hold the driver"
            for number, (port, controller) in enumerate(zip(target.ports, controllers, strict=True)):
                heads.delete_controller(controller)
                wait.until(lambda: len(head.paths()) == 1, "a path to go")
                write_through(directory / str(number), f"file {number}\n" * 1000)
                assert subprocess.run(["rmmod", "nvme-core"], capture_output=True).returncode
                target.connect(port)
                wait.until(lambda: len(head.paths()) == 2, "the path to be back")
        with mounted(head.device, make=False) as directory:
            for number in range(2):
                assert (directory / str(number)).read_text() == f"file {number}\n" * 1000
        wait.until(lambda: modules.references("nvme_core") == before, "the driver to be let go")


@contextmanager
def mounted(device, make=True):
    """An ext4 on a device, a new one or the one that is there."""
    directory = pathlib.Path("/run/mounted")
    directory.mkdir(exist_ok=True)
    if make:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", device, "64M"], check=True,
                       capture_output=True)
    subprocess.run(["mount", "-t", "ext4", device, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def write_through(file, text):
    with open(file, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
