# SPDX-License-Identifier: GPL-2.0
"""An NVMe target inside the guest: nvmet over memory, with ports that are paths to it.

    with Target("a", ports=("loop", "tcp")) as target:
        controllers = [target.connect(port) for port in target.ports]

Leaving the block disconnects every controller and takes the target apart.
"""

import itertools
import os
import re
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path

from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest import wire

NVMET = Path("/sys/kernel/config/nvmet")
NULL_BLK = Path("/sys/kernel/config/nullb")
HOST_NQN = "nqn.2014-08.org.nvmexpress:uuid:2cd2c43b-a90a-45c1-a8cd-86b33ab273b5"
HOST_ID = "2cd2c43b-a90a-45c1-a8cd-86b33ab273b6"

#: A subsystem that nvmet always has.
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"

#: The ANA group that namespaces are in at first; each port has its own state for each group.
GROUP = 1

#: The settings that make a null_blk disk a zoned one; the sizes are in MiB.
ZONED = {"zoned": 1, "zone_size": 4, "zone_nr_conv": 0, "zone_max_open": 0, "zone_max_active": 0}

#: The group of Diffie and Hellman with the smallest numbers.
_DH_GROUP = "ffdhe2048"

_port_numbers = itertools.count(1)
_disk_numbers = itertools.count(1)


def number_ports_from(first) -> None:
    """Keeps the ports of this process apart from those of others that have targets at the same time."""
    global _port_numbers
    _port_numbers = itertools.count(first)


class Target:
    """An nvmet subsystem with namespaces in memory: a null_blk disk each, or a file that can grow.

    `disk` has more attributes of the null_blk disks, such as `ZONED`. With `secrets`, host and target want each other's:
    {"dhchap_secret": the host's, "dhchap_ctrl_secret": the target's}.
    """

    def __init__(self, name, ports, mib=256, namespaces=1, reservations=False, file_backed=False, disk=None, secrets=None):
        self.nqn = f"nqn.2014-08.org.nvmexpress:{name}"
        self._name = name
        self._reservations = reservations
        self._file_backed = file_backed
        self._disk = disk or {}
        self._secrets = secrets or {}
        self._mib = mib
        self._namespaces = namespaces
        self._transports = ports
        self._directory = NVMET / "subsystems" / self.nqn
        self._stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            self._make_subsystem(stack)
            self.ports = [self._make_port(stack, transport) for transport in self._transports]
            stack.callback(self.disconnect)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def connect(self, port, **options) -> str:
        """Connects a controller through a port and returns its name, "nvme0".

        It writes the same as `nvme connect`; to do without that program saves much time in an emulated CPU.

        With tcp to the own machine, the host does not copy the data that it sends. A target that takes a command from a
        lost connection would write what the page holds by then. The digest makes it refuse.
        """
        words = {"nqn": self.nqn, "hostnqn": HOST_NQN, "hostid": HOST_ID, **port.address,
                 **({"reconnect_delay": 1} if wire.KINDS[port.transport].RECONNECTS else {}), **self._secrets, **options}
        flags = ["data_digest"] if port.digest else []
        device = os.open("/dev/nvme-fabrics", os.O_RDWR)
        try:
            os.write(device, ",".join([f"{key}={value}" for key, value in words.items()] + flags).encode())
            answer = os.read(device, 4096).decode()
        finally:
            os.close(device)
        return "nvme" + re.match(r"instance=(\d+)", answer).group(1)

    def connect_all(self, **options) -> list[str]:
        """Connects through every port and waits until the head has all these paths."""
        names = [self.connect(port, **options) for port in self.ports]
        self.wait_for_heads(len(names))
        return names

    def wait_for_heads(self, paths, seconds=30) -> None:
        """Waits until every namespace has a head, and each of them so many paths."""
        wait.until(lambda: len(self.heads()) == self._namespaces
                   and all(len(disk.paths()) == paths for disk in self.heads()),
                   f"{self._namespaces} heads with {paths} paths each", seconds)

    def backing_disk(self, namespace=1) -> head.Disk:
        """The disk that is behind a namespace."""
        return head.Disk(Path(self.configured("device_path", namespace)).name)

    def heads(self) -> list[head.Head]:
        return head.of_subsystem(self.nqn)

    @property
    def head(self) -> head.Head:
        return self.heads()[0]

    def disconnect(self) -> None:
        """Deletes every controller that leads here."""
        for name in head.controllers_of_subsystem(self.nqn):
            head.delete_controller(name)
        wait.until(lambda: not head.controllers_of_subsystem(self.nqn), "the controllers to go")

    def set_ana_state(self, state, ports=None, seconds=30) -> None:
        """Sets the state of `ports`, or of all, which are those that are connected; returns once the host has heard of
        it.

        A read that the host sends before, and has to send again, waits for a path.
        """
        for port in self.ports if ports is None else ports:
            if port.ana_state != state:
                port.ana_state = state
        wait.until(lambda: all(path.read("ana_state") == state for disk in self.heads() for path in disk.paths()),
                   f"the host to hear of {state} paths", seconds)

    def disable_namespace(self, number=1) -> None:
        (self._namespace(number) / "enable").write_text("0")

    def enable_namespace(self, number=1) -> None:
        (self._namespace(number) / "enable").write_text("1")
        # nvmet tells hosts of it before they can find it, so that a host which is quick finds nothing.
        for name in head.controllers_of_subsystem(self.nqn):
            head.rescan_controller(name)

    def resize(self, mib, namespace=1) -> None:
        """Gives a namespace that is a file another size."""
        directory = self._namespace(namespace)
        os.truncate((directory / "device_path").read_text().strip(), mib << 20)
        (directory / "revalidate_size").write_text("1")

    def remap(self, namespace=1, uuid=None, **disk) -> None:
        """Puts another disk, with these attributes of null_blk, behind a namespace that is disabled."""
        name = f"{self._name}{namespace}-{next(_disk_numbers)}"
        device = self._make_disk(self._disks, name, disk)
        self.configure(namespace, device_path=device, **({"device_uuid": uuid} if uuid else {}))

    def configure(self, namespace=1, **attributes) -> None:
        """Stores attributes of a namespace, most of which can only be changed while it is disabled."""
        for key, value in attributes.items():
            (self._namespace(namespace) / key).write_text(str(value))

    def configured(self, attribute, namespace=1) -> str:
        return (self._namespace(namespace) / attribute).read_text().strip()

    def break_blocks(self, first, count, namespace=1, broken=True) -> None:
        """Has some sectors of 512 bytes of a null_blk disk fail, or mends them."""
        disk = NULL_BLK / f"{self._name}{namespace}"
        (disk / "badblocks").write_text(f"{'+' if broken else '-'}{first}-{first + count - 1}")

    @contextmanager
    def without_namespace(self):
        """Disables the only namespace for the time of a block; the host knows it, before and after."""
        paths = len(self.head.paths())
        self.disable_namespace()
        wait.until(lambda: not self.heads(), "the head to go")
        yield
        self.enable_namespace()
        self.wait_for_heads(paths)

    def lose_power(self) -> None:
        """Cuts the disk behind the only namespace off from power for a moment: data that only its cache has is lost."""
        with self.without_namespace():
            for power in (0, 1):
                (NULL_BLK / f"{self._name}1" / "power").write_text(str(power))

    def _namespace(self, number) -> Path:
        return self._directory / "namespaces" / str(number)

    def _make_subsystem(self, stack) -> None:
        modules.load("nvmet")
        _mkdir(stack, self._directory)
        if self._secrets:
            self._admit_one_host(stack)
        else:
            (self._directory / "attr_allow_any_host").write_text("1")
        self._disks = stack.enter_context(ExitStack())
        for number in range(1, self._namespaces + 1):
            name = f"{self._name}{number}"
            device = (self._make_file(stack, name) if self._file_backed
                      else self._make_disk(self._disks, name, self._disk))
            namespace = _mkdir(stack, self._namespace(number))
            (namespace / "device_path").write_text(device)
            (namespace / "buffered_io").write_text(str(int(self._file_backed)))
            (namespace / "resv_enable").write_text(str(int(self._reservations)))
            (namespace / "enable").write_text("1")

    def _admit_one_host(self, stack) -> None:
        """Admits a host that knows a secret, after an exchange of keys that no mere listener can follow."""
        host = _mkdir(stack, NVMET / "hosts" / HOST_NQN)
        (host / "dhchap_key").write_text(self._secrets["dhchap_secret"])
        (host / "dhchap_ctrl_key").write_text(self._secrets["dhchap_ctrl_secret"])
        (host / "dhchap_dhgroup").write_text(_DH_GROUP)
        link = self._directory / "allowed_hosts" / HOST_NQN
        link.symlink_to(host)
        stack.callback(link.unlink)

    def _make_file(self, stack, name) -> str:
        file = Path("/dev/shm", name)
        file.touch()
        stack.callback(file.unlink)
        os.truncate(file, self._mib << 20)
        return str(file)

    def _make_disk(self, stack, name, attributes) -> str:
        disk = _mkdir(stack, NULL_BLK / name)
        for key, value in {"size": self._mib, "blocksize": 512, "memory_backed": 1, **attributes,
                           "power": 1}.items():
            (disk / key).write_text(str(value))
        return f"/dev/{name}"

    def _make_port(self, stack, transport):
        port = Port(transport, next(_port_numbers), self._directory)
        modules.load(*port.wire.MODULES)
        port.wire.make(stack)
        _mkdir(stack, port.directory)
        port.configure()
        stack.callback(port.stop)
        port.start()
        return port


def subsystems() -> list[Path]:
    """The targets that exist."""
    directory = NVMET / "subsystems"
    return [entry for entry in directory.iterdir() if entry.name != DISCOVERY] if directory.exists() else []


class Port:
    """A port of a target: one path to it."""

    def __init__(self, transport, number, subsystem):
        self.transport = transport
        self.digest = transport == "tcp"
        self.directory = NVMET / "ports" / str(number)
        self._subsystem = subsystem
        self._link = self.directory / "subsystems" / subsystem.name
        #: The wire between here and a host.
        self.wire = wire.KINDS[transport](number)
        #: The options with which a host connects here.
        self.address = {"transport": transport, **self.wire.address}

    @property
    def where(self) -> str:
        """The address as `head.address()` puts it."""
        return ":".join(self.address[key] for key in ("traddr", "trsvcid") if key in self.address)

    def configure(self) -> None:
        (self.directory / "addr_trtype").write_text(self.transport)
        for key, value in self.wire.configuration().items():
            (self.directory / key).write_text(value)

    def start(self) -> None:
        if not self._link.exists():
            self._link.symlink_to(self._subsystem)

    def stop(self) -> None:
        """Takes the port down under its users: loop hosts give up, others try to reconnect."""
        if self._link.exists():
            self._link.unlink()

    @property
    def ana_state(self) -> str:
        return (self._ana_group(GROUP) / "ana_state").read_text().strip()

    @ana_state.setter
    def ana_state(self, state) -> None:
        self.set_ana_state(GROUP, state)

    def set_ana_state(self, group, state) -> None:
        (self._ana_group(group) / "ana_state").write_text(state)

    @contextmanager
    def ana_group(self, group, state):
        """One more ANA group on this port, for the time of a block."""
        with ExitStack() as stack:
            _mkdir(stack, self._ana_group(group))
            self.set_ana_state(group, state)
            yield

    def _ana_group(self, number) -> Path:
        return self.directory / "ana_groups" / str(number)


def _mkdir(stack, directory) -> Path:
    directory.mkdir()
    stack.callback(directory.rmdir)
    return directory
