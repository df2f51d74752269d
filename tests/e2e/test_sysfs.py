# SPDX-License-Identifier: GPL-2.0
"""The names and values that userspace finds in sysfs."""

import contextlib
import errno
import os
import pathlib
import re
import threading
import time

from tests.e2e.case import test
from tests.e2e.test_io import set_policy
from tests.guest import kernel_log
from tests.guest import modules
from tests.guest import wait
from tests.guest.head import CONTROLLERS
from tests.guest.reader import Reader
from tests.guest.target import Target

PATH_ATTRIBUTES = ("ana_state", "ana_grpid", "numa_nodes", "queue_depth", "diag/multipath_failover_count",
                   "diag/command_retries_count", "diag/command_error_count")
HEAD_ATTRIBUTES = ("diag/io_requeue_no_usable_path_count", "diag/io_fail_no_available_path_count",
                   "delayed_removal_secs", "wwid", "nsid", "queue/logical_block_size", "queue/iostats")
PARAMETERS = ("multipath", "multipath_always_on", "iopolicy")

SYSFS = pathlib.Path(__file__).parents[2] / "docs" / "sysfs.md"

#: How often a test stores a policy.
STORES = 10

#: The attributes that the in-tree driver does not have.
OURS = re.compile(r"fence(_\w+)?|cqt|multipath_fence_count|command_retry_count")

#: The attributes that the in-tree driver's head has in queue/, over nvme-loop.
QUEUE = pathlib.Path(__file__).with_name("head-queue.txt")


@test
def the_attributes_of_heads_and_paths_can_be_read():
    """Shows N-1."""
    with Target("sysfs", ports=("loop", "tcp")) as target:
        target.connect_all()
        for name in HEAD_ATTRIBUTES:
            target.head.read(name)
        for path in target.head.paths():
            for name in PATH_ATTRIBUTES:
                path.read(name)
            assert path.read("ana_state") == "optimized"
            assert path.read("ana_grpid") == "1"
        assert (target.head.subsystem / "iopolicy").read_text() == "numa\n"
        for name in PARAMETERS:
            pathlib.Path("/sys/module/nvme_core/parameters", name).read_text()


@test
def every_documented_attribute_is_there():
    """Shows N-1."""
    names = re.findall(r"^What:\t\t(\S+)$", SYSFS.read_text(), re.MULTILINE)
    with Target("sysfs", ports=("loop", "tcp")) as target:
        target.connect_all()
        places = {"/sys/block/nvmeXnY": [target.head.directory],
                  "/sys/block/nvmeXcYnZ": [path.directory for path in target.head.paths()],
                  "/sys/class/nvme-subsystem/nvme-subsysX": [target.head.subsystem],
                  "/sys/class/nvme/nvmeX": [CONTROLLERS / path.controller for path in target.head.paths()],
                  "/sys/module/nvme_core/parameters": [pathlib.Path("/sys/module/nvme_core/parameters")]}
        expected = {directory / name.removeprefix(place).strip("/")
                    for name in names for place in places if name.startswith(f"{place}/")
                    for directory in places[place]}
        assert len(names) == 23 and len(expected) > len(names), f"{SYSFS} has {names}"
        if not modules.ours():
            expected = {entry for entry in expected if not OURS.fullmatch(entry.name)}
        missing = [str(entry) for entry in expected if not entry.exists()]
        assert not missing, f"there is no {missing}"
        counters = {entry for disk in (target.head, *target.head.paths())
                    for entry in (disk.directory / "diag").iterdir()}
        assert counters <= expected, f"{SYSFS} does not have {counters - expected}"


@test
def heads_have_no_path_attributes_and_paths_no_head_attributes():
    """Shows N-1."""
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        (path,) = target.head.paths()
        for name in ("ana_state", "ana_grpid", "numa_nodes", "queue_depth", "diag/multipath_failover_count"):
            assert not (target.head.directory / name).exists(), f"a head has {name}"
        for name in ("delayed_removal_secs", "multipath", "diag/io_requeue_no_usable_path_count"):
            assert not (path.directory / name).exists(), f"a path has {name}"


@test
def the_counters_can_be_reset():
    """Shows N-1."""
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        for disk in (target.head, *target.head.paths()):
            for counter in (disk.directory / "diag").iterdir():
                counter.write_text("7")
                assert counter.read_text() == "7\n", f"{counter} cannot be set"
                counter.write_text("0")


@test
def every_path_has_a_link_below_its_head():
    """Shows L-6."""
    with Target("sysfs", ports=("loop", "tcp", "loop", "tcp")) as target:
        for _ in range(3):
            _connect_at_once(target)
            directory = target.head.directory / "multipath"
            links = {entry.name: entry.resolve().name for entry in directory.iterdir()}
            assert links == {path.name: path.name for path in target.head.paths()}, f"the links are {links}"
            target.disconnect()


def _connect_at_once(target):
    threads = [threading.Thread(target=target.connect, args=(port,)) for port in target.ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait.until(lambda: target.heads() and len(target.head.paths()) == len(threads), "all paths")
    wait.until(lambda: len(list((target.head.directory / "multipath").iterdir())) == len(threads), "all links")


@test
def the_link_of_a_path_goes_with_it():
    """Shows L-6."""
    with Target("sysfs", ports=("loop", "tcp")) as target:
        target.connect_all()
        gone, left = target.head.paths()
        (pathlib.Path("/sys/class/nvme") / gone.controller / "delete_controller").write_text("1")
        wait.until(lambda: os.listdir(target.head.directory / "multipath") == [left.name], "its link to go")


@test
def a_policy_that_does_not_exist_is_refused():
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        file = target.head.subsystem / "iopolicy"
        for nonsense in ("fastest", "", "numa2", "nu"):
            assert _refusal(file, nonsense) == errno.EINVAL, f"{nonsense!r} was accepted"
        assert file.read_text() == "numa\n"


def _refusal(file, value):
    try:
        # An empty write() does not get to the driver.
        file.write_text(value or "\n")
    except OSError as error:
        return error.errno
    return None


@test
def storing_the_same_policy_does_nothing():
    """Shows L-16, N-11."""
    with Target("sysfs", ports=("loop", "tcp")) as target, contextlib.ExitStack() as stack:
        target.connect_all()
        head = target.head
        reader = stack.enter_context(Reader(head.device))
        target.set_ana_state("inaccessible")
        reader.start()
        head.wait_for_parking()
        # When the store drops the choices, the read looks for a path again.
        looks = head.parked
        log = kernel_log.KernelLog()
        for _ in range(STORES):
            (head.subsystem / "iopolicy").write_text("numa")
            time.sleep(0.02 * wait.SLOWNESS)
        looks = head.parked - looks
        assert looks < STORES / 2, f"the read looked for a path {looks} times when the same policy was stored {STORES} times"
        assert not [line for line in log.new_lines() if "iopolicy" in line]
        if modules.ours():
            for number in range(STORES):
                before = head.parked
                set_policy(head, ("round-robin", "numa")[number % 2])
                wait.until(lambda before=before: head.parked > before, "the read to look for a path by another policy")
        target.set_ana_state("optimized")
        assert reader.outcome() == "data"


@test
def the_log_names_the_subsystem_whose_policy_changed():
    """Shows N-10."""
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        log = kernel_log.KernelLog()
        set_policy(target.head, "round-robin")
        assert any(f"subsysnqn {target.nqn} iopolicy changed from numa to round-robin" in line
                   for line in log.new_lines())


@test
def a_head_without_a_choice_says_which_nodes_it_serves():
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        (path,) = target.head.paths()
        nodes = pathlib.Path("/sys/devices/system/node/online").read_text().strip()
        assert path.read("numa_nodes") == nodes


@test
def the_head_has_the_limits_that_it_always_had():
    """Shows L-42, N-2."""
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        entries = sorted((target.head.directory / "queue").iterdir())
        found = "".join(f"{entry.name} {_value(entry)}\n" for entry in entries if entry.is_file())
        assert found == QUEUE.read_text(), f"queue/ is not as it was:\n{found}"


def _value(entry):
    try:
        return entry.read_text().strip()
    except OSError as error:
        return errno.errorcode[error.errno]


@test
def hidden_paths_have_no_device_node():
    with Target("sysfs", ports=("loop",)) as target:
        target.connect_all()
        (path,) = target.head.paths()
        assert path.read("hidden") == "1" and not os.path.exists(path.device)
        assert target.head.read("hidden") == "0" and os.path.exists(target.head.device)


@test
def without_multipath_there_is_no_head():
    with _without_multipath() as disks:
        assert all("c" not in disk.name and not (disk / "multipath").exists() for disk in disks)


@test
def without_multipath_no_disk_serves_nodes():
    """Shows A-15."""
    with _without_multipath() as disks:
        assert [(disk / "numa_nodes").read_text() for disk in disks] == ["\n"] * len(disks)


@contextlib.contextmanager
def _without_multipath():
    """The driver without multipath, and the disks of two controllers of one namespace."""
    modules.unload()
    modules.load("nvme-core", multipath="N")
    with Target("sysfs", ports=("loop",) * 2) as target:
        for port in target.ports:
            target.connect(port)
        yield wait.until(lambda: len(disks := list(pathlib.Path("/sys/block").glob("nvme*n*"))) == 2 and disks,
                         "the disks")
    modules.unload()
