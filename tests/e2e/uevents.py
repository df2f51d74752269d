# SPDX-License-Identifier: GPL-2.0
"""The kernel's messages to userspace about devices as they come, change and go."""

import os
import socket

from tests.guest import wait

_KOBJECT_UEVENT = 15
_KERNEL = 1


class Uevents:
    """The events since it was made."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _KOBJECT_UEVENT)
        self._socket.bind((0, _KERNEL))
        self._socket.setblocking(False)
        #: The action and the name of the device, in the order in which they came, and the other words of each event.
        self.seen = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._socket.close()

    def wait_for(self, action, device, word="") -> None:
        """Waits for an event that says `word`, too, and forgets all up to it."""
        def came():
            self._read()
            return next((number for number, (*seen, words) in enumerate(self.seen, 1)
                         if seen == [action, device] and (not word or word in words)), None)
        number = wait.until(came, f"the event that {device} has the action {action} {word}, after {self.seen}")
        del self.seen[:number]

    def _read(self):
        while True:
            try:
                words = self._socket.recv(65536).split(b"\0")
            except BlockingIOError:
                return
            action, _, path = words[0].decode().partition("@")
            self.seen.append((action, os.path.basename(path), [word.decode() for word in words[1:]]))
