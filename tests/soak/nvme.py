# SPDX-License-Identifier: GPL-2.0
"""NVMe: a target in the guest over loop or tcp, and the PCIe controllers of the machine."""

import contextlib
import errno
import pathlib

from tests.e2e import head as heads
from tests.e2e import modules
from tests.e2e import wait
from tests.e2e.target import Target
from tests.soak.plant import Event
from tests.soak.plant import Plant

POLICIES = ("numa", "round-robin", "queue-depth")
STATES = ("optimized", "optimized", "non-optimized", "inaccessible", "change", "persistent-loss")
PORTS = 3
MIB = 64
#: A head without controllers keeps its I/O for so long, which is more than enough to connect one.
PATIENCE = 300
#: The namespace that is always there, and the one that comes and goes.
STEADY, RESTLESS = 1, 2
PCIE = "nqn.2019-08.org.qemu:soak"


class _Nvme(Plant):
    """What all transports have in common; `_nqn` says which subsystem it is about."""

    def heads(self):
        return [heads.of_subsystem(self._nqn)[0]]

    def opened(self):
        found = heads.of_subsystem(self._nqn)
        return [head.device for head in found] + [head.device.replace("nvme", "ng") for head in found]

    def _choose_policy(self, rng):
        (self.heads()[0].subsystem / "iopolicy").write_text(rng.choice(POLICIES))

    def _reset(self, rng):
        live = [name for name in heads.controllers_of_subsystem(self._nqn) if heads.controller_state(name) == "live"]
        if not live:
            return False
        # A controller may lose its port, or go, while it is reset.
        with contextlib.suppress(OSError):
            heads.reset_controller(rng.choice(live))

    def _rescan(self, rng):
        for name in heads.controllers_of_subsystem(self._nqn):
            heads.rescan_controller(name)

    def _common_events(self):
        return [Event("policy", self._choose_policy, 2), Event("reset", self._reset, 2), Event("rescan", self._rescan)]

    def _wait_for_paths(self, count):
        controllers = wait.until(lambda: self._live(count), f"{count} live controllers of {self.name}", seconds=60)
        for head in heads.of_subsystem(self._nqn):
            wait.until(lambda: len(head.paths()) == len(controllers), f"{head} to have {count} paths", seconds=60)

    def _live(self, count):
        names = heads.controllers_of_subsystem(self._nqn)
        return len(names) == count and all(heads.controller_state(name) == "live" for name in names) and names


class Fabrics(_Nvme):
    """A subsystem with two namespaces and three ports."""

    def __init__(self, transport):
        self.name = transport
        self._target = Target(f"soak-{transport}", ports=(transport,) * PORTS, mib=MIB, namespaces=2, file_backed=True)
        self._nqn = self._target.nqn
        self._enabled = True

    def __enter__(self):
        self._target.__enter__()
        self._up = set(self._target.ports)
        #: The controller of each port that has one.
        self._controllers = dict(zip(self._target.ports, self._target.connect_all()))
        return self

    def __exit__(self, *exception):
        self._delay(0)
        self._target.__exit__(*exception)

    def events(self):
        return self._common_events() + [
            Event("ana state", self._change_state, 6),
            Event("disconnect", self._disconnect, 2),
            Event("connect", self._connect, 3),
            Event("port down", self._take_down),
            Event("port up", self._bring_up, 2),
            Event("removal delay", self._set_delay, 2),
            Event("resize", self._resize, 2),
            Event("namespace", self._switch_namespace, 2),
        ]

    def settle(self):
        for port in self._target.ports:
            self._open(port)
            port.ana_state = "optimized"
        for port in [port for port in self._target.ports if port not in self._controllers]:
            wait.until(lambda port=port: self._attach(port), f"{self.name} to be connected again")
        if not self._enabled:
            self._switch_namespace(None)
        self._wait_for_paths(PORTS)

    def _change_state(self, rng):
        rng.choice(self._target.ports).ana_state = rng.choice(STATES)

    def _disconnect(self, rng):
        # The steady head is not to go, so somebody must be left, or it must wait for somebody.
        waits = int(self.heads()[0].read("delayed_removal_secs")) == PATIENCE
        if not self._controllers or len(self._controllers) == 1 and not waits:
            return False
        controller = self._controllers.pop(rng.choice(list(self._controllers)))
        heads.delete_controller(controller)
        wait.until(lambda: heads.controller_state(controller) == "gone", f"{controller} to go")

    def _connect(self, rng):
        ports = [port for port in self._target.ports if port in self._up and port not in self._controllers]
        if not ports:
            return False
        return self._attach(rng.choice(ports))

    def _attach(self, port) -> bool:
        """Connects through a port, unless the host refuses.

        nvmet gives the number of a controller whose connection was lost to the next one, while the
        host still has it as that of the controller that reconnects; it takes none twice.
        """
        try:
            self._controllers[port] = self._target.connect(port)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def _take_down(self, rng):
        up = [port for port in self._target.ports if port in self._up]
        if len(up) < 2:
            return False
        port = rng.choice(up)
        # Over loop a port takes its controller along.
        if port.transport == "loop" and port in self._controllers:
            if len(self._controllers) == 1:
                return False
            controller = self._controllers.pop(port)
            port.stop()
            wait.until(lambda: heads.controller_state(controller) == "gone", f"{controller} to go")
        else:
            port.stop()
        self._up.remove(port)

    def _bring_up(self, rng):
        down = [port for port in self._target.ports if port not in self._up]
        if not down:
            return False
        self._open(rng.choice(down))

    def _open(self, port):
        port.start()
        self._up.add(port)

    def _set_delay(self, rng):
        if not self._controllers:
            return False  # it waits because of what was set before
        self._delay(rng.choice((0, 1, PATIENCE)))

    def _delay(self, seconds):
        for head in heads.of_subsystem(self._nqn):
            with contextlib.suppress(OSError):
                head.write("delayed_removal_secs", seconds)

    def _resize(self, rng):
        mib, namespace = MIB * rng.choice((1, 2)), rng.choice((STEADY, RESTLESS))
        if namespace == RESTLESS and not self._enabled:
            return False  # nvmet looks at the size of what is enabled only
        self._target.resize(mib, namespace)

    def _switch_namespace(self, rng):
        self._enabled = not self._enabled
        (self._target.enable_namespace if self._enabled else self._target.disable_namespace)(RESTLESS)


class Pcie(_Nvme):
    """The two controllers that lead to a disk of the machine's."""

    name = "pcie"
    _nqn = PCIE

    def __enter__(self):
        modules.load("nvme")
        self._removed = False
        wait.until(lambda: heads.of_subsystem(PCIE), "the PCIe namespace")
        self.settle()
        return self

    def __exit__(self, *exception):
        pass

    def events(self):
        return self._common_events() + [Event("unplug", self._unplug), Event("plug in", self._plug_in, 2)]

    def settle(self):
        self._plug_in(None)
        self._wait_for_paths(2)

    def _unplug(self, rng):
        names = heads.controllers_of_subsystem(PCIE)
        if self._removed or not self._live(2):
            return False
        self._removed = True
        ((heads.CONTROLLERS / rng.choice(names) / "device").resolve() / "remove").write_text("1")

    def _plug_in(self, rng):
        if not self._removed:
            return False
        pathlib.Path("/sys/bus/pci/rescan").write_text("1")
        self._removed = False


PLANTS = {"loop": lambda: Fabrics("loop"), "tcp": lambda: Fabrics("tcp"), "pcie": Pcie}
