# SPDX-License-Identifier: GPL-2.0
"""The result of a command, for a command that started it: a file of JSON, which the variable LAB_RESULT names."""

import json
import os
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from lab.host import log
from lab.verdicts.counts import Counts

VARIABLE = "LAB_RESULT"


@dataclass(frozen=True)
class Result:
    #: The last line for the user.
    last: str
    passed: int = 0
    failed: int = 0
    #: The reason for each skipped test, and for each thing that was left out.
    skipped: list = field(default_factory=list)
    left_out: list = field(default_factory=list)
    #: The failures, a line each.
    failures: list = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        return Counts(self.passed, self.failed, list(self.skipped), left_out=list(self.left_out))

    @classmethod
    def of(cls, last: str, status: int, counts: Counts | None, failures=()) -> "Result":
        """The result of a command; one that does not count is one test."""
        counts = counts or Counts(int(not status), int(bool(status)))
        return cls(last, counts.passed, counts.failed, counts.skipped, counts.left_out, list(failures))


def write(last: str, status: int, counts: Counts | None = None) -> None:
    """Writes the result of this command, if the caller wants it."""
    if os.environ.get(VARIABLE):
        Path(os.environ[VARIABLE]).write_text(json.dumps(asdict(Result.of(last, status, counts, log.failures()))))


def read(file: Path) -> Result | None:
    """Reads the result of a command; None when the command wrote none."""
    try:
        return Result(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
