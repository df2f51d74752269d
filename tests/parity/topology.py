# SPDX-License-Identifier: GPL-2.0
"""The targets of the comparison: everything about them that could be random is given."""

import os
import struct
from pathlib import Path

from tests.guest import head
from tests.guest import wait
from tests.guest.target import Target

UUID = "7e5c0f0a-3c5e-4d0b-9e57-1c4f9a4b2d31"
NGUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SERIAL = "parity"

#: The attributes of a null_blk disk, by the kind of namespace.
KINDS = {
    "plain": {},
    "4k": {"blocksize": 4096},
    "zoned": {"blocksize": 4096, "zoned": 1, "zone_size": 16, "zone_nr_conv": 0,
              "zone_max_open": 4, "zone_max_active": 4},
    "reserved": {},
}


class Parity(Target):
    """A target with a fixed identity whose disk is of one kind."""

    def __init__(self, kind, ports=("loop", "tcp")):
        super().__init__(kind, ports, mib=64, reservations=kind == "reserved", disk=KINDS[kind])
        self._kind = kind

    def __enter__(self):
        super().__enter__()
        (self._directory / "attr_serial").write_text(SERIAL)
        namespace = self._namespace(1)
        self.disable_namespace()
        (namespace / "device_uuid").write_text(UUID)
        (namespace / "device_nguid").write_text(NGUID)
        self.enable_namespace()
        return self

    def partition(self) -> None:
        """Puts a table with one partition on the disk behind the target."""
        with open(f"/dev/{self._name}1", "r+b", buffering=0) as disk:
            disk.write(_table(first=2048, size=4096))
            os.fsync(disk.fileno())

    def connect_in_turn(self, **options) -> None:
        """Connects through one port after the other, so that names do not depend on which was faster."""
        if self._kind == "plain":
            self.partition()
        for number, port in enumerate(self.ports, 1):
            name = self.connect(port, **options)
            head.wait_for_state(name, "live")
            wait.until(lambda: self.heads() and len(self.head.paths()) == number, f"path {number}")
            self.settle()

    def settle(self) -> None:
        """Waits for all that appears in its own time after the paths have."""
        disk = self.head
        character = disk.device.replace("nvme", "ng")
        wait.until(lambda: Path(character).exists(), character)
        wait.until(lambda: len(list((disk.directory / "multipath").iterdir())) == len(disk.paths()), "the links")
        if self._kind == "plain":
            wait.until(lambda: Path(f"{disk.device}p1").exists(), "the partition")


def _table(first, size) -> bytes:
    """A sector with one primary partition."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\2\0", first, size)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"
