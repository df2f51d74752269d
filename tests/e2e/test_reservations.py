# SPDX-License-Identifier: GPL-2.0
"""Persistent reservations: all operations, and two hosts that contend for one namespace.

The second host is in the same kernel, behind a proxy that shows it the subsystem under another name, so that
it has a head of its own.
"""

import ctypes
import errno
import fcntl
import struct
from contextlib import contextmanager

from tests.e2e.case import test
from tests.e2e.proxy import Proxy
from tests.guest import head as heads
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
REGISTER = 0x401870C8
RESERVE = 0x401070C9
RELEASE = 0x401070CA
PREEMPT = 0x401870CB
CLEAR = 0x401070CD
READ_KEYS = 0xC01070CE
READ_RESERVATION = 0x801070CF
WRITE_EXCLUSIVE = 1
EXCLUSIVE_ACCESS = 2
#: The block layer's status for a reservation that somebody else holds: as errno, and as the ioctls return it.
CONFLICT_ERRNO = errno.EBADE
CONFLICT_STATUS = 0x18
KEY, OTHER_KEY = 0x1111, 0x2222
ALIAS = "nqn.2014-08.org.nvmexpress:reservations-alias"
OTHER_HOST = {"hostnqn": "nqn.2014-08.org.nvmexpress:uuid:7cd2c43b-a90a-45c1-a8cd-86b33ab273b5",
              "hostid": "7cd2c43b-a90a-45c1-a8cd-86b33ab273b6"}


@test(over=TRANSPORTS)
def every_reservation_operation_works_on_the_head(transport):
    """Shows L-33."""
    with Target("reservations", ports=(transport,) * 2, reservations=True) as target:
        controllers = target.connect_all()
        with _Host(target.head) as host:
            assert host.keys() == [] and host.reservation() == (0, 0)
            assert host.register(0, KEY) == 0
            assert host.reserve(KEY, WRITE_EXCLUSIVE) == 0
            # Both paths are the same host.
            heads.delete_controller(controllers[0])
            wait.until(lambda: len(target.head.paths()) == 1, "the path to go")
            assert set(host.keys()) == {KEY} and host.reservation() == (KEY, WRITE_EXCLUSIVE)
            assert host.release(KEY, WRITE_EXCLUSIVE) == 0
            assert host.reservation() == (0, 0)
            assert host.register(KEY, OTHER_KEY) == 0
            assert host.reserve(OTHER_KEY, EXCLUSIVE_ACCESS) == 0
            assert host.clear(OTHER_KEY) == 0
            assert host.keys() == [] and host.reservation() == (0, 0)


@test(over=TRANSPORTS)
def two_hosts_contend_for_a_namespace(transport):
    with _two_hosts(transport) as (one, other):
        assert one.register(0, KEY) == 0 and other.register(0, OTHER_KEY) == 0
        assert set(one.keys()) == set(other.keys()) == {KEY, OTHER_KEY}
        assert one.reserve(KEY, WRITE_EXCLUSIVE) == 0
        assert other.reserve(OTHER_KEY, WRITE_EXCLUSIVE) == CONFLICT_STATUS
        assert other.reservation() == (KEY, WRITE_EXCLUSIVE)
        assert (one.write(), one.read(), other.write(), other.read()) == (None, None, CONFLICT_ERRNO, None)
        # Its own key comes first.
        assert other.preempt(OTHER_KEY, KEY, EXCLUSIVE_ACCESS) == 0
        assert one.reservation() == (OTHER_KEY, EXCLUSIVE_ACCESS) and one.keys() == [OTHER_KEY]
        assert (one.write(), one.read(), other.write(), other.read()) == (CONFLICT_ERRNO, CONFLICT_ERRNO, None, None)
        assert other.release(OTHER_KEY, EXCLUSIVE_ACCESS) == 0
        assert (one.write(), other.write()) == (None, None)
        assert other.clear(OTHER_KEY) == 0 and one.keys() == []


@contextmanager
def _two_hosts(transport):
    """The heads of two hosts, which lead to the same namespace."""
    with Target("reservations", ports=(transport, transport, "tcp"), reservations=True) as target:
        with Proxy(target.ports[2], nqn=target.nqn, alias=ALIAS) as proxy:
            for port in target.ports[:2]:
                target.connect(port)
            target.connect(proxy, nqn=ALIAS, **OTHER_HOST)
            wait.until(lambda: target.heads() and len(target.head.paths()) == 2, "the first host's paths")
            wait.until(lambda: heads.of_subsystem(ALIAS), "the second host's head")
            try:
                with _Host(target.head) as one, _Host(heads.of_subsystem(ALIAS)[0]) as other:
                    yield one, other
            finally:
                for name in heads.controllers_of_subsystem(ALIAS):
                    heads.delete_controller(name)


class _Host:
    """The operations of a host through its head. They return the status of the ioctl, 0 when it was done."""

    def __init__(self, head):
        self._head = head

    def __enter__(self):
        self._disk = open(self._head.device, "r+b", buffering=0)
        return self

    def __exit__(self, *exception):
        self._disk.close()

    def register(self, old, new):
        return self._do(REGISTER, "=QQII", old, new, 0, 0)

    def reserve(self, key, kind):
        return self._do(RESERVE, "=QII", key, kind, 0)

    def release(self, key, kind):
        return self._do(RELEASE, "=QII", key, kind, 0)

    def preempt(self, key, victim, kind):
        return self._do(PREEMPT, "=QQII", key, victim, kind, 0)

    def clear(self, key):
        return self._do(CLEAR, "=QII", key, 0, 0)

    def keys(self) -> list[int]:
        keys = (ctypes.c_uint64 * 8)()
        request = bytearray(struct.pack("=IIQ", 0, len(keys), ctypes.addressof(keys)))
        assert fcntl.ioctl(self._disk, READ_KEYS, request) == 0
        return list(keys[:struct.unpack("=IIQ", request)[1]])

    def reservation(self) -> tuple[int, int]:
        """The key of the holder and its type, or zeros."""
        request = bytearray(16)
        assert fcntl.ioctl(self._disk, READ_RESERVATION, request) == 0
        key, _, kind = struct.unpack("=QII", request)
        return key, kind

    def write(self):
        """The number of the error of a write, if there is one."""
        return _error(passthrough.write_directly, self._head.device, 0, bytes(4096))

    def read(self):
        return _error(passthrough.read_directly, self._head.device)

    def _do(self, request, layout, *values):
        return fcntl.ioctl(self._disk, request, bytearray(struct.pack(layout, *values)))


def _error(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return None
