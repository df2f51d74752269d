# SPDX-License-Identifier: GPL-2.0
"""The kernel's announcements: uevents and log lines, for each device in their order.

Devices go through their lives at the same time, so that only the order of one device's announcements means anything.
"""

import re
import socket
from collections import defaultdict

from tests.guest.kernel_log import KernelLog

NETLINK_KOBJECT_UEVENT = 15
SO_RCVBUFFORCE = 33

_STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
#: Lines of the host; targets and the disks below them log as well.
_HOST = re.compile(r"\bnvme(\d|[_: -])")
#: The beginning of lines of dev_info() and the like: a driver or a class, and the device.
_ORIGIN = re.compile(r"(?:nvme|block) ([\w:.]+): ")


class Events:
    """Collects events from the moment of its making."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self._socket.bind((0, 1))
        self._log = KernelLog()

    def note(self, seen, when="") -> None:
        """Notes the events since the last time."""
        for path, events in sorted(self._uevents().items()):
            seen.note("uevents", f"{when}{path}", "\n".join(events))
        for origin, lines in sorted(self._lines().items()):
            seen.note("log", f"{when}{origin}", "\n".join(lines))

    def _uevents(self) -> dict:
        events = defaultdict(list)
        while True:
            try:
                message = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return events
            summary, *properties = message.decode(errors="replace").rstrip("\0").split("\0")
            path = summary.partition("@")[2]
            if "nvme" in path:
                # The number of the event and of the disk since boot say nothing about either.
                events[path].append(" ".join(sorted(
                    text for text in properties if not text.startswith(("SEQNUM=", "DISKSEQ=", "DEVPATH=")))))

    def _lines(self) -> dict:
        lines = defaultdict(list)
        for line in self._log.new_lines():
            text = _STAMP.sub("", line)
            if not _HOST.search(text):
                continue
            origin = _ORIGIN.match(text)
            lines[origin[1] if origin else "others"].append(text)
        return lines
