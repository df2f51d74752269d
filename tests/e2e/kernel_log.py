# SPDX-License-Identifier: GPL-2.0
"""The kernel's log: what it says since the last look, and what of that must not be there."""

import os
import re

#: What the kernel says when something is wrong with it, whatever the test thinks.
PROBLEM = re.compile(
    r"WARNING: |BUG: |Oops|Call Trace:|INFO: (task|rcu)|rcu: INFO|blocked for more than|"
    r"(circular|recursive) locking|inconsistent lock state|suspicious RCU usage|KASAN|UBSAN|KFENCE|"
    r"kmemleak: \d+ new|refcount_t: |general protection|unable to handle|list_(add|del) corruption|"
    r"ODEBUG|sysfs: cannot create duplicate")


class KernelLog:
    """A reader of /dev/kmsg that starts at the present, or at the first line of this boot."""

    def __init__(self, from_boot=False):
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_SET if from_boot else os.SEEK_END)

    def new_lines(self) -> list[str]:
        lines = []
        while True:
            try:
                record = os.read(self._file, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue  # records were overwritten before they were read
            head, _, text = record.partition(";")
            seconds = int(head.split(",")[2]) / 1e6
            lines += [f"[{seconds:12.6f}] {line}" for line in text.splitlines()
                      if not line.startswith(" ")]


def problems(lines) -> list[str]:
    return [line for line in lines if PROBLEM.search(line)]
