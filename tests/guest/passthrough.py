# SPDX-License-Identifier: GPL-2.0
"""NVMe commands by ioctl, and I/O without the page cache."""

import ctypes
import fcntl
import mmap
import os
import struct

from tests.guest import wait

NVME_IOCTL_ADMIN64_CMD = 0xC0504E47
NVME_IOCTL_IO64_CMD = 0xC0504E48

FLUSH = 0x00
WRITE = 0x01
READ = 0x02
ZONE_APPEND = 0x7D
IDENTIFY = 0x06
FORMAT = 0x80


def character_device(head) -> str:
    device = head.device.replace("nvme", "ng")
    wait.until(lambda: os.path.exists(device), device)
    return device


def command(file, opcode, nsid=1, data=None, dwords=(0, 0, 0), request=NVME_IOCTL_IO64_CMD) -> int:
    """Sends a command and returns its result; raises OSError, also for an NVMe status."""
    block = argument(opcode, nsid, data, dwords)
    status = fcntl.ioctl(file, request, block)
    if status:
        raise OSError(0, f"command {opcode:#x} ended with NVMe status {status:#x}")
    return struct.unpack_from("=Q", block, 72)[0]


def argument(opcode, nsid=1, data=None, dwords=(0, 0, 0)) -> bytearray:
    """A struct nvme_passthru_cmd64. `data` is a ctypes buffer, `dwords` are those from 10 on."""
    return bytearray(struct.pack(
        "=BBHIIIQQIIIIIIIIIIQ", opcode, 0, 0, nsid, 0, 0, 0, ctypes.addressof(data) if data else 0, 0,
        len(data) if data else 0, *dwords, 0, 0, 0, 0, 0, 0))


def append(file, zone, data, nsid=1) -> int:
    """Appends one block of data to the zone that begins at this block; returns where it went."""
    buffer = ctypes.create_string_buffer(data, len(data))
    return command(file, ZONE_APPEND, nsid, buffer, (zone & 0xFFFFFFFF, zone >> 32, 0))


def aligned(size) -> mmap.mmap:
    """Memory that I/O past the page cache can use."""
    return mmap.mmap(-1, size)


def read_directly(device, offset=0, size=4096) -> bytes:
    buffer = aligned(size)
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        return buffer[:os.preadv(file, [buffer], offset)]
    finally:
        os.close(file)


def write_directly(device, offset, data) -> None:
    buffer = aligned(len(data))
    buffer.write(data)
    file = os.open(device, os.O_WRONLY | os.O_DIRECT)
    try:
        assert os.pwritev(file, [buffer], offset) == len(data)
    finally:
        os.close(file)
