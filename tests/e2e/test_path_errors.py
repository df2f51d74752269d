# SPDX-License-Identifier: GPL-2.0
"""Commands that fail: whether the path is to blame decides who hears of it.

NVMe itself makes the errors, in a kernel with fault injection.
"""

from contextlib import ExitStack
from pathlib import Path

from tests.e2e.case import test
from tests.guest import disk_faults
from tests.guest import fio
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.skip import Skip
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: Status codes that say that a path is to blame: the controller, the state of the namespace, the host.
PATH_ERRORS = {"internal": 0x300, "inaccessible": 0x302, "transition": 0x303, "controller": 0x360, "host": 0x370,
               "aborted": 0x371}
#: Those that do not, and the errors that they become.
ERRORS = {0x080: "EREMOTEIO", 0x081: "ENOSPC", 0x083: "EBADE", 0x280: "ENODATA", 0x281: "ENODATA", 0x282: "EILSEQ",
          0x006: "EIO"}
UNRECOVERED_READ = 0x281
READ = 0x02
_RETRIES = Path("/sys/module/nvme_core/parameters/max_retries")


class Errors:
    """So many commands on a path fail with a status, for the time of a block."""

    def __init__(self, path, status, times, final):
        self._directory = Path("/sys/kernel/debug", path.name, "fault_inject")
        if not self._directory.exists():
            raise Skip("the kernel has no fault injection")
        self._values = {"verbose": 0, "opcode": READ, "status": status, "dont_retry": "Y" if final else "N",
                        "times": times, "probability": 100}
        self._times = times
        # Linux 7.2 cannot fail commands of one kind only. The tests that count the failures do nothing but read.
        if not (self._directory / "opcode").exists():
            del self._values["opcode"]

    def __enter__(self):
        for name, value in self._values.items():
            (self._directory / name).write_text(str(value))
        return self

    def __exit__(self, *exception):
        (self._directory / "probability").write_text("0")

    @property
    def made(self) -> int:
        return self._times - int((self._directory / "times").read_text())


@test(over=TRANSPORTS, limit=180)
def an_error_of_a_path_is_not_seen(transport):
    with Target("errors", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            for name, status in PATH_ERRORS.items():
                (carrier,) = [path for path in head.paths() if path.controller in load.carriers(head)]
                # Only one: it may be the last command that the path gets for a while.
                with Errors(carrier, status, times=1, final=False) as errors:
                    wait.until(lambda: errors.made == 1 or not load.running, f"a read to fail: {name}")
                load.wait_for_io(head)
            load.finish()


@test(over=TRANSPORTS)
def an_error_that_is_final_is_seen_once(transport):
    with Target("errors", ports=(transport,) * 2) as target:
        target.connect_all()
        for status, outcome in ERRORS.items():
            assert _reads(target.head, status, times=2, final=True) == ([outcome, outcome, "data"], 2)
        # The error is final, so it does not matter whom it blames.
        for name, status in PATH_ERRORS.items():
            outcome = "ENOLINK" if name == "host" else "EIO"
            assert _reads(target.head, status, times=1, final=True) == ([outcome, "data", "data"], 1)


@test(over=TRANSPORTS)
def a_medium_error_is_seen_when_it_does_not_go_away(transport):
    with Target("errors", ports=(transport,) * 2) as target:
        target.connect_all()
        tries = 1 + int(_RETRIES.read_text())
        assert _reads(target.head, UNRECOVERED_READ, times=tries, final=False) == (["ENODATA", "data", "data"], tries)
        assert _reads(target.head, UNRECOVERED_READ, times=1, final=False) == (["data", "data", "data"], 1)


@test
def a_bio_that_the_disk_of_a_path_refuses_fails():
    disk_faults.need()
    with Target("errors", ports=("loop",) * 2) as target:
        target.connect_all()
        disk_faults.check_refused_bios(target.head.device, [path.name for path in target.head.paths()])


def _reads(head, status, times, final) -> tuple[list, int]:
    """The results of three reads when so many commands fail on the path that they use, and how many have failed."""
    # On one CPU the head uses one path, whichever that is.
    with fio.pinned_to(0), Reader(head.device) as reader, ExitStack() as stack:
        errors = [stack.enter_context(Errors(path, status, times, final)) for path in head.paths()]
        outcomes = []
        for _ in range(3):
            reader.start()
            outcomes.append(reader.outcome())
        return outcomes, sum(each.made for each in errors)
