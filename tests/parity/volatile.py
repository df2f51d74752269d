# SPDX-License-Identifier: GPL-2.0
"""The differences between two looks at the same kernel, which the comparison takes out of the observations."""

import re

#: How long I/O took, among the fields of a disk's statistics.
_STAT_TIMES = (3, 7, 9, 10, 14, 16)
#: How often a host tries to reconnect before a target is there again depends on how fast both are.
_ATTEMPT = re.compile(r"failed to connect socket|Failed reconnect attempt|Reconnecting in")
_ATTEMPT_NUMBER = re.compile(r"\(attempt \d+/")
_NUMBER = re.compile(r"\b\d+\.\d+\b")


def settled(area, key, text) -> str:
    """`text` without the parts that differ each time."""
    kind = area.partition(": ")[2]
    if kind == "sysfs" and key.endswith("/stat"):
        return _without_times(text)
    if kind == "sysfs" and key.endswith(("bdi/max_bytes", "bdi/min_bytes")):
        # A share of the memory that could be dirty at the moment.
        return text.split()[0] + " a share of the memory"
    if kind == "log":
        lines = [line for line in text.split("\n") if not _ATTEMPT.search(line)]
        return _ATTEMPT_NUMBER.sub("(attempt N/", "\n".join(lines))
    if kind == "printed" and key.startswith("iostat"):
        # Rates since the boot of the system; the counts are in "counters".
        return re.sub(r" +", " ", _NUMBER.sub("N", text))
    return text


def _without_times(text) -> str:
    mode, *fields = text.split()
    for index in _STAT_TIMES:
        fields[index] = "T"
    return " ".join([mode, *fields])
