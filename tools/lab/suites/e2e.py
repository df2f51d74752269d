# SPDX-License-Identifier: GPL-2.0
"""The end-to-end tests' host side: boots guests until every test of tests/e2e/ has run, and counts.

Some guests take the tests from one queue. A guest's tests share one boot as long as they pass and are for one machine.
After a failure, or when the kernel died or hung, it goes on in a new boot. build/reports/e2e.ktap has the results of
all boots together.
"""

import collections
import fnmatch
import itertools
import os
import re
import shutil
import threading
import time
from dataclasses import dataclass

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.host import vm
from lab.suites import rotation
from lab.verdicts import record
from lab.verdicts.counts import Counts

from tests.e2e import suite
from tests.e2e.run import FAILED

#: Disks that one controller on each NUMA node leads to: a large one by itself; one with zones, and two more,
#: with controllers that have memory of their own.
TOPOLOGY = vm.Topology(subsystems=(
    vm.Subsystem("e2e", {"c0": 0, "c1": 1}, namespaces=(512,)),
    vm.Subsystem("more", {"c2": 0, "c3": 1}, namespaces=(
        vm.Namespace(64, {"zoned": "on", "zoned.zone_size": "4M", "zoned.zone_capacity": "4M"}), 32, 64),
        properties={"cmb_size_mb": 16}),
))
#: The machines of tests that name theirs, and of those that do not.
MACHINES = {
    "": TOPOLOGY,
    "one node": vm.Topology(nodes=1, subsystems=(vm.Subsystem("e2e", {"c0": 0, "c1": 0}, namespaces=(512,)),)),
    "a node without memory": vm.Topology(memoryless=(1,), subsystems=TOPOLOGY.subsystems[:1]),
    "a node to come": vm.Topology(pluggable_mib=256, subsystems=TOPOLOGY.subsystems[:1]),
}
CPUS = 2
#: How many guests run side by side. Much of a test is waiting, so two are faster than one. On two CPUs three are slower:
#: a CPU of a guest often waits for another one, which gets no time.
GUESTS = 2
#: How long a guest may take beyond its tests' own limits before the lab gives it up.
GRACE_SECONDS = 60

_RESULT = re.compile(r"(ok|not ok) \d+ (\S+)(?: # SKIP (.*))?")


@dataclass
class Outcome:
    """The outcome of one test: "passed", "failed" or "skipped", and why."""

    name: str
    verdict: str
    reason: str = ""
    #: How long the test took.
    seconds: float = 0


def run(which="", only=None, name: str = kernel.PLAIN, long=False) -> Counts:
    """Runs the tests whose name matches `only`, or their file's, on the modules `which` and the kernel `name`.

    With `long`, or LONG=1, they include the tests for which `make test` has no time.
    """
    return run_cases(named(only or "", long or bool(os.environ.get("LONG"))), which, name)


def named(only: str, long=False) -> list:
    """The tests whose name, or whose file's, matches `only`."""
    names = [name for name in (suite.CASES if long else suite.SHORT)
             if fnmatch.fnmatch(name, f"*{only}*") or suite.file_of(name) == only]
    return names or log.fail(f"no end-to-end test is called {only}, nor a file of them")


def run_sample(may_help=None) -> Counts:
    """Runs every test over one of its transports, or with one of its drivers, and those that failed in their last run.

    `may_help` as in run_cases().
    """
    known = record.read("e2e").outcomes
    names = [rotation.one_of(variants, number) for number, variants in enumerate(suite.VARIANTS.values())]
    names += [name for name in suite.SHORT if known.get(name) == record.FAILED and name not in names]
    log.info(f"e2e: {len(names)} of {len(suite.SHORT)}, each test in one of its forms, as DAY={rotation.day()} has it")
    return run_cases(names, "ours", may_help=may_help, in_turns=True)


def run_cases(names, which="", name: str = kernel.PLAIN, part="", leaks=True, may_help=None, most=GUESTS,
              in_turns=False) -> Counts:
    """Runs just these tests; `part` is their common name. `leaks` and `in_turns` as in vm.run().

    There are `most` guests at most; all but one begin when `may_help()` says so, if the caller gives it.
    """
    which = which or modules.chosen()
    setup.ensure(its=kernel.arch_of(name))
    built, directory = kernel.ensure(name), modules.ensure(which, name)
    variant = ("" if which == "ours" else f"-{which}") + kernel.suffix(name) + (part and f"-{part}")
    with log.step(f"e2e-{which}{kernel.suffix(name)}{part and f'-{part}'}", f"{len(names)} tests") as step:
        queue = _Queue(names, step)
        guests = [_Guest(number, kernel.place(name), queue, step, leaks, in_turns)
                  for number in range(1, min(most, len(names)) + 1)]
        process.all_at_once([lambda: guests[0].run(built, directory),
                             *(lambda guest=guest: guest.help(built, directory, may_help) for guest in guests[1:])])
    for case in names:
        queue.outcomes.setdefault(case, Outcome(case, "failed", "no guest has run it"))
    outcomes = [queue.outcomes[case] for case in [*names, *(set(queue.outcomes) - set(names))]]
    _write_ktap(outcomes, variant)
    _write_seconds(outcomes, variant)
    whole = suite.has_every_test(names)
    if which == "ours":
        _record(record.name("e2e", name), outcomes, whole)
    counts = _count(outcomes)
    if which in ("ours", "around") and whole:
        counts += _count_hidden(queue.outcomes)
    counts.under = queue.under
    return counts


def _record(part, outcomes, whole) -> None:
    """Notes the outcomes of the tests; for forms of them that have not run now, the old outcomes stay."""
    kept = {name: verdict for name, verdict in record.read(part).outcomes.items() if name in suite.CASES}
    record.write(part, kept | {outcome.name: outcome.verdict for outcome in outcomes}, whole)


def _count_hidden(outcomes: dict) -> Counts:
    """A failure for each file of which every test was skipped."""
    files = collections.defaultdict(list)
    for name, outcome in outcomes.items():
        if name in suite.CASES:
            files[suite.CASES[name].function.__module__.rpartition(".")[2]].append(outcome)
    hidden = {file for file, found in files.items() if all(outcome.verdict == "skipped" for outcome in found)}
    wrong = [f"every test of {file} was skipped: {files[file][0].reason}" for file in sorted(hidden)]
    for line in wrong:
        log.failure(f"e2e: {line}")
    return Counts(failed=len(wrong))


class _Queue:
    """The tests that are still to run, from which guests take, and the outcomes of the others."""

    def __init__(self, names, step):
        self._names = collections.deque(sorted(names, key=lambda name: list(MACHINES).index(suite.CASES[name].machine)))
        self._count = len(names)
        self._step = step
        self._lock = threading.Lock()
        self.outcomes = {}
        #: How many of them ran under which sanitizer.
        self.under = collections.Counter()

    def __len__(self):
        return len(self._names)

    def take(self, machine=None) -> str | None:
        """The next test; if it is for this machine, where one is named."""
        with self._lock:
            if not self._names or machine not in (None, suite.CASES[self._names[0]].machine):
                return None
            name = self._names.popleft()
            self._step.progress(f"{self._count - len(self._names)} of {self._count}: {name}")
            return name

    def give_back(self, name) -> None:
        with self._lock:
            self._names.appendleft(name)

    def limits(self) -> list:
        """Seconds that each remaining test may take."""
        return [suite.CASES[name].limit for name in list(self._names)]

    def ran_under(self, sanitizers) -> None:
        """Notes that one more test ran in a guest where these were at work to the end."""
        with self._lock:
            self.under.update(sanitizers)

    def done(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[outcome.name] = outcome
            if outcome.verdict == "failed":
                log.failure(f"e2e: {outcome.name} failed", outcome.reason)


class _Guest:
    """Runs tests from a queue until it is empty, in one boot after the other."""

    def __init__(self, number, place, queue, step, leaks, in_turns):
        self._number = number
        self._place = place
        self._queue = queue
        self._leaks = leaks
        self._in_turns = in_turns
        self._name = step.name
        self._log = step.log.with_name(f"{step.log.stem}-guest-{number}.log")
        self._log.write_text("")
        #: The first test of the next boot, which is on its machine.
        self._first = None
        #: The running test, and its output; how many this boot has had.
        self._running = None
        self._remarks = []
        self._begun = 0
        self._ran = 0
        self._machine = ""

    def help(self, built, directory, may_help) -> None:
        """The same once it may, if there is anything left then."""
        while may_help and len(self._queue) and not may_help():
            time.sleep(vm.ASK_AGAIN_SECONDS)
        self.run(built, directory)

    def run(self, built, directory) -> None:
        for boot in itertools.count(1):
            self._first = self._first or self._queue.take()
            if not self._first:
                return
            self._machine = suite.CASES[self._first].machine
            limits = [suite.CASES[self._first].limit, *self._queue.limits()]
            console = paths.LOGS / f"{self._name}-console-{self._number}.{boot}.log"
            # Guests of two variants may run side by side.
            lent = self._place / f"{self._name}-{self._number}"
            shutil.rmtree(lent, ignore_errors=True)
            result = vm.run(built, ["python3", "-m", "tests.e2e.run"], directory, MACHINES[self._machine],
                            sum(limits) + GRACE_SECONDS, console, lent, smp=CPUS, output=self._take,
                            silence=max(limits) + GRACE_SECONDS, answer=self._answer,
                            leaks=self._leaks, in_turns=self._in_turns)
            if self._running:
                self._done("failed", f"the guest: {result}, see {console}")
            elif result.status not in (0, FAILED) or not self._ran:
                self._queue.done(Outcome(f"guest-{self._number}", "failed", f"{result}, see {console}"))
                if not self._ran:
                    if self._first:
                        self._queue.give_back(self._first)
                    return
            for report in result.reports:
                self._blame(report, console)
            for _ in range(self._ran):
                self._queue.ran_under(result.at_work)
            self._ran = 0

    def _blame(self, report, console) -> None:
        """Fails the test during which the kernel's sanitizers found something, if nothing has failed it yet."""
        name = report.during or f"guest-{self._number}"
        known = self._queue.outcomes.get(name)
        if not known or known.verdict != "failed":
            self._queue.done(Outcome(name, "failed", "\n".join([f"see {console}", *report.lines])))

    def _answer(self, request) -> str:
        assert request == "next", request
        self._running, self._remarks = self._first or self._queue.take(self._machine), []
        self._first = None
        self._begun = time.monotonic()
        return self._running or ""

    def _take(self, line) -> None:
        with open(self._log, "a") as file:
            file.write(line + "\n")
        if result := _RESULT.fullmatch(line):
            verdict, name, reason = result.groups()
            assert name == self._running, f"{name} ended, {self._running} runs"
            if verdict == "not ok":
                self._done("failed", "\n".join(self._remarks))
            else:
                self._done("skipped" if reason else "passed", reason or "")
        elif line and not line.startswith("KTAP version"):
            self._remarks.append(line.removeprefix("# "))

    def _done(self, verdict, reason) -> None:
        self._ran += 1
        self._queue.done(Outcome(self._running, verdict, reason, time.monotonic() - self._begun))
        self._running = None


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


def _write_seconds(outcomes, suffix) -> None:
    """How long each test took, the longest first."""
    lines = [f"{outcome.seconds:7.1f} s  {outcome.name}"
             for outcome in sorted(outcomes, key=lambda outcome: -outcome.seconds)]
    (paths.REPORTS / f"seconds-e2e{suffix}.txt").write_text("\n".join(lines) + "\n")


def _count(outcomes) -> Counts:
    skipped = [f"{outcome.name}: {outcome.reason}" for outcome in outcomes if outcome.verdict == "skipped"]
    failed = sum(outcome.verdict == "failed" for outcome in outcomes)
    return Counts(len(outcomes) - failed - len(skipped), failed, skipped)
