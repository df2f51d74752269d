# SPDX-License-Identifier: GPL-2.0
"""PCIe slots: the hardware side of a controller's removal."""

import os
import pathlib
import time

from tests.guest import wait

#: Seconds for QEMU to end the work of a card without power; dropping a busy one crashes it (7.2).
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

        QEMU has no command for this, but it drops a card whose slot is powered down. This switches off the interrupt of
        the kernel's hotplug driver meanwhile, so that the driver only sees the empty slot.
        """
        before = self._control
        silent = before & ~_INTERRUPT_ENABLE
        self._control = silent | _POWER_OFF
        time.sleep(QEMU_SETTLES)
        self._control = silent | _POWER_OFF | _POWER_INDICATOR_OFF
        self._control = before | _PRESENCE_CHANGED_ENABLE

    def wait_until_free(self) -> None:
        """Waits until the kernel is done with the card that was in the slot, so that another one can be put in.

        Its last step, a second after the power, is to switch the light off. QEMU drops the card in the slot then.
        """
        dark = _POWER_OFF | _POWER_INDICATOR_OFF
        wait.until(lambda: self._control & dark == dark, "the slot to be free")

    @property
    def _control(self) -> int:
        with open(self._port / "config", "rb", buffering=0) as config:
            return _read(config, _find_capability(config, _PCI_EXPRESS) + _SLOT_CONTROL, 2)

    @_control.setter
    def _control(self, value) -> None:
        with open(self._port / "config", "r+b", buffering=0) as config:
            offset = _find_capability(config, _PCI_EXPRESS) + _SLOT_CONTROL
            os.pwrite(config.fileno(), value.to_bytes(2, "little"), offset)


def _find_capability(config, wanted) -> int:
    offset = _read(config, _CAPABILITY_LIST, 1)
    while offset:
        if _read(config, offset, 1) == wanted:
            return offset
        offset = _read(config, offset + 1, 1)
    raise LookupError(f"{config.name} has no capability {wanted:#x}")


def _read(config, offset, size) -> int:
    return int.from_bytes(os.pread(config.fileno(), size, offset), "little")

