# SPDX-License-Identifier: GPL-2.0
"""`make parity`: the observable behaviour of our NVMe and of the kernel's own, and how the two differ.

Guests that differ in their modules only go through the same life (tests/parity/) and write their observations down. The
kernel's own does it twice: a difference between those two is chance, and a fault of the comparison. The file
tests/parity/accepted lists the other differences that may be, with a reason for each line.
"""

import difflib
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.builds import source
from lab.host import log
from lab.host import paths
from lab.host import vm
from lab.verdicts.counts import Counts

from tests.parity import volatile

TIMEOUT_SECONDS = 600
#: A controller on each NUMA node leads to each namespace. The name of a namespace says its special property.
TOPOLOGY = vm.Topology(subsystems=tuple(
    vm.Subsystem(kind, {f"{kind}-0": 0, f"{kind}-1": 1}, (vm.Namespace(64, namespace),), controller)
    for kind, namespace, controller in (
        ("pcie", {}, {}),
        ("pcie4k", {"logical_block_size": 4096, "physical_block_size": 4096}, {"cmb_size_mb": 16}),
        ("pciepi", {"ms": 8, "pi": 1}, {}),
        ("pciezoned", {"logical_block_size": 4096, "physical_block_size": 4096, "zoned": "on",
                       "zoned.zone_size": "16M", "zoned.max_open": 4, "zoned.max_active": 4}, {}),
    )))
CPUS = 2

#: The acts of `make test`: 40 s a boot, most of the signs of paths that are lost and return, and reservations. Here the
#: kernel's own runs once: a difference that is chance fails this, too, and the whole comparison tells which is.
SHORT = ("life", "failing", "reserved", "without multipath", "always on")

REPORT = paths.REPORTS / "parity.txt"
ACCEPTED = paths.ROOT / "tests" / "parity" / "accepted"
#: The length of the part of a text that a failure shows.
_LONGEST = 200
#: The word in a difference for something that one side does not have.
ABSENT = "(absent)"
#: The words in the file for ours when it has the text of the kernel's own, of another path.
ON_ANOTHER_PATH = "(as stock, on another path)"
#: The disk, the controller and the device number of a path in a trace; the head's number is in brackets.
_PATH = re.compile(r"\bnvme\d+c\d+n\d+\b|\bnvme\d+(?=: )|(?<![\d(,])259,\d+\b")


@dataclass(frozen=True)
class Difference:
    area: str
    key: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.area} | {self.key} | {_line(self.one)} | {_line(self.other)}"


def _line(text) -> str:
    return text.replace("\n", "\\n")


@dataclass(frozen=True)
class Acceptance:
    """A line of the file: four patterns, and why."""

    patterns: tuple
    reason: str

    def covers(self, difference) -> bool:
        texts = (difference.area, difference.key, _line(difference.one), _line(difference.other))
        if self.patterns[-1] == ON_ANOTHER_PATH:
            return all(map(_matches, self.patterns[:-1], texts)) and _differ_in_path(difference.one, difference.other)
        return all(map(_matches, self.patterns, texts))

    def is_about(self, acts) -> bool:
        """Do all differences that it can accept belong to these acts?"""
        act, named, _ = self.patterns[0].partition(": ")
        return bool(named) and act in acts

    def __str__(self) -> str:
        return " | ".join(self.patterns)


def run(acts=()) -> tuple:
    """The whole comparison, or that of some acts; returns the last line and the exit status."""
    chance, comparison = compare(acts, twice=True)
    log.info(f"parity: {driver_size()}")
    said = str(comparison) + (f", {len(chance)} that are chance" if chance else "")
    return f"parity: {said}; see {REPORT.relative_to(paths.ROOT)}", 0 if comparison.good and not chance else 1


def check() -> Counts:
    """The acts that are worth their time in `make test`."""
    _, comparison = compare(SHORT)
    return Counts(passed=1) if comparison.good else Counts(failed=1)


def compare(acts, twice=False) -> tuple:
    """Boots and compares; prints the faults. Returns the differences that are chance, if `twice`, and the others."""
    setup.ensure()
    built = kernel.ensure()
    boots = {"stock": "stock", **({"stock-again": "stock"} if twice else {}), "ours": "ours"}
    seen = {name: _observe(built, which, name, acts) for name, which in boots.items()}
    chance = differences(seen["stock"], seen["stock-again"]) if twice else []
    found = differences(seen["stock"], seen["ours"])
    comparison = Comparison(len(seen["ours"]), found, read_accepted(ACCEPTED.read_text()), acts)
    _write_report(seen, found)
    _show("stock differs from itself", chance, "once", "again")
    _show("not accepted", comparison.unknown, "stock", "ours")
    for line in comparison.unused:
        log.failure(f"parity: accepted, but there is no such difference: {line}")
    return chance, comparison


class Comparison:
    """The fate of the differences that were found."""

    def __init__(self, observations, found, accepted, acts=()):
        self._observations = observations
        self._found = found
        self._accepted = accepted
        self.unknown = [difference for difference in found if not any(line.covers(difference) for line in accepted)]
        #: Lines of the file that nothing needs any more. A comparison of some acts knows this only of lines about them.
        self.unused = [line for line in accepted
                       if (not acts or line.is_about(acts)) and not any(map(line.covers, found))]

    @property
    def good(self) -> bool:
        return not self.unknown and not self.unused

    def __str__(self) -> str:
        text = (f"{self._observations} observations, {len(self.unknown)} differences that are not accepted, "
                f"{len(self._found) - len(self.unknown)} that are, by {len(self._accepted)} lines")
        return text + (f", {len(self.unused)} of which accept nothing" if self.unused else "")


def _observe(built, which, name, acts) -> dict:
    """Boots a guest with one set of modules; returns its observations, by area and key."""
    shared = paths.BUILD / "parity" / name
    shutil.rmtree(shared, ignore_errors=True)
    file = shared / "seen"
    directory = modules.ensure(which)
    with log.step(f"parity {name}", f"observing {', '.join(acts) or 'everything'}") as step:
        def take(line):
            with open(step.log, "a") as output:
                output.write(line + "\n")
            step.progress(line)
        result = vm.run(built, ["python3", "-m", "tests.parity.guest", file, *acts], directory, TOPOLOGY,
                        TIMEOUT_SECONDS, paths.LOGS / f"parity-{name}-console.log", shared, smp=CPUS, output=take)
        if not result.ok:
            step.failed(f"the guest: {result}")
    records = (json.loads(line) for line in file.read_text().splitlines())
    return {(area, key): volatile.settled(area, key, text) for area, key, text in records}


def differences(one, other) -> list:
    """The differences between two sets of observations, line by line."""
    found = []
    for place in sorted(one.keys() | other.keys()):
        if place not in one or place not in other:
            found.append(Difference(*place, one.get(place, ABSENT), other.get(place, ABSENT)))
        elif one[place] != other[place]:
            found += (Difference(*place, *texts) for texts in _changes(one[place], other[place]))
    return found


def _changes(one, other):
    """The pairs of passages in which two texts differ."""
    before, after = one.split("\n"), other.split("\n")
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            yield "\n".join(before[a:b]) if b > a else ABSENT, "\n".join(after[c:d]) if d > c else ABSENT


def read_accepted(text) -> list:
    """Lines of `area | key | stock | ours | reason`; * is anything in all but the last."""
    accepted = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split(" | ")]
            if len(fields) != 5 or not fields[-1]:
                log.fail(f"{ACCEPTED.name}:{number}: not `area | key | stock | ours | reason`")
            accepted.append(Acceptance(tuple(fields[:4]), fields[4]))
    return accepted


def _matches(pattern, text) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def _differ_in_path(one, other) -> bool:
    """Is it the same observation, of another path?"""
    return one != other and _PATH.sub("PATH", one) == _PATH.sub("PATH", other)


def _show(title, found, one, other) -> None:
    for difference in found:
        log.failure(f"parity: {title}: {in_a_line(difference, one, other)}")


def in_a_line(difference, one, other) -> str:
    """A difference with both texts, as a run repeats it at its end; the report has those that are longer."""
    texts = (f"{name} {_line(text)[:_LONGEST]}" for name, text in ((one, difference.one), (other, difference.other)))
    return f"{difference.area} | {difference.key}: {', '.join(texts)}"


def _write_report(seen, found) -> None:
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    lines = [str(difference) for difference in found]
    REPORT.write_text("".join(line + "\n" for line in lines))
    for name, observations in seen.items():
        text = "".join(f"{area} | {key} | {_line(value)}\n" for (area, key), value in sorted(observations.items()))
        (paths.REPORTS / f"parity-{name}.txt").write_text(text)


def driver_size() -> str:
    """The lines that the project adds to drivers/nvme and takes away, as `git diff --stat` counts them.

    The library, which is outside of drivers/nvme, does not count.
    """
    original = source.kernel().tree
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        sides = [Path(scratch, side) for side in ("stock", "ours")]
        for side in sides:
            modules.copy_sources(original, side)
        with log.step("parity-size", "counting lines of drivers/nvme") as step:
            for side in sides:
                modules.apply_fixes(step, side, source.version(original))
            modules.lay_ours_over(step, sides[1], source.version(original))
        changed = subprocess.run(["git", "diff", "--no-index", "--no-renames", "--numstat", *sides],
                                 capture_output=True, text=True).stdout
    counts = [line.split("\t")[:2] for line in changed.splitlines()]
    added, removed = (sum(int(count[side]) for count in counts) for side in (0, 1))
    return f"drivers/nvme: {len(counts)} files changed, {added} insertions, {removed} deletions: net {added - removed:+}"
