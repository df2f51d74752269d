# SPDX-License-Identifier: GPL-2.0
"""Namespaces whose size, format or identity changes while they are used."""

import os
import time
import uuid

from tests.e2e.case import test
from tests.e2e.proxy import IDENTIFY_DESCRIPTORS
from tests.e2e.proxy import IDENTIFY_NAMESPACE
from tests.e2e.proxy import Proxy
from tests.e2e.test_io import set_policy
from tests.e2e.uevents import Uevents
from tests.faults import injection
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import kernel_log
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import BLOCK
from tests.guest.reader import Reader
from tests.guest.skip import Skip
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
MIB = 64
SECTORS = MIB << 11
#: Where the command set of a namespace is in nvmet's list of descriptors, and one whose log of effects nvmet does not
#: have.
COMMAND_SET, KEY_VALUE = 24, b"\1"
#: Where Identify Namespace has the capacity of a namespace, behind its size.
CAPACITY = 8
#: A controller has looked at its namespaces after that; it does not say when.
RESCAN_SECONDS = 0.3
PCIE = "nqn.2019-08.org.qemu:more"


@test(over=TRANSPORTS)
def a_namespace_is_resized_under_io(transport):
    """Shows L-21."""
    with Target("change", ports=(transport,) * 2, mib=MIB, file_backed=True) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device, mib=MIB // 4) as load:
            for factor in (2, 4, 1, 2, 1):
                target.resize(MIB * factor)
                disks = [head, *head.paths()]
                wait.until(lambda: [int(disk.read("size")) for disk in disks] == [SECTORS * factor] * len(disks),
                           f"every disk to have {factor} times the size")
                load.wait_for_io(head, ios=50)
            load.finish()


@test(over=TRANSPORTS)
def a_rescan_without_news_keeps_every_path_in_use(transport):
    """Shows N-4."""
    with Target("change", ports=(transport,) * 2) as target:
        controllers = target.connect_all()
        head = target.head
        set_policy(head, "round-robin")
        with fio.Load(head.device) as load:
            load.wait_for_carriers(head, *controllers)
            for controller in controllers * 3:
                heads.rescan_controller(controller)
                time.sleep(RESCAN_SECONDS)
                load.wait_for_carriers(head, *controllers)
            load.finish()
        assert head.parked == 0, "I/O had to wait for a path"


@test(over=TRANSPORTS)
def a_namespace_comes_back_with_another_format(transport):
    with Target("change", ports=(transport,) * 2, mib=MIB) as target:
        target.connect_all()
        for size in (4096, 512):
            _replace(target, blocksize=size)
            head = target.head
            assert head.read("queue/logical_block_size") == str(size)
            assert int(head.read("size")) == SECTORS
            _write_and_verify(head)


@test(over=TRANSPORTS)
def a_head_that_waits_takes_the_new_format_of_its_namespace(transport):
    with Target("change", ports=(transport,) * 2, mib=MIB) as target:
        target.connect_all()
        head = target.head
        head.write("delayed_removal_secs", 60)
        identity = target.configured("device_uuid")
        for size in (4096, 512):
            target.disable_namespace()
            wait.until(lambda: not head.paths(), "the paths to go")
            target.remap(uuid=identity, blocksize=size)
            target.enable_namespace()
            wait.until(lambda: len(head.paths()) == 2, "the paths to be back")
            assert target.head.name == head.name, f"the head is now {target.head}"
            wait.until(lambda: head.read("queue/logical_block_size") == str(size), f"blocks of {size}")
            _write_and_verify(head)
        head.write("delayed_removal_secs", 0)


@test(over=TRANSPORTS)
def another_namespace_under_the_same_number_is_another_head(transport):
    with Target("change", ports=(transport,) * 2, mib=MIB) as target:
        target.connect_all()
        old = target.head
        with open(old.device, "rb") as held:
            name = str(uuid.uuid4())
            _replace(target, uuid=name)
            head = target.head
            assert head.read("uuid") == name and head.read("wwid") == f"uuid.{name}"
            _write_and_verify(head)
            assert _is_dead(held), "a file of the old head reads from the new one"


@test
def a_head_that_cannot_be_set_up_leaves_nothing_behind():
    """Shows N-3."""
    with Target("change", ports=("tcp",)) as target, Proxy(target.ports[0]) as proxy:
        target.disable_namespace()
        controller = target.connect(proxy)
        proxy.change(IDENTIFY_DESCRIPTORS, {COMMAND_SET: KEY_VALUE})
        target.enable_namespace()
        for times in range(1, 6):
            heads.rescan_controller(controller)
            wait.until(lambda: proxy.changed(IDENTIFY_DESCRIPTORS) >= times, f"scan {times} of the namespace")
        assert not target.heads(), "the namespace has a command set without a log of effects, and a head"
        proxy.restore(IDENTIFY_DESCRIPTORS)
        heads.rescan_controller(controller)
        head = wait.until(target.heads, "a head")[0]
        assert head.name.endswith("n1"), f"{head} is not the first of its subsystem"
        _write_and_verify(head)
        target.disconnect()
        wait.until(lambda: not head.subsystem.exists(), "the subsystem to go")


@test
def a_head_whose_first_path_cannot_be_added_leaves_nothing_behind():
    """Shows A-14."""
    if not modules.ours() or not (injection.DEBUG / "failslab").exists():
        raise Skip("no allocation for a path can be made to fail")
    with Target("change", ports=("loop",)) as target:
        target.disable_namespace()
        target.connect(target.ports[0])
        # The controller looks more than once.
        failing = injection.Failing(injection.Below("libmultipath", "mpath_add_device"), times=100)
        with failing:
            target.enable_namespace()
            wait.until(failing.has_happened, "the path not to be added")
            time.sleep(RESCAN_SECONDS * wait.SLOWNESS)
            assert not target.heads(), "there is a head without a path"
            target.disconnect()
        wait.until(lambda: not heads.subsystems_of(target.nqn), "the subsystem to go")


@test
def a_head_takes_the_size_of_the_path_that_is_left():
    """Shows A-3, A-18."""
    with (Target("change", ports=("tcp", "tcp"), mib=MIB) as target, Proxy(target.ports[0]) as proxy,
          Uevents() as events):
        larger, _ = target.connect(proxy), target.connect(target.ports[1])
        target.wait_for_heads(2)
        head, log = target.head, kernel_log.KernelLog()
        (left,) = (path for path in head.paths() if path.controller != larger)
        size = (2 * SECTORS).to_bytes(8, "little")
        proxy.change(IDENTIFY_NAMESPACE, {0: size, CAPACITY: size})
        heads.rescan_controller(larger)
        wait.until(lambda: int(head.read("size")) == 2 * SECTORS, "the head to be larger")
        events.wait_for("change", head.name, "RESIZE=1")
        assert _outcome(head, (2 * SECTORS << 9) - BLOCK) != "data", "there is data behind the end of the disk"
        heads.delete_controller(larger)
        assert _outcome(head) == "data"
        assert int(head.read("size")) == SECTORS
        events.wait_for("change", head.name, "RESIZE=1")
        assert _outcome(head, SECTORS << 9) == "end of file"
        assert _outcome(head, (SECTORS << 9) - BLOCK) == "data"
        lines = log.new_lines()
        assert any(f"{head}: detected capacity change from {2 * SECTORS} to {SECTORS}" in line for line in lines)
        assert not any(f"{left}: " in line and "beyond end of device" in line for line in lines), f"{left} was overrun"
        target.disconnect()


def _outcome(head, offset=0) -> str:
    """The outcome of a read of the block at an offset."""
    with Reader(head.device, offset=offset) as reader:
        reader.start()
        return reader.outcome()


def _replace(target, uuid=None, **disk):
    """Puts another disk behind the namespace, as an administrator does who takes it down for that."""
    with target.without_namespace():
        target.remap(uuid=uuid, **disk)


def _write_and_verify(head):
    with fio.Load(head.device, mib=MIB // 4) as load:
        load.wait_for_io(head, ios=50)
        load.finish()


def _is_dead(file) -> bool:
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        return not os.read(file.fileno(), 4096)
    except OSError:
        return True


@test
def a_format_command_changes_the_head_and_costs_other_namespaces_no_io():
    modules.load("nvme")
    wait.until(lambda: len(heads.of_subsystem(PCIE)) == 3
               and all(len(head.paths()) == 2 for head in heads.of_subsystem(PCIE)), "all heads")
    _, formatted, other = heads.of_subsystem(PCIE)
    with fio.Load(other.device, mib=16) as load:
        for lba_format, size in ((4, 4096), (0, 512)):
            load.wait_for_io(other, ios=50)
            # nvme-cli would go on to read partitions, maybe through the path that still has the old blocks.
            with open(passthrough.character_device(formatted), "rb") as device:
                passthrough.command(device, passthrough.FORMAT, int(formatted.read("nsid")),
                                    dwords=(lba_format, 0, 0), request=passthrough.NVME_IOCTL_ADMIN64_CMD)
            # QEMU does not tell the other controller.
            for path in formatted.paths():
                heads.rescan_controller(path.controller)
            wait.until(lambda: [disk.read("queue/logical_block_size") for disk in (formatted, *formatted.paths())]
                       == [str(size)] * 3, f"blocks of {size}")
            assert passthrough.read_directly(formatted.device) == bytes(4096)
            passthrough.write_directly(formatted.device, 8192, b"formatted-------" * 256)
            assert passthrough.read_directly(formatted.device, 8192) == b"formatted-------" * 256
            load.wait_for_io(other, ios=50)
        load.finish()
    modules.unload()
