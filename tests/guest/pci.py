# SPDX-License-Identifier: GPL-2.0
"""PCIe controllers: their NUMA nodes where the machine does not say them (tools/lab/host/vm.py), and their config."""

import mmap
import os
import pathlib
import threading
from contextlib import contextmanager

from tests.guest import wait

BUS = pathlib.Path("/sys/bus/pci")
CLASS = pathlib.Path("/sys/class/nvme")
#: The command register in a device's configuration, and the bit without which it may not use memory.
_COMMAND = 4
_MASTER = 4
#: The word with an NVMe controller's status among its registers, and the bit that says that it has failed.
_STATUS = 0x1C // 4
_FAILED = 2
#: The node of the controllers behind a port, by the port's address. Empty where the machine says it.
NODES = dict(word.split("=") for word in os.environ.get("PCI_NODES", "").split())


def place() -> None:
    """Tells the kernel the node of each controller that it has not been told yet. Before a driver takes it."""
    for port, node in NODES.items():
        for controller in _behind(port):
            file = controller / "numa_node"
            if file.read_text().strip() != node:
                file.write_text(node)


@contextmanager
def arriving(count):
    """A controller comes meanwhile: no driver takes it before the kernel knows its node. There are `count` then."""
    if NODES:
        (BUS / "drivers_autoprobe").write_text("0")
    try:
        yield
        if NODES:
            wait.until(lambda: len(_controllers()) == count, f"{count} controllers")
            place()
    finally:
        if NODES:
            (BUS / "drivers_autoprobe").write_text("1")
            for controller in _controllers():
                (BUS / "drivers_probe").write_text(controller.name)


def address(controller) -> str:
    """Where on the bus an NVMe controller is."""
    return (CLASS / controller / "device").resolve().name


def deafen(controller, deaf=True) -> None:
    """Keeps an NVMe controller from reading commands, until it is told otherwise or the driver resets it."""
    with open(CLASS / controller / "device/config", "r+b", buffering=0) as config:
        _deafen(config, deaf)


def has_failed(controller) -> bool:
    """Whether an NVMe controller says that it cannot go on, as a deaf one does when it gets a command."""
    with (open(CLASS / controller / "device/resource0", "r+b") as file,
          mmap.mmap(file.fileno(), mmap.PAGESIZE) as memory, memoryview(memory) as view, view.cast("I") as registers):
        return bool(registers[_STATUS] & _FAILED)


@contextmanager
def deaf(controller):
    """Keeps an NVMe controller from reading commands for the time of a block.

    After the driver has made it listen, it listens for a moment: until this process gets a CPU.
    """
    done, faults = threading.Event(), []

    def work():
        try:
            with open(BUS / "devices" / where / "config", "r+b", buffering=0) as config:
                while not done.is_set():
                    _deafen(config)
        except Exception as fault:
            faults.append(fault)

    where = address(controller)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if faults:
        raise faults[0]


def _deafen(config, deaf=True) -> None:
    command = int.from_bytes(os.pread(config.fileno(), 2, _COMMAND), "little")
    command = command & ~_MASTER if deaf else command | _MASTER
    os.pwrite(config.fileno(), command.to_bytes(2, "little"), _COMMAND)


def unbind(where) -> None:
    """Takes the NVMe driver off the controller at an address."""
    (BUS / "drivers/nvme/unbind").write_text(where)


def bind(where) -> None:
    (BUS / "drivers/nvme/bind").write_text(where)


def count() -> int:
    """How many controllers there are, as far as the kernel has to be told their nodes."""
    return len(_controllers())


def _controllers() -> list:
    return [device for port in NODES for device in _behind(port)]


def _behind(port) -> list:
    return list((BUS / "devices" / port).glob("????:??:??.?"))
