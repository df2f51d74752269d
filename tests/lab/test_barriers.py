# SPDX-License-Identifier: GPL-2.0
"""The plugin with which QEMU executes barriers that it would leave out, in a boot sector on an emulated CPU."""

import subprocess

import pytest

from lab.builds import plugins
from lab.host import arch

TIMES = 0x4000
#: Instructions of real mode that order a store before a later load, and some that do not.
BARRIERS = {
    "mfence": b"\x0f\xae\xf0",
    "lock addw $0, 0x510": b"\xf0\x83\x06\x10\x05\x00",
    "lock incw (%bx)": b"\xf0\xff\x07",
    "xchg %ax, 0x512": b"\x87\x06\x12\x05",
    "xchg %ax, (%bx)": b"\x87\x07",
}
OTHERS = {
    "lfence": b"\x0f\xae\xe8",
    "sfence": b"\x0f\xae\xf8",
    "addw $0, 0x510": b"\x83\x06\x10\x05\x00",
    "xchg %ax, %bx": b"\x87\xc3",
}
PORT = 0xf4


def sector(code: bytes) -> bytes:
    """A boot sector that executes some code TIMES times, and leaves QEMU."""
    begin = b"\x31\xc0\x8e\xd8\xbb\x14\x05\xb9" + TIMES.to_bytes(2, "little")  # ds = 0, bx = 0x514, cx = TIMES
    loop = b"\xe2" + (-len(code) - 2 & 0xff).to_bytes(1, "little")
    text = begin + code + loop + b"\xe6" + bytes([PORT]) + b"\xf4"  # out %al, PORT; hlt
    return text.ljust(510, b"\0") + b"\x55\xaa"


def barriers(directory, code: bytes) -> int:
    """How many barriers the plugin executed until the sector had ended."""
    disk, count = directory / "disk", directory / "count"
    disk.write_bytes(sector(code))
    done = subprocess.run(
        [arch.X86_64.emulator, "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc",
         "-accel", "tcg,thread=single", "-cpu", "max", "-drive", f"file={disk},format=raw,if=ide",
         "-device", f"isa-debug-exit,iobase={PORT}", "-plugin", f"{plugins.barriers()},out={count}"],
        timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode & 1, "the sector did not end QEMU"
    return int(count.read_text())


@pytest.fixture(scope="module")
def of_the_firmware(tmp_path_factory):
    return barriers(tmp_path_factory.mktemp("firmware"), b"")


@pytest.mark.parametrize("name", BARRIERS)
def test_a_barrier_is_executed_each_time(tmp_path, of_the_firmware, name):
    assert barriers(tmp_path, BARRIERS[name]) - of_the_firmware == TIMES


@pytest.mark.parametrize("name", OTHERS)
def test_another_instruction_is_no_barrier(tmp_path, of_the_firmware, name):
    assert barriers(tmp_path, OTHERS[name]) == of_the_firmware
