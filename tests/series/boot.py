# SPDX-License-Identifier: GPL-2.0
"""Runs in a guest whose kernel has NVMe built in: takes a path away under verified I/O.

The argument names the code that does NVMe multipath there: the "library", or the "driver" by its own code.
"""

import re
import sys
from pathlib import Path

from tests.guest import fio
from tests.guest import head as heads
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.kernel_log import problems


#: A function that only the driver's own code has.
_OWN = re.compile(r" T nvme_find_path$", re.MULTILINE)


def main(by: str) -> int:
    log = KernelLog(from_boot=True)
    (head,) = wait.until(_heads, "a head with two paths")
    if (by == "driver") != bool(_OWN.search(Path("/proc/kallsyms").read_text())):
        print(f"NVMe multipath is not done by the {by}")
        return 1
    with fio.Load(head.device) as load:
        load.wait_for_io(head)
        carrier = min(load.carriers(head))
        (heads.CONTROLLERS / carrier / "device" / "remove").write_text("1")
        load.wait_for_io(head)
        report = load.finish()
    found = problems(log.new_lines())
    print(f"{report.bytes_verified} bytes verified, {report.errors} errors", *found, sep="\n")
    return 1 if report.errors or found else 0


def _heads() -> list:
    names = [entry.name for entry in heads.BLOCK.glob("nvme*n*") if re.fullmatch(r"nvme\d+n\d+", entry.name)]
    return [head for head in map(heads.Head, names) if len(head.paths()) == 2]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
