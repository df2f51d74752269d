# SPDX-License-Identifier: GPL-2.0
"""Parts of a long run of tests, by name: functions that return `Counts`, each done whatever the last one returned.

A part that could not run at all, because something did not build or boot, counts as a failure.
"""

import threading
import time
import traceback

from lab.host import log
from lab.host import paths
from lab.host import process
from lab.verdicts import record
from lab.verdicts.counts import Counts


#: How many failures the last page has.
_SHOWN = 20
#: The parts of `make test` that run side by side. First, one guest after the other. Second, the end-to-end tests, whose
#: second guest begins when the sanitizers have ended. Third, the host's own work, for which guests leave it time, with
#: guests that run for a minute.
LANES_OF_TEST = (
    ("sanitize", "kunit", "e2e around", "e2e kept", "storm"),
    ("e2e",),
    ("check", "lab", "model", "litmus", "misuse", "series", "without multipath", "not multipathed", "mutants",
     "parity"),
)
#: All of them. The last asks for the results of the others.
OF_TEST = (*(name for lane in LANES_OF_TEST for name in lane), "defects")
#: The part that needs a kernel of its own, which takes as long to build as the rest takes to run.
_OF_ANOTHER_KERNEL = "sanitize"


def lanes_of_test(has_both_kernels: bool) -> tuple:
    """The parts of `make test` that run side by side. No part waits for a kernel that is still to be built."""
    if has_both_kernels:
        return LANES_OF_TEST
    others = (tuple(name for name in lane if name != _OF_ANOTHER_KERNEL) for lane in LANES_OF_TEST)
    return (_OF_ANOTHER_KERNEL,), *others


#: The parts that have ended in this command.
_ended = set()


def have_ended(names) -> bool:
    """Have all these parts ended?"""
    return _ended.issuperset(names)


def run(parts: dict, whole: str, lanes: tuple = ()) -> dict:
    """Runs all parts of `whole` and reports each; returns the counts by name.

    A report says how long the part took, and why something was skipped or left out. The parts of a lane run one after
    the other, and beside those of other lanes; the parts of no lane run when all lanes have ended.
    """
    begun = time.monotonic()
    done = _Done(whole)
    in_lanes = {name for lane in lanes for name in lane}
    process.all_at_once(lambda lane=lane: done.do({name: parts[name] for name in lane}) for lane in lanes)
    done.do({name: part for name, part in parts.items() if name not in in_lanes})
    results = {name: done.results[name] for name in parts}
    page = "\n".join(_page(results, done.seconds, time.monotonic() - begun))
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / f"parts-{whole}.txt").write_text(page + "\n")
    print(page, flush=True)
    return results


class _Done:
    """The results of the parts that have run."""

    def __init__(self, whole: str):
        self._whole = whole
        self._lock = threading.Lock()
        self.results = {}
        self.seconds = {}

    def do(self, parts: dict) -> None:
        """Runs parts one after the other."""
        for name, part in parts.items():
            begun = time.monotonic()
            counts = attempt(name, part)
            with self._lock:
                _ended.add(name)
                self.results[name] = counts
                self.seconds[name] = time.monotonic() - begun
                record.write(self._whole, {name: outcome(counts) for name, counts in self.results.items()}, whole=True)
            log.info(f"{name}: {counts}")


def _page(results: dict, seconds: dict, in_all: float):
    """The last page: a line for each part, one for each test that has not run, and the failures."""
    width = max(map(len, results), default=0)
    for name, counts in results.items():
        yield f"{log.elapsed(seconds[name]):>6}  {name.ljust(width)}  {counts}"
        for reason in counts.skipped:
            yield f"{'':6}  {'':{width}}    skipped: {reason}"
        for reason in counts.left_out:
            yield f"{'':6}  {'':{width}}    left out: {reason}"
    yield f"{log.elapsed(in_all):>6}  in all"
    yield from (f"{'':6}  failed: {failure}" for failure in some(log.failures(), _SHOWN, "more, see above"))


def some(lines: list, most: int, others: str) -> list:
    """The first lines, and how many `others` there are."""
    return lines[:most] + [f"{len(lines) - most} {others}"] * (len(lines) > most)


def outcome(counts: Counts) -> str:
    return record.FAILED if counts.failed else record.SKIPPED if counts.left_out else record.PASSED


def attempt(name: str, part) -> Counts:
    """The result of a part; a failure where it does not come to its end."""
    try:
        return part()
    except log.Failure as failure:
        log.error(str(failure))
    except Exception as fault:  # a part that is broken must not hide the others
        traceback.print_exc()
        log.error(f"{name}: {fault!r}")
    return Counts(failed=1)
