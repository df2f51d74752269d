# SPDX-License-Identifier: GPL-2.0
"""A kernel's reports against itself, each with its test: read from the console after a guest has ended."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import suite
from tests.guest.kernel_log import MARK
from tests.guest.kernel_log import NO_TEST
from tests.guest.kernel_log import PROBLEM
from tests.guest.kernel_log import without_warnings

#: How many lines belong to a report, from its first on, if no other test begins.
REPORT_LINES = 120

_LINE = re.compile(r"\[ *(\d+\.\d+)\] ?(.*)")
_MARK = re.compile(re.escape(MARK) + r"(\S+)")
#: The lines of kmemleak in the log that add nothing to `Story.leak()`, or to the question whether it was at work.
_COUNTED = re.compile(r"kmemleak: (\d+ new suspected|Kernel memory leak detector disabled)")
#: The ticks are counted from here, in seconds, so that they soon overflow.
_FIRST_SECONDS = -300
#: KUnit names a suite before its tests, and a test after it has ended.
_SUITE = re.compile(r"\s+# Subtest: (\S+)")
_ENDED = re.compile(r"\s+(?:not )?ok \d+ (\S+)")


@dataclass
class Report:
    """A report and the test during which it came, or "" when none ran."""

    during: str
    lines: list

    def __str__(self) -> str:
        return f"{self.lines[0]} (during {self.during or 'no test'})"


class Story:
    """The contents of a console: the reports, and when which test began."""

    def __init__(self, console: Path):
        self.reports = []
        self._begun = [(0.0, "")]
        kunit = ""
        unnamed = []
        open_report = None
        for line in _without_expected(console.read_text(errors="replace").splitlines() if console.exists() else ()):
            stamp, text = _LINE.fullmatch(line).groups() if _LINE.fullmatch(line) else (None, line)
            if marked := _MARK.fullmatch(text):
                self._begun.append((float(stamp or 0), "" if marked[1] == NO_TEST else marked[1]))
                kunit, open_report = "", None
            elif begun := _SUITE.fullmatch(text):
                kunit, unnamed = begun[1], []
            elif ended := kunit and _ENDED.fullmatch(text):
                for report in unnamed:
                    report.during = f"{kunit}: {ended[1]}"
                unnamed, open_report = [], None
            elif open_report and len(open_report.lines) < REPORT_LINES:
                open_report.lines.append(line)
            elif PROBLEM.search(text) and not _COUNTED.search(text):
                open_report = Report(self._begun[-1][1] or kunit, [line])
                unnamed.append(open_report)
                self.reports.append(open_report)

    def leak(self, text: str, ticks: int) -> Report:
        """kmemleak's report of an object, whose age it gives in so many ticks a second."""
        allocated = int(re.search(r"jiffies (\d+)", text)[1])
        seconds = (allocated - _FIRST_SECONDS * ticks) % 2**32 / ticks
        during = [test for begun, test in self._begun if begun <= seconds][-1]
        return Report(during, text.splitlines())


def _without_expected(lines) -> list:
    """The lines without the warnings that their tests were to bring about."""
    parts = [("", [])]
    for line in lines:
        if marked := _MARK.search(line):
            parts.append((marked[1], []))
        parts[-1][1].append(line)
    return [line for test, part in parts
            for line in without_warnings(part, suite.CASES[test].warns if test in suite.CASES else ())[0]]
