# SPDX-License-Identifier: GPL-2.0
"""The end-to-end tests' host side: boots guests until every test of tests/e2e/ was run, and counts.

All tests share one boot as long as they pass. After a failure, or when the kernel died or hung, the
rest go on in a new boot. The results of all boots together are build/reports/e2e.ktap.
"""

import argparse
import fnmatch
import itertools
import os
import re
import shutil
import sys
from dataclasses import dataclass

from lab import kernel
from lab import log
from lab import modules
from lab import paths
from lab import setup
from lab import vm
from lab.counts import Counts

sys.path.insert(0, str(paths.ROOT))

from tests.e2e import suite

#: Disks that one controller on each NUMA node leads to: a large one by itself; one with zones, and two more,
#: with controllers that have memory of their own.
TOPOLOGY = vm.Topology(subsystems=(
    vm.Subsystem("e2e", {"c0": 0, "c1": 1}, namespaces=(512,)),
    vm.Subsystem("more", {"c2": 0, "c3": 1}, namespaces=(
        vm.Namespace(64, {"zoned": "on", "zoned.zone_size": "4M", "zoned.zone_capacity": "4M"}), 32, 64),
        properties={"cmb_size_mb": 16}),
))
CPUS = 2
#: How long a guest may take beyond its tests' own limits before it is given up.
GRACE_SECONDS = 60

_STARTED = re.compile(r"# (\S+): started")
_RESULT = re.compile(r"(ok|not ok) \d+ (\S+)(?: # SKIP (.*))?")


@dataclass
class Outcome:
    """What became of one test: "passed", "failed" or "skipped", and why."""

    name: str
    verdict: str
    reason: str = ""


def run(which="", only=None) -> Counts:
    """Runs the tests whose name matches `only`, on the modules "ours" or "stock"."""
    which = which or ("stock" if os.environ.get("STOCK") else "ours")
    names = [name for name in suite.CASES if fnmatch.fnmatch(name, f"*{only or ''}*")]
    if not names:
        log.fail(f"no end-to-end test is called {only}")
    setup.ensure()
    built, directory = kernel.ensure(), modules.ensure(which)
    outcomes = []
    with log.step(f"e2e {which}", f"{len(names)} tests") as step:
        for number in itertools.count(1):
            console = paths.LOGS / f"e2e-{which}-console-{number}.log"
            boot = _Boot(names[len(outcomes):], console, step, done=len(outcomes))
            outcomes += boot.run(built, directory)
            if len(outcomes) == len(names):
                break
    _write_ktap(outcomes, "" if which == "ours" else "-stock")
    return _count(outcomes)


def main(arguments) -> int:
    """`lab.py e2e [--stock] [-k pattern]`."""
    parser = argparse.ArgumentParser(prog="lab.py e2e")
    parser.add_argument("--stock", action="store_true", help="the kernel's own modules instead of ours")
    parser.add_argument("-k", dest="only", metavar="pattern", help="only tests whose name contains this")
    options = parser.parse_args(arguments)
    counts = run("stock" if options.stock else "", options.only)
    print(counts)
    return 1 if counts.failed else 0


class _Boot:
    """One guest and the tests that are run in it: up to the first that fails."""

    def __init__(self, names, console, step, done):
        self._names = names
        self._console = console
        self._step = step
        self._done = done
        self._outcomes = []
        self._remarks = []

    def run(self, built, directory) -> list:
        shared = paths.BUILD / "e2e"
        shutil.rmtree(shared, ignore_errors=True)
        limits = [suite.CASES[name].limit for name in self._names]
        result = vm.run(built, ["python3", "-m", "tests.e2e.run", *self._names], directory, TOPOLOGY,
                        sum(limits) + GRACE_SECONDS, self._console, shared, smp=CPUS, output=self._take,
                        silence=max(limits) + GRACE_SECONDS)
        if len(self._outcomes) < len(self._names) and not self._failed():
            self._fail(self._names[len(self._outcomes)], f"the guest: {result}, see {self._console}")
        return self._outcomes

    def _failed(self) -> bool:
        return bool(self._outcomes) and self._outcomes[-1].verdict == "failed"

    def _take(self, line) -> None:
        with open(self._step.log, "a") as file:
            file.write(line + "\n")
        if started := _STARTED.fullmatch(line):
            self._remarks = []
            done = self._done + len(self._outcomes)
            self._step.progress(f"{done + 1} of {self._done + len(self._names)}: {started[1]}")
        elif result := _RESULT.fullmatch(line):
            verdict, name, reason = result.groups()
            if verdict == "not ok":
                self._fail(name, "\n".join(self._remarks))
            else:
                self._outcomes.append(Outcome(name, "skipped" if reason else "passed", reason or ""))
        elif line.startswith("#"):
            self._remarks.append(line.removeprefix("# "))
        elif line and not line.startswith(("KTAP version", "1..")):
            self._remarks.append(line)

    def _fail(self, name, reason) -> None:
        log.info(f"e2e: {name} failed")
        for line in reason.splitlines():
            print(f"    {line}", flush=True)
        self._outcomes.append(Outcome(name, "failed", reason))


def _write_ktap(outcomes, suffix) -> None:
    lines = ["KTAP version 1", f"1..{len(outcomes)}"]
    for number, outcome in enumerate(outcomes, 1):
        if outcome.verdict == "failed":
            lines += [f"# {line}" for line in outcome.reason.splitlines()]
        verdict = "not ok" if outcome.verdict == "failed" else "ok"
        skip = f" # SKIP {outcome.reason}" if outcome.verdict == "skipped" else ""
        lines.append(f"{verdict} {number} {outcome.name}{skip}")
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / f"e2e{suffix}.ktap").write_text("\n".join(lines) + "\n")


def _count(outcomes) -> Counts:
    skipped = [f"{outcome.name}: {outcome.reason}" for outcome in outcomes if outcome.verdict == "skipped"]
    failed = sum(outcome.verdict == "failed" for outcome in outcomes)
    return Counts(len(outcomes) - failed - len(skipped), failed, skipped)
