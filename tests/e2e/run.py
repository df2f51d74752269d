# SPDX-License-Identifier: GPL-2.0
"""The guest's side of the end-to-end tests: runs those that the host names, prints KTAP.

A test that fails ends the run with status 2, as nobody knows in which state it left the kernel. The host goes on with
the others in a new boot. One that hangs past its limit does too.
"""

import contextlib
import faulthandler
import itertools
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

from tests.e2e import suite
from tests.guest import head
from tests.guest import host
from tests.guest import modules
from tests.guest import target
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.kernel_log import PROBLEM
from tests.guest.kernel_log import mark
from tests.guest.kernel_log import problems
from tests.guest.skip import Skip

FAILED = 2
#: How many lines of the kernel's log go with a failure: the end, or those that follow the first sign of a problem.
TAIL_LINES = 60
REPORT_LINES = 150


def main() -> int:
    faulthandler.register(signal.SIGUSR1, file=sys.stdout)
    modules.install()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("KTAP version 1", flush=True)
    common = _Common()
    for number in itertools.count(1):
        name = host.next_test()
        if not name:
            common.leave()
            return 0
        if not _run(number, suite.CASES[name], common):
            return FAILED


class _Common:
    """The context that tests share which run one after the other."""

    def __init__(self):
        self._within = None
        self._open = ExitStack()

    def enter(self, within) -> None:
        """Enters the context of the next test, unless it is the last test's; leaves that one first."""
        if within is not self._within:
            self.leave()
            if within:
                self._open.enter_context(within())
                self._within = within

    def leave(self) -> None:
        """Leaves the context of the last test; fails when that fails, or when the kernel complains of it."""
        log = KernelLog()
        self._within = None
        self._open.close()
        if found := problems(log.new_lines(), ()):
            raise AssertionError("\n".join(found))


def _run(number, case, common) -> bool:
    """Runs one test; True when the next one can run after it."""
    print(f"# {case.name}: started", flush=True)
    mark(case.name)
    log = KernelLog()
    watchdog = _watch(number, case, log)
    fault = skip = None
    try:
        common.enter(case.within)
        case.run()
    except Skip as reason:
        skip = reason
    except Exception:
        fault = traceback.format_exc()
    lines = log.new_lines()
    fault = fault or _leftovers() or "\n".join(problems(lines, case.warns))
    os.kill(watchdog, signal.SIGKILL)
    os.waitpid(watchdog, 0)
    if fault:
        _fail(number, case, fault, lines)
        return False
    print(f"ok {number} {case.name}" + (f" # SKIP {skip}" if skip else ""), flush=True)
    return True


def _leftovers() -> str:
    """The things that a test should have taken apart."""
    found = [f"controller {name}" for name in head.fabrics_controllers()]
    found += [f"target {entry.name}" for entry in target.subsystems()]
    return f"the test left behind: {', '.join(found)}" if found else ""


def _fail(number, case, fault, lines) -> None:
    for line in fault.splitlines():
        print(f"# {line}")
    first = next((number for number, line in enumerate(lines) if PROBLEM.search(line)), None)
    for line in lines[-TAIL_LINES:] if first is None else lines[first:first + REPORT_LINES]:
        print(f"# kernel: {line}")
    print(f"not ok {number} {case.name}", flush=True)


def _watch(number, case, log) -> int:
    """Starts a process that fails a test which hangs, in whatever way, and returns its number.

    It is no thread: tests fork, and locks of other threads stay locked in a fork.
    """
    watchdog = os.fork()
    if watchdog == 0:
        time.sleep(case.limit * wait.SLOWNESS)
        _give_up(number, case, log)
    return watchdog


def _give_up(number, case, log) -> None:
    """Shows the tasks that hang, and leaves the kernel that they hang in."""
    print(f"# still not done after {case.limit * wait.SLOWNESS:g} s, here:", flush=True)
    os.kill(os.getppid(), signal.SIGUSR1)
    for line in _processes():
        print(f"# {line}", flush=True)
    # Tasks that wait, then the CPUs.
    for key in "wl":
        Path("/proc/sysrq-trigger").write_text(key)
    time.sleep(1)
    _fail(number, case, "time is up", log.new_lines())
    host.leave(FAILED)


def _processes() -> list:
    """Of each process that is not the kernel's: its number, name, state, and where in the kernel it waits."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes():
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                name, waits = ((process / file).read_text().strip() for file in ("comm", "wchan"))
                found.append(f"process {process.name} {name} {state} {waits}")
    return found


if __name__ == "__main__":
    sys.exit(main())
