# SPDX-License-Identifier: GPL-2.0
"""PCIe subsystems with a controller on each NUMA node, one for each kind of namespace.

The host gives them: tools/lab/suites/parity.py. Each has one namespace: the driver scans those of a controller at the
same time, and names them in the order in which the scans end.
"""

import contextlib
import os
import pathlib

from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.parity import fabrics
from tests.parity import ioctls
from tests.parity import tools
from tests.parity import traced_io
from tests.parity import tree
from tests.parity.events import Events
from tests.parity.seen import content
from tests.parity.seen import outcome

BUS = pathlib.Path("/sys/bus/pci")
NVME_CLASS = "0x010802"
NQN = "nqn.2019-08.org.qemu:"
#: The size of a block, or None where passthrough needs metadata.
BLOCKS = {"pcie": 512, "pcie4k": 4096, "pciepi": None, "pciezoned": 4096}


def _pcie(seen):
    with _driver(seen):
        for kind, block in BLOCKS.items():
            (head,) = heads.of_subsystem(NQN + kind)
            tree.note_subsystem(seen, NQN + kind)
            for name, device in (("disk", head.device), ("character device", fabrics.character_device(head))):
                ioctls.note(seen, f"{kind}: ioctl on the {name}", device, os.O_RDWR, block=block)
            traced_io.note(seen, head, f"{kind}: ", start=ioctls.SECOND_ZONE)
            tools.note_shape(seen, head)
        tools.note_list(seen)
        tree.note_nodes(seen)
        head = heads.of_subsystem(NQN + "pcie")[0]
        traced_io.note_counters(seen, head)
        _note_both_nodes(seen, head)


def _note_both_nodes(seen, head) -> None:
    """Which path each node takes, before and after the near one is gone."""
    _note_choice(seen, "both paths", head)
    gone = head.paths()[0]
    address = (heads.CONTROLLERS / gone.controller / "device").resolve().name
    # Not by removing the device: QEMU 7.2 crashes now and then when the bus is looked through again.
    (BUS / "drivers/nvme/unbind").write_text(address)
    wait.until(lambda: len(head.paths()) == 1, "the controller to go")
    _note_choice(seen, "one path", head)
    _bind(address)
    wait.until(lambda: len(head.paths()) == 2, "the controller to be back")
    _note_choice(seen, "both paths again", head)


def _note_choice(seen, when, head) -> None:
    for cpu in range(os.cpu_count()):
        seen.note("paths", f"{when}: trace of a read on CPU {cpu}", traced_io.of_a_read(head, cpu))
    for path in head.paths():
        for name in ("numa_nodes", "ana_state", "queue_depth"):
            seen.note("paths", f"{when}: {path} {name}", outcome(content, path.directory / name))


@contextlib.contextmanager
def _driver(seen):
    """The driver with one controller bound after the other, so that names do not depend on which was faster."""
    (BUS / "drivers_autoprobe").write_text("0")
    modules.load("nvme")
    events = Events()
    for device in sorted(BUS.glob("devices/*")):
        if (device / "class").read_text().strip() == NVME_CLASS:
            _bind(device.name)
    for kind in BLOCKS:
        head = wait.until(lambda: heads.of_subsystem(NQN + kind), f"the namespace of {kind}")[0]
        wait.until(lambda: len(list((head.directory / "multipath").iterdir())) == 2, f"both paths of {head}")
        wait.until(lambda: os.path.exists(fabrics.character_device(head)), "the character device")
    yield
    modules.unload()
    events.note(seen)


def _bind(address) -> None:
    (BUS / "drivers/nvme/bind").write_text(address)
    (controller,) = (BUS / "devices" / address / "nvme").iterdir()
    heads.wait_for_state(controller.name, "live")
    kind = (controller / "subsysnqn").read_text().strip()
    count = len(heads.controllers_of_subsystem(kind))
    wait.until(lambda: heads.of_subsystem(kind) and len(heads.of_subsystem(kind)[0].paths()) == count,
               f"the path through {controller.name}")


ACTS = {"pcie": _pcie}
