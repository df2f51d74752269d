# SPDX-License-Identifier: GPL-2.0
"""CPUs that go and come back, and a machine that is suspended, under I/O."""

import os
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.case import test
from tests.e2e.test_io import set_policy
from tests.e2e.test_pcie import pcie_head
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.target import Target

POLICIES = ("numa", "round-robin", "queue-depth")
#: How far the kernel goes before it takes it all back: it stops processes; devices; the platform, too.
LEVELS = ("freezer", "devices", "platform")
_POWER = Path("/sys/power")
#: For how many seconds it stays there.
_DELAY = Path("/sys/module/suspend/parameters/pm_test_delay")
#: How often the kernel has done it.
_SUSPENDED = _POWER / "suspend_stats/success"
#: The kernel's line about a PCIe controller when it has set it up.
_SET_UP = "nvme {}: 2/0/0 default/read/poll queues"
#: The CPU that goes, which is the only one of its node. The first one cannot go.
_CPU = Path("/sys/devices/system/cpu/cpu1/online")
ROUNDS = 2


@test(over=POLICIES, limit=180)
def a_cpu_that_goes_and_comes_back_costs_no_io(policy):
    with pcie_head() as near, Target("power", ports=("loop", "tcp")) as target:
        target.connect_all()
        both = near, target.head
        for head in both:
            set_policy(head, policy)
        with fio.Load(near.device) as one, fio.Load(target.head.device) as other:
            for load in (one, other):
                load.wait_until_pinned()
            for number in range(ROUNDS):
                with _without_cpu():
                    _wait_for_io((one, near), (other, target.head))
                    if number == 1:
                        # A path changes while there is one CPU less.
                        target.ports[0].ana_state = "inaccessible"
                        heads.reset_controller(near.paths()[0].controller)
                    _wait_for_io((one, near), (other, target.head))
                target.ports[0].ana_state = "optimized"
                _wait_for_io((one, near), (other, target.head))
            for load in (one, other):
                assert load.finish().bytes_verified
        if policy == "queue-depth":
            wait.until(lambda: all(path.read("queue_depth") == "0" for head in both for path in head.paths()),
                       "every queue to be empty")


@test(over=LEVELS, limit=180)
def suspending_to_idle_costs_no_io(level):
    with pcie_head() as near, Target("power", ports=("tcp", "tcp")) as target, _suspendable(level):
        target.connect_all()
        with fio.Load(near.device) as one, fio.Load(target.head.device) as other:
            for _ in range(ROUNDS):
                _wait_for_io((one, near), (other, target.head))
                log = KernelLog()
                _suspend()
                for path in near.paths():
                    heads.wait_for_state(path.controller, "live")
                _wait_for_io((one, near), (other, target.head))
                lines = log.new_lines()
                resumed = {path.controller for path in near.paths()
                           if any(_SET_UP.format(path.controller) in line for line in lines)}
                assert len(resumed) == (0 if level == "freezer" else 2), f"{resumed} were suspended, too"
            # And with parked I/O.
            target.set_ana_state("inaccessible")
            target.head.wait_for_parking()
            _suspend()
            assert other.running, "fio did not wait"
            target.set_ana_state("optimized")
            for load in (one, other):
                assert load.finish().bytes_verified


def _wait_for_io(*pairs) -> None:
    for load, head in pairs:
        load.wait_for_io(head, ios=50)


@contextmanager
def _without_cpu():
    _CPU.write_text("0")
    try:
        assert os.cpu_count() == 1
        yield
    finally:
        _CPU.write_text("1")


@contextmanager
def _suspendable(level):
    """Has suspending go as far as `level`, for a second, and keeps devices awake that the guest itself needs."""
    modules.load("stay_awake")
    (_POWER / "pm_test").write_text(level)
    _DELAY.write_text("1")
    try:
        yield
    finally:
        (_POWER / "pm_test").write_text("none")
        modules.unload("stay_awake")


def _suspend() -> None:
    before = int(_SUSPENDED.read_text())
    (_POWER / "state").write_text("freeze")
    assert int(_SUSPENDED.read_text()) == before + 1
