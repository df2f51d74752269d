# SPDX-License-Identifier: GPL-2.0
"""One test, as docs/defects.md names it: `tools/lab.py one "kunit: mpath_select: a_disabled_path_is_never_chosen"`."""

from lab.builds import kernel
from lab.host import log
from lab.runs import test
from lab.suites import e2e
from lab.suites import kunit
from lab.suites import litmus
from lab.suites import misuse
from lab.suites import model
from lab.verdicts import parts
from lab.verdicts import record
from lab.verdicts.counts import Counts
from lab.verdicts.defects import Test

_PARTS = {
    "host": lambda name, configuration: model.run_host(name),
    "model": lambda name, configuration: model.run_models(name),
    "litmus": lambda name, configuration: litmus.run(name),
    "misuse": lambda name, configuration: misuse.run(),
    "kunit": kunit.run,
    "e2e": lambda name, configuration: e2e.run(only=name, name=configuration),
    "test": lambda name, configuration: _part(name),
}


def _part(name: str) -> Counts:
    if name not in test.PARTS:
        log.fail(f"`make test` has no part {name}; there are: {', '.join(test.PARTS)}")
    counts = parts.attempt(name, test.PARTS[name])
    record.write("test", {name: parts.outcome(counts)}, whole=False)
    return counts


def run(text: str) -> Counts:
    """Runs a test, and notes its outcome as every run does."""
    named = Test.read(text)
    part = _PARTS.get(named.usual.part)
    if not part:
        log.fail(f"`{text}` is not `part: test`, the part being one of {', '.join(_PARTS)}")
    counts = part(named.name, kernel.PLAIN + named.part.removeprefix(named.usual.part))
    if not named.outcomes():
        log.fail(f"`{text}` has not run: there is no such test")
    return counts
