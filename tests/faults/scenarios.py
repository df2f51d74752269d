# SPDX-License-Identifier: GPL-2.0
"""The scenarios that allocate: each says how to act while an allocation fails, how to see that it is done, how to undo.

A scenario is entered once and then acts, and is undone, over and over. Even if it went wrong when it acted, undoing it
leaves the state from before, and acting once more works.
"""

import os
import time
from pathlib import Path

from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.guest.ram import CONFIGURATION
from tests.guest.ram import MODULES
from tests.guest.ram import RamDisk
from tests.guest.reader import Reader
from tests.guest.target import Target

_PCI = Path("/sys/bus/pci/drivers/nvme")
#: For how long the kernel may go on in the background after a failure, and without one, in seconds.
QUIET_SECONDS = 0.5
LIMIT_SECONDS = 30
#: How often the wait asks whether the action is done; asking allocates, too, which a trace notes down.
ASK_SECONDS = 0.1


def write(file, text) -> None:
    """Writes once: a file object of Python's would write again the data that could not be written."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, str(text).encode())
    finally:
        os.close(descriptor)


class Scenario:
    #: The modules in whose code allocations are to fail; of nvme_core only where it is on the library.
    modules = ("libmultipath", "nvme_core")
    #: Does the thread that asks for the action do all of it?
    own_context = False

    def __enter__(self):
        self.set_up()
        return self

    def __exit__(self, *exception):
        self.take_down()
        modules.unload()

    def settle(self, has_failed=None) -> None:
        """Waits until the action is done. When something may fail, now or a little later, that ends the wait."""
        end = time.monotonic() + LIMIT_SECONDS * wait.SLOWNESS
        failed = False
        quiet = QUIET_SECONDS * wait.SLOWNESS
        while time.monotonic() < end:
            if has_failed and not failed and (self.is_done() or has_failed()):
                failed = has_failed()
                end = min(end, time.monotonic() + quiet)
            if self.is_done() and (failed or not has_failed):
                return
            time.sleep(ASK_SECONDS * wait.SLOWNESS)


class _Head(Scenario):
    """An action after which a head has paths."""

    paths = 1

    def found(self) -> list:
        return self.target.heads()

    def is_done(self) -> bool:
        found = self.found()
        return len(found) == 1 and len(found[0].paths()) == self.paths and os.path.exists(found[0].device)

    def check(self) -> None:
        """Checks that I/O on the head works."""
        with Reader(self.found()[0].device) as reader:
            reader.start()
            outcome = reader.outcome()
        assert outcome == "data", f"a read of the head got {outcome}"


class Connect(_Head):
    """Connects a controller over loop; a head comes with its first path."""

    ports = 1

    def set_up(self):
        self.target = Target("faults", ports=("loop",) * self.ports)
        self.target.__enter__()
        self.before = [self.target.connect(port) for port in self.target.ports[:-1]]
        if self.before:
            wait.until(lambda: self.found() and len(self.found()[0].paths()) == len(self.before), "the first path")

    def take_down(self):
        self.target.__exit__(None, None, None)

    def act(self):
        self.target.connect(self.target.ports[-1])

    def undo(self):
        for name in set(heads.controllers_of_subsystem(self.target.nqn)) - set(self.before):
            heads.delete_controller(name)
        wait.until(self.is_undone, "the controller to go")

    def is_undone(self) -> bool:
        found = self.found()
        return (heads.controllers_of_subsystem(self.target.nqn) == self.before
                and (len(found) == 1 and len(found[0].paths()) == len(self.before) if self.before
                     else not heads.subsystems_of(self.target.nqn)))


class SecondPath(Connect):
    """Connects one more controller; the head gets another path."""

    ports = paths = 2


class Rescan(Connect):
    """Has a namespace appear on a connected controller."""

    def set_up(self):
        super().set_up()
        super().act()
        wait.until(self.is_done, "the namespace")
        self.before = heads.controllers_of_subsystem(self.target.nqn)
        self.undo()

    def act(self):
        self.target.enable_namespace()

    def undo(self):
        self.target.disable_namespace()
        wait.until(self.is_undone, "the namespace to go")

    def is_undone(self) -> bool:
        return not self.found()


class Policy(Connect):
    """Changes the policy of a subsystem."""

    own_context = True

    def set_up(self):
        super().set_up()
        super().act()
        wait.until(super().is_done, "the head")
        self.file = self.target.head.subsystem / "iopolicy"

    def act(self):
        write(self.file, "round-robin")

    def is_done(self):
        return self.file.read_text().strip() == "round-robin"

    def undo(self):
        write(self.file, "numa")

    def is_undone(self):
        return not self.is_done()


class DelayedRemoval(Connect):
    """Removes the last path of a head with a removal delay; the head stays."""

    def set_up(self):
        super().set_up()
        self.undo()

    def act(self):
        self.target.head.write("delayed_removal_secs", 600)
        for name in heads.controllers_of_subsystem(self.target.nqn):
            heads.delete_controller(name)

    def is_done(self):
        found = self.found()
        return not heads.controllers_of_subsystem(self.target.nqn) and len(found) == 1 and not found[0].paths()

    def check(self):
        pass

    def undo(self):
        if not heads.controllers_of_subsystem(self.target.nqn):
            super().act()
        wait.until(super().is_done, "the path to be back")
        self.target.head.write("delayed_removal_secs", 0)

    def is_undone(self):
        return super().is_done()


class Bind(_Head):
    """Binds a PCIe controller to the driver."""

    def set_up(self):
        modules.load("nvme")
        wait.until(lambda: len(self._bound()) == 2, "the PCIe controllers", LIMIT_SECONDS)
        wait.until(lambda: self.found() and len(self.found()[0].paths()) == 2, "both paths", LIMIT_SECONDS)
        self.address, other = self._bound()
        write(_PCI / "unbind", other)
        self.undo()

    def take_down(self):
        pass

    def _bound(self) -> list:
        return sorted(entry.name for entry in _PCI.glob("*:*"))

    def found(self):
        return heads.of_subsystem("nqn.2019-08.org.qemu:faults")

    def act(self):
        write(_PCI / "bind", self.address)

    def undo(self):
        if self._bound():
            write(_PCI / "unbind", self.address)
        wait.until(self.is_undone, "the PCIe controller to be let go")

    def is_undone(self):
        return not self._bound() and not self.found()


class _Sample(Scenario):
    """A command to a driver of samples/ in configfs."""

    own_context = True
    driver = "c"
    first = 1

    def __init__(self):
        self.modules = ("libmultipath", MODULES[self.driver])

    def set_up(self):
        self.disk = RamDisk(self.driver)
        for path in self.disk.all[:self.first]:
            path.pull()

    def take_down(self):
        self.disk.__exit__(None, None, None)

    def act(self):
        write(CONFIGURATION / "0" / "live", 1)

    def is_done(self):
        return self.disk.all[0].is_live and self.disk.is_there

    def check(self):
        with Reader(self.disk.device) as reader:
            reader.start()
            assert reader.outcome() == "data"

    def undo(self):
        self.disk.all[0].pull()

    def is_undone(self):
        return not self.disk.all[0].is_live


class CHead(_Sample):
    """The first path of the sample in C, and a head with it."""

    first = 2

    def is_undone(self):
        return super().is_undone() and not self.disk.is_there


class CSecondPath(_Sample):
    """Another path of the sample in C."""


class RequestsHead(CHead):
    """The first path of the sample whose paths take requests, and a head with it."""

    driver = "c_mq"


class RequestsSecondPath(_Sample):
    """Another path of the sample whose paths take requests."""

    driver = "c_mq"


class RustHead(CHead):
    """The first path of the sample in Rust, and a head with it."""

    driver = "rust"


class RustSecondPath(_Sample):
    """Another path of the sample in Rust."""

    driver = "rust"


class RustRequestsHead(CHead):
    """The first path of the sample in Rust whose paths take requests, and a head with it."""

    driver = "rust_mq"


class RustRequestsSecondPath(_Sample):
    """Another path of the sample in Rust whose paths take requests."""

    driver = "rust_mq"


class _Directory(_Sample):
    """Makes a directory for a path."""

    first = 0

    def act(self):
        os.mkdir(CONFIGURATION / "0")

    def set_up(self):
        super().set_up()
        self.undo()

    def take_down(self):
        self.act()
        super().take_down()

    def is_done(self):
        return (CONFIGURATION / "0").exists()

    def undo(self):
        if self.is_done():
            os.rmdir(CONFIGURATION / "0")

    def is_undone(self):
        return not self.is_done()

    def check(self):
        pass


class CDirectory(_Directory):
    """A directory for a path of the sample in C."""


class RustDirectory(_Directory):
    """A directory for a path of the sample in Rust."""

    driver = "rust"


class _Setting(_Sample):
    """Changes the policy and the removal delay."""

    first = 0

    def act(self):
        write(CONFIGURATION / "policy", "round-robin")
        write(CONFIGURATION / "delayed_removal_secs", 60)

    def is_done(self):
        return self.disk.read("policy") == "round-robin" and self.disk.read("delayed_removal_secs") == "60"

    def undo(self):
        write(CONFIGURATION / "policy", "numa")
        write(CONFIGURATION / "delayed_removal_secs", 0)

    def is_undone(self):
        return self.disk.read("policy") == "numa"

    def check(self):
        pass


class CSetting(_Setting):
    """Changes the policy and the removal delay of the sample in C."""


class RustSetting(_Setting):
    """Changes the policy and the removal delay of the sample in Rust."""

    driver = "rust"


SCENARIOS = {
    "loop-connect": Connect,
    "loop-second-path": SecondPath,
    "loop-namespace": Rescan,
    "loop-policy": Policy,
    "loop-delayed-removal": DelayedRemoval,
    "pcie-bind": Bind,
    "c-head": CHead,
    "c-second-path": CSecondPath,
    "c-directory": CDirectory,
    "c-setting": CSetting,
    "c-requests-head": RequestsHead,
    "c-requests-second-path": RequestsSecondPath,
    "rust-head": RustHead,
    "rust-second-path": RustSecondPath,
    "rust-requests-head": RustRequestsHead,
    "rust-requests-second-path": RustRequestsSecondPath,
    "rust-directory": RustDirectory,
    "rust-setting": RustSetting,
}
#: Modules, each with its parameters. A disk that is small has few pages, each of which is an allocation.
LOADS = {"libmultipath": "", "nvme-core": "", "c_mpath_ram": "size_mib=1", "c_mpath_mq": "size_mib=1",
         "rust_mpath_ram": "size_mib=1", "rust_mpath_mq": "size_mib=1", "rust_mpath_lower": ""}
