# SPDX-License-Identifier: GPL-2.0
"""A tcp port in front of a target's own, which can change the answers of a controller.

nvmet says nothing that is wrong. This proxy can change byte by byte the data that passes through it:

    with Proxy(target.ports[0]) as proxy:
        target.connect(proxy)
        proxy.change(ANA_LOG, {8: b"\\xff\\xff"})

The proxy can answer commands with an error, or not at all, so that the controller never gets them:

        proxy.refuse(passthrough.READ, 0x300, every=100)

The proxy can keep a command on its way. The command then arrives after the host has lost the connection and gone on:

        proxy.hold(block)
        ...                     # a process writes there
        proxy.wait_until_held()
        proxy.lose()
        ...                     # the host sends the write again, through another port
        assert proxy.release() == [0]

With an alias, a host finds the same namespaces in a subsystem of another name, so that one kernel
has two heads that lead to the same storage.
"""

import collections
import contextlib
import json
import os
import signal
import socket
import threading
import time

from tests.guest import passthrough
from tests.guest import wait

#: Kinds of admin commands, and of the data that a controller returns for them: the opcode and the first byte of dword
#: 10. The kind of an I/O command is its opcode alone.
IDENTIFY_NAMESPACE = (0x06, 0x00)
IDENTIFY_CONTROLLER = (0x06, 0x01)
IDENTIFY_DESCRIPTORS = (0x06, 0x03)
ANA_LOG = (0x02, 0x0C)

_COMMAND = 4
_RESPONSE = 5
_DATA_TO_CONTROLLER = 6
_DATA_TO_HOST = 7
#: The flag of data to the host that no response follows, and the two bits of an opcode that say where its data goes.
_SUCCESS = 0x08
_DIRECTION = 0x03
_DIRECTION_TO_CONTROLLER = 0x01
_FABRICS = 0x7F
_CONNECT = 0x01
#: Where a command is in its unit.
_ENTRY = 8
#: Where the name of the subsystem is in the data of Connect and of Identify Controller.
_NQN_IN_CONNECT = 256
_NQN_IN_IDENTIFY = 768
_NQN_SIZE = 256
#: Where the UUID of a namespace is in its list of descriptors, as nvmet builds it.
_UUID_IN_DESCRIPTORS = 4


class Proxy:
    """A port for `Target.connect()`; a process of its own until the block is left."""

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
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def change(self, what, edits) -> None:
        """From now on, puts these bytes at these offsets into data that the controller returns."""
        flat = {offset + number: byte for offset, data in edits.items() for number, byte in enumerate(data)}
        self._order("change", what, list(flat.items()))

    def changed(self, what) -> int:
        """How often the proxy has returned something with a change since the caller asked for that."""
        return self._order("changed", what)

    def restore(self, what) -> None:
        self._order("change", what, [])

    def refuse(self, what, status, times=None, every=1, block=None) -> None:
        """From now on, keeps commands of this kind from the controller. Answers them with `status`, or never if that is
        None.

        So many `times` at most, one of `every` so many, or only those that begin at this `block` of 512 bytes.
        """
        self._order("refuse", what, status, times, every, block)

    def accept(self, what) -> None:
        """Lets commands of this kind through again. Those that were not answered never are."""
        self._order("accept", what)

    def refused(self, what) -> int:
        """How many commands of this kind the proxy has refused since the caller last asked for that."""
        return self._order("refused", what)

    def received(self, what) -> int:
        """How many commands of this kind the host has sent, those that were refused included."""
        return self._order("received", what)

    def cut(self) -> None:
        """Breaks the connections that exist."""
        self._order("cut")

    def hold(self, *blocks, what=passthrough.WRITE, times=None) -> None:
        """From now on, keeps I/O commands of this kind, and all that follows on their connections.

        Keeps one that begins at each of these blocks of 512 bytes, or the next `times` (1). Where the controller asks
        for the data of a write, the proxy keeps the data, since the host has to be there until it has sent that.
        """
        self._order("hold", what, blocks, times or len(blocks) or 1)

    def hold_no_more(self) -> None:
        """Lets further commands through, but for those behind one that the proxy holds."""
        self._order("hold", None, [], 0)

    def held(self) -> int:
        """How many commands the proxy has kept since the caller last asked for that."""
        return self._order("held")

    def wait_until_held(self, count=1) -> None:
        wait.until(lambda: self.held() >= count, f"{count} commands to be held")

    def lose(self, silent=False) -> None:
        """Closes the host's side of the connections that exist, or has the host hear nothing any more.

        All that the host has sent still arrives: the controller notices nothing until it misses the host.
        """
        self._order("lose", silent)

    def release(self, seconds=1) -> list:
        """Sends the kept units on to the controller.

        Says for each held command with which status the controller has ended it: "closed" when it has closed the
        connection instead, "no answer" after so many seconds.
        """
        return self._order("release", seconds * wait.SLOWNESS)

    def shut(self) -> None:
        """Lets in no connection from now on."""
        self._order("shut", True)

    def open(self) -> None:
        self._order("shut", False)

    def _use_alias(self):
        name = self._names[1].encode().ljust(_NQN_SIZE, b"\0")
        self.change(IDENTIFY_CONTROLLER, {_NQN_IN_IDENTIFY: name})
        self.change(IDENTIFY_DESCRIPTORS, {_UUID_IN_DESCRIPTORS: os.urandom(16)})

    def _order(self, *words):
        self._orders.write(json.dumps(words).encode() + b"\n")
        return json.loads(self._orders.readline())


@contextlib.contextmanager
def connected(target):
    """A proxy on each port of a target, through which the host is connected for the time of a block."""
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(port)) for port in target.ports]
        for proxy in proxies:
            target.connect(proxy)
        target.wait_for_heads(len(proxies))
        yield proxies
        target.disconnect()


class _Relay:
    """The process: a pair of threads for each connection."""

    def __init__(self, listener, target, names):
        self._listener = listener
        self._target = target
        self._names = names
        #: The edits of each kind of data, a byte for an offset, and how often the proxy made them.
        self._edits = {}
        self._counts = collections.Counter()
        #: The kinds of commands that the proxy refuses, and how many there were of each.
        self._refusals = {}
        self._received = collections.Counter()
        self._connections = []
        self._hold = _Hold()
        self._is_shut = False

    def run(self, orders) -> None:
        """Obeys until somebody kills it."""
        threading.Thread(target=self._accept, daemon=True).start()
        with orders.makefile("rwb", buffering=0) as file:
            for line in file:
                file.write(json.dumps(self._obey(*json.loads(line))).encode() + b"\n")

    def _obey(self, verb, what=None, *words):
        what = tuple(what) if isinstance(what, list) else what
        if verb == "change":
            self._edits[what] = dict(*words)
            self._counts[what] = 0
        elif verb == "refuse":
            self._refusals[what] = _Refusal(*words)
        elif verb == "accept":
            self._refusals[what].stop()
        elif verb == "cut":
            for connection in self._connections:
                connection.close()
        elif verb == "hold":
            self._hold = _Hold(what, *words)
        elif verb == "lose":
            for connection in self._connections:
                connection.lose(silent=what)
        elif verb == "release":
            return self._release(what)
        elif verb == "shut":
            self._is_shut = what
        return {"held": self._hold.made, "changed": self._counts[what], "received": self._received[what],
                "refused": self._refusals[what].made if what in self._refusals else 0}.get(verb)

    def _release(self, seconds) -> list:
        self._hold = _Hold()
        for connection in self._connections:
            connection.release()
        deadline = time.monotonic() + seconds
        found = [connection.fates(deadline) for connection in self._connections]
        return [fate for fates in found for fate in fates]

    def _accept(self):
        while True:
            host, _ = self._listener.accept()
            if self._is_shut:
                host.close()
                continue
            try:
                controller = socket.create_connection(self._target)
            except OSError:
                host.close()  # nobody is there, and that is what the host is to see
                continue
            connection = _Connection(host, controller)
            self._connections.append(connection)
            for work in (self._to_controller, self._to_host):
                threading.Thread(target=self._relay, args=(work, connection), daemon=True).start()

    def _relay(self, work, connection):
        try:
            work(connection)
        except OSError:
            pass
        connection.end(work == self._to_host)

    def _to_controller(self, connection):
        while unit := _receive(connection.host):
            if unit[0] == _COMMAND:
                what = connection.note(unit)
                self._received[what] += 1
                refusal = self._refusals.get(what)
                if refusal and refusal.meets(unit):
                    if refusal.status is not None:
                        connection.answer(unit, refusal.status)
                    continue
                if self._names and unit[_ENTRY] == _FABRICS and unit[_ENTRY + 4] == _CONNECT:
                    self._unalias(unit)
            connection.send_to_controller(unit, self._hold)

    def _unalias(self, unit):
        start = unit[3] + _NQN_IN_CONNECT
        unit[start:start + _NQN_SIZE] = self._names[0].encode().ljust(_NQN_SIZE, b"\0")

    def _to_host(self, connection):
        while unit := _receive(connection.controller):
            if unit[0] == _DATA_TO_HOST:
                what = connection.kind_of(unit)
                if self._edits.get(what):
                    self._edit(unit, self._edits[what])
                    self._counts[what] += 1
            connection.note_end(unit)
            connection.send_to_host(unit)

    def _edit(self, unit, edits):
        """Changes the part of a command's data that is in this unit."""
        start = int.from_bytes(unit[12:16], "little") - unit[3]
        for offset, byte in edits.items():
            if unit[3] <= offset - start < len(unit):
                unit[offset - start] = byte


class _Connection:
    """A connection of the host's, which is one queue of a controller, and the one to the target that belongs to it."""

    def __init__(self, host, controller):
        self.host = host
        self.controller = controller
        for end in (host, controller):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        #: Both threads tell the host.
        self._lock = threading.Lock()
        self._is_admin = True
        #: The kind of the command that last had each number, and the block at which it begins.
        self._kinds = {}
        self._blocks = {}
        #: The units that are kept, if any, and the status of each held command, when it has one. A thread holds the
        #: lock while it sends something to the controller.
        self._kept = None
        self._fates = {}
        self._keeping = threading.Condition()
        #: Whether the host's side is lost and the controller is not to notice; and whether the controller has closed
        #: its own.
        self._is_lost = False
        self._is_closed = False
        #: How many of the two threads still work for the connection.
        self._users = 2

    def note(self, unit):
        """Takes note of a command, and returns its kind."""
        opcode, selector = unit[_ENTRY], unit[_ENTRY + 40]
        if opcode == _FABRICS and unit[_ENTRY + 4] == _CONNECT:
            self._is_admin = unit[_ENTRY + 42:_ENTRY + 44] == b"\0\0"
        what = (opcode, selector) if self._is_admin else opcode
        number = bytes(_number(unit))
        self._kinds[number] = what
        self._blocks[number] = _block(unit)
        return what

    def kind_of(self, data):
        """The kind of the command that this data belongs to."""
        return self._kinds.get(bytes(data[8:10]))

    def answer(self, command, status) -> None:
        """Tells the host that a command has ended."""
        entry = bytes(12) + _number(command) + (status << 1).to_bytes(2, "little")
        size = _ENTRY + len(entry)
        self.send_to_host(bytes([_RESPONSE, 0, size, 0]) + size.to_bytes(4, "little") + entry)

    def send_to_host(self, unit) -> None:
        if not self._is_lost:
            with self._lock, contextlib.suppress(OSError):  # whoever listens to the host sees it go
                self.host.sendall(unit)

    def send_to_controller(self, unit, hold) -> None:
        """Sends a unit on, unless it is one to hold, or is behind one that is held."""
        with self._keeping:
            number = self._brings_all_of(unit)
            if number and number not in self._fates and hold.takes(self._kinds.get(number), self._blocks.get(number)):
                self._kept = self._kept or []
                self._fates[number] = None
            if self._kept is None:
                self.controller.sendall(unit)
            else:
                self._kept.append(unit)

    def _brings_all_of(self, unit) -> bytes | None:
        """The number of the command that the controller can carry out when it has this unit; else None."""
        if unit[0] == _DATA_TO_CONTROLLER:
            return bytes(unit[8:10])
        if unit[0] != _COMMAND:
            return None
        has_data = len(unit) > unit[2]
        needs_data = unit[_ENTRY] & _DIRECTION == _DIRECTION_TO_CONTROLLER
        return None if needs_data and not has_data else bytes(_number(unit))

    def release(self) -> None:
        """Sends the kept units on."""
        with self._keeping:
            for unit in self._kept or ():
                with contextlib.suppress(OSError):  # the controller has given up
                    self.controller.sendall(unit)
            self._kept = None

    def fates(self, deadline) -> list:
        """The fates of the held commands; forgets these commands."""
        with self._keeping:
            self._keeping.wait_for(lambda: self._is_closed or None not in self._fates.values(),
                                   max(deadline - time.monotonic(), 0))
            fates, self._fates = self._fates, {}
            missing = "closed" if self._is_closed else "no answer"
            return [missing if status is None else status for status in fates.values()]

    def note_end(self, unit) -> None:
        """Takes note of the end of a command that was held."""
        if unit[0] == _RESPONSE:
            number, status = bytes(unit[20:22]), int.from_bytes(unit[22:24], "little") >> 1
        elif unit[0] == _DATA_TO_HOST and unit[1] & _SUCCESS:
            number, status = bytes(unit[8:10]), 0
        else:
            return
        with self._keeping:
            if number in self._fates:
                self._fates[number] = status
                self._keeping.notify_all()

    def lose(self, silent) -> None:
        self._is_lost = True
        if not silent:
            _shut_down(self.host)

    def end(self, by_controller) -> None:
        """Notes that one of the two has closed its side. Has the other notice, with two exceptions.

        These are a controller whose host was lost, and one for which something is kept: that is in front of the end.
        """
        with self._keeping, self._lock:
            self._users -= 1
            if by_controller:
                self._is_closed = True
                self._keeping.notify_all()
            if by_controller or not self._is_lost and self._kept is None:
                self.close()
            else:
                self._is_lost = True
                _shut_down(self.host)
            if not self._users:
                self.host.close()
                self.controller.close()

    def close(self) -> None:
        for end in (self.host, self.controller):
            _shut_down(end)


class _Refusal:
    """The commands of a kind that the proxy refuses, and how."""

    def __init__(self, status, times, every, block):
        self.status = status
        #: How many it has refused.
        self.made = 0
        self._times = times
        self._every = every
        self._block = block
        self._seen = 0
        self._lock = threading.Lock()

    def meets(self, unit) -> bool:
        """Whether this command is one of them; it counts as seen."""
        if self._block is not None and _block(unit) != self._block:
            return False
        with self._lock:
            self._seen += 1
            if self._seen % self._every or self.made == self._times:
                return False
            self.made += 1
            return True

    def stop(self) -> None:
        with self._lock:
            self._times = self.made


class _Hold:
    """The commands that the proxy keeps: none, without arguments."""

    def __init__(self, what=None, blocks=(), times=0):
        #: How many it has kept.
        self.made = 0
        self._what = what
        self._blocks = set(blocks)
        self._any = not blocks
        self._times = times
        self._lock = threading.Lock()

    def takes(self, what, block) -> bool:
        """Whether a command is to be kept; it counts as kept."""
        with self._lock:
            if what != self._what or self.made == self._times or not (self._any or block in self._blocks):
                return False
            self._blocks.discard(block)
            self.made += 1
            return True


def _shut_down(end) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _block(command) -> int:
    """The block at which a command for I/O begins."""
    return int.from_bytes(command[_ENTRY + 40:_ENTRY + 48], "little")


def _number(command) -> bytearray:
    """The number of a command, which its answer names."""
    return command[_ENTRY + 2:_ENTRY + 4]


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
