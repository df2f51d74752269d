# SPDX-License-Identifier: GPL-2.0
"""Operations on a head besides reading and writing."""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import os
import pathlib
import re
import struct
import subprocess
import threading
import time

from tests.e2e.case import test
from tests.e2e.held import HeldIoctl
from tests.e2e.trace import Trace
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
BLKRRPART = 0x125F
NVME_IOCTL_ID = 0x4E40
IOC_PR_REGISTER = 0x401870C8
IOC_PR_RESERVE = 0x401070C9
IOC_PR_RELEASE = 0x401070CA
PR_WRITE_EXCLUSIVE = 1
KEY = 0x1234
NOBODY = 65534
#: Types of partitions.
EXTENDED, LINUX = 0x05, 0x83
#: Seconds for which a test watches a path that was taken from its head; without an ioctl it has gone by then.
OBSERVED = 2


@test
def nvme_cli_finds_the_namespace_and_its_paths():
    with Target("operations", ports=("loop", "tcp")) as target:
        target.connect_all()
        head = target.head
        listed = json.loads(_nvme("list", "-o", "json"))["Devices"]
        assert head.device in [device["DevicePath"] for device in listed], f"nvme list says {listed}"
        shown = _nvme("list-subsys", head.device)
        assert all(path.controller in shown for path in head.paths()), f"nvme list-subsys says {shown}"


@test
def both_device_nodes_answer_identify():
    with Target("operations", ports=("loop", "tcp")) as target:
        target.connect_all()
        head = target.head
        blocks = int(head.read("size")) // (int(head.read("queue/logical_block_size")) // 512)
        for device in (head.device, passthrough.character_device(head)):
            assert json.loads(_nvme("id-ns", device, "-o", "json"))["nsze"] == blocks
            assert json.loads(_nvme("id-ctrl", device, "-o", "json"))["subnqn"] == target.nqn


@test(over=TRANSPORTS)
def both_device_nodes_answer_ioctls(transport):
    with Target("operations", ports=(transport,)) as target:
        target.connect_all()
        for device in (target.head.device, passthrough.character_device(target.head)):
            with open(device, "rb") as file:
                assert fcntl.ioctl(file, NVME_IOCTL_ID) == 1
                assert _refusal(file, 0x1234) == errno.ENOTTY


@test
def ioctls_survive_paths_that_come_and_go():
    """Shows L-30."""
    with Target("operations", ports=("loop", "tcp")) as target:
        controllers = target.connect_all()
        ended = threading.Event()
        answers = []
        with open(passthrough.character_device(target.head), "rb") as device:
            worker = threading.Thread(target=_identify_until, args=(ended, device, answers))
            worker.start()
            for _, port in zip(range(8), itertools.cycle(target.ports)):
                asked = len(answers)
                wait.until(lambda: len(answers) > asked + 20, "20 answers")
                index = target.ports.index(port)
                heads.delete_controller(controllers[index])
                wait.until(lambda: heads.controller_state(controllers[index]) == "gone", "the path to go")
                controllers[index] = target.connect(port)
                wait.until(lambda: len(target.head.paths()) == 2, "the path to be back")
            ended.set()
            worker.join()
        assert 0 in answers, f"no ioctl succeeded: {set(answers)}"


@test(over=TRANSPORTS)
def an_ioctl_keeps_its_path_until_it_has_ended(transport):
    """Shows L-30."""
    data = ctypes.create_string_buffer(4096)
    with _an_ioctl_during_removal(transport, passthrough.NVME_IOCTL_IO64_CMD,
                                  passthrough.argument(passthrough.READ, data=data, dwords=(0, 0, 7))) as (path, held):
        wait.until(lambda: not _is_on_its_head(path), "the path to be taken from its head")
        # The removal now waits only for users of the path.
        time.sleep(OBSERVED * wait.SLOWNESS)
        assert os.path.exists(path.directory), "the path has gone under an ioctl"
        held.outcome()
        wait.until(lambda: not os.path.exists(path.directory), "the path to go")


def _is_on_its_head(path) -> bool:
    """Does the library still list a path? The in-tree driver says nothing of it."""
    file = pathlib.Path("/sys/kernel/debug/multipath", re.sub(r"c\d+n", "n", path.name))
    return modules.ours() and any(line.startswith(f"path {path.name} ") for line in file.read_text().splitlines())


@test(over=TRANSPORTS)
def a_command_to_a_controller_keeps_no_path(transport):
    """Shows L-30."""
    data = ctypes.create_string_buffer(4096)
    with _an_ioctl_during_removal(transport, passthrough.NVME_IOCTL_ADMIN64_CMD,
                                  passthrough.argument(passthrough.IDENTIFY, 0, data, (1, 0, 0))) as (path, held):
        wait.until(lambda: not os.path.exists(path.directory), "the path to go")
        assert held.outcome() != "0", "a controller that has gone has answered"


@contextlib.contextmanager
def _an_ioctl_during_removal(transport, request, argument):
    """An ioctl that the better one of two paths carries out, while the test deletes that path's controller."""
    with Target("operations", ports=(transport,) * 2) as target, Target("argument", ports=("loop",)) as disk:
        target.ports[1].ana_state = "non-optimized"
        first, _ = target.connect_all()
        disk.connect_all()
        (path,) = (path for path in target.head.paths() if path.controller == first)
        with HeldIoctl(passthrough.character_device(target.head), request, argument, disk) as held:
            removal = threading.Thread(target=heads.delete_controller, args=(first,), daemon=True)
            removal.start()
            wait.until(lambda: re.match("deleting|gone", heads.controller_state(first)), "the removal to begin")
            yield path, held
        removal.join()
        with Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data"


def _identify_until(ended, device, answers):
    """Identifies the controller behind the head again and again, and keeps the error numbers."""
    while not ended.is_set():
        answers.append(_identify(device))


def _identify(device) -> int:
    """Identifies a controller through the head; returns 0 or the number of the error."""
    return _error_of(device, passthrough.IDENTIFY, nsid=0, data=ctypes.create_string_buffer(4096), dwords=(1, 0, 0),
                     request=passthrough.NVME_IOCTL_ADMIN64_CMD)


def _error_of(*command, **options) -> int:
    try:
        passthrough.command(*command, **options)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


@test(over=TRANSPORTS)
def a_partition_refuses_passthrough_where_its_disk_does_not(transport):
    """Shows L-37."""
    with Target("operations", ports=(transport,)) as target:
        target.connect_all()
        with open(target.head.device, "r+b", buffering=0) as disk:
            disk.write(partition_table(first=2048, size=4096))
            os.fsync(disk.fileno())
            fcntl.ioctl(disk, BLKRRPART)
        with open(target.head.device, "rb") as disk, open(f"{target.head.device}p1", "rb") as partition:
            assert _read_as_nobody(disk) == 0, "an unprivileged reader was refused on the disk"
            answer = _read_as_nobody(partition)
            assert answer == errno.EACCES, f"on the partition the answer was {answer}"


def _read_as_nobody(device) -> int:
    """Reads the first block by a passthrough command and without privileges.

    By the 64 bit command: the in-tree driver does not look for partitions in NVME_IOCTL_IO_CMD.
    """
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        os._exit(_error_of(device, passthrough.READ, data=ctypes.create_string_buffer(512)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@test
def partitions_are_found_when_the_head_appears():
    with Target("operations", ports=("loop", "tcp")) as target:
        target.connect_all()
        with open(target.head.device, "r+b", buffering=0) as disk:
            disk.write(partition_table(first=2048, size=4096))
            os.fsync(disk.fileno())
        target.disconnect()
        target.connect_all()
        partition = pathlib.Path(f"{target.head.directory}/{target.head.name}p1")
        wait.until(partition.exists, "the partition to be found")
        assert (partition / "size").read_text() == "4096\n"
        with Reader(f"{target.head.device}p1") as reader:
            reader.start()
            assert reader.outcome() == "data"
        with open(target.head.device, "r+b", buffering=0) as disk:
            disk.write(bytes(512))
            os.fsync(disk.fileno())
            fcntl.ioctl(disk, BLKRRPART)
        assert not partition.exists(), "a partition that is gone stays"


def partition_table(first, size, kind=LINUX) -> bytes:
    """A sector with one primary partition, or with an extended one."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\0\2\0", first, size)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


@test
def reservations_are_made_on_the_disk_and_not_on_a_partition():
    """The block layer refuses them on a partition, and the driver does not hear of it."""
    with Target("operations", ports=("loop", "tcp"), reservations=True) as target:
        target.connect_all()
        with open(target.head.device, "r+b", buffering=0) as disk:
            disk.write(partition_table(first=2048, size=4096))
            os.fsync(disk.fileno())
            fcntl.ioctl(disk, BLKRRPART)
            fcntl.ioctl(disk, IOC_PR_REGISTER, struct.pack("=QQII", 0, KEY, 0, 0))
            reservation = struct.pack("=QII", KEY, PR_WRITE_EXCLUSIVE, 0)
            fcntl.ioctl(disk, IOC_PR_RESERVE, reservation)
            fcntl.ioctl(disk, IOC_PR_RELEASE, reservation)
            fcntl.ioctl(disk, IOC_PR_REGISTER, struct.pack("=QQII", KEY, 0, 0, 0))
            with open(f"{target.head.device}p1", "r+b") as partition:
                refusal = _refusal(partition, IOC_PR_REGISTER, struct.pack("=QQII", 0, KEY, 0, 0))
        assert refusal in (errno.EPERM, errno.ENOTTY, errno.EOPNOTSUPP), f"a partition answered {refusal}"


@test(over=TRANSPORTS)
def the_remap_trace_shows_the_head_as_the_old_device(transport):
    """Shows L-20."""
    with Target("operations", ports=(transport,)) as target:
        target.connect_all()
        with Trace("block/block_bio_remap") as trace, Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data"
            remaps = [event.text for event in trace.events()]
        # A hidden path has no device number that could be looked for as the new device.
        head = target.head.read("dev").replace(":", ",")
        assert remaps and all(f"<- ({head})" in text for text in remaps), f"the trace is: {remaps}"


@test
def a_namespace_that_grows_grows_its_head():
    """Shows L-21."""
    with Target("operations", ports=("loop", "tcp"), file_backed=True) as target:
        target.connect_all()
        before = int(target.head.read("size"))
        target.resize(512)
        wait.until(lambda: int(target.head.read("size")) == 2 * before, "the head to grow")
        wait.until(lambda: all(int(path.read("size")) == 2 * before for path in target.head.paths()),
                   "its paths to grow")
        with Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data"


def _nvme(*words) -> str:
    return subprocess.run(["nvme", *words], check=True, capture_output=True, text=True).stdout


def _refusal(file, *request):
    try:
        fcntl.ioctl(file, *request)
    except OSError as error:
        return error.errno
    return None
