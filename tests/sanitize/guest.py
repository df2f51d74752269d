# SPDX-License-Identifier: GPL-2.0
"""The guest's side of a kernel with sanitizers: runs a command, then looks for memory that was lost.

    python3 -m tests.sanitize.guest DIRECTORY COMMAND...

In DIRECTORY it leaves its findings for tools/lab/host/vm.py, and which sanitizers are at work at the end. Lockdep and
others switch themselves off when they have reported, or have run out of memory.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.guest import modules
from tests.guest.kernel_log import KernelLog
from tests.guest.kernel_log import NO_TEST
from tests.guest.kernel_log import mark
from tests.sanitize.sanitizers import SANITIZERS

FILE = "sanitizers.json"
LEAKS = Path("/sys/kernel/debug/kmemleak")
#: Younger objects than this are not reported, in seconds.
MIN_AGE = 5.5


def main(directory, command) -> int:
    boot = "\n".join(KernelLog(from_boot=True).new_lines())
    status = subprocess.run(command).returncode
    mark(NO_TEST)
    leaks = _leaks() if status == 0 and _records() else []
    at_work = [each.option for each in SANITIZERS if each.is_at_work(boot)]
    Path(directory, FILE).write_text(json.dumps({"at_work": at_work, "leaks": leaks}))
    return status if status >= 0 else 128 - status


def _records() -> bool:
    """Was this kernel booted so that it keeps a record of all memory?"""
    return "kmemleak=off" not in Path("/proc/cmdline").read_text()


def _leaks() -> list:
    """The objects that nobody refers to, each with where it was allocated; before and after the modules go, if any is
    there."""
    time.sleep(MIN_AGE)
    found = _scan()
    if modules.unload():
        found += _scan()
    return list(dict.fromkeys(found))


def _scan() -> list:
    """The objects that two scans in a row have found unchanged: kmemleak reports those."""
    for _ in range(2):
        LEAKS.write_text("scan")
    text = LEAKS.read_text(errors="replace")
    LEAKS.write_text("clear")
    return [f"unreferenced object {part}" for part in text.split("unreferenced object ")[1:]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
