# SPDX-License-Identifier: GPL-2.0
"""The guest's other side of `make bench`: namespaces that come and go, paths that are slow.

The clock counts instructions while there are some to execute, and leaps to the next timer while there are none.
So the program measures the time on a machine that executes one instruction a nanosecond, without another machine's
load.
"""

import os
import statistics
import subprocess
import sys
import time

from tests.bench.guest import FAST
from tests.bench.guest import HOLD
from tests.bench.guest import RUN
from tests.bench.guest import say
from tests.bench.guest import set_policy
from tests.guest import head
from tests.guest import modules
from tests.guest import wait
from tests.guest.target import NVMET
from tests.guest.target import Port
from tests.guest.target import Target

#: How many namespaces come and go.
MANY = 1000
STREAM = 4

#: A disk whose reads take so long.
DISK = {"memory_backed": 0, "irqmode": 2, "completion_nsec": 1_000_000, "hw_queue_depth": 1024}
#: How many controllers go in a row, and how often one goes beside a thread that polls.
CONTROLLERS = 12
REMOVALS = 3
READS_OF_A_POLLER = 1000

#: The milliseconds that the slow path adds to that.
SLOW_MS = 9
#: Reads of a run on paths of which one may be slow, and how many at a time.
READS, DEPTH = 16000, 32
#: How often each order of the paths is run, by policy: chance decides with which path a slow one shares a moment, and
#: that makes a percent. The second number says how often the program looks meanwhile at the requests in flight.
BALANCES = {"round-robin": 3, "queue-depth": 9}
LOOKS = 50

SLOW_ADDRESS = "10.9.0.2"


def main() -> int:
    modules.install()
    os.sched_setaffinity(0, {0})
    modules.load("mpath_load")
    modules.load("nvme-core")
    balance()
    remove_many()
    remove_beside_a_poller()
    come_and_go(MANY)
    return 0


def many(target, count) -> None:
    """More namespaces, all on the disk of the first one."""
    device = target.configured("device_path")
    for number in range(2, count + 1):
        (NVMET / "subsystems" / target.nqn / "namespaces" / str(number)).mkdir()
        target.configure(number, device_path=device, enable=1)


def take_apart(target, count) -> None:
    for number in range(2, count + 1):
        target.disable_namespace(number)
        (NVMET / "subsystems" / target.nqn / "namespaces" / str(number)).rmdir()


def disks() -> int:
    return sum(name.startswith("nvme") for name in os.listdir(head.BLOCK))


def come_and_go(count) -> None:
    with Target("life", ports=("loop", "loop"), disk=FAST) as target:
        many(target, count)
        before = memory()
        for port in target.ports:
            target.connect(port)
        wait.until(lambda: disks() == 3 * count, f"{count} namespaces with two paths", seconds=3600, interval=0.1)
        time.sleep(30)
        say(type="memory", value=(memory() - before) / count)
        begun = time.monotonic()
        target.disconnect()
        wait.until(lambda: not disks(), "the disks to go", seconds=3600, interval=0.1)
        say(type="life", what=f"removing {count} namespaces, 2 controllers", value=time.monotonic() - begun)
        take_apart(target, count)


def remove_many() -> None:
    """Deletes controllers that lead to one namespace, one after the other, as `nvme disconnect` does."""
    with Target("many", ports=("loop",) * CONTROLLERS, disk=FAST) as target:
        for number, port in enumerate(target.ports, 1):
            target.connect(port)
            wait.until(lambda number=number: disks() == 1 + number, f"{number} paths")
        begun = time.monotonic()
        target.disconnect()
        wait.until(lambda: not disks(), "the disks to go", interval=0.001)
        say(type="life", what=f"removing {CONTROLLERS} controllers, one after the other", value=time.monotonic() - begun)


def remove_beside_a_poller() -> None:
    """Takes a path from a head while a thread of the kernel's own polls for reads, and so never sleeps."""
    spent = []
    for _ in range(REMOVALS):
        with Target("poll", ports=("loop", "loop"), disk=FAST) as target:
            for number, port in enumerate(target.ports, 1):
                target.connect(port)
                wait.until(lambda number=number: disks() == 1 + number, f"{number} paths")
            reader = subprocess.Popen(
                ["fio", "--name=poll", f"--filename={target.head.device}", "--rw=randread", "--bs=4k", "--direct=1",
                 "--ioengine=io_uring", "--sqthread_poll=1", "--iodepth=4", "--time_based", "--runtime=3600",
                 "--output=/dev/null"])
            disk = target.head
            wait.until(lambda disk=disk: disk.completed()[0] > READS_OF_A_POLLER, "reads", seconds=600, interval=0.1)
            going = head.controllers_of_subsystem(target.nqn)[0]
            begun = time.monotonic()
            head.delete_controller(going)
            spent.append(time.monotonic() - begun)
            reader.terminate()
            reader.wait()
            target.disconnect()
            wait.until(lambda: not disks(), "the disks to go")
    say(type="life", what="removing one of 2 controllers beside a thread that polls", value=statistics.median(spent))


def memory() -> int:
    """Bytes that the kernel's allocators have given out."""
    with open("/proc/meminfo") as file:
        fields = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return (fields["Slab"] + fields["Percpu"] + fields["VmallocUsed"]) << 10


def balance() -> None:
    """Reads on four equal paths, and on four of which one takes ten times as long."""
    with Target("life", ports=("loop",) * 4, disk=DISK) as target:
        *fast, fourth = target.ports
        slow = slow_port(target)
        # A policy may prefer the paths that came first, and which these are is chance.
        for name, ports in (("four equal paths", [*fast, fourth]), ("one slow path in four", [*fast, slow]),
                            ("one slow path in four", [slow, *fast])):
            for number, port in enumerate(ports, 1):
                target.connect(port)
                wait.until(lambda: disks() == 1 + number, f"{number} paths")
            time.sleep(10)
            for policy, times in BALANCES.items():
                for _ in range(times):
                    measure_balance(target.head, policy, name)
            target.disconnect()
            wait.until(lambda: not disks(), "the disk to go")
        slow.stop()
        (slow.directory).rmdir()


def slow_port(target) -> Port:
    """A port of the target that a delayed network leads to."""
    modules.load("nvmet-tcp", "nvme-tcp")
    for command in ("ip link set lo up", "ip netns add slow", "ip link add fast0 type veth peer name slow0 netns slow",
                    "ip addr add 10.9.0.1/24 dev fast0", "ip link set fast0 up",
                    f"ip -n slow addr add {SLOW_ADDRESS}/24 dev slow0", "ip -n slow link set slow0 up",
                    f"tc -n slow qdisc add dev slow0 root netem delay {SLOW_MS}ms limit 10000"):
        subprocess.run(command.split(), check=True)
    port = Port("tcp", 1000, NVMET / "subsystems" / target.nqn)
    port.address["traddr"] = port.wire.address["traddr"] = SLOW_ADDRESS
    port.directory.mkdir()
    port.configure()
    # A port listens in the network of the process that starts it. Not `ip netns exec`, which hides configfs.
    link = port.directory / "subsystems" / target.nqn
    subprocess.run(["nsenter", "--net=/run/netns/slow", "ln", "-s", NVMET / "subsystems" / target.nqn, link], check=True)
    return port


def measure_balance(disk, policy, name) -> None:
    set_policy(disk, policy)
    paths = disk.paths()
    RUN.write_text(f"{disk.device} 4096 0 {READS} {DEPTH} {HOLD | STREAM}")
    looks = []
    for _ in range(LOOKS):
        time.sleep(0.004)
        looks.append([sum(map(int, path.read("inflight").split())) for path in paths])
    RUN.write_text("wait")
    cycles, _, done = map(int, RUN.read_text().split())
    flight = {"slow": [], "equal": []}
    for path, counts in zip(paths, zip(*looks, strict=True), strict=True):
        flight["slow" if transport(path) == "tcp" else "equal"].append(statistics.mean(counts))
    say(type="balance", policy=policy, paths=name, per_second=done / cycles * 1e9,
        spread=statistics.mean(max(look) - min(look) for look in looks),
        flight={which: statistics.mean(means) for which, means in flight.items() if means})


def transport(path) -> str:
    return (head.CONTROLLERS / path.controller / "transport").read_text().strip()


if __name__ == "__main__":
    sys.exit(main())
