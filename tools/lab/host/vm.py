# SPDX-License-Identifier: GPL-2.0
"""A guest: boots a kernel on the host's root, runs one command, returns its exit status.

This is plain QEMU with the host's root over 9p and `init.sh` as the first process. A guest of another architecture has
a root of its own, and the project's tree over that. virtme-ng would do the same through its own init. That takes about
15 s to boot where this takes 3 s when the CPU is emulated. It also owns the QEMU process, its monitor and its signals,
which the lab needs to pull controllers out and to leave nothing behind.

A guest cannot change the host: its root is exported read-only below a tmpfs, which begins with a few files of the lab's
(builds/layer.py). Only `rwdir` is lent to it for writing. The images behind its disks have no name, so they go with
QEMU, and QEMU goes with the thread that started it. A user has at most `PLACES` guests at a time.
"""

import dataclasses
import fcntl
import json
import os
import re
import selectors
import shlex
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from lab.host import arch
from lab.host import log
from lab.host import paths
from lab.host.monitor import Monitor
from lab.host.reports import Report
from lab.host.reports import Story

from tests.sanitize import guest
from tests.sanitize.sanitizers import LEAKS
from tests.sanitize.sanitizers import SANITIZERS

#: The values of ACCEL=.
ACCELERATORS = ("tcg", "kvm")
#: How many guests of a user run at a time, whichever commands started them; how often one that waits asks again.
PLACES = 4
ASK_AGAIN_SECONDS = 0.5
#: Seconds without a sign of life from a guest that is booting.
BOOT_LIMIT = 120
#: A guest that counts instructions executes those of one CPU at a time, and each by itself: its limits are longer.
COUNTING_SLOWNESS = 3
#: QEMU 7.2 with two emulated CPUs crashes now and then while the kernel looks for PCI devices. Once a guest has hung
#: between the start of its first program and the word that it is there. Nothing of ours runs yet at either time.
BOOT_ATTEMPTS = 3
#: A kernel says this when the host was too busy while it looked at its CPUs' timers. From then on another timer
#: interrupts all CPUs 250 times a second, idle or not, and nothing takes less than 4 ms.
WITHOUT_TIMERS = b"APIC timer disabled due to verification failure"
#: How often the lab looks for that while a guest boots, in seconds.
LOOK_SECONDS = 0.5
#: A CPU's program counter in QEMU's list of registers, on x86-64 and on arm64.
_PROGRAM_COUNTER = re.compile(r"\b(?:RIP|PC)=([0-9a-f]+)")
#: How much of the kernel's log the lab shows when a guest fails.
TAIL_LINES = 40

KERNEL_PARAMETERS = (
    "root=host rootfstype=9p rootflags=trans=virtio,version=9p2000.L,msize=262144,cache=loose ro "
    "pcie_ports=native panic=-1 oops=panic hung_task_panic=1 null_blk.nr_devices=0"
)
#: Where a root that is not the host's has the project's tree at first.
TREE = "/srv"
#: The slab allocator's stocks for each CPU go on naming objects that were taken from them. kmemleak then takes those
#: for in use. Slabs that the allocator checks have no stocks.
KEEPING_NO_STOCK = "slab_debug=F,kmalloc-*,mpath_*"


@dataclass(frozen=True)
class Namespace:
    """A namespace of a PCIe subsystem."""

    #: Its size in MiB.
    mib: int
    #: Properties of QEMU's device, such as {"zoned": "on"} or {"ms": 8, "pi": 1}.
    properties: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Subsystem:
    """A PCIe NVMe subsystem whose controllers all lead to all its namespaces."""

    name: str
    #: The NUMA node of each controller, by the controller's name.
    controllers: dict[str, int]
    #: The size of each namespace in MiB, or more about it.
    namespaces: tuple["int | Namespace", ...] = (1024,)
    #: More properties of each controller, such as {"cmb_size_mb": 16}.
    properties: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Topology:
    """The machine that a guest sees. The CPUs are split evenly between the NUMA nodes."""

    nodes: int = 2
    node_mib: int = 1024
    #: Nodes that have CPUs and no memory.
    memoryless: tuple[int, ...] = ()
    #: Memory that could be plugged in, on one node more, which has nothing.
    pluggable_mib: int = 0
    subsystems: tuple[Subsystem, ...] = ()


@dataclass(frozen=True)
class Result:
    """How a guest ended. `status` is None when its kernel did not live to report one."""

    status: int | None
    timed_out: bool
    elapsed: float
    #: Seconds until the command was started.
    boot: float | None
    #: QEMU's own exit status, when it ended by itself.
    qemu: int | None = None
    #: Where the kernel has sanitizers: their findings, and which of them were at work to the end.
    reports: tuple[Report, ...] = ()
    at_work: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.reports

    def __str__(self) -> str:
        if self.timed_out:
            return f"stopped after {self.elapsed:.0f} s, its time limit"
        if self.qemu:
            return f"QEMU itself failed after {self.elapsed:.0f} s, with status {self.qemu}"
        if self.status is None:
            return f"the kernel died after {self.elapsed:.0f} s"
        if self.status == 0 and self.reports:
            return f"{len(self.reports)} reports of its kernel's"
        return f"exit status {self.status} after {self.elapsed:.0f} s"


def run(kernel, command, modules_dir, topology, timeout, console_log, rwdir,
        append="", smp=4, icount=False, plugin="", output=print, silence=None, answer=None,
        leaks=True, in_turns=False) -> Result:
    """Boots `kernel`, runs the words of `command` in it, calls `output` with every line it prints.

    The command finds its modules in $MODULES and may leave files in `rwdir`. `append` is added to the kernel's command
    line. With `icount` the guest's clock counts the instructions that its one CPU executes; `plugin` is one of QEMU's,
    with its arguments. The kernel's own messages go to the file `console_log`.

    The time is up after `timeout` seconds, or after `silence` seconds in which the command printed nothing. Both are
    longer for a kernel with sanitizers. Such a guest also looks for lost memory at the end, if `leaks` says so: to keep
    a record of all memory takes twice the time of everything else.

    `answer` gets the command's requests to the host that not every guest may make, and returns a line. With `in_turns`,
    emulated CPUs take turns in one thread of the host, instead of having one each. They keep their barriers by a plugin.
    """
    rwdir, console_log = Path(rwdir).resolve(), Path(console_log).resolve()
    rwdir.mkdir(parents=True, exist_ok=True)
    if kernel.sanitizes:
        command = ["python3", "-m", guest.__name__, rwdir, *command]
    console_log.parent.mkdir(parents=True, exist_ok=True)
    pci_nodes = _nodes_of_ports(topology) if kernel.is_flat else ""
    (rwdir / "command").write_text(
        f"export MODULES={shlex.quote(str(modules_dir))} SLOWNESS={kernel.slowness} PCI_NODES={shlex.quote(pci_nodes)}\n"
        f"cd {shlex.quote(str(paths.ROOT))} && exec {shlex.join(map(str, command))}\n")

    if kernel.sanitizes:
        append += f" {KEEPING_NO_STOCK}" if leaks else " kmemleak=off"
    parameters = (f"{KERNEL_PARAMETERS} console={kernel.arch.console} {kernel.arch.parameters} {kernel.parameters} "
                  f"{append} init=/bin/sh -- {_init(kernel, rwdir)}")
    for attempts_left in reversed(range(BOOT_ATTEMPTS)):
        with ExitStack() as stack:
            stack.enter_context(a_place())
            machine = _Machine(stack, kernel, topology, smp, icount, plugin, in_turns)
            machine.lend(rwdir)
            machine.boot(parameters, console_log)
            slowness = kernel.slowness * (COUNTING_SLOWNESS if icount else 1)
            session = _Session(machine, output, answer, slowness, console_log if attempts_left else None)
            result = session.follow(timeout, silence or timeout)
            if result and result.timed_out:
                log.info(f"guest: its CPUs are at {' '.join(machine.program_counters()) or 'no known place'}")
        if result and (result.boot is not None or not result.qemu and not result.timed_out):
            break
        log.info(f"guest: {result or 'its CPUs have no timers'}, before anything ran in it")
    if result.status is None:
        _show_tail(console_log, result)
    return _judged(kernel, result, console_log, rwdir / guest.FILE, leaks) if kernel.sanitizes else result


def _init(kernel, rwdir) -> str:
    """The script of a guest's first shell."""
    script = Path(__file__).with_name("init.sh")
    if kernel.arch == arch.HOSTS:
        return f'"{script}" "{rwdir}" "{kernel.layer}"'
    return (f'-c "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose tree {TREE} && '
            f'exec /bin/sh {TREE}/{script.relative_to(paths.ROOT)} {rwdir} - {paths.ROOT}"')


@contextmanager
def a_place():
    """One of the places for guests that a user has; waits for it when other guests have them all."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        places = [stack.enter_context(open(paths.CACHE / f"guest-{number}.lock", "w")) for number in range(PLACES)]
        waited = False
        while not any(_is_free(place) for place in places):
            if not waited:
                log.info(f"waiting for one of {PLACES} other guests to end")
                waited = True
            time.sleep(ASK_AGAIN_SECONDS)
        yield


def _is_free(place) -> bool:
    """Takes a place, until its file is closed, if nobody has it."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _judged(kernel, result, console_log, said, leaks) -> Result:
    """The result with the findings of the sanitizers."""
    story = Story(console_log)
    found = story.reports
    at_work = ()
    if result.status == 0 and not said.exists():
        found += [Report("", ["nothing is known of what the sanitizers have found"])]
    if said.exists():
        words = json.loads(said.read_text())
        at_work = tuple(words["at_work"])
        found += [story.leak(text, int(kernel.options()["CONFIG_HZ"])) for text in words["leaks"]]
        if result.status == 0:
            found += [Report("", [f"{each.option} was not at work any more when the guest ended"])
                      for each in SANITIZERS
                      if each.option not in at_work and (leaks or each.option != LEAKS)]
    return dataclasses.replace(result, reports=tuple(found), at_work=at_work)


def _show_tail(console_log, result) -> None:
    log.info(f"guest: {result}; the end of {console_log}:")
    for line in console_log.read_text(errors="replace").splitlines()[-TAIL_LINES:]:
        print(f"    {line}")


class _Machine:
    """A QEMU process and the sockets to it; all of it ends with `stack`."""

    def __init__(self, stack, kernel, topology, smp, icount, plugin, in_turns):
        self._stack = stack
        self._kernel = kernel
        self._fds = []
        accelerated = accelerator(kernel.arch, icount or plugin, in_turns)
        self._arguments = [
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-M", kernel.arch.machine, "-smp", _cpus(topology, smp), "-m", _memory(topology),
            *accelerated,
            "-fsdev", f"local,id=host,path={kernel.root},security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,bus=pcie.0,fsdev=host,mount_tag=host",
            "-device", "virtio-rng-pci,bus=pcie.0",
            "-device", "virtio-serial-pci,bus=pcie.0",
        ]
        if kernel.arch != arch.HOSTS:
            self._add("-fsdev", f"local,id=tree,path={paths.ROOT},security_model=none,readonly=on,multidevs=remap",
                      "-device", "virtio-9p-pci,bus=pcie.0,fsdev=tree,mount_tag=tree")
        elif kernel.is_flat:
            # Else the firmware hot-plugs slots on the first bus, which leaves no work for pciehp.
            self._arguments += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        if icount:
            self._arguments += ["-icount", "shift=0,sleep=off"]
        if plugin:
            self._arguments += ["-plugin", plugin]
        if leaves_barriers_out(accelerated, smp):
            self._arguments += ["-plugin", str(kernel.barriers)]
        self._is_flat = kernel.is_flat
        self._add_nodes(topology, smp)
        self._pluggable = _pluggable(topology)
        self._controllers = {}
        for subsystem in topology.subsystems:
            self._add_subsystem(subsystem)
        self.output = self._add_port("output")
        self.requests = self._add_port("host")
        self._monitor = self._add_monitor()

    def lend(self, directory) -> None:
        self._add("-fsdev", f"local,id=lent,path={directory},security_model=none",
                  "-device", "virtio-9p-pci,bus=pcie.0,fsdev=lent,mount_tag=lent")

    def boot(self, parameters, console_log) -> None:
        self._add("-chardev", f"file,id=console,path={console_log}", "-serial", "chardev:console",
                  "-kernel", str(self._kernel.image), "-append", parameters)
        # A guest must not outlive the process that waits for it, however that one ends.
        self._qemu = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", self._kernel.arch.emulator, *self._arguments],
            stdin=subprocess.DEVNULL, pass_fds=self._fds, start_new_session=True)
        self._stack.callback(self._kill)
        for fd in self._fds:
            os.close(fd)
        if self._monitor.execute("qmp_capabilities"):
            log.fail("QEMU did not start, see its message above")

    def wait(self) -> int:
        """QEMU's exit status, once its sockets are closed."""
        return self._qemu.wait()

    def program_counters(self) -> list:
        """Where its CPUs are, as addresses of the kernel's or of programs."""
        return _PROGRAM_COUNTER.findall(self._monitor.show("info registers -a"))

    def pull(self, name) -> str | None:
        """Asks the guest to let go of a controller, as the button of its slot would."""
        return self._monitor.execute("device_del", id=name)

    def put_back(self, name) -> str | None:
        """Plugs a controller in again."""
        return self._monitor.execute("device_add", **self._controllers[name])

    def plug_node(self) -> str | None:
        """Plugs the memory of a node in that has had nothing."""
        for command, arguments in self._pluggable:
            if error := self._monitor.execute(command, **arguments):
                return error
        return None

    def _kill(self) -> None:
        self._qemu.kill()
        self._qemu.wait()

    def _add(self, *words) -> None:
        self._arguments += words

    def _add_nodes(self, topology, smp) -> None:
        share = max(smp // topology.nodes, 1)
        for node in range(topology.nodes):
            cpus = f",cpus={node * share}-{node * share + share - 1}" if node * share < smp else ""
            memory = ""
            if node not in topology.memoryless:
                self._add("-object", f"memory-backend-ram,id=memory{node},size={topology.node_mib}M")
                memory = f",memdev=memory{node}"
            self._add("-numa", f"node,nodeid={node}{memory}{cpus}")
            if not self._is_flat:
                self._add("-device", f"pxb-pcie,id=bus{node},bus=pcie.0,bus_nr={32 * (node + 1)},"
                                     f"numa_node={node}")
        if topology.pluggable_mib:
            self._add("-numa", f"node,nodeid={topology.nodes}")

    def _add_subsystem(self, subsystem) -> None:
        self._add("-device", f"nvme-subsys,id={subsystem.name},nqn={subsystem.name}")
        for name, node in subsystem.controllers.items():
            slot = len(self._controllers) + 1
            bus = f"pcie.0,addr={_flat_port(slot):#x}" if self._is_flat else f"bus{node}"
            self._add("-device", f"pcie-root-port,id=port-{name},bus={bus},chassis={slot},slot={slot}")
            self._controllers[name] = {
                "driver": "nvme", "id": name, "serial": subsystem.name, "subsys": subsystem.name,
                "bus": f"port-{name}", **subsystem.properties}
            self._add("-device", ",".join(
                f"{key}={value}" for key, value in self._controllers[name].items()))
        first = next(iter(subsystem.controllers))
        for nsid, namespace in enumerate(subsystem.namespaces, 1):
            if isinstance(namespace, int):
                namespace = Namespace(namespace)
            drive = f"{subsystem.name}-{nsid}"
            more = "".join(f",{key}={value}" for key, value in namespace.properties.items())
            self._add("-drive", f"file=/dev/fd/{self._image(namespace.mib)},id={drive},format=raw,if=none,"
                                "cache=unsafe,discard=unmap",
                      "-device", f"nvme-ns,drive={drive},bus={first},nsid={nsid},shared=on{more}")

    def _image(self, mib) -> int:
        """A sparse file without a name."""
        paths.BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=paths.BUILD) as image:
            image.truncate(mib << 20)
            return self._give(os.dup(image.fileno()))

    def _add_port(self, name) -> socket.socket:
        """A port of the guest's virtio console."""
        ours, fd = self._socket()
        self._add("-chardev", f"socket,id={name},fd={fd}",
                  "-device", f"virtserialport,chardev={name},name={name}")
        return ours

    def _add_monitor(self) -> Monitor:
        ours, fd = self._socket()
        self._add("-chardev", f"socket,id=monitor,fd={fd}", "-mon", "chardev=monitor,mode=control")
        return Monitor(self._stack, ours)

    def _socket(self):
        ours, theirs = socket.socketpair()
        return self._stack.enter_context(ours), self._give(theirs.detach())

    def _give(self, fd) -> int:
        """Passes a file descriptor on to QEMU, under the same number."""
        self._fds.append(fd)
        return fd


def accelerator(its, counts, in_turns=False) -> list:
    """The CPU, emulated or, with ACCEL=kvm, the host's own. Only an emulated one can count instructions."""
    asked = os.environ.get("ACCEL") or "tcg"
    if asked not in ACCELERATORS:
        log.fail(f"ACCEL={asked} is none of {', '.join(ACCELERATORS)}")
    if counts or asked == "tcg":
        return ["-cpu", its.cpu, "-accel", f"tcg,thread={'single' if counts or in_turns else 'multi'}"]
    if its != arch.HOSTS:
        log.fail(f"ACCEL=kvm has only the host's own CPU, which is not {its.name}")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        log.fail("ACCEL=kvm needs /dev/kvm, which is not there, or not for this user to write to")
    return ["-cpu", "host", "-accel", "kvm"]


def leaves_barriers_out(accelerated, smp) -> bool:
    """Does QEMU take the barriers of a guest for needless? They are, among CPUs that never run at the same time.

    They are not between a CPU and a device of QEMU, which runs in another thread.
    """
    return accelerated[-1] == "tcg,thread=single" or accelerated[-1] == "tcg,thread=multi" and smp == 1


def _cpus(topology, smp) -> str:
    """The CPUs, with a socket for each node that has some: no socket is in two nodes."""
    sockets = min(topology.nodes, smp)
    return f"{smp},sockets={sockets},cores={smp // sockets}" if smp % sockets == 0 else str(smp)


def _memory(topology) -> str:
    """The memory of all nodes, and how much there can be."""
    mib = (topology.nodes - len(topology.memoryless)) * topology.node_mib
    return f"{mib}M" + (f",slots=1,maxmem={mib + topology.pluggable_mib}M" if topology.pluggable_mib else "")


def _flat_port(slot: int) -> int:
    """The device number of a port on the first bus."""
    return 0x10 + slot


def _nodes_of_ports(topology) -> str:
    """The guest's variable with the nodes of controllers that are all on the first bus."""
    nodes = [node for subsystem in topology.subsystems for node in subsystem.controllers.values()]
    return " ".join(f"0000:00:{_flat_port(slot):02x}.0={node}" for slot, node in enumerate(nodes, 1))


def _pluggable(topology) -> list:
    """QEMU's commands that plug in the node that has had nothing."""
    if not topology.pluggable_mib:
        return []
    return [
        ("object-add", {"qom-type": "memory-backend-ram", "id": "plugged", "size": topology.pluggable_mib << 20}),
        ("device_add", {"driver": "pc-dimm", "id": "dimm", "memdev": "plugged", "node": topology.nodes}),
    ]


class _Session:
    """The time from a guest's boot to its end: its output and its requests to the host.

    With `console_log`, that ends as soon as the kernel says there that it does without its CPUs' timers.
    """

    def __init__(self, machine, output, answer, slowness, console_log=None):
        self._console_log = console_log
        self._slowness = slowness
        self._machine = machine
        self._output = output
        self._answer_others = answer
        self._begun = time.monotonic()
        self._boot = None
        self._status = None
        self._partial = {machine.output: b"", machine.requests: b""}

    def follow(self, timeout, silence) -> Result | None:
        """The outcome of the guest; None when it is not worth going on."""
        timeout, silence, booting = (limit * self._slowness for limit in (timeout, silence, BOOT_LIMIT))
        with selectors.DefaultSelector() as selector:
            for channel in self._partial:
                selector.register(channel, selectors.EVENT_READ)
            while self._status is None:
                begun_ago = time.monotonic() - self._begun
                left = timeout - begun_ago
                if self._boot is None:
                    left = min(left, booting - begun_ago)
                    ready = self._select(selector, min(left, LOOK_SECONDS))
                    if self._is_without_timers():
                        return None
                else:
                    ready = self._select(selector, min(left, silence))
                if left < 0 or not ready and self._boot is not None:
                    return self._result(timed_out=True)
                # The output comes first, so that none is lost when the status follows it.
                for channel in self._partial:
                    if channel in ready and not self._read(channel):
                        return self._result()
        self._read_all()
        return self._result()

    @staticmethod
    def _select(selector, seconds) -> set:
        """The channels with something to read, within so many seconds."""
        return {key.fileobj for key, _ in selector.select(max(seconds, 0))}

    def _is_without_timers(self) -> bool:
        log_of_it = self._console_log
        return bool(log_of_it) and log_of_it.exists() and WITHOUT_TIMERS in log_of_it.read_bytes()

    def _read_all(self) -> None:
        """Takes all output that is there: lines printed before a request come before its answer."""
        while self._read(self._machine.output, socket.MSG_DONTWAIT):
            pass

    def _result(self, timed_out=False) -> Result:
        died = self._status is None and not timed_out
        return Result(self._status, timed_out, time.monotonic() - self._begun, self._boot,
                      self._machine.wait() if died else None)

    def _read(self, channel, flags=0) -> bool:
        """Handles the input of a channel; False when there is none."""
        try:
            data = channel.recv(65536, flags)
        except (BlockingIOError, ConnectionResetError):
            return False
        *lines, self._partial[channel] = (self._partial[channel] + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            if channel is self._machine.output:
                self._output(text)
            else:
                self._answer(*text.split())
        return bool(data)

    def _answer(self, request, *words) -> None:
        if request == "started":
            self._boot = time.monotonic() - self._begun
        elif request == "exit":
            self._status = int(words[0])
        elif request in ("pull", "return", "plug-node"):
            error = {"pull": self._machine.pull, "return": self._machine.put_back,
                     "plug-node": self._machine.plug_node}[request](*words)
            self._machine.requests.sendall(f"{error or 'done'}\n".encode())
        elif self._answer_others:
            self._read_all()
            self._machine.requests.sendall(f"{self._answer_others(request, *words)}\n".encode())
