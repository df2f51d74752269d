# SPDX-License-Identifier: GPL-2.0
"""PCIe controllers: one on each NUMA node, both leading to one namespace."""

import mmap
import os
import pathlib
from contextlib import contextmanager

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import host
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import pci
from tests.guest import wait
from tests.guest.skip import Skip
from tests.guest.slot import Slot

NQN = "nqn.2019-08.org.qemu:e2e"
MORE = "nqn.2019-08.org.qemu:more"
BLOCK = 4096
NODES = pathlib.Path("/sys/devices/system/node")
#: This file exists when the library does NVMe multipath, and not when the driver's own code does.
LIBRARY = pathlib.Path("/sys/module/nvme_core/parameters/fence")
#: The reason why tests empty no slots in a kernel with lockdep.
PCIEHP = ("pciehp takes reset_lock and pci_rescan_remove_lock in either order when a card goes, with the kernel's own "
          "NVMe as well, and with lockdep's report all checks of locks are over")


@test
def each_node_uses_the_path_that_is_near():
    """Shows L-13."""
    with pcie_head() as head:
        for path in head.paths():
            assert path.read("numa_nodes") == str(_node(path)), f"{path} serves {path.read('numa_nodes')}"
        before = {path.name: path.completed()[0] for path in head.paths()}
        with fio.Load(head.device) as load:
            load.wait_for_carriers(head, *(path.controller for path in head.paths()))
            load.finish()
        assert all(path.completed()[0] > before[path.name] for path in head.paths())


@test
def a_controller_torn_out_costs_no_io():
    with _slots(), pcie_head() as head:
        with fio.Load(head.device) as load:
            for node in (0, 1):
                load.wait_for_io(head)
                slot = _tear_out(head, node)
                load.wait_for_io(head)
                _put_back(slot, node)
                wait.until(lambda: _settled(head), "the controller to be back")
            load.wait_for_carriers(head, *(path.controller for path in head.paths()))
            load.finish()


@test
def a_controller_pulled_in_order_costs_no_io():
    with _slots(), pcie_head() as head:
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            slot = Slot(path_on(head, 1).controller)
            host.pull("c1")
            wait.until(lambda: len(head.paths()) == 1, "the controller to go")
            load.wait_for_io(head)
            _put_back(slot, 1)
            wait.until(lambda: _settled(head), "the controller to be back")
            load.wait_for_carriers(head, *(path.controller for path in head.paths()))
            load.finish()


@test
def a_controller_unplugged_in_software_costs_no_io():
    if os.uname().machine == "aarch64":
        raise Skip("here a scan of the bus costs other controllers interrupts, and I/O stops with stock, too")
    with pcie_head() as head:
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            device = (heads.CONTROLLERS / path_on(head, 1).controller / "device").resolve()
            (device / "remove").write_text("1")
            wait.until(lambda: len(head.paths()) == 1, "the controller to go")
            load.wait_for_io(head)
            with pci.arriving(pci.count() + 1):
                pathlib.Path("/sys/bus/pci/rescan").write_text("1")
            wait.until(lambda: len(head.paths()) == 2, "the controller to be back")
            load.wait_for_carriers(head, *(path.controller for path in head.paths()))
            load.finish()


@test
def a_pcie_reset_costs_no_io():
    with pcie_head() as head:
        with fio.Load(head.device) as load:
            for path in head.paths() * 2:
                load.wait_for_io(head)
                heads.reset_controller(path.controller)
                heads.wait_for_state(path.controller, "live")
            load.finish()


@test
def io_fails_when_every_controller_is_torn_out():
    with _slots(), pcie_head() as head:
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            slots = [_tear_out(head, node) for node in (0, 1)]
            assert load.failed().errors, "I/O on no controller did not fail"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
        for node, slot in enumerate(slots):
            _put_back(slot, node)
        with fio.Load(_head().device) as load:
            load.wait_for_io(_head())
            load.finish()


@contextmanager
def _slots():
    """Skips the test where it may not empty slots."""
    if os.path.exists("/proc/lockdep_stats"):
        raise Skip(PCIEHP)
    yield


@contextmanager
def pcie_head(**parameters):
    """The PCIe driver, loaded for the time of a test, and its head."""
    modules.load("nvme", **parameters)
    yield _head()
    modules.unload()


def _head():
    """The head, once both nodes have a path of their own."""
    head = wait.until(lambda: heads.of_subsystem(NQN), "the namespace")[0]
    wait.until(lambda: _settled(head), "a path for each node")
    return head


def _settled(head) -> bool:
    try:
        if sorted(path.read("numa_nodes") for path in head.paths()) == ["0", "1"]:
            return True
        if not LIBRARY.exists():
            _choose_anew(head)
    except OSError:
        pass  # it is still coming
    return False


def _choose_anew(head) -> None:
    """Has the driver's own code choose a path for each node once more.

    It may leave a node with the path that was there first. A submitter chooses without the lock under which the driver
    chooses a new path, and may note its choice after that.
    """
    for policy in ("round-robin", "numa"):
        (head.subsystem / "iopolicy").write_text(policy)
    for node in (0, 1):
        with fio.pinned_to(int((NODES / f"node{node}" / "cpulist").read_text())):
            passthrough.read_directly(head.device)


def _node(path) -> int:
    return int((heads.CONTROLLERS / path.controller / "numa_node").read_text())


def path_on(head, node) -> heads.Path:
    """The path whose controller is on a node."""
    (path,) = (path for path in head.paths() if _node(path) == node)
    return path


def _tear_out(head, node) -> Slot:
    path = path_on(head, node)
    slot = Slot(path.controller)
    slot.yank()
    wait.until(lambda: path.name not in (other.name for other in head.paths()), f"{path} to go")
    return slot


def _put_back(slot, node):
    slot.wait_until_free()
    with pci.arriving(pci.count() + 1):
        host.put_back(f"c{node}")


@test
def a_read_goes_to_the_memory_of_its_controller():
    """Shows N-2."""
    with _memory_of_a_controller() as (head, node, memory):
        passthrough.write_directly(head.device, 0, b"peer to peer----" * (BLOCK // 16))
        file = os.open(head.device, os.O_RDONLY | os.O_DIRECT)
        try:
            with fio.pinned_to(node):
                assert os.preadv(file, [memory], 0) == BLOCK
        finally:
            os.close(file)
        assert memory[:] == b"peer to peer----" * (BLOCK // 16)


@contextmanager
def _memory_of_a_controller():
    """A head, a node, and a block of the memory of the controller that this node uses for the head."""
    modules.load("nvme")
    wait.until(lambda: len(heads.of_subsystem(MORE)) == 3, "the namespaces")
    head = heads.of_subsystem(MORE)[1]
    wait.until(lambda: _settled(head), "a path for each node")
    path = path_on(head, 0)
    allocate = (heads.CONTROLLERS / path.controller / "device/p2pmem/allocate").resolve()
    if not allocate.exists():
        modules.unload()
        raise Skip("the kernel has no CONFIG_PCI_P2PDMA")
    file = os.open(allocate, os.O_RDWR)
    try:
        with mmap.mmap(file, BLOCK) as memory:
            yield head, 0, memory
    finally:
        os.close(file)
    modules.unload()
