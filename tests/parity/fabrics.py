# SPDX-License-Identifier: GPL-2.0
"""Namespaces of every kind over nvme-loop and nvme-tcp, and the life of a head with two paths."""

import contextlib
import fcntl
import os
import subprocess

from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.guest.reader import Reader
from tests.parity import bad_requests
from tests.parity import ioctls
from tests.parity import tools
from tests.parity import traced_io
from tests.parity import tree
from tests.parity.events import Events
from tests.parity.seen import content
from tests.parity.seen import outcome
from tests.parity.topology import Parity
from tests.parity.topology import UUID


def character_device(head) -> str:
    return head.device.replace("nvme", "ng")


def _plain(seen):
    with _connected(seen, "plain") as target:
        head = target.head
        character, partition = character_device(head), f"{head.device}p1"
        tree.note_devices(seen, target.nqn)
        tree.note_module(seen)
        tools.note(seen, head, character)
        for name, device in (("disk", head.device), ("partition", partition), ("character device", character)):
            ioctls.note(seen, f"ioctl on the {name}", device)
            ioctls.note(seen, f"ioctl on the {name}, open for writing", device, os.O_RDWR)
            ioctls.note(seen, f"32-bit ioctl on the {name}", device, call=ioctls.compat)
            ioctls.note_reservations(seen, f"reservations on the {name}, which has none", device)
        tools.note_io_uring(seen, character)
        traced_io.note_counters(seen, head)
        traced_io.note(seen, head)
        bad_requests.note_requests(seen, "bad request", head.device, partition, character)
        bad_requests.note_attributes(seen, *tree.roots(target.nqn), tree.MODULE / "parameters")
        _note_references(seen, "connected")
        with open(head.device), open(character):
            _note_references(seen, "open")
        with _mounted(partition):
            _note_references(seen, "mounted")


@contextlib.contextmanager
def _mounted(device):
    subprocess.run(["mkfs.ext4", "-q", "-U", UUID, device], check=True)
    subprocess.run(["mount", device, "/mnt"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "/mnt"], check=True)


def _kind(kind):
    def act(seen):
        with _connected(seen, kind) as target:
            tree.note_devices(seen, target.nqn)
            block = int(target.head.read("queue/logical_block_size"))
            for name, device in (("disk", target.head.device), ("character device", character_device(target.head))):
                ioctls.note(seen, f"ioctl on the {name}, open for writing", device, os.O_RDWR, block=block)
                ioctls.note(seen, f"32-bit ioctl on the {name}", device, call=ioctls.compat, block=block)
            tools.note_shape(seen, target.head)
            traced_io.note(seen, target.head, start=ioctls.SECOND_ZONE)
            if kind == "zoned":
                tools.note_zones(seen, target.head)
            if kind == "reserved":
                ioctls.note_reservations(seen, "reservations", target.head.device)
                ioctls.note_reservations(seen, "reservations by 32-bit callers", target.head.device,
                                         call=ioctls.compat)
                ioctls.note_reservations(seen, "reservations, open for reading", target.head.device, os.O_RDONLY)
                with open(target.head.device, "r+b") as disk:
                    fcntl.ioctl(disk, *ioctls.RESERVATIONS["register"])
                    fcntl.ioctl(disk, *ioctls.RESERVATIONS["reserve"])
                tools.note_reservations(seen, target.head)
    return act


def _life(seen):
    """Access states change, paths go and come, the head goes last."""
    with _connected(seen, "plain", ports=("tcp", "tcp")) as target:
        head, paths = target.head, target.head.paths()
        for state in ("non-optimized", "inaccessible", "persistent-loss", "change"):
            _set_access(target, 0, state)
            _note_paths(seen, f"first path {state}", head)
        _set_access(target, 0, "inaccessible")
        _set_access(target, 1, "inaccessible")
        _note_without_path(seen, "no path is usable", head, first=True)
        _note_parked_read(seen, "no path is usable", head, lambda: _set_access(target, 1, "optimized"))
        _set_access(target, 0, "optimized")
        _note_paths(seen, "both paths optimized", head)

        target.ports[0].stop()
        heads.wait_for_state(paths[0].controller, "connecting")
        _note_paths(seen, "first path connecting", head)
        heads.delete_controller(paths[1].controller)
        wait.until(lambda: len(head.paths()) == 1, "the second path to go")
        _note_without_path(seen, "the only path is connecting", head)
        _note_parked_read(seen, "the only path is connecting", head, target.ports[0].start)
        _wait_until_back(paths[0])
        _note_paths(seen, "first path alone", head, settled=False)

        head.write("delayed_removal_secs", 60)
        with open(head.device, "rb", buffering=0) as disk, open(character_device(head), "rb", buffering=0) as character:
            heads.delete_controller(paths[0].controller)
            wait.until(lambda: not head.paths(), "the last path to go")
            _note_without_path(seen, "removal is delayed", head)
            _note_parked_read(seen, "removal is delayed", head, lambda: target.connect(target.ports[0]))
            target.settle()
            head.write("delayed_removal_secs", 1)
            target.disconnect()
            wait.until(lambda: not os.path.exists(head.device), "the head to go")
            for name, file in (("disk", disk), ("character device", character)):
                seen.note("after removal", f"ioctl on an open {name}",
                          outcome(ioctls.native, file.fileno(), *ioctls.PLAIN["NVME_IOCTL_ID"]))
                seen.note("after removal", f"read of an open {name}", outcome(os.read, file.fileno(), 512))


def _failing(seen):
    """The only path is lost for longer than I/O is to wait.

    That time also runs while a controller connects, which takes a guest that gets no turn longer than a second. So this
    sets the limit afterwards, and parks the read before it takes the path away.
    """
    with _connected(seen, "plain", ports=("tcp",)) as target:
        head = target.head
        (path,) = head.paths()
        heads.reset_controller(path.controller)
        _wait_until_back(path)
        _note_paths(seen, "after a reset", head, settled=False)
        (heads.CONTROLLERS / path.controller / "fast_io_fail_tmo").write_text("1")
        _set_access(target, 0, "inaccessible")
        with Reader(head.device) as reader:
            reader.start()
            head.wait_for_parking()
            target.ports[0].stop()
            seen.note("failed", "a read without a path", reader.outcome())
        for name in ("io_requeue_no_usable_path_count", "io_fail_no_available_path_count"):
            seen.note("failed", name, head.read(f"diag/{name}"))
        target.ports[0].ana_state = "optimized"
        target.ports[0].start()
        _wait_until_back(path)
        _note_paths(seen, "path back", head, settled=False)


class _connected:
    """A target that is connected through all its ports; at the end it notes all announcements meanwhile."""

    def __init__(self, seen, kind, ports=("loop", "tcp"), **options):
        self._seen = seen
        self._options = options
        self._target = Parity(kind, ports)
        modules.load("nvme-core")
        self._events = Events()

    def __enter__(self):
        self._target.__enter__()
        self._target.connect_in_turn(**self._options)
        return self._target

    def __exit__(self, *exception):
        self._target.__exit__(*exception)
        wait.until(lambda: not list(heads.SUBSYSTEMS.iterdir()), "the subsystem to go")
        modules.unload()
        if exception[0] is None:
            self._events.note(self._seen)


def _set_access(target, index, state) -> None:
    target.ports[index].ana_state = state
    path = target.head.paths()[index]
    wait.until(lambda: path.read("ana_state") == state, f"{path} to be {state}")


def _wait_until_back(path) -> None:
    """Waits until a controller is live and its path, a moment later, chosen."""
    heads.wait_for_state(path.controller, "live")
    wait.until(lambda: path.read("numa_nodes"), f"{path} to be chosen")


def _note_paths(seen, when, head, settled=True) -> None:
    """Notes a head's data about its paths, and which of them a read takes.

    The host looks at the namespaces of a controller that came back, and at some moment of that the in-tree driver
    forgets its choices. So this notes the choice only when all has `settled`.
    """
    names = ("ana_state", "ana_grpid", *(["numa_nodes"] if settled else []), "queue_depth", "size", "ro")
    for path in head.paths():
        for name in names:
            seen.note("paths", f"{when}: {path} {name}", path.read(name))
    links = sorted(entry.name for entry in (head.directory / "multipath").iterdir())
    seen.note("paths", f"{when}: links", "\n".join(links))
    if any(path.read("ana_state").endswith("optimized") for path in head.paths()):
        seen.note("paths", f"{when}: trace of a read", traced_io.of_a_read(head))


def _note_without_path(seen, when, head, first=False) -> None:
    """Notes the requests that the head refuses while no path is usable, rather than parks."""
    for name, device in (("disk", head.device), ("character device", character_device(head))):
        for title in ("NVME_IOCTL_ID", "HDIO_GETGEO", "unknown 0x1234", "SG_IO"):
            request, argument = ioctls.PLAIN[title]
            seen.note("no path", f"{when}: {title} on the {name}", outcome(_ioctl, device, request, argument))
        for title, request in (ioctls.ADMIN_COMMANDS | ioctls.io_commands(512)).items():
            seen.note("no path", f"{when}: {title} on the {name}", outcome(_pass_through, device, request))
    for title in ("register", "reserve", "release", "preempt oneself", "preempt and abort", "clear",
                  "read the reservation"):
        request, argument = ioctls.RESERVATIONS[title]
        seen.note("no path", f"{when}: {title}", outcome(_ioctl, head.device, request, argument))
    # "nuse" asks a path every five seconds at most, so only the first answer is no chance.
    for name in ("wwid", "size", *(["nuse"] if first else [])):
        seen.note("no path", f"{when}: {name}", outcome(content, head.directory / name))


def _ioctl(device, request, argument):
    with open(device, "r+b", buffering=0) as file:
        return ioctls.native(file.fileno(), request, argument)


def _pass_through(device, request):
    with open(device, "r+b", buffering=0) as file:
        return ioctls.native_command(file.fileno(), *request).split()[0]


def _note_parked_read(seen, when, head, bring_back) -> None:
    """Notes which reads wait for a path, and their outcome when there is one."""
    counter = "diag/io_requeue_no_usable_path_count"
    with Reader(head.device, nowait=True) as impatient, Reader(head.device) as patient:
        for name, reader in (("a read that must not wait", impatient), ("a read", patient)):
            before = int(head.read(counter))
            reader.start()
            answer = wait.until(lambda: reader.done or int(head.read(counter)) > before and "parked", f"{name} to park")
            seen.note("parked", f"{when}: {name}", answer)
        bring_back()
        seen.note("parked", f"{when}: then", patient.outcome())


def _note_references(seen, when) -> None:
    rows = {line.split()[0]: " ".join(line.split()[2:4]) for line in modules.lines()}
    for name, users in rows.items():
        seen.note("users", f"{name} when {when}", users)


ACTS = {
    "plain": _plain,
    **{kind: _kind(kind) for kind in ("4k", "zoned", "reserved")},
    "life": _life,
    "failing": _failing,
}
