# SPDX-License-Identifier: GPL-2.0
"""All that must pass before a change lands: every part, whatever became of the one before it.

A part is a function that returns `Counts`. One that could not run at all, because something did not
build or boot, counts as a failure.
"""

import traceback

from lab import e2e
from lab import kunit
from lab import log
from lab import misuse
from lab import model
from lab import modules
from lab import parity
from lab import record
from lab import series
from lab.counts import Counts


def _without_multipath() -> Counts:
    modules.check_without_multipath()
    return Counts(passed=1)


def _series() -> Counts:
    series.run()
    return Counts(passed=1)


PARTS = {
    "model": model.run,
    "misuse": misuse.run,
    "series": _series,
    "without multipath": _without_multipath,
    "kunit": kunit.run,
    "e2e": e2e.run,
    "parity": parity.check,
}


def run() -> Counts:
    """Runs all parts and reports each, the reasons of what was skipped included."""
    results = {}
    for name, part in PARTS.items():
        results[name] = attempt(name, part)
        outcomes = {name: record.FAILED if counts.failed else record.PASSED for name, counts in results.items()}
        record.write("test", outcomes, whole=True)
    for name, counts in results.items():
        log.info(f"{name}: {counts}")
        for reason in counts.skipped:
            log.info(f"{name}: skipped: {reason}")
    return sum(results.values(), Counts())


def attempt(name: str, part) -> Counts:
    try:
        return part()
    except log.Failure as failure:
        log.error(str(failure))
    except Exception as fault:  # a part that is broken must not hide the others
        traceback.print_exc()
        log.error(f"{name}: {fault!r}")
    return Counts(failed=1)
