# SPDX-License-Identifier: GPL-2.0
"""The counts of a run of tests."""

from collections import Counter
from dataclasses import dataclass
from dataclasses import field


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    #: The reason for each skipped test.
    skipped: list = field(default_factory=list)
    #: How many tests ran to their end under which sanitizer.
    under: Counter = field(default_factory=Counter)
    #: Tests that should have run and did not, and why. A run that left something out is no good run.
    left_out: list = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.failed and not self.left_out

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped,
                      self.under + other.under, self.left_out + other.left_out)

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped"
        return text + (", incomplete" if self.left_out else "")
