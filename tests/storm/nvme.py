# SPDX-License-Identifier: GPL-2.0
"""NVMe: a target in the guest over loop or tcp, and the PCIe controllers of the machine."""

import contextlib
import errno
import os
import pathlib
import threading
import time

from tests.guest import disk_faults
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import CommandReader
from tests.guest.reader import Reader
from tests.guest.target import Target
from tests.storm.plant import Event
from tests.storm.plant import Plant
from tests.storm.teardown import TornDown

POLICIES = ("numa", "round-robin", "queue-depth")
USABLE = ("optimized", "non-optimized")
STATES = ("optimized", *USABLE, "inaccessible", "change", "persistent-loss")
FENCES = ("off", "auto", "1", "1", "2")
PORTS = 3
MIB = 64
#: A head without controllers keeps its I/O for so long, which is more than enough to connect one.
PATIENCE = 300
#: The namespace that is always there, and the one that comes and goes.
STEADY, RESTLESS = 1, 2
PCIE = "nqn.2019-08.org.qemu:storm"
#: After so long a command whose completion got lost is aborted, and after twice that its controller is reset.
TIMEOUT_MS = 3000
#: Size of a disk that the storm tears down, and of the part that it reads at once.
SMALL_MIB = 16
BLOCK = 4096


class _Nvme(Plant):
    """The parts that all transports share; `_nqn` names the subsystem."""

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
            self.tally.flap()

    def _rescan(self, rng):
        for name in heads.controllers_of_subsystem(self._nqn):
            heads.rescan_controller(name)

    def _fail_commands(self, rng):
        paths = [path for head in heads.of_subsystem(self._nqn) for path in head.paths()]
        if not paths:
            return False
        status = rng.choice(list(disk_faults.PATH_STATUSES.values()))
        return disk_faults.fail_commands(rng.choice(paths).name, status, times=rng.randint(1, 8))

    def _common_events(self):
        injected = [Event("injected path error", self._fail_commands, 2)] if disk_faults.possible() else []
        return [Event("policy", self._choose_policy, 2), Event("reset", self._reset, 2), Event("rescan", self._rescan),
                *injected]

    def _wait_for_paths(self, count):
        controllers = wait.until(lambda: self._live(count), f"{count} live controllers of {self.name}", seconds=60)
        for head in heads.of_subsystem(self._nqn):
            wait.until(lambda: len(head.paths()) == len(controllers), f"{head} to have {count} paths", seconds=60)

    def _live(self, count):
        names = heads.controllers_of_subsystem(self._nqn)
        return len(names) == count and all(heads.controller_state(name) == "live" for name in names) and names


class Fabrics(_Nvme):
    """A subsystem with two namespaces and three ports."""

    musts = ("ana state", "flapping", "reset")

    def __init__(self, transport, tally):
        super().__init__(tally)
        self.name = transport
        self._target = Target(f"storm-{transport}", ports=(transport,) * PORTS, mib=MIB, namespaces=2, file_backed=True)
        self._nqn = self._target.nqn
        self._enabled = True

    def __enter__(self):
        self._target.__enter__()
        self._up = set(self._target.ports)
        #: The controller of each port that has one.
        self._controllers = dict(zip(self._target.ports, self._target.connect_all(), strict=True))
        return self

    def __exit__(self, *exception):
        self._delay(0)
        self._target.__exit__(*exception)

    def events(self):
        return self._common_events() + [
            Event("ana state", self._change_state, 8),
            Event("flapping", self._flap, 8),
            Event("disconnect", self._disconnect, 2),
            Event("connect", self._connect, 3),
            Event("port down", self._take_down),
            Event("port up", self._bring_up, 2),
            Event("removal delay", self._set_delay, 2),
            Event("resize", self._resize, 2),
            Event("namespace", self._switch_namespace, 2),
            Event("fence", self._set_fence),
        ]

    def settle(self):
        self._count_fenced()
        for port in self._target.ports:
            self._open(port)
            port.ana_state = "optimized"
        for port in [port for port in self._target.ports if port not in self._controllers]:
            wait.until(lambda port=port: self._attach(port), f"{self.name} to be connected again")
        if not self._enabled:
            self._switch_namespace(None)
        self._wait_for_paths(PORTS)

    def _change_state(self, rng):
        port, state = rng.choice(self._target.ports), rng.choice(STATES)
        if state not in USABLE and port in self._controllers and port.ana_state in USABLE:
            self.tally.flap()
        port.ana_state = state

    def _flap(self, rng):
        """One path comes and goes some times, each time as soon as the host has seen it."""
        if not self._controllers:
            return False
        port, controller = rng.choice(list(self._controllers.items()))
        paths = [path for path in self.heads()[0].paths() if path.controller == controller]
        if not paths or paths[0].condition not in USABLE:
            return False
        for state in ("inaccessible", "optimized") * rng.randint(4, 12):
            port.ana_state = state
            if not self._follows(paths[0], state):
                return
            if state not in USABLE:
                self.tally.flap()

    def _follows(self, path, state) -> bool:
        """Whether the host sees a path in this state soon; a reset may keep it from that."""
        try:
            wait.until(lambda: path.condition == state, f"{path} to be {state}", seconds=5)
        except wait.Late:
            return False
        return True

    def _disconnect(self, rng):
        # The steady head is not to go, so a path must be left, or the head must wait for one.
        waits = int(self.heads()[0].read("delayed_removal_secs")) == PATIENCE
        if not self._controllers or len(self._controllers) == 1 and not waits:
            return False
        controller = self._controllers.pop(rng.choice(list(self._controllers)))
        self.tally.flap()
        heads.delete_controller(controller)
        wait.until(lambda: heads.controller_state(controller) == "gone", f"{controller} to go")

    def _connect(self, rng):
        ports = [port for port in self._target.ports if port in self._up and port not in self._controllers]
        if not ports:
            return False
        return self._attach(rng.choice(ports))

    def _attach(self, port) -> bool:
        """Connects through a port, unless the host refuses.

        nvmet gives the number of a controller whose connection was lost to the next one. Meanwhile the host still has
        it as that of the controller that reconnects; it takes none twice.
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
        takes_controller = port.transport == "loop" and port in self._controllers
        if takes_controller and len(self._controllers) == 1:
            return False
        if port in self._controllers:
            self.tally.flap()
        if takes_controller:
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

    def _set_fence(self, rng):
        for name in heads.controllers_of_subsystem(self._nqn):
            with contextlib.suppress(OSError):
                (heads.CONTROLLERS / name / "fence").write_text(rng.choice(FENCES))

    def _count_fenced(self):
        """Adds up the writes that fences held on the existing paths."""
        for path in (path for head in heads.of_subsystem(self._nqn) for path in head.paths()):
            with contextlib.suppress(OSError):
                self.tally.sums["writes_fenced"] += int(path.read("diag/multipath_fence_count"))
                path.write("diag/multipath_fence_count", 0)

    def _switch_namespace(self, rng):
        self._enabled = not self._enabled
        (self._target.enable_namespace if self._enabled else self._target.disable_namespace)(RESTLESS)


class Pcie(_Nvme):
    """The two controllers that lead to a disk of the machine's."""

    name = "pcie"
    musts = ("reset", "unplug", "plug in")
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
        injected = [Event("lost completions", self._lose_completions)] if disk_faults.possible() else []
        return self._common_events() + [Event("unplug", self._unplug), Event("plug in", self._plug_in, 2), *injected]

    def settle(self):
        self._plug_in(None)
        self._wait_for_paths(2)

    def _unplug(self, rng):
        names = heads.controllers_of_subsystem(PCIE)
        if self._removed or not self._live(2):
            return False
        self._removed = True
        self.tally.flap()
        ((heads.CONTROLLERS / rng.choice(names) / "device").resolve() / "remove").write_text("1")

    def _plug_in(self, rng):
        if not self._removed:
            return False
        pathlib.Path("/sys/bus/pci/rescan").write_text("1")
        self._removed = False

    def _lose_completions(self, rng):
        paths = self.heads()[0].paths()
        if len(paths) < 2:
            return False
        path = rng.choice(paths)
        try:
            path.write("queue/io_timeout", TIMEOUT_MS)
            with disk_faults.switched(disk_faults.LOSE, [path.name]):
                time.sleep(0.05 * rng.random())
        except OSError:
            return False  # it went
        self.tally.flap()


class SmallNvme(TornDown):
    """A subsystem of two ports with a small namespace, which comes and goes with its controllers."""

    def __init__(self, transport, tally):
        super().__init__(tally)
        self.name = f"small {transport}"
        self._target = Target(f"small-{transport}", ports=(transport,) * 2, mib=SMALL_MIB)

    def __enter__(self):
        self._target.__enter__()
        return self

    def __exit__(self, *exception):
        self._target.__exit__(*exception)

    def bring_up(self):
        if heads.controllers_of_subsystem(self._target.nqn):
            self._target.enable_namespace()
            self._target.wait_for_heads(len(self._target.ports))
        else:
            self._target.connect_all(nr_io_queues=1)
        self._head = self._target.head
        self._nodes = self._head.device, passthrough.character_device(self._head)
        wait.until(lambda: os.path.exists(self._head.device), self._head.device)

    def ways(self):
        return [Event("controllers", self._remove_controllers), Event("namespace", self._remove_namespace, 2)]

    def restore(self):
        for port in self._target.ports:
            port.ana_state = "optimized"

    def openers(self):
        block, character = self._nodes
        return [Reader(block), CommandReader(character)]

    def block(self):
        for port in self._target.ports:
            port.ana_state = "inaccessible"
            self.tally.flap()
        wait.until(lambda: int(self._head.read("diag/io_requeue_no_usable_path_count")), "I/O to be parked")

    def delay(self, seconds):
        if seconds:
            self._head.write("delayed_removal_secs", seconds)

    def check_errors(self, rng):
        broken = rng.sample(range(SMALL_MIB * 1024 * 1024 // BLOCK), 4)
        for block in broken:
            self._target.break_blocks(block * BLOCK // 512, BLOCK // 512)
        whole = rng.sample(sorted(set(range(SMALL_MIB * 1024 * 1024 // BLOCK)) - set(broken)), 12)
        self.check_blocks(self._head.device, whole, broken, errno.EIO)
        for block in broken:
            self._target.break_blocks(block * BLOCK // 512, BLOCK // 512, broken=False)
        self.check_submission(self._head.device, [path.name for path in self._head.paths()])
        self.check_blocks(self._head.device, broken, [], None)

    def _remove_controllers(self, rng):
        names = heads.controllers_of_subsystem(self._target.nqn)
        going = [threading.Thread(target=heads.delete_controller, args=(name,)) for name in names]
        for thread in going:
            thread.start()
        for thread in going:
            thread.join()
        self._wait_until_gone()

    def _remove_namespace(self, rng):
        self._target.disable_namespace()
        self._wait_until_gone()

    def _wait_until_gone(self):
        wait.until(lambda: not self._head.directory.exists() and not any(map(os.path.exists, self._nodes)),
                   f"{self._head} to go")
