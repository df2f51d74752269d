# SPDX-License-Identifier: GPL-2.0
"""Devices on top of a head: a mirror of two, a mapped device; and a limit on how much I/O a group of processes may
do."""

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.target import Target

#: For how many seconds a test watches whether something waits, and how fast something is.
OBSERVED, MEASURED = 1, 5
#: The limits that end the wait of a head that has lost its paths, and whether the head is there after that.
LIMITS = {"fast_io_fail_tmo": True, "ctrl_loss_tmo": False}
#: Reads and writes a second that a group may do, each; and those that fio would do of both, on each CPU.
ALLOWED, WANTED = 40, 1000
_MAPPED = "e2e"
#: The size of a part of a mirror, which is copied whole.
_PART_MIB = 64
#: KiB a second at which a mirror copies at least, if it can.
_SPEED = 1000000


class Mirror(heads.Disk):
    """md's RAID1 of two heads.

    It has no bitmap: md changes a page of its bitmap while it writes that page, and the digest of what a path sends is
    then wrong.
    """

    def __init__(self, *parts):
        _run("mdadm", "--create", "/dev/md0", "--run", "--assume-clean", "--level=1", "--raid-devices=2",
             "--metadata=1.2", "--bitmap=none", *(part.device for part in parts))
        super().__init__("md0")
        # Copying need not give way to other I/O.
        self.write("md/sync_speed_min", _SPEED)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # A mirror that cannot be stopped is no reason to hide the exception.
        if not exception[0]:
            _run("mdadm", "--stop", self.device)

    @property
    def is_whole(self) -> bool:
        return self.read("md/degraded") == "0"

    def wait_until_broken(self) -> None:
        wait.until(lambda: not self.is_whole, "the mirror to lose a part", seconds=60)

    def take_back(self, part) -> None:
        """Takes a part in again that has failed, and waits until all data is copied to it."""
        _run("mdadm", self.device, "--remove", "failed")
        wait.until(lambda: len(list((self.directory / "md").glob("dev-*"))) == 1, "the lost part to be out")
        _run("mdadm", self.device, "--add", part.device)
        wait.until(lambda: self.is_whole, "the mirror to be whole", seconds=120)


@test(over=LIMITS, limit=300)
def a_mirror_outlives_the_loss_of_all_paths_of_either_head(limit):
    log = KernelLog()
    with (Target("left", ports=("tcp",) * 2, mib=_PART_MIB) as left,
          Target("right", ports=("tcp",) * 2, mib=_PART_MIB) as right):
        for target in (left, right):
            target.connect_all(**{limit: 2})
        with Mirror(left.head, right.head) as mirror, fio.Load(mirror.device) as load:
            load.wait_for_io(mirror)
            _stop(left)
            mirror.wait_until_broken()
            load.wait_for_io(mirror)
            _start(left, limit)
            mirror.take_back(left.head)
            load.wait_for_io(mirror)
            # From here on all data is that which was copied to the left one, or written to it since.
            _stop(right)
            mirror.wait_until_broken()
            load.wait_for_io(mirror)
            assert load.finish().bytes_verified
    # A page that changes while a path sends it costs that path its connection.
    assert not [line for line in log.new_lines() if "digest error" in line]


def _stop(target) -> None:
    for port in target.ports:
        port.stop()


def _start(target, limit) -> None:
    """Connects all paths again, which were lost for longer than the limit of this name."""
    for port in target.ports:
        port.start()
    if LIMITS[limit]:
        for controller in heads.controllers_of_subsystem(target.nqn):
            heads.wait_for_state(controller, "live")
    else:
        wait.until(lambda: not heads.controllers_of_subsystem(target.nqn), "the controllers to be given up")
        target.connect_all(**{limit: 2})


@test(limit=180)
def a_mapped_device_that_is_suspended_over_parked_io_loses_none():
    with Target("stacked", ports=("tcp",) * 2) as target:
        target.connect_all()
        head = target.head
        with _mapped(head) as disk, fio.Load(disk.device) as load:
            load.wait_for_io(disk)
            target.set_ana_state("inaccessible")
            head.wait_for_parking()
            suspending = subprocess.Popen(["dmsetup", "suspend", _MAPPED], env=_without_udev())
            time.sleep(OBSERVED)
            assert suspending.poll() is None, "it did not wait for what is parked"
            target.set_ana_state("optimized")
            assert suspending.wait() == 0
            before = disk.completed(), head.completed()
            target.set_ana_state("inaccessible")
            time.sleep(OBSERVED)
            assert (disk.completed(), head.completed()) == before, "it is not suspended"
            parked = head.parked
            _run("dmsetup", "resume", _MAPPED)
            wait.until(lambda: head.parked > parked, "what was held back to be parked")
            assert load.running, "fio did not wait"
            target.set_ana_state("optimized")
            load.wait_for_io(disk)
            load.finish()


@contextmanager
def _mapped(head):
    """A device of dm-linear that is all of a head."""
    _run("dmsetup", "create", _MAPPED, "--table", f"0 {head.read('size')} linear {head.device} 0")
    try:
        yield heads.Disk(_run("dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", _MAPPED).strip())
    finally:
        _run("dmsetup", "remove", _MAPPED)


@test(limit=180)
def a_limit_on_the_io_of_a_group_holds_while_states_change():
    with Target("stacked", ports=("tcp",) * 2) as target:
        target.connect_all()
        head = target.head
        with _limited_to(head, ALLOWED), fio.Load(head.device, rate=WANTED) as load:
            load.wait_for_io(head, ios=ALLOWED)
            begin, before = time.monotonic(), head.completed()[0]
            while time.monotonic() < begin + MEASURED:
                for first, second in (("inaccessible", "optimized"), ("optimized", "inaccessible")):
                    target.ports[1].ana_state = second
                    target.ports[0].ana_state = first
                    time.sleep(OBSERVED / 4)
            rate = (head.completed()[0] - before) / (time.monotonic() - begin)
            target.set_ana_state("optimized")
            assert ALLOWED / 2 < rate < 2 * ALLOWED * 1.2, f"{rate:.0f} reads and writes a second"
            load.finish()


@contextmanager
def _limited_to(head, rate):
    """The children that this process starts meanwhile may do so many reads, and so many writes, a second on a head."""
    with tempfile.TemporaryDirectory(dir="/run") as name:
        root = Path(name)
        _run("mount", "-t", "cgroup2", "none", name)
        try:
            (root / "cgroup.subtree_control").write_text("+io")
            group = root / "limited"
            group.mkdir()
            (group / "io.max").write_text(f"{head.read('dev')} riops={rate} wiops={rate}")
            (group / "cgroup.procs").write_text(str(os.getpid()))
            try:
                yield
            finally:
                (root / "cgroup.procs").write_text(str(os.getpid()))
                wait.until(lambda: not (group / "cgroup.procs").read_text(), "the group to be empty")
                group.rmdir()
                (root / "cgroup.subtree_control").write_text("-io")
        finally:
            _run("umount", name)


def _run(*command) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=_without_udev())
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


def _without_udev() -> dict:
    """Leaves it to the kernel alone to make nodes."""
    return os.environ | {"DM_DISABLE_UDEV": "1", "MDADM_NO_UDEV": "1"}
