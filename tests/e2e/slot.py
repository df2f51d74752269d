# SPDX-License-Identifier: GPL-2.0
"""PCIe slots: the hardware side of a controller's removal."""

import os
import pathlib
import time

PCI = pathlib.Path("/sys/bus/pci/devices")
NVME_CLASS = "0x010802"

#: Seconds for QEMU to end what a card without power was doing; dropping a busy one crashes it (7.2).
QEMU_SETTLES = 0.1

_CAPABILITY_LIST = 0x34
_PCI_EXPRESS = 0x10
_SLOT_CONTROL = 0x18
_PRESENCE_CHANGED_ENABLE = 0x0008
_INTERRUPT_ENABLE = 0x0020
_POWER_INDICATOR_OFF = 0x0300
_POWER_OFF = 0x0400


class Slot:
    """The slot that a PCIe controller sits in."""

    def __init__(self, controller):
        device = (pathlib.Path("/sys/class/nvme") / controller / "device").resolve()
        self.address = device.name
        self._port = device.parent

    def yank(self) -> None:
        """Makes the controller disappear at once, as if torn out: the driver learns it from the loss.

        QEMU has no command for this, but it drops a card whose slot is powered down. So that the
        kernel's hotplug driver only sees the empty slot, its interrupt is off meanwhile.
        """
        with open(self._port / "config", "r+b", buffering=0) as config:
            register = _find_capability(config, _PCI_EXPRESS) + _SLOT_CONTROL
            before = _read(config, register, 2)
            silent = before & ~_INTERRUPT_ENABLE
            _write(config, register, silent | _POWER_OFF)
            time.sleep(QEMU_SETTLES)
            _write(config, register, silent | _POWER_OFF | _POWER_INDICATOR_OFF)
            _write(config, register, before | _PRESENCE_CHANGED_ENABLE)


def _find_capability(config, wanted) -> int:
    offset = _read(config, _CAPABILITY_LIST, 1)
    while offset:
        if _read(config, offset, 1) == wanted:
            return offset
        offset = _read(config, offset + 1, 1)
    raise LookupError(f"{config.name} has no capability {wanted:#x}")


def _read(config, offset, size) -> int:
    return int.from_bytes(os.pread(config.fileno(), size, offset), "little")


def _write(config, offset, value) -> None:
    os.pwrite(config.fileno(), value.to_bytes(2, "little"), offset)
