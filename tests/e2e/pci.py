# SPDX-License-Identifier: GPL-2.0
"""Which NUMA nodes PCIe controllers are on, where the machine does not say so (see tools/lab/vm.py)."""

import os
import pathlib
from contextlib import contextmanager

from tests.e2e import wait

BUS = pathlib.Path("/sys/bus/pci")
#: The node of what is behind a port, by the port's address. Empty where the machine says it.
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
    """A controller comes meanwhile: no driver takes it before its node is known. There are `count` then."""
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


def count() -> int:
    """How many controllers there are, as far as their nodes have to be told."""
    return len(_controllers())


def _controllers() -> list:
    return [device for port in NODES for device in _behind(port)]


def _behind(port) -> list:
    return list((BUS / "devices" / port).glob("????:??:??.?"))
