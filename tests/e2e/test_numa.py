# SPDX-License-Identifier: GPL-2.0
"""Machines with other nodes than two that each have CPUs, memory and a controller."""

import mmap
import os
import pathlib
from contextlib import contextmanager

from tests.e2e.case import test
from tests.e2e.test_pcie import NQN
from tests.e2e.test_pcie import pcie_head
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import host
from tests.guest import modules
from tests.guest import wait
from tests.guest.skip import Skip

NODES = pathlib.Path("/sys/devices/system/node")
#: The node that comes later.
LATE = 2
READS = 50


@test
def a_path_follows_its_controller_to_another_node():
    """Shows A-15."""
    with pcie_head() as head:
        path = next(path for path in head.paths() if _node(path) == 0)
        _tell_node(path, 1)
        try:
            heads.reset_controller(path.controller)
            heads.wait_for_state(path.controller, "live")
            assert _node(path) == 1
            # Both are near to the one node now, and equally far from the other.
            wait.until(lambda: sorted(path.read("numa_nodes") for path in head.paths()) == ["", "0-1"],
                       "one path to serve both nodes")
        finally:
            _tell_node(path, 0)
            heads.reset_controller(path.controller)
        heads.wait_for_state(path.controller, "live")
        _each_node_uses_its_own_path(head)


def _node(path) -> int:
    return int((heads.CONTROLLERS / path.controller / "numa_node").read_text())


def _tell_node(path, node) -> None:
    """Has the kernel think that a controller is on another node, from its next reset."""
    (heads.CONTROLLERS / path.controller / "device" / "numa_node").write_text(str(node))


@test(machine="one node")
def one_node_uses_one_path_or_all():
    """Shows L-1."""
    assert _nodes("possible") == "0"
    modules.load("nvme")
    head = wait.until(lambda: heads.of_subsystem(NQN), "the namespace")[0]
    wait.until(lambda: len(head.paths()) == 2, "both paths")
    wait.until(lambda: sorted(path.read("numa_nodes") for path in head.paths()) == ["", "0"], "a path for the node")
    with fio.Load(head.device) as load:
        used = [path.controller for path in head.paths() if path.read("numa_nodes")]
        load.wait_for_carriers(head, *used)
        (head.subsystem / "iopolicy").write_text("round-robin")
        load.wait_for_carriers(head, *(path.controller for path in head.paths()))
        load.finish()
    modules.unload()


@test(machine="a node without memory")
def a_node_without_memory_uses_the_path_that_is_near():
    """Shows L-1, L-13."""
    assert (_nodes("online"), _nodes("has_memory")) == ("0-1", "0")
    with pcie_head() as head:
        _each_node_uses_its_own_path(head)


@test(machine="a node to come")
def a_node_that_there_may_be_later_takes_nothing_from_the_others():
    """Shows L-1."""
    if not _memory_can_be_plugged():
        raise Skip("this kernel has no CONFIG_ACPI_HOTPLUG_MEMORY")
    assert (_nodes("possible"), _nodes("online")) == ("0-2", "0-1")
    with pcie_head() as head:
        _each_node_uses_its_own_path(head)


@test(machine="a node to come")
def a_node_that_comes_online_later_disturbs_nobody():
    """Shows L-1."""
    if not _memory_can_be_plugged():
        raise Skip("this kernel has no CONFIG_ACPI_HOTPLUG_MEMORY")
    with pcie_head() as head, fio.Load(head.device) as load:
        load.wait_for_carriers(head, *(path.controller for path in head.paths()))
        host.plug_node()
        for state in wait.until(lambda: list((NODES / f"node{LATE}").glob("memory*/state")), "the node's memory"):
            if state.read_text().strip() == "offline":
                state.write_text("online")
        wait.until(lambda: (_nodes("online"), _nodes("has_memory")) == ("0-2", "0-2"), "the node to be online")
        load.wait_for_carriers(head, *(path.controller for path in head.paths()))
        load.finish()
        # It is as far from the one path as from the other, and one of them serves it.
        assert sorted(path.read("numa_nodes") for path in head.paths()) in (["0,2", "1"], ["0", "1-2"])
        _each_node_uses_its_own_path(head)


def _memory_can_be_plugged() -> bool:
    return " acpi_memory_device_add\n" in pathlib.Path("/proc/kallsyms").read_text()


def _nodes(which) -> str:
    return (NODES / which).read_text().strip()


def _each_node_uses_its_own_path(head) -> None:
    for node in (0, 1):
        paths = {_node(path): path for path in head.paths()}
        before = {place: path.completed()[0] for place, path in paths.items()}
        with _on(node):
            _read(head)
        more = {place: path.completed()[0] - before[place] for place, path in paths.items()}
        assert more[node] >= READS and more[1 - node] < READS, f"from node {node}: {more}"


@contextmanager
def _on(node):
    """Runs on the CPUs of a node, which has one."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int((NODES / f"node{node}" / "cpulist").read_text())})
    yield
    os.sched_setaffinity(0, cpus)


def _read(head) -> None:
    """Reads past the page cache, so that the CPU that reads is the one that submits."""
    device = os.open(head.device, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, fio.BLOCK) as block:
        for number in range(READS):
            assert os.preadv(device, [block], number * fio.BLOCK) == fio.BLOCK
    os.close(device)
