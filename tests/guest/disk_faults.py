# SPDX-License-Identifier: GPL-2.0
"""Requests of a disk fail on demand, in a kernel that can do it (see tools/kernel/sanitize.config)."""

import contextlib
from pathlib import Path

from tests.guest import fio
from tests.guest.reader import Reader
from tests.guest.skip import Skip

BLOCK = Path("/sys/block")
DEBUG = Path("/sys/kernel/debug")
#: Status codes that say that another path should be tried.
PATH_STATUSES = {"ANA transition": 0x303, "internal path error": 0x300, "host path error": 0x370, "aborted": 0x371}
#: Switches of a disk: its bios end with an error as they are submitted; its completions get lost.
FAIL, LOSE = "make-it-fail", "io-timeout-fail"


def possible() -> bool:
    return (DEBUG / "fail_make_request").exists()


def need() -> None:
    """Skips a test in a kernel in which that is not possible."""
    if not possible():
        raise Skip("the kernel cannot make bios of a disk fail")


def arm() -> None:
    """Leaves it to the switch of each disk whether its requests fail."""
    for name in ("fail_make_request", "fail_io_timeout"):
        _set(DEBUG / name, probability=100, times=-1, verbose=0)


@contextlib.contextmanager
def switched(switch, names):
    """Turns a switch on for these disks, for the time of a block; one may go meanwhile."""
    switches = [BLOCK / name / switch for name in names]
    for file in switches:
        file.write_text("1")
    yield
    for file in switches:
        with contextlib.suppress(OSError):
            file.write_text("0")


def check_refused_bios(device, paths) -> None:
    """Has the disks of a head's paths refuse bios: first each alone, then all. Only I/O on the path in use fails."""
    arm()
    # On one CPU the head uses one path, whichever that is.
    with fio.pinned_to(0), Reader(device) as reader:
        alone = {path: _outcome_with(reader, [path]) for path in paths}
        assert sorted(alone.values()) == ["EIO", *["data"] * (len(paths) - 1)], f"reads while each refuses: {alone}"
        assert _outcome_with(reader, paths) == "EIO"
        assert _outcome_with(reader, []) == "data"


def _outcome_with(reader, refusing) -> str:
    with switched(FAIL, refusing):
        reader.start()
        return reader.outcome()


def fail_commands(path, status, times) -> bool:
    """Has the next commands of an NVMe path end with a status; False when the path is going."""
    directory = DEBUG / path / "fault_inject"
    try:
        (directory / "status").write_text(hex(status))
        (directory / "dont_retry").write_text("N")
        _set(directory, verbose=0, times=times, probability=100)
    except OSError:
        return False
    return True


def _set(directory, **values) -> None:
    for name, value in values.items():
        (directory / name).write_text(str(value))
