# SPDX-License-Identifier: GPL-2.0
"""The demonstration's guest side: takes paths away under verified I/O and prints the events.

Everything goes to standard output as records, one JSON object a line; tools/lab/suites/demo.py shows
them. Times are seconds since the start of this program.

Without arguments the paths are NVMe's; with the name of a driver of samples/ ("rust", "rust_mq", "c", "c_mq") they are
its.
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

from tests.demo.watch import Watch
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import host
from tests.guest import kernel_log
from tests.guest import modules
from tests.guest import wait
from tests.guest.ram import RamDisk
from tests.guest.slot import Slot
from tests.guest.target import Target

PCIE_NQN = "nqn.2019-08.org.qemu:demo"
#: How long each state of affairs is kept for the onlooker.
PACE = 1.5
#: How long there is no path at all, where that is shown.
OUTAGE = 0.5
#: Writes per second and CPU, so that there is CPU left for an emulated machine's other work.
RATE = 700
MIB_PER_CPU = 256
#: A RAM disk consists of the guest's own memory.
RAM_MIB_PER_CPU = 128

_start = time.monotonic()
_output = threading.Lock()


def now() -> float:
    return round(time.monotonic() - _start, 3)


def report(record) -> None:
    with _output:
        print(json.dumps(record), flush=True)


def say(text) -> None:
    report({"type": "text", "text": text})


class Act:
    """Verified I/O on one head while things happen to its paths."""

    def __init__(self, title, head, mib=MIB_PER_CPU):
        self._head = head
        self._mib = mib
        self.losses = 0
        report({"type": "act", "t": now(), "title": title, "head": head.name})

    def __enter__(self):
        self._load = fio.Load(self._head.device, mib=self._mib, rate=RATE)
        self._load.wait_for_io(self._head)
        report({"type": "io", "t": now()})
        self._watch = Watch(self._head, report, now)
        self._watch.start()
        time.sleep(PACE)
        return self

    def __exit__(self, *exception):
        self._watch.stop()
        with self._load:
            if not exception[0]:
                report({"type": "verifying", "t": now()})
                done = self._load.end()
                report({"type": "verified", "t": now(), "ios": done.ios, "bytes_verified": done.bytes_verified,
                        "errors": done.errors, "slowest_io_ms": done.slowest_ms, "losses": self.losses})

    def event(self, text, action, expected, loss=False) -> None:
        """Runs an action on the paths and waits until I/O runs on the one at the address `expected`."""
        report({"type": "event", "t": now(), "text": text, "loss": loss})
        action()
        path = wait.until(lambda: self._path(expected), f"the path {expected}")
        self._load.wait_for_io(path, ios=50)
        report({"type": "settled", "t": now(), "path": expected})
        self.losses += loss
        time.sleep(PACE)

    def _path(self, address):
        for path in self._head.paths():
            try:
                if path.address == address:
                    return path
            except OSError:
                pass  # it is going
        return None


def show_paths(head) -> None:
    """Prints the paths to an NVMe head, in its own words and in nvme-cli's."""
    done = subprocess.run(["nvme", "list-subsys", head.device], capture_output=True, text=True)
    for line in (done.stdout or done.stderr).splitlines():
        say(line)
    for path in head.paths():
        nodes = path.read("numa_nodes")
        say(f"{path.name}: {path.address}, serves "
            + (f"NUMA node {nodes}" if nodes else "no node"))


def over_pcie() -> None:
    """Two controllers, each near one half of the CPUs; each is lost once."""
    modules.load("nvme")
    head = wait.until(lambda: heads.of_subsystem(PCIE_NQN), "the PCIe namespace")[0]
    wait.until(lambda: len(head.paths()) == 2 and all(path.read("numa_nodes") for path in head.paths()),
               "a path for each node")
    near = {path.read("numa_nodes"): path.controller for path in head.paths()}
    address = {node: heads.address(controller) for node, controller in near.items()}
    slots = {node: Slot(controller) for node, controller in near.items()}
    act = Act("two PCIe controllers, one on each NUMA node, one namespace", head)
    show_paths(head)
    with act:
        act.event("controller on node 1 torn out", slots["1"].yank, address["0"], loss=True)
        slots["1"].wait_until_free()
        act.event("and plugged in again", lambda: host.put_back("c1"), address["1"])
        act.event("button of node 0's slot pressed", lambda: pull(head, near["0"]), address["1"], loss=True)
        slots["0"].wait_until_free()
        act.event("and plugged in again", lambda: host.put_back("c0"), address["0"])


def pull(head, controller) -> None:
    """Takes a controller out in the orderly way; pciehp gives the user five seconds to think."""
    host.pull("c0")
    wait.until(lambda: controller not in (path.controller for path in head.paths()), f"{controller} to go")


def over_fabrics() -> None:
    """Four ports of a target in the same kernel, each with its own ANA state."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mib = MIB_PER_CPU * os.cpu_count()
    with Target("demo", ports=("loop", "loop", "tcp", "tcp"), mib=mib) as target:
        loop1, loop2, tcp1, tcp2 = target.ports
        loop2.ana_state = tcp2.ana_state = "non-optimized"
        names = dict(zip(target.ports, target.connect_all(), strict=True))
        address = {port: heads.address(name) for port, name in names.items()}
        act = Act("four nvmet ports with ANA, two over loop and two over tcp", target.head)
        show_paths(target.head)
        with act:
            def set_state(port, state, expected):
                act.event(f"{address[port]}: {state}", lambda: setattr(port, "ana_state", state), address[expected])

            set_state(loop1, "non-optimized", expected=tcp1)
            act.event(f"{address[tcp1]}: port closed", tcp1.stop, address[loop1], loss=True)
            set_state(loop1, "inaccessible", expected=loop2)
            act.event(f"{address[tcp1]}: port open again", tcp1.start, address[tcp1])
            set_state(loop2, "inaccessible", expected=tcp1)
            set_state(tcp1, "change", expected=tcp2)
            set_state(tcp1, "optimized", expected=tcp1)
            set_state(loop1, "optimized", expected=loop1)
            act.event(f"{address[loop1]}: disconnected", lambda: heads.delete_controller(names[loop1]),
                      address[tcp1], loss=True)
            act.event(f"{address[loop1]}: connected again", lambda: target.connect(loop1), address[tcp1])
            set_state(tcp1, "non-optimized", expected=loop1)


def over_ram(driver) -> None:
    """Four paths to a RAM disk, two of them near each node; each is lost, once all of them are."""
    with RamDisk(driver, paths=4, mib=RAM_MIB_PER_CPU) as disk:
        for number, path in enumerate(disk.all):
            path.pull()
            path.write("numa_node", number % 2)
            path.write("latency_us", 200 if number < 2 else 2000)
            path.write("access_state", "optimized" if number < 2 else "non-optimized")
            path.put_back()
        act = Act(f"four paths to the RAM disk of {disk.module}, two fast and two slow", disk, RAM_MIB_PER_CPU)
        for path in disk.all:
            say(f"{path}: near node {path.read('numa_node')}, {path.condition}, {path.read('latency_us')} us")
        fast, other, slow, spare = disk.all
        with act:
            def change(path, attribute, value, expected, loss=False):
                act.event(f"{path}: {attribute} {value}", lambda: path.write(attribute, value), expected.address, loss)

            act.event(f"{fast} pulled out", fast.pull, other.address, loss=True)
            act.event("and put back", fast.put_back, fast.address)
            change(other, "failure", "path", expected=fast, loss=True)
            change(fast, "access_state", "inaccessible", expected=slow)
            change(other, "failure", "none", expected=other)
            change(other, "access_state", "non-optimized", expected=slow)
            act.event("round-robin", lambda: disk.write("policy", "round-robin"), spare.address)
            act.event("queue-depth", lambda: disk.write("policy", "queue-depth"), other.address)
            act.event("every path pulled out, and one put back", lambda: lose_all(disk), slow.address, loss=True)
            for path in fast, other, spare:
                path.put_back()
            change(fast, "access_state", "optimized", expected=fast)


def lose_all(disk) -> None:
    """The disk waits for its paths."""
    disk.write("delayed_removal_secs", 60)
    parked = disk.parked
    for path in disk.all:
        path.pull()
    wait.until(lambda: disk.parked > parked, "I/O to be parked")
    time.sleep(OUTAGE)
    disk.all[2].put_back()


def describe_kernel() -> None:
    symbols = pathlib.Path("/proc/kallsyms").read_text()
    report({"type": "kernel", "release": os.uname().release, "modules": modules.lines(),
            "nvme_find_path": " nvme_find_path" in symbols,
            "libmultipath": "[libmultipath]" in symbols})


def main(driver=None) -> int:
    log = kernel_log.KernelLog()
    modules.install()
    if driver:
        over_ram(driver)
    else:
        over_pcie()
        over_fabrics()
    describe_kernel()
    problems = kernel_log.problems(log.new_lines())
    report({"type": "end", "t": now(), "kernel_log": problems})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
