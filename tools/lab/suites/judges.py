# SPDX-License-Identifier: GPL-2.0
"""The tests of the lab itself: tests/lab/, under pytest. Each rule for judging runs has a bad run to judge."""

from xml.etree import ElementTree

from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.verdicts import record
from lab.verdicts.counts import Counts

_PLACE = paths.ROOT / "tests" / "lab"
#: pytest's exit statuses for runs that came to their end.
_ENDED = (0, 1)


def run(only: str = "") -> Counts:
    """Runs all of them, or those whose name contains `only`."""
    setup.ensure_python()
    setup.ensure_judging()
    patterns.files("test_*.py", place=_PLACE)
    report = paths.BUILD / "lab.xml"
    report.unlink(missing_ok=True)
    with log.step("lab", "judging bad runs") as step:
        words = [setup.venv() / "bin" / "python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                 f"--junitxml={report}", f"--rootdir={paths.ROOT}", *(["-k", only] if only else []), _PLACE]
        status = process.logged(step, list(map(str, words)), cwd=paths.ROOT)
        if status not in _ENDED or not report.exists():
            step.failed(f"pytest exited with {status}")
        counts, outcomes = count(ElementTree.parse(report).getroot())
        for name, outcome in outcomes.items():
            if outcome == record.FAILED:
                log.failure(f"lab: {name} failed, see {step.log}")
        if status and not counts.failed or not counts.passed:
            step.failed(f"pytest exited with {status} after {counts}")
    record.write("lab", outcomes, whole=not only)
    return counts


def count(root) -> tuple:
    """The counts, and the outcome of each test, of a report in JUnit's form."""
    counts, outcomes = Counts(), {}
    for case in root.iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        inner = {child.tag: child for child in case}
        if "failure" in inner or "error" in inner:
            counts.failed += 1
            outcomes[name] = record.FAILED
        elif "skipped" in inner:
            counts.skipped.append(f"{name}: {inner['skipped'].get('message')}")
            outcomes[name] = record.SKIPPED
        else:
            counts.passed += 1
            outcomes[name] = record.PASSED
    return counts, outcomes
