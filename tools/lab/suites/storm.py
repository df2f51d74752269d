# SPDX-License-Identifier: GPL-2.0
"""`make storm`: boots kernels and has all events happen to paths, at random, under verified I/O.

One guest runs the lab's kernel. The next one runs the kernel that checks itself in all it does, and makes requests fail
on demand; KERNEL= names one of them. SECONDS= says for how long in each, SEED= repeats the chance, as far as timing
lets it. `make soak` is the gentle form: the steady heads of NVMe alone, in the plain kernel, for MINUTES=. The guest's
side is tests/storm/. Its sums go to build/reports/storm.json, or soak.json.
"""

import json
import os
import random
import shutil
import statistics
from dataclasses import dataclass

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import vm
from lab.verdicts.counts import Counts

from tests.guest.ram import DRIVERS

SECONDS = 600
MINUTES = 10
#: The configurations of the kernels, by their names for KERNEL=.
KERNELS = {"plain": kernel.PLAIN, "sanitize": kernel.SANITIZE}
#: How long the short form takes in each.
SHORT_SECONDS = {"plain": 45}
#: The seconds that the guest may take for setting up, verifying, and taking everything down.
GRACE_SECONDS = 300
#: The actors of tests/storm/run.py: those that are gentle; the others that only need NVMe; the samples.
STEADY = ("loop", "tcp", "pcie")
SMALL = ("small-loop", "small-tcp")
SAMPLES = ("ram",)
#: The events that each plant must have had, by the names in its records, for the actors that have it.
_PATHS = ("ana state", "flapping", "reset")
_TEARDOWNS = ("teardown with an opener", "teardown with parked I/O")
FLOORS = {
    "loop": {"loop": _PATHS},
    "tcp": {"tcp": _PATHS},
    "pcie": {"pcie": ("reset", "unplug", "plug in")},
    "small-loop": {"small loop": _TEARDOWNS},
    "small-tcp": {"small tcp": _TEARDOWNS},
    "ram": {f"{size}ram-{driver}": _TEARDOWNS if size else ("flapping", "path failure")
            for driver in DRIVERS for size in ("", "small ")},
}
TOPOLOGY = vm.Topology(subsystems=(vm.Subsystem("storm", {"c0": 0, "c1": 1}, namespaces=(256,)),))


@dataclass(frozen=True)
class _Plan:
    """The plan: which kernels, actors and times."""

    name: str
    which: str
    seed: int
    actors: tuple
    #: For how long in each kernel.
    seconds: dict


def run() -> tuple:
    """Returns the last line for the user and the exit status."""
    kernels = [os.environ["KERNEL"]] if os.environ.get("KERNEL") else list(KERNELS)
    if unknown := set(kernels) - set(KERNELS):
        log.fail(f"KERNEL={unknown.pop()} is none of {', '.join(KERNELS)}")
    seconds = float(os.environ.get("SECONDS") or SECONDS)
    which = _which()
    actors = STEADY + SMALL + (SAMPLES if which == "ours" else ())
    return _outcome(_Plan("storm", which, _seed(), actors, dict.fromkeys(kernels, seconds)))


def soak() -> tuple:
    seconds = 60 * float(os.environ.get("MINUTES") or MINUTES)
    return _outcome(_Plan("soak", _which(), _seed(), STEADY, {"plain": seconds}))


def check() -> Counts:
    """The short form: a storm of less than a minute in each kernel is one test."""
    stories = _play(_Plan("storm", "ours", _seed(), STEADY + SMALL + SAMPLES, SHORT_SECONDS))
    return Counts(passed=sum(story.passed for story in stories), failed=sum(not story.passed for story in stories))


def _which() -> str:
    return "stock" if os.environ.get("STOCK") else "ours"


def _seed() -> int:
    return int(os.environ.get("SEED") or random.randrange(1 << 31))


def _outcome(plan) -> tuple:
    stories = _play(plan)
    if failed := [story.kernel for story in stories if not story.passed]:
        return f"{plan.name} failed in the kernel {' and '.join(failed)}; repeat with SEED={plan.seed}", 1
    return f"{plan.name} passed in the kernel {' and '.join(story.kernel for story in stories)}", 0


def _play(plan) -> list:
    setup.ensure()
    prepared = {name: (kernel.ensure(KERNELS[name]), modules.ensure(plan.which, KERNELS[name]))
                for name in plan.seconds}
    stories = []
    with log.step(f"{plan.name} {plan.which}", f"{_durations(plan)}, SEED={plan.seed}") as step:
        stories = [_Story(step, plan, name) for name in plan.seconds]
        for story in stories:
            _play_in(plan, story, *prepared[story.kernel])
    for story in stories:
        story.tell(plan)
    _write(plan, stories)
    return stories


def _durations(plan) -> str:
    return ", ".join(f"{seconds:g} s in the kernel {name}" for name, seconds in plan.seconds.items())


def _play_in(plan, story, built, directory) -> None:
    shared = paths.BUILD / f"{plan.name}-{story.kernel}"
    shutil.rmtree(shared, ignore_errors=True)
    command = ["python3", "-m", "tests.storm.run", plan.seconds[story.kernel], plan.seed, *plan.actors]
    story.result = vm.run(built, command, directory, TOPOLOGY,
                          plan.seconds[story.kernel] + GRACE_SECONDS,
                          paths.LOGS / f"{plan.name}-{plan.which}-{story.kernel}-console.log", shared,
                          smp=2, output=story.take, silence=GRACE_SECONDS, leaks=False)


def _write(plan, stories) -> None:
    file = paths.REPORTS / f"{plan.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"seed": plan.seed, "modules": plan.which, "kernels": {
        story.kernel: {"seconds": plan.seconds[story.kernel], "passed": story.passed, **story.last}
        for story in stories}}, indent=1) + "\n")


class _Story:
    """The output of the guest with one of the kernels: the last sums, and the lines that are no records."""

    def __init__(self, step, plan, kernel_name):
        self._step = step
        self._plan = plan
        self.kernel = kernel_name
        self.last = {}
        self.remarks = []
        self.result = None

    @property
    def passed(self) -> bool:
        return self.result.ok and self.last.get("type") == "end" and not self._left() and not self._missing()

    def take(self, line) -> None:
        with open(self._step.log, "a") as file:
            file.write(f"{self.kernel}: {line}\n")
        if not line.startswith("{"):
            self.remarks.append(line)
            return
        self.last = json.loads(line)
        self._step.progress(f"{self.kernel}: {log.elapsed(self.last['t'])}, {sum(self.last['events'].values())} events, "
                            f"{self.last.get('ios', 0)} I/Os verified")

    def tell(self, plan) -> None:
        """Prints the sums, and why the storm failed if it did."""
        say = f"{plan.name}, {self.kernel}:"
        last = self.last
        for name, count in sorted(last.get("events", {}).items()):
            log.info(f"{say} {count:6} {name}")
        removals = last.get("removals", {})
        for how, held in sorted((how, held) for how in removals for held in ("held", "alone")):
            log.info(f"{say} removal of {how}, {held}: {_times(removals[how][held])}")
        for held in ("held", "alone"):
            log.info(f"{say} removal of anything, {held}: {_times(sum((kind[held] for kind in removals.values()), []))}")
        if answers := last.get("answers"):
            log.info(f"{say} openers of what went got {', '.join(f'{count} {name}' for name, count in answers.items())}")
        if last and not last["faults_possible"]:
            log.info(f"{say} injected path errors, lost completions and failing bios are not possible in this kernel")
        log.info(f"{say} {last.get('path_flaps', 0)} path flaps, {last.get('teardowns_with_opener', 0)} full teardowns "
                 f"with an opener, {sum(last.get('events', {}).values())} events, {last.get('opens', 0)} opens")
        log.info(f"{say} {last.get('ios', 0)} I/Os, {last.get('bytes_verified', 0) >> 20} MiB verified, "
                 f"slowest I/O {last.get('slowest_ms', 0) / 1000:.1f} s, "
                 f"{last.get('writes_fenced', 0)} writes held by fences")
        if self.passed:
            log.info(f"{say} 0 errors, 0 reports, 0 objects left")
            return
        log.failure(f"{say} failed: {self.result}; repeat with SEED={plan.seed}")
        reports = [line for report in self.result.reports for line in ["", *report.lines]]
        for line in [*self.remarks, last.get("what", ""), *last.get("kernel", ()), *self._left(), *self._missing(),
                     *reports]:
            print(f"    {line}", flush=True)

    def _left(self) -> list:
        return [f"left: {what}" for what in self.last.get("left", ())]


    def _missing(self) -> list:
        return missing(self.last, self._plan.actors, self._plan.seconds[self.kernel])


def missing(last, actors, seconds) -> list:
    """The events that a storm of these actors must have had in so many seconds and has not, by its last record."""
    events, removals = last.get("events", {}), last.get("removals", {})
    plants = {plant: musts for actor in actors for plant, musts in FLOORS[actor].items()}
    small = [plant for plant, musts in plants.items() if musts == _TEARDOWNS]
    floors = {name: (events.get(name, 0), 1)
              for name in (f"{plant}: {must}" for plant, musts in plants.items() for must in musts)}
    for plant in small:
        held = sum(len(times["held"]) for how, times in removals.items() if how.startswith(f"{plant}: "))
        # An event without an effect counts, too.
        torn_down = sum(events.get(f"{plant}: {must}", 0) for must in _TEARDOWNS)
        floors[f"{plant}: removals under an opener"] = held, max(torn_down, 1)
    teardowns = last.get("teardowns_with_opener", 0)
    floors |= {
        "teardowns with an opener": (teardowns, len(small) * len(_TEARDOWNS)),
        # Each opener is answered twice.
        "answers to openers": (sum(last.get("answers", {}).values()), 2 * teardowns),
        "path flaps": (last.get("path_flaps", 0), seconds / 10),
        "opens": (last.get("opens", 0), 1),
        "rounds": (last.get("rounds", 0), len(plants)),
        # At the beginning and at the end of each round the actor waits for the I/O of a steady head.
        "verified I/Os": (last.get("ios", 0), 40 * (len(plants) - len(small))),
    }
    return [f"too little happened: {what}: {count}, where {least:.0f} is the least"
            for what, (count, least) in floors.items() if count < least]


def _times(milliseconds) -> str:
    if not milliseconds:
        return "none"
    return (f"median {statistics.median(milliseconds):.0f} ms, longest {max(milliseconds)} ms "
            f"of {len(milliseconds)}")
