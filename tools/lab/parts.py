# SPDX-License-Identifier: GPL-2.0
"""Parts of a long run of tests, by name: functions that return `Counts`, each done whatever became of the one before.

A part that could not run at all, because something did not build or boot, counts as a failure.
"""

import time
import traceback

from lab import log
from lab import paths
from lab import record
from lab.counts import Counts


def run(parts: dict, whole: str) -> dict:
    """Runs all parts of `whole` and reports each, with how long it took and why something was skipped or left out;
    returns the counts by name.
    """
    results, seconds = {}, {}
    for name, part in parts.items():
        begun = time.monotonic()
        results[name] = _attempt(name, part)
        seconds[name] = time.monotonic() - begun
        record.write(whole, {name: _outcome(counts) for name, counts in results.items()}, whole=True)
    page = "\n".join(_page(results, seconds))
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / f"parts-{whole}.txt").write_text(page + "\n")
    print(page, flush=True)
    return results


def _page(results: dict, seconds: dict):
    """The last page: a line for each part, and one for each test that has not run."""
    width = max(map(len, results), default=0)
    for name, counts in results.items():
        yield f"{log.elapsed(seconds[name]):>6}  {name.ljust(width)}  {counts}"
        for reason in counts.skipped:
            yield f"{'':6}  {'':{width}}    skipped: {reason}"
        for reason in counts.left_out:
            yield f"{'':6}  {'':{width}}    left out: {reason}"
    yield f"{log.elapsed(sum(seconds.values())):>6}  in all"


def _outcome(counts: Counts) -> str:
    return record.FAILED if counts.failed else record.SKIPPED if counts.left_out else record.PASSED


def _attempt(name: str, part) -> Counts:
    try:
        return part()
    except log.Failure as failure:
        log.error(str(failure))
    except Exception as fault:  # a part that is broken must not hide the others
        traceback.print_exc()
        log.error(f"{name}: {fault!r}")
    return Counts(failed=1)
