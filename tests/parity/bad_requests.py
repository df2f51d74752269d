# SPDX-License-Identifier: GPL-2.0
"""Bad requests: nonsense in every attribute, and I/O and ioctls that must be refused."""

import ctypes
import errno
import fcntl
import mmap
import os
import pathlib
import select
import struct

from tests.parity import ioctls
from tests.parity.seen import outcome

NONSENSE = ("nonsense", "", "-1", "4294967296", "99999999999999999999", "1 1", "0x")
#: Attributes that act on every write, whatever the value, or take a whole command line.
_DEEDS = ("delete_controller", "reset_controller", "rescan_controller", "uevent", "control")
NOBODY = 65534


def note_attributes(seen, *roots) -> None:
    """Writes nonsense to every attribute that can be written, and notes its value afterwards."""
    for root in roots:
        for directory, _, files in os.walk(root):
            for name in sorted(files):
                file = pathlib.Path(directory, name)
                if not file.is_symlink() and file.stat().st_mode & 0o200 and name not in _DEEDS:
                    _note_attribute(seen, f"{root.name}/{file.relative_to(root)}", file)


def _note_attribute(seen, key, file) -> None:
    try:
        before = file.read_text()
    except OSError:
        before = None
    for text in NONSENSE:
        # An empty write() does not get to the driver.
        answer = outcome(lambda: f"{file.write_text(text or chr(10))} taken, is {file.read_text().strip()}")
        seen.note("nonsense", f"{key} {text!r}", answer)
        if before is not None and "taken" in answer:
            outcome(file.write_text, before)


def note_requests(seen, area, device, partition, character) -> None:
    """Requests that a head should refuse, or answer with nothing."""
    size = _size(device)
    for name, request in {
        "read beyond the end": lambda: _read(device, size),
        "read across the end": lambda: _read(device, size - 512, 4096),
        "read at an odd offset": lambda: _read(device, 100),
        "read of an odd length": lambda: _read(device, 0, 1000),
        "buffered read beyond the end": lambda: _read(device, size, flags=0),
        "write beyond the end": lambda: _write(device, size),
        "write at an odd offset": lambda: _write(device, 7),
        "write beyond the end of a partition": lambda: _write(partition, _size(partition)),
        "write to what is open for reading": lambda: _write(device, 0, os.O_RDONLY),
        "atomic write that is too large": lambda: _write(device, 0, os.O_WRONLY, 1 << 20, RWF_ATOMIC),
        "atomic write that is not aligned": lambda: _write(device, 512, os.O_WRONLY, 4096, RWF_ATOMIC),
        "atomic write of a block": lambda: _write(device, 0, os.O_WRONLY, 512, RWF_ATOMIC),
        "write that skips the cache": lambda: _write(device, 0, os.O_WRONLY, 4096, os.RWF_DSYNC),
        "polled read": lambda: _read(device, 0, extra=os.RWF_HIPRI),
        "read that must not wait": lambda: _read(device, 0, extra=os.RWF_NOWAIT),
        "discard beyond the end": lambda: _range(device, 0x1277, size, 4096),
        "discard of an odd length": lambda: _range(device, 0x1277, 0, 1000),
        "zeros beyond the end": lambda: _range(device, 0x127F, size, 4096),
        "zeros at an odd offset": lambda: _range(device, 0x127F, 100, 4096),
        "hole": lambda: _fallocate(device, 0x03, 0, 4096),
        "zero range": lambda: _fallocate(device, 0x11, 0, 4096),
        "fallocate that makes no sense": lambda: _fallocate(device, 0x00, 0, 4096),
        "fallocate beyond the end": lambda: _fallocate(device, 0x03, size, 4096),
        "ftruncate": lambda: _truncate(device),
        "exclusive open while open": lambda: _open_twice(device),
        "open of a partition that is not there": lambda: os.open(f"{device}p9", os.O_RDONLY),
        "read of the character device": lambda: _read(character, 0, flags=0),
        "write to the character device": lambda: _write(character, 0, os.O_RDWR),
        "mmap of the character device": lambda: _map(character),
        "poll of the character device": lambda: _poll(character),
    }.items():
        seen.note(area, name, outcome(request))
    for node, name in ((device, "disk"), (partition, "partition"), (character, "character device")):
        _note_as_nobody(seen, area, node, name)


def _note_as_nobody(seen, area, node, name) -> None:
    """Ioctls of another user on files that root opened."""
    for flags, opened in ((os.O_RDONLY, "reading"), (os.O_RDWR, "writing")):
        with ioctls.opened(node, flags) as file:
            for title, request in (ioctls.ADMIN_COMMANDS | ioctls.io_commands(512)).items():
                seen.note(area, f"{title}, as nobody on a {name} open for {opened}",
                          _as_nobody(lambda: ioctls.native_command(file.fileno(), *request)))
            for title in ("IOC_PR_REGISTER", "BLKDISCARD", "BLKFLSBUF", "BLKRRPART", "NVME_IOCTL_ID"):
                request = ioctls.PLAIN.get(title, (ioctls.REGISTER, struct.pack("=QQII", 0, 1, 0, 0)))
                seen.note(area, f"{title}, as nobody on a {name} open for {opened}",
                          _as_nobody(lambda: ioctls.native(file.fileno(), *request)))


def _as_nobody(request) -> str:
    """The outcome of a request without privileges."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        os.write(said, outcome(request).split()[0].encode())
        os._exit(0)
    os.close(said)
    os.waitpid(child, 0)
    with open(heard) as answer:
        return answer.read() or "it died"


RWF_ATOMIC = 0x40


def _size(device) -> int:
    file = os.open(device, os.O_RDONLY)
    try:
        return os.lseek(file, 0, os.SEEK_END)
    finally:
        os.close(file)


def _open_for(device, flags, function):
    file = os.open(device, flags)
    try:
        return function(file)
    finally:
        os.close(file)


def _read(device, offset, length=4096, flags=os.O_DIRECT, extra=0):
    return _open_for(device, os.O_RDONLY | flags, lambda file: os.preadv(file, [mmap.mmap(-1, length)], offset, extra))


def _write(device, offset, flags=os.O_WRONLY, length=4096, extra=0):
    buffer = mmap.mmap(-1, length)
    direct = os.O_DIRECT if "/dev/nvme" in device else 0
    return _open_for(device, flags | direct, lambda file: _pwritev2(file, buffer, length, offset, extra))


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


_libc = ctypes.CDLL(None, use_errno=True)


def _pwritev2(file, buffer, length, offset, flags) -> int:
    """Python's own does not know of all flags."""
    vector = _Iovec(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), length)
    done = _libc.pwritev2(file, ctypes.byref(vector), 1, ctypes.c_long(offset), flags)
    if done < 0:
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
    return done


def _range(device, request, offset, length):
    return _open_for(device, os.O_RDWR, lambda file: fcntl.ioctl(file, request, struct.pack("=QQ", offset, length)))


def _fallocate(device, mode, offset, length):
    def call(file):
        if _libc.fallocate(file, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
            raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
        return 0
    return _open_for(device, os.O_RDWR, call)


def _truncate(device):
    return _open_for(device, os.O_RDWR, lambda file: os.ftruncate(file, 0))


def _open_twice(device):
    return _open_for(device, os.O_RDWR | os.O_EXCL,
                     lambda file: _open_for(device, os.O_RDWR | os.O_EXCL, lambda other: "both"))


def _map(character):
    return _open_for(character, os.O_RDWR, lambda file: mmap.mmap(file, 4096) and "mapped")


def _poll(character):
    def call(file):
        poll = select.poll()
        poll.register(file)
        return [event for _, event in poll.poll(0)]
    return _open_for(character, os.O_RDWR, call)
