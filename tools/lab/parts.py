# SPDX-License-Identifier: GPL-2.0
"""Parts of a long run of tests, by name: functions that return `Counts`, each done whatever became of the one before.

A part that could not run at all, because something did not build or boot, counts as a failure.
"""

import traceback

from lab import log
from lab import record
from lab.counts import Counts


def run(parts: dict, whole: str) -> dict:
    """Runs all parts of `whole` and reports each, the reasons of what was skipped included; returns the counts by name."""
    results = {}
    for name, part in parts.items():
        results[name] = _attempt(name, part)
        outcomes = {name: record.FAILED if counts.failed else record.PASSED for name, counts in results.items()}
        record.write(whole, outcomes, whole=True)
    for name, counts in results.items():
        log.info(f"{name}: {counts}")
        for reason in counts.skipped:
            log.info(f"{name}: skipped: {reason}")
    return results


def _attempt(name: str, part) -> Counts:
    try:
        return part()
    except log.Failure as failure:
        log.error(str(failure))
    except Exception as fault:  # a part that is broken must not hide the others
        traceback.print_exc()
        log.error(f"{name}: {fault!r}")
    return Counts(failed=1)
