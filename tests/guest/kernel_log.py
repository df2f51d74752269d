# SPDX-License-Identifier: GPL-2.0
"""The kernel's log: its lines since the last look, and those among them that must not be there."""

import os
import re

#: The kernel's reports that something is wrong with it, whatever the test thinks. tests/sanitize/faults.c shows that
#: the pattern knows each kind of report.
PROBLEM = re.compile(
    # Reports with a name: KASAN, lockdep, RCU, contexts, stalls and hung tasks, warnings of the code itself.
    r"(WARNING|BUG|INFO): |BUG \S+ \(|DEBUG_LOCKS_WARN_ON|KASAN|UBSAN|KFENCE|"
    r"blocked for more than|(circular|recursive) locking|inconsistent lock state|suspicious RCU usage|"
    # Objects, counters, lists.
    r"ODEBUG: |refcount_t: |list_(add|del) corruption|"
    r"kmemleak: (\d+ new|.*disabled)|"
    # The end.
    r"Oops|kernel BUG at|Kernel panic|panicked at|general protection|unable to handle|Call Trace:|"
    r"sysfs: cannot create duplicate")

#: The line in the log before each test.
MARK = "lab: test "
#: The name of the test when none runs any more.
NO_TEST = "-"

#: The lines that enclose a warning, and how many lines before may explain it: another CPU may speak, too.
BEGIN, END = "[ cut here ]", "[ end trace "
BEFORE = 4


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
            # The further lines name the device that the message came from.
            line = text.partition("\n")[0]
            if line:
                lines.append(f"[{seconds:12.6f}] {line}")


def problems(lines, warns=()) -> list[str]:
    """The lines of `lines` that must not be there, and the warnings of `warns` that are not."""
    rest, missing = without_warnings(lines, warns)
    return [line for line in rest if PROBLEM.search(line)] + [f"the kernel did not warn: {text}" for text in missing]


def without_warnings(lines, warns) -> tuple[list[str], list[str]]:
    """`lines` without a warning for each of `warns`, which is in it or shortly before; and those without one."""
    missing, rest = list(warns), []
    said, warning = [], None
    for line in lines:
        if BEGIN in line:
            rest += warning or ()
            said, warning = rest[-BEFORE:], [line]
        elif warning is None:
            rest.append(line)
        else:
            warning.append(line)
            if END in line:
                text = next((text for text in missing if any(text in each for each in said + warning)), None)
                if text is None:
                    rest += warning
                else:
                    missing.remove(text)
                warning = None
    return rest + (warning or []), missing


def mark(test) -> None:
    """Tells the log which test begins."""
    with open("/dev/kmsg", "w") as log:
        log.write(MARK + test)
