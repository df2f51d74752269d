# SPDX-License-Identifier: GPL-2.0
"""Ioctls: their results and their changes to the argument, for 64-bit and 32-bit callers."""

import ctypes
import errno
import fcntl
import mmap
import os
import struct

from tests.parity.seen import outcome

SUBMIT_IO = 0x4E42 | 0x40300000
IO_CMD = 0xC0484E43
ADMIN_CMD = 0xC0484E41
ADMIN64_CMD = 0xC0504E47
IO64_CMD = 0xC0504E48
IO64_CMD_VEC = 0xC0504E49
IDENTIFY = 6
READ = 2
WRITE = 1

#: Where the second zone of a disk with zones of 16 MiB begins; nothing in the tables fills it.
SECOND_ZONE = 16 << 20

#: Requests without an argument, or with one whose content is the answer.
PLAIN = {
    "NVME_IOCTL_ID": (0x4E40, b""),
    "NVME_IOCTL_RESCAN": (0x4E46, b""),
    "NVME_IOCTL_SUBSYS_RESET": (0x4E45, b""),
    "NVME_IOCTL_RESET": (0x4E44, b""),
    "BLKROGET": (0x125E, bytes(4)),
    "BLKGETSIZE": (0x1260, bytes(8)),
    "BLKRAGET": (0x1263, bytes(8)),
    "BLKSECTGET": (0x1267, bytes(2)),
    "BLKSSZGET": (0x1268, bytes(4)),
    "BLKBSZGET": (0x80081270, bytes(8)),
    "BLKGETSIZE64": (0x80081272, bytes(8)),
    "BLKIOMIN": (0x1278, bytes(4)),
    "BLKIOOPT": (0x1279, bytes(4)),
    "BLKALIGNOFF": (0x127A, bytes(4)),
    "BLKPBSZGET": (0x127B, bytes(4)),
    "BLKDISCARDZEROES": (0x127C, bytes(4)),
    "BLKROTATIONAL": (0x127E, bytes(2)),
    "BLKGETZONESZ": (0x80041284, bytes(4)),
    "BLKGETNRZONES": (0x80041285, bytes(4)),
    "FS_IOC_GETLBMD_CAP": (0xC0001502 | 56 << 16, bytes(56)),
    "HDIO_GETGEO": (0x0301, bytes(24)),
    "HDIO_GET_IDENTITY": (0x030D, bytes(512)),
    "CDROM_GET_CAPABILITY": (0x5331, b""),
    "SG_IO": (0x2285, bytes(96)),
    "BLKFLSBUF": (0x1261, b""),
    "BLKDISCARD": (0x1277, struct.pack("=QQ", 1 << 20, 1 << 20)),
    "BLKSECDISCARD": (0x127D, struct.pack("=QQ", 1 << 20, 1 << 20)),
    "BLKZEROOUT": (0x127F, struct.pack("=QQ", 1 << 20, 1 << 20)),
    "BLKREPORTZONE": (0xC0101282, struct.pack("=QII", 0, 2, 0) + bytes(128)),
    "BLKRESETZONE": (0x40101283, struct.pack("=QQ", 0, 32768)),
    "BLKOPENZONE": (0x40101286, struct.pack("=QQ", 0, 32768)),
    "BLKFINISHZONE": (0x40101288, struct.pack("=QQ", 0, 32768)),
    "BLKCLOSEZONE": (0x40101287, struct.pack("=QQ", SECOND_ZONE >> 9, 32768)),
    "BLKRRPART": (0x125F, b""),
    "IOC_OPAL_GET_STATUS": (0x80087000 | 0xEC, bytes(8)),
    "OPAL_DISCOVERY": (0x401870EF, bytes(24)),
    "IOC_OPAL_LOCK_UNLOCK": (0x411870DD, bytes(0x118)),
    "unknown 0x1234": (0x1234, b""),
    "unknown N/0x7f": (0x4E7F, b""),
}

NSID = 1
#: Commands, each with its opcode, namespace, length of data and first dword.
ADMIN_COMMANDS = {
    "admin: identify the controller": (ADMIN_CMD, IDENTIFY, 0, 4096, 1),
    "admin: identify the namespace": (ADMIN_CMD, IDENTIFY, NSID, 4096, 0),
    "admin64: identify the namespace": (ADMIN64_CMD, IDENTIFY, NSID, 4096, 0),
    "admin64: identify nonsense": (ADMIN64_CMD, IDENTIFY, NSID, 4096, 0x7F),
    "admin64: an opcode that does not exist": (ADMIN64_CMD, 0xBF, NSID, 0, 0),
    "admin64: a namespace that does not exist": (ADMIN64_CMD, IDENTIFY, 77, 4096, 0),
}

KEY, OTHER_KEY = 0x1234, 0x5678
WRITE_EXCLUSIVE, EXCLUSIVE_REGISTRANTS, NO_TYPE = 1, 4, 99
REGISTER, RESERVE, RELEASE, PREEMPT, PREEMPT_ABORT, CLEAR, READ_RESERVATION = (
    0x401870C8, 0x401070C9, 0x401070CA, 0x401870CB, 0x401870CC, 0x401070CD, 0x801070CF)
READ_KEYS = 0xC01070CE

#: Reservations, in an order in which each request means something.
RESERVATIONS = {
    "read keys of nobody": (READ_KEYS, 0),
    "reserve without a registration": (RESERVE, struct.pack("=QII", KEY, WRITE_EXCLUSIVE, 0)),
    "register": (REGISTER, struct.pack("=QQII", 0, KEY, 0, 0)),
    "register again with a wrong key": (REGISTER, struct.pack("=QQII", OTHER_KEY, 1, 0, 0)),
    "register with a flag that does not exist": (REGISTER, struct.pack("=QQII", 0, KEY, 0x80, 0)),
    "register, whatever the old key": (REGISTER, struct.pack("=QQII", 0, KEY, 1, 0)),
    "read keys": (READ_KEYS, 4),
    "reserve with a wrong key": (RESERVE, struct.pack("=QII", OTHER_KEY, WRITE_EXCLUSIVE, 0)),
    "reserve with a type that does not exist": (RESERVE, struct.pack("=QII", KEY, NO_TYPE, 0)),
    "reserve": (RESERVE, struct.pack("=QII", KEY, WRITE_EXCLUSIVE, 0)),
    "read the reservation": (READ_RESERVATION, bytes(16)),
    "release with a wrong type": (RELEASE, struct.pack("=QII", KEY, EXCLUSIVE_REGISTRANTS, 0)),
    "release with a wrong key": (RELEASE, struct.pack("=QII", OTHER_KEY, WRITE_EXCLUSIVE, 0)),
    "release": (RELEASE, struct.pack("=QII", KEY, WRITE_EXCLUSIVE, 0)),
    "reserve for registrants": (RESERVE, struct.pack("=QII", KEY, EXCLUSIVE_REGISTRANTS, 0)),
    "preempt oneself": (PREEMPT, struct.pack("=QQII", KEY, KEY, WRITE_EXCLUSIVE, 0)),
    "preempt with a wrong key": (PREEMPT, struct.pack("=QQII", OTHER_KEY, KEY, WRITE_EXCLUSIVE, 0)),
    "preempt and abort": (PREEMPT_ABORT, struct.pack("=QQII", KEY, OTHER_KEY, WRITE_EXCLUSIVE, 0)),
    "clear with a wrong key": (CLEAR, struct.pack("=QII", OTHER_KEY, 0, 0)),
    "clear": (CLEAR, struct.pack("=QII", KEY, 0, 0)),
    "read no reservation": (READ_RESERVATION, bytes(16)),
}


def note(seen, area, device, flags=os.O_RDONLY, call=None, block=512) -> None:
    """Notes the answers of one device node to every request of the table.

    `block` is the size of its blocks, or None when passthrough I/O would need metadata as well.
    """
    call = call or native
    commands = ADMIN_COMMANDS | (io_commands(block) if block else {})
    with opened(device, flags) as file:
        for name, (request, argument) in PLAIN.items():
            seen.note(area, name, outcome(call, file.fileno(), request, argument))
        for name, (request, *command) in commands.items():
            seen.note(area, name, outcome(_command, call, file.fileno(), request, *command))


def note_reservations(seen, area, device, flags=os.O_RDWR, call=None) -> None:
    with opened(device, flags) as file:
        for name, (request, argument) in RESERVATIONS.items():
            function = _keys if request == READ_KEYS else call or native
            seen.note(area, name, outcome(function, file.fileno(), request, argument))


def opened(device, flags):
    return open(os.open(device, flags), "rb", buffering=0)


def io_commands(block) -> dict:
    """Passthrough I/O of 4 KiB to a namespace with blocks of that size."""
    blocks = 4096 // block
    return {
        "io: read": (IO_CMD, READ, NSID, 4096, 0, blocks),
        "io64: read": (IO64_CMD, READ, NSID, 4096, 0, blocks),
        "io64: read beyond the end": (IO64_CMD, READ, NSID, 4096, 0x7FFFFFFF, blocks),
        "io64: write": (IO64_CMD, WRITE, NSID, 4096, 512, blocks),
        "io64: an opcode that does not exist": (IO64_CMD, 0x7F, NSID, 0, 0),
        "io64: a namespace that is another": (IO64_CMD, READ, 77, 4096, 0, blocks),
        "io64: a namespace that cannot be": (IO64_CMD, READ, 0xFFFFFFFF, 4096, 0, blocks),
        "io64 vector of nothing sensible": (IO64_CMD_VEC, READ, NSID, 4096, 0, blocks),
        "submit: read": (SUBMIT_IO, READ, NSID, 4096, 0, blocks),
    }


def native(fd, request, argument) -> str:
    """The result of the request, with the contents of its argument afterwards."""
    if not argument:
        return str(fcntl.ioctl(fd, request))
    buffer = bytearray(argument)
    return f"{fcntl.ioctl(fd, request, buffer)} {_hex(buffer)}"


def native_command(fd, request, *command) -> str:
    """Sends a command of the tables above."""
    return _command(native, fd, request, *command)


def _command(call, fd, request, opcode, nsid, length, first, blocks=1) -> str:
    data = low_memory(length or 1)
    address = ctypes.addressof(ctypes.c_char.from_buffer(data))
    if request == SUBMIT_IO:
        # struct nvme_user_io: opcode, number of blocks, address, first block.
        command = struct.pack("=B3xH10xQQ16x", opcode, blocks - 1, address, first)
    else:
        # struct nvme_passthru_cmd and _cmd64: opcode, nsid, address and length of the data, dwords 10 and 12.
        rest = 28 if request in (ADMIN64_CMD, IO64_CMD, IO64_CMD_VEC) else 20
        command = struct.pack(f"=B3xI16xQ4xII4xI{rest}x", opcode, nsid, address, length, first, blocks - 1)
    status = call(fd, request, command).split()[0]
    return f"{status} {_hex(data)}" if opcode in (IDENTIFY, READ) else status


def _keys(fd, request, count) -> str:
    """Reads the registered keys, at most `count`."""
    keys = (ctypes.c_uint64 * max(count, 1))()
    buffer = bytearray(struct.pack("=IIQ", 0, count, ctypes.addressof(keys)))
    result = fcntl.ioctl(fd, request, buffer)
    generation, number, _ = struct.unpack("=IIQ", buffer)
    return f"{result} generation {generation} number {number} keys {[hex(key) for key in keys]}"


def _hex(data) -> str:
    """Bytes, with a word in place of each run of zeros."""
    text = bytes(data).rstrip(b"\0").hex()
    return f"{text or 'zeros'} of {len(data)}"


def low_memory(size) -> mmap.mmap:
    """Memory that a 32-bit pointer can address."""
    return _map(size, mmap.PROT_READ | mmap.PROT_WRITE)


def _map(size, protection) -> mmap.mmap:
    MAP_32BIT = 0x40
    return mmap.mmap(-1, max(size, mmap.PAGESIZE), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, protection)


#: push rbx; mov eax, edi; mov ebx, esi; mov edi, edx; mov edx, ecx; mov ecx, edi; int 0x80; cdqe; pop rbx; ret
_COMPAT_CALL = bytes.fromhex("53 89f8 89f3 89d7 89ca 89f9 cd80 4898 5b c3")
_IOCTL_32 = 54
_code = None


def compat(fd, request, argument) -> str:
    """As `native()`, through the door for 32-bit programs, which 64-bit ones may use as well."""
    global _code
    if _code is None:
        _code = _map(mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        _code.write(_COMPAT_CALL)
    kind = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)
    call = kind(ctypes.addressof(ctypes.c_char.from_buffer(_code)))
    memory = low_memory(len(argument) or 1)
    memory[:len(argument)] = argument
    pointer = ctypes.addressof(ctypes.c_char.from_buffer(memory)) if argument else 0
    result = call(_IOCTL_32, fd, request, pointer)
    if -4096 < result < 0:
        raise OSError(-result, errno.errorcode.get(-result, "?"))
    return f"{result} {_hex(memory[:len(argument)])}" if argument else str(result)
