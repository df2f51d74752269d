# SPDX-License-Identifier: GPL-2.0
"""All that must pass before a change lands."""

import os

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.checks import check
from lab.host import log
from lab.host import process
from lab.runs import series
from lab.suites import around
from lab.suites import e2e
from lab.suites import judges
from lab.suites import kept
from lab.suites import kunit
from lab.suites import litmus
from lab.suites import misuse
from lab.suites import model
from lab.suites import mutants
from lab.suites import parity
from lab.suites import sanitize
from lab.suites import storm
from lab.suites import unpaid
from lab.verdicts import claims
from lab.verdicts import defects
from lab.verdicts import parts
from lab.verdicts.counts import Counts


def _without_multipath() -> Counts:
    modules.check_without_multipath()
    return Counts(passed=1)


def _series() -> Counts:
    series.run()
    return Counts(passed=1)


def _defects() -> Counts:
    with log.step("check-defects", "comparing docs/defects.md and README.md with what has run") as step:
        defects.check(step)
    return defects.ran() + claims.ran()


PARTS = {
    "check": check.count_static,
    "lab": judges.run,
    "model": model.run,
    "litmus": litmus.run,
    "misuse": misuse.run,
    "series": _series,
    "without multipath": _without_multipath,
    "not multipathed": unpaid.check,
    "kunit": kunit.run_both,
    "e2e": lambda: e2e.run_sample(may_help=lambda: parts.have_ended(("sanitize",))),
    "e2e around": around.check,
    "e2e kept": kept.check,
    "parity": parity.check,
    "storm": storm.check,
    "sanitize": sanitize.check_in_time,
    "mutants": mutants.run_sample,
    "defects": _defects,
}


def run() -> Counts:
    _prepare()
    os.environ[process.GIVE_WAY] = "1"
    return sum(parts.run(PARTS, "test", parts.lanes_of_test(_has_both_kernels())).values(), Counts())


def _has_both_kernels() -> bool:
    """Whether there are two kernels: with KDIR= there is one, and nothing to build."""
    return bool(os.environ.get("KDIR")) or kernel.is_built(kernel.SANITIZE)


def _prepare() -> None:
    """Builds the modules that several lanes need. If one does not build, each part that needs it says so."""
    try:
        setup.ensure(judging=True)
        kernel.ensure()
        modules.ensure("ours")
        modules.ensure("stock")
    except log.Failure as failure:
        log.error(str(failure))
