# SPDX-License-Identifier: GPL-2.0
"""The in-tree implementation of NVMe multipath that the series keeps, beside ours: end-to-end tests over PCIe."""

from lab.host import log
from lab.suites import e2e
from lab.suites import rotation
from lab.verdicts.counts import Counts

#: A file of tests that pass on either implementation.
FILE = "test_pcie"
#: How many of them `make test` has time for.
SAMPLE = 1


def check() -> Counts:
    """Runs the tests whose day it is."""
    names = rotation.some_of(e2e.named(FILE), SAMPLE)
    log.info(f"e2e kept: {len(names)} end-to-end tests, as DAY={rotation.day()} has them")
    return e2e.run_cases(names, "kept", part="check", most=1, in_turns=True)
