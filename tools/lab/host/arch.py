# SPDX-License-Identifier: GPL-2.0
"""The architectures that guests can have, and the differences between their machines."""

from dataclasses import dataclass
from pathlib import Path

from lab.host import log


@dataclass(frozen=True)
class Arch:
    """An architecture, by the name that the kernel's make has for it."""

    name: str
    #: The file in the build directory that its kernel is booted from, and the target that makes it.
    image: Path
    #: The options of a kernel that can print on this machine, and its name for the first serial line.
    options: tuple
    console: str
    #: More of the kernel's command line.
    parameters: str
    #: QEMU, the package that has it, and its words for the machine and for the CPU where that is emulated.
    emulator: str
    package: str
    machine: str
    cpu: str
    #: Can a machine have a host bridge for each of its nodes?
    has_bridges: bool


X86_64 = Arch(
    name="x86_64",
    image=Path("arch/x86/boot/bzImage"),
    options=("CONFIG_SERIAL_8250_CONSOLE",),
    console="ttyS0",
    # On a busy host an emulated timer may come too late for the kernel's check of it, which then ends the boot.
    parameters="tsc=reliable no_timer_check",
    emulator="qemu-system-x86_64",
    package="qemu-system-x86",
    machine="q35",
    cpu="max",
    has_bridges=True,
)
ARM64 = Arch(
    name="arm64",
    image=Path("arch/arm64/boot/Image"),
    options=("CONFIG_SERIAL_AMBA_PL011_CONSOLE", "CONFIG_PCI_HOST_GENERIC"),
    console="ttyAMA0",
    # Without firmware that forbids it, a port with an empty slot sleeps, and QEMU does not wake it for a card.
    parameters="pcie_port_pm=off",
    emulator="qemu-system-aarch64",
    package="qemu-system-arm",
    machine="virt,gic-version=3",
    # A newer one has more to emulate, such as signed pointers.
    cpu="neoverse-n1",
    # The firmware would have to tell the kernel of bridges, and there is none.
    has_bridges=False,
)
ALL = (X86_64, ARM64)
#: The host's own.
HOSTS = X86_64


def named(name: str) -> Arch:
    """The architecture that ARCH= asks for."""
    for arch in ALL:
        if arch.name == name:
            return arch
    log.fail(f"ARCH={name} is none of {', '.join(arch.name for arch in ALL)}")
