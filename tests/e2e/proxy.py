# SPDX-License-Identifier: GPL-2.0
"""A tcp port in front of a target's own, where a controller can be made to say something else.

nvmet says nothing that is wrong; what passes through here can be changed byte by byte:

    with Proxy(target.ports[0]) as proxy:
        target.connect(proxy)
        proxy.change(ANA_LOG, {8: b"\\xff\\xff"})

With an alias, a host finds the same namespaces in a subsystem of another name, so that one kernel
has two heads that lead to the same storage.
"""

import json
import os
import socket
import threading

#: Data that a controller returns: the opcode and the first byte of dword 10 of the command.
IDENTIFY_NAMESPACE = (0x06, 0x00)
IDENTIFY_CONTROLLER = (0x06, 0x01)
IDENTIFY_DESCRIPTORS = (0x06, 0x03)
ANA_LOG = (0x02, 0x0C)

_COMMAND = 4
_DATA_TO_HOST = 7
_FABRICS = 0x7F
_CONNECT = 0x01
#: Where the name of the subsystem is in the data of Connect and of Identify Controller.
_NQN_IN_CONNECT = 256
_NQN_IN_IDENTIFY = 768
_NQN_SIZE = 256
#: Where the UUID of a namespace is in its list of descriptors, as nvmet builds it.
_UUID_IN_DESCRIPTORS = 4


class Proxy:
    """What `Target.connect()` takes for a port; a process of its own until the block is left."""

    transport = "tcp"
    #: A digest would be wrong after a change.
    digest = False

    def __init__(self, port, nqn=None, alias=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = {"transport": "tcp", "traddr": "127.0.0.1",
                        "trsvcid": str(self._listener.getsockname()[1])}
        self._target = (port.address["traddr"], int(port.address["trsvcid"]))
        self._names = (nqn, alias) if alias else None

    def __enter__(self):
        orders, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                orders.close()
                _Relay(self._listener, self._target, self._names).run(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._listener.close()
        self._orders = orders.makefile("rwb", buffering=0)
        orders.close()
        if self._names:
            self._use_alias()
        return self

    def __exit__(self, *exception):
        self._orders.close()
        os.waitpid(self._pid, 0)

    def change(self, what, edits) -> None:
        """From now on, puts these bytes at these offsets into what the controller returns."""
        flat = {offset + number: byte for offset, data in edits.items() for number, byte in enumerate(data)}
        self._order("change", what, list(flat.items()))

    def changed(self, what) -> int:
        """How often something was returned with a change since that was asked for."""
        return self._order("changed", what)

    def restore(self, what) -> None:
        self._order("change", what, [])

    def _use_alias(self):
        name = self._names[1].encode().ljust(_NQN_SIZE, b"\0")
        self.change(IDENTIFY_CONTROLLER, {_NQN_IN_IDENTIFY: name})
        self.change(IDENTIFY_DESCRIPTORS, {_UUID_IN_DESCRIPTORS: os.urandom(16)})

    def _order(self, *words):
        self._orders.write(json.dumps(words).encode() + b"\n")
        return json.loads(self._orders.readline())


class _Relay:
    """The process: a pair of threads for each connection."""

    def __init__(self, listener, target, names):
        self._listener = listener
        self._target = target
        self._names = names
        #: The edits of each kind of data, a byte for an offset, and how often they were made.
        self._edits = {}
        self._counts = {}

    def run(self, orders) -> None:
        """Obeys until whoever gives the orders has gone."""
        threading.Thread(target=self._accept, daemon=True).start()
        with orders.makefile("rwb", buffering=0) as file:
            for line in file:
                file.write(json.dumps(self._obey(*json.loads(line))).encode() + b"\n")

    def _obey(self, verb, what, edits=()):
        if verb == "change":
            self._edits[tuple(what)] = dict(edits)
            self._counts[tuple(what)] = 0
        return self._counts[tuple(what)]

    def _accept(self):
        while True:
            host, _ = self._listener.accept()
            try:
                controller = socket.create_connection(self._target)
            except OSError:
                host.close()  # nobody is there, and that is what the host is to see
                continue
            for end in (host, controller):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            commands = {}
            for work in (self._to_controller, self._to_host):
                threading.Thread(target=self._relay, args=(work, host, controller, commands), daemon=True).start()

    def _relay(self, work, host, controller, commands):
        try:
            work(host, controller, commands)
        except OSError:
            pass
        for end in (host, controller):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _to_controller(self, host, controller, commands):
        while unit := _receive(host):
            if unit[0] == _COMMAND:
                opcode, selector = unit[8], unit[8 + 40]
                commands[bytes(unit[10:12])] = (opcode, selector)
                if self._names and opcode == _FABRICS and unit[8 + 4] == _CONNECT:
                    self._unalias(unit)
            controller.sendall(unit)

    def _unalias(self, unit):
        start = unit[3] + _NQN_IN_CONNECT
        unit[start:start + _NQN_SIZE] = self._names[0].encode().ljust(_NQN_SIZE, b"\0")

    def _to_host(self, host, controller, commands):
        while unit := _receive(controller):
            if unit[0] == _DATA_TO_HOST:
                what = commands.get(bytes(unit[8:10]))
                if self._edits.get(what):
                    self._edit(unit, self._edits[what])
                    self._counts[what] += 1
            host.sendall(unit)

    def _edit(self, unit, edits):
        """Changes the part of a command's data that is in this unit."""
        start = int.from_bytes(unit[12:16], "little") - unit[3]
        for offset, byte in edits.items():
            if unit[3] <= offset - start < len(unit):
                unit[offset - start] = byte


def _receive(end) -> bytearray:
    """One protocol data unit; empty at the end of a connection."""
    unit = bytearray()
    size = 8
    while len(unit) < size:
        data = end.recv(size - len(unit))
        if not data:
            return bytearray()
        unit += data
        if len(unit) == 8:
            size = int.from_bytes(unit[4:8], "little")
    return unit
