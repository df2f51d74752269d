# SPDX-License-Identifier: GPL-2.0
"""The KUnit suites: the lab builds libmultipath with them, loads it in a guest, and reads their results.

It does the same with the module of the documentation's examples. The results are the suites' files in debugfs, which no
other message of the kernel gets into, and the kernel's own parser reads them.
"""

import fnmatch
import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from lab.builds import doctest
from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.host import vm
from lab.host.reports import Story
from lab.verdicts import record
from lab.verdicts.counts import Counts

#: For all suites, and for one test.
TIMEOUT_SECONDS = 600
TIMEOUT_OF_ONE_SECONDS = 90
_VARIABLES = (modules.WITH_TESTS,)
#: Suites of a library that hands bios to paths in one pass, or of one that does not.
_OF_ONE_PASS = {"mpath_way": True, "mpath_around": False}

_SUITE = re.compile(r"kunit_tests\((\w+)\)")
#: How much of a report the lab shows here; the console's file has all of it.
SHOWN_LINES = 60

#: In the guest: load the modules, which run their suites; keep the results of those they brought.
_SCRIPT = f"""
cd /sys/kernel/debug/kunit || exit
others=" $(echo *) "
insmod "$MODULES/libmultipath.ko" && {{ [ -z "$2" ] || insmod "$2/{doctest.MODULE}.ko"; }} || exit
for suite in *; do
    case "$others" in *" $suite "*) continue ;; esac
    cat "$suite/results" > "$1/$suite.ktap" || exit
done
cd / && rmmod ${{2:+{doctest.MODULE}}} libmultipath
"""


def run_both() -> Counts:
    """Runs the suites in a library that hands bios to paths in one pass, and in one that does not, side by side.

    Much of a suite is waiting. The CPUs of each guest take turns: those of a guest with sanitizers do not.
    """
    counts = []
    process.all_at_once(lambda one_pass=one_pass: counts.append(run(one_pass=one_pass, in_turns=True))
                        for one_pass in (True, False))
    return sum(counts, Counts())


def run(only: str = "", name: str = kernel.PLAIN, leaks=True, one_pass=True, suites="", in_turns=False) -> Counts:
    """Boots, loads, reads; a guest that died or ran nothing is a failure, and so is a kernel that complains,
    whatever its tests say.

    All suites are run, or those whose names the pattern `suites` matches, or the test `only`, "suite: case", which is
    to blame for what happens to the guest. `leaks` and `in_turns` as in vm.run(). Without `one_pass`, or in a kernel
    that does not know of it, the library does without.
    """
    setup.ensure(its=kernel.arch_of(name))
    built = kernel.ensure(name)
    kernel.check_bootable(built)
    one_pass = one_pass and _OF_ONE_PASS.get(only.partition(":")[0], True) and "CONFIG_BLK_LOWER" in built.options()
    library = modules.ensure_library(name, _VARIABLES + (() if one_pass else modules.AROUND))
    wanted = only or suites
    examples = doctest.ensure(name) if not wanted or fnmatch.fnmatch(doctest.MODULE, wanted.partition(":")[0]) else ""
    label = f"kunit{'' if one_pass else '-around'}{kernel.suffix(name)}{'-some' if suites else ''}"
    shared = kernel.place(name) / label
    shutil.rmtree(shared, ignore_errors=True)
    console = paths.LOGS / f"{label}-console.log"
    with log.step(label, "running the suites in a guest") as step:
        result = vm.run(kernel=built, command=["sh", "-c", _SCRIPT, "sh", shared, examples], modules_dir=library,
                        topology=vm.Topology(), timeout=TIMEOUT_OF_ONE_SECONDS if only else TIMEOUT_SECONDS,
                        console_log=console, rwdir=shared,
                        append=f"kunit.enable=1{_filter(wanted)}", output=_writer(step), leaks=leaks,
                        in_turns=in_turns)
        complaints = result.reports or Story(console).reports
        outcomes = {report.during: record.FAILED for report in complaints if report.during}
        if only and (complaints or result.status is None):
            outcomes[only] = record.FAILED
        results = sorted(shared.glob("*.ktap"))
        counts = sum((_read(step, built.source, ktap, outcomes) for ktap in results), Counts())
        if not only:
            counts += _count_absent({ktap.stem for ktap in results}, one_pass, suites or "*")
        counts.under = Counter(dict.fromkeys(result.at_work, counts.passed + counts.failed))
        record.write(record.name("kunit", name), outcomes, whole=not wanted and one_pass)
        for report in complaints:
            log.failure(f"kunit: the kernel says: {report}, see {console}", "\n".join(report.lines[:SHOWN_LINES]))
            counts += Counts(failed=1)
        if result.status != 0:
            log.failure(f"kunit: the guest: {result}, see {console}")
            counts += Counts(failed=1)
        elif not counts.passed:
            log.failure(f"kunit: no test ran, see {console}")
            counts += Counts(failed=1)
    return counts


def _filter(wanted: str) -> str:
    return f" kunit.filter_glob={wanted.replace(': ', '.')}" if wanted else ""


def _writer(step):
    def write(line: str) -> None:
        with open(step.log, "a") as file:
            file.write(line + "\n")
    return write


def _read(step, source: Path, ktap: Path, outcomes: dict) -> Counts:
    """Counts one suite's results, as the kernel's parser sees them, and notes them."""
    parsed = ktap.with_suffix(".json")
    process.logged(step, [sys.executable, str(source / "tools/testing/kunit/kunit.py"), "parse", f"--json={parsed}",
                          str(ktap)], cwd=ktap.parent)
    if not parsed.exists():
        step.failed(f"the results of {ktap.stem} cannot be read")
    group = json.loads(parsed.read_text())
    counts = _count(ktap.stem, group, outcomes)
    if group["misc"]["errors"] and not counts.failed:
        log.failure(f"kunit: the results of {ktap.stem} are cut off, or are none")
        counts += Counts(failed=1)
    elif not counts.passed and not counts.failed:
        log.failure(f"kunit: every case of {ktap.stem} was skipped")
        counts += Counts(failed=1)
    return counts


def _count_absent(found: set, one_pass: bool, pattern="*") -> Counts:
    """A failure for each suite of the source that matches, should have left results, and has not."""
    counts = Counts()
    expected = {suite for suite in fnmatch.filter(suites_in_source(), pattern)
                if _OF_ONE_PASS.get(suite, one_pass) == one_pass}
    for suite in sorted(expected - found):
        log.failure(f"kunit: {suite} has not run")
        counts += Counts(failed=1)
    return counts


def suites_in_source() -> set:
    """The names of the suites that the library is built with, and of the documentation's examples."""
    found = {name for file in patterns.files("tests/kunit/**/*.rs") for name in _SUITE.findall(file.read_text())}
    return found | {doctest.MODULE}


def _count(suite: str, group: dict, outcomes: dict) -> Counts:
    counts = Counts()
    for inner in group.get("sub_groups", []):
        counts += _count(suite, inner, outcomes)
    for case in group.get("test_cases", []):
        name = f"{suite}: {case['name']}"
        outcome = {"PASS": record.PASSED, "SKIP": record.SKIPPED}.get(case["status"], record.FAILED)
        outcomes.setdefault(name, outcome)
        if outcome == record.PASSED:
            counts.passed += 1
        elif outcome == record.SKIPPED:
            counts.skipped.append(name)
        else:
            log.failure(f"kunit: {name} failed")
            counts.failed += 1
    return counts
