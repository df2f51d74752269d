# SPDX-License-Identifier: GPL-2.0
"""A machine that boots its own system from a disk: firmware, boot loader, initramfs, systemd.

The disk is a namespace of an NVMe subsystem with two PCIe controllers. The system on it runs the agent
(tests/deb/agent.py), which carries out commands that come over the second serial line. The first line is the system's
console, whose text goes to a file. The machine reboots as a real one does, in one QEMU process.
"""

import json
import os
import selectors
import socket
import subprocess
import time
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path

from lab.host import arch
from lab.host import log
from lab.host import vm
from lab.host.monitor import Monitor

CONTROLLERS = ("c0", "c1")
_MEMORY_MIB = 1536
_CPUS = 2
#: How much of the console the lab shows when the machine does not do as it is told.
_TAIL_LINES = 40
#: The parameters of its kernel where its CPU is emulated: such timers are late on a busy host.
PARAMETERS = f"console=tty0 console={arch.HOSTS.console},115200 {arch.HOSTS.parameters}"
#: Seconds between two questions to something that takes time.
ASK_SECONDS = 1
#: Seconds that QEMU may take to forget a controller of which the guest has let go.
_FORGET_SECONDS = 60


class Machine:
    """A machine that is on, until the `with` of `start()` ends."""

    def __init__(self, stack: ExitStack, arguments: list, console: Path):
        self._console = console
        console.parent.mkdir(parents=True, exist_ok=True)
        self._agent, agent = _pair(stack)
        monitor, theirs = _pair(stack)
        words = [*arguments, "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
                 "-chardev", f"socket,id=agent,fd={agent.fileno()}", "-serial", "chardev:agent",
                 "-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control"]
        self._qemu = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", arch.HOSTS.emulator, *map(str, words)], stdin=subprocess.DEVNULL,
            pass_fds=[agent.fileno(), theirs.fileno()], start_new_session=True)
        stack.callback(self._kill)
        agent.close()
        theirs.close()
        self._monitor = Monitor(stack, monitor)
        self._partial = b""
        if self._monitor.execute("qmp_capabilities"):
            log.fail("QEMU did not start, see its message above")

    def wait_for_boot(self, seconds: float) -> str:
        """Waits until the agent says that it runs; returns the release of the kernel that it runs on."""
        deadline = time.monotonic() + seconds
        while True:
            found = self._answer(deadline, seconds, "the system to boot")
            # Else it is the answer to the command that has ended the system before.
            if "started" in found:
                return found["started"]

    def run(self, command: str, seconds: float = 120) -> str:
        """Has the agent carry a shell command out; returns its output, and fails when it fails."""
        answer = self._ask(command, seconds)
        if answer["status"]:
            self.fail(f"`{command}` exited with {answer['status']} in the machine", answer["output"])
        return answer["output"].strip()

    def try_out(self, command: str, seconds: float = 120) -> tuple:
        """The same; returns the exit status and the output."""
        answer = self._ask(command, seconds)
        return answer["status"], answer["output"].strip()

    def wait_until(self, command: str, what: str, seconds: float = 60) -> None:
        """Waits until a command in the machine succeeds."""
        deadline = time.monotonic() + seconds
        while self.try_out(command)[0]:
            if time.monotonic() > deadline:
                self.fail(f"waited {seconds:.0f} s in the machine for {what}")
            time.sleep(ASK_SECONDS)

    def leave(self, command: str) -> None:
        """Has the agent carry out a command that ends it, such as a reboot, and does not wait for its answer."""
        self._send(command)

    def wait_for_end(self, seconds: float) -> None:
        """Waits until the machine is off."""
        try:
            status = self._qemu.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail(f"the machine is not off after {seconds:.0f} s")
        if status:
            self.fail(f"QEMU exited with {status}")

    def pull(self, name: str) -> None:
        """Pulls a controller out, as the button of its slot does."""
        if error := self._monitor.execute("device_del", id=name):
            self.fail(f"QEMU does not pull {name} out: {error}")

    def put_back(self, name: str) -> None:
        """Plugs a controller in again. QEMU may still be about to forget the one that was pulled out."""
        deadline = time.monotonic() + _FORGET_SECONDS
        while error := self._monitor.execute("device_add", **_controller(name)):
            if time.monotonic() > deadline:
                self.fail(f"QEMU does not put {name} back: {error}")
            time.sleep(ASK_SECONDS)

    def fail(self, why: str, said: str = "") -> None:
        """Fails, and shows `said` and the end of the console."""
        for title, text in (("the command said", said), (f"the end of {self._console}", self._text())):
            if text:
                log.info(f"machine: {title}:")
                for line in text.splitlines()[-_TAIL_LINES:]:
                    print(f"    {line}")
        log.fail(why)

    def _text(self) -> str:
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def _ask(self, command: str, seconds: float) -> dict:
        self._send(command)
        found = self._answer(time.monotonic() + seconds, seconds, f"the end of `{command}`")
        if "started" in found:
            self.fail(f"the machine booted again while it was at `{command}`")
        return found

    def _send(self, command: str) -> None:
        self._agent.sendall(json.dumps({"command": command}).encode() + b"\n")

    def _answer(self, deadline: float, seconds: float, what: str) -> dict:
        """The next line of the agent's. Firmware and kernel may have written others to its line."""
        while True:
            line, mark, rest = self._partial.partition(b"\n")
            if mark:
                self._partial = rest
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    return found
                continue
            self._partial += self._receive(deadline, seconds, what)

    def _receive(self, deadline: float, seconds: float, what: str) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._agent, selectors.EVENT_READ)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                self.fail(f"waited {seconds:.0f} s for {what}")
        data = self._agent.recv(65536)
        if not data:
            self.fail(f"QEMU ended while the lab waited for {what}, with status {self._qemu.wait()}")
        return data

    def _kill(self) -> None:
        self._qemu.kill()
        self._qemu.wait()


@contextmanager
def start(disk: Path, console: Path, kept: bool, packages: Path | None = None, direct: tuple = ()):
    """Switches a machine on and yields it; afterwards it is off.

    Its writes to the disk stay there if the disk is to be `kept`. `packages` is the image of a second disk, which can
    only be read. The machine starts by its firmware, unless `direct` has a kernel, an initramfs and a command line.
    """
    with ExitStack() as stack:
        stack.enter_context(vm.a_place())
        yield Machine(stack, _arguments(disk, kept, packages, direct), console)


def _arguments(disk: Path, kept: bool, packages: Path | None, direct: tuple) -> list:
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-M", arch.HOSTS.machine,
             "-smp", _CPUS, "-m", _MEMORY_MIB, *vm.accelerator(arch.HOSTS, False),
             "-device", "virtio-rng-pci", "-device", "nvme-subsys,id=root,nqn=root"]
    for slot, name in enumerate(CONTROLLERS, 1):
        words += ["-device", f"pcie-root-port,id=port-{name},chassis={slot},slot={slot}",
                  "-device", ",".join(f"{key}={value}" for key, value in _controller(name).items())]
    words += ["-drive", f"file={disk},id=root-1,format=raw,if=none,cache=unsafe,snapshot={'off' if kept else 'on'}",
              "-device", f"nvme-ns,drive=root-1,bus={CONTROLLERS[0]},nsid=1,shared=on"]
    if packages:
        words += ["-drive", f"file={packages},id=packages,format=raw,if=none,readonly=on",
                  "-device", "virtio-blk-pci,drive=packages,serial=packages"]
    if direct:
        image, initramfs, line = direct
        words += ["-kernel", image, "-initrd", initramfs, "-append", line, "-no-reboot"]
    return words


def _controller(name: str) -> dict:
    # The firmware starts from the first disk only, and a namespace of a subsystem has no place of its own in its order.
    return {"driver": "nvme", "id": name, "serial": "root", "subsys": "root", "bus": f"port-{name}",
            "bootindex": CONTROLLERS.index(name) + 1}


def _pair(stack: ExitStack) -> tuple:
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    return stack.enter_context(ours), theirs
