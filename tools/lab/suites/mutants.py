# SPDX-License-Identifier: GPL-2.0
"""Fixes taken out again: each patch of tests/mutants/ breaks one, and a test has to notice.

Before a patch stand lines that say which fix it breaks, which tests go red, and their words then:

    L-7: round-robin goes on until it meets the path again that was chosen last
    red: model: publication::a_round_robin_walk_ends_although_the_last_choice_is_unlinked
    says: exceeded maximum number of branches

The lab applies it to a copy of the project, which keeps its builds. The tests are green in the copy as it is. With the
patch, each must have run and failed, for the given reason. A patch that does not build, or a guest that does not boot,
is no proof. Nor is a guest that dies, unless its kernel gave the reason.

Every defect has a patch. `make test` runs some of them, others every day, and all their tests without a patch; `make
mutants` runs all. The lab runs two at a time: those that need NVMe in one copy, those that need only the library in
another one. So neither copy builds the modules of the other. Either takes those that need no guest.
"""

import collections
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.builds import modules
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.host import vm
from lab.suites import rotation
from lab.verdicts import defects
from lab.verdicts import record
from lab.verdicts.counts import Counts
from lab.verdicts.defects import Test

PLACE = paths.ROOT / "tests" / "mutants"
#: How many `make test` runs.
SAMPLE = 10
#: Parts whose tests together take no longer than a few of them.
_AT_ONCE = ("kunit",)
#: Where in the queue the tests of a part are: those that need NVMe at one end, those that need the library alone at the
#: other.
_ORDER = ("e2e", "test", "misuse", "litmus", "model", "host", "kunit")
#: Names in the project that are no sources.
_NOT_COPIED = {".git", "build", "target", "__pycache__"}
#: The traces of the tests, which show that they fail for the right reason.
_SAID = ("logs/*.log", "kunit/*.ktap")
_FIELD = re.compile(r"^(red|says|[AFLNSX]-\d+b?): (.+)$", re.MULTILINE)
_CAUGHT, _MISSED = "caught", "MISSED"
#: The words about a guest without an exit status, as `vm.Result` has them. One in which nothing ran has booted again.
_DIED = re.compile(r"\bguest: (?:the kernel died|stopped|QEMU itself failed) after (?!.*, before anything ran in it$)",
                   re.MULTILINE)
#: The lines of a kernel.
_OF_KERNEL = re.compile(r"^\[ *\d+\.\d+\] .*$", re.MULTILINE)
#: The words about a test, by whichever program runs it, however it fails; the name and its last word are put in.
_OF_A_FAILURE = (
    "test {name} ... FAILED", "---- {name} stdout ----", "thread '{name}' (7) panicked at tests/host/{file}.rs:7:9:",
    "thread '{name}' (7) panicked at tests/model/{file}.rs:7:9:", "error: test failed, to rerun pass `--test host`",
    "test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.07s",
    "kunit: {name} failed", "    # Subtest: {file}", "not ok 1 {last}", "# {last}: started", "e2e: {last} failed",
    "0 passed, 1 failed, 0 skipped", "model: {name} failed, see /build/logs/model.log",
    "assertion `left == right` failed", "execution 7 does not hold",
    "    # {last}: EXPECTATION FAILED at tests/kunit/fake.rs:7", "    # {last}: ASSERTION FAILED at tests/kunit/fake.rs:7",
    "    Expected is_test_result_ok({last}()) to be true, but is false",
    "Traceback (most recent call last):", "  File \"/libmultipath/tests/e2e/run.py\", line 7, in _run", "    case.run()",
    "  File \"/libmultipath/tests/e2e/case.py\", line 7, in run", "    self.function(*self.arguments)",
    "  File \"/libmultipath/tests/guest/wait.py\", line 7, in until", "AssertionError", "time is up",
    "still not done after 90 s, here:",
)
#: The words about a guest that died, whatever it died of.
_OF_A_DEATH = (
    "kunit: the guest: {result}, see /build/logs/kunit-console.log", "the guest: {result}, see /build/logs/console.log",
    "[ 0:07] guest: {result}; the end of /build/logs/kunit-console.log:",
    "[   77.777777] BUG: kernel NULL pointer dereference, address: 0000000000000007",
    "[   77.777777] Oops: general protection fault, probably for non-canonical address 0x7: 0000 [#1] SMP NOPTI",
    "[   77.777777] BUG: unable to handle page fault for address: ffffffff77777777", "[   77.777777] Call Trace:",
    "[   77.777777] Kernel panic - not syncing: Fatal exception",
)
_DEATHS = tuple(vm.Result(status, timed_out, 77.7, 7.7, qemu) for status, timed_out, qemu in (
    (None, False, None), (None, True, None), (1, False, None), (None, False, 1)))


@dataclass(frozen=True)
class Mutant:
    file: Path
    #: The defect that is back, and how.
    defect: str
    what: str
    #: The tests that show it, and a pattern of their words when they fail.
    tests: tuple
    says: str

    @classmethod
    def read(cls, file: Path) -> "Mutant":
        head = file.read_text().partition("\n--- ")[0]
        fields = _FIELD.findall(head)
        ids = [(key, text) for key, text in fields if key in defects.IDS]
        tests = tuple(Test.read(text) for key, text in fields if key == "red")
        says = [text for key, text in fields if key == "says"]
        if len(ids) != 1 or not tests or len(says) != 1:
            log.fail(f"{file.name} does not say which defect it brings back, which tests go red, and what they say")
        return cls(file, *ids[0], tests, says[0])

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def place(self) -> int:
        """Where in the queue it is."""
        return min(_ORDER.index(test.usual.part) for test in self.tests)


def all_of_them(only: str = "") -> list:
    found = [Mutant.read(file) for file in sorted(patterns.files("*.patch", place=PLACE), key=_by_number)
             if only in file.stem]
    return found or log.fail(f"no patch in tests/mutants/ is called {only}")


def _by_number(file: Path) -> tuple:
    kind, number, *rest = file.stem.split("-")
    return kind, int(re.match(r"\d+", number)[0]), rest


def check(step) -> None:
    """Checks that every defect has a patch, and that every patch applies and breaks a test of docs/defects.md."""
    documented = defects.documented_tests()
    mutants = all_of_them()
    if unbroken := set(defects.IDS) - {mutant.defect for mutant in mutants}:
        log.fail(f"no patch of tests/mutants/ brings {', '.join(sorted(unbroken))} back")
    for mutant in mutants:
        for test in mutant.tests:
            if test not in documented.get(mutant.defect, ()):
                log.fail(f"{mutant.file.name}: the section of {mutant.defect} does not name {test}")
        if said := said_anyway(mutant):
            log.fail(f"{mutant.file.name}: `{mutant.says}` is no reason: it is in `{said}`, which is said anyway")
        _mutated(step, mutant)


def run(only: str = "", sample: int = 0) -> tuple:
    """Runs each mutant's tests on it, or those of today's mutants; returns the last line and the exit status."""
    mutants = all_of_them(only)
    mutants = _todays(mutants, sample) if sample else mutants
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with log.step("mutants", f"{len(mutants)} patches, {len(tests)} tests"):
        copies = _copies()
        _check_green(copies, mutants, tests)
        rows = _judged(copies, mutants)
    _show(rows)
    missed = _missed(rows)
    return f"{len(mutants) - len(missed)} caught, {len(missed)} missed", 1 if missed else 0


def run_sample() -> Counts:
    """Runs today's mutants. The rest of `make test` has to show that their tests pass without a patch."""
    mutants = _todays(all_of_them(), SAMPLE)
    with log.step("mutants", f"{len(mutants)} patches"):
        rows = _judged(_copies(), mutants)
    _show(rows)
    missed = _missed(rows)
    return Counts(len(mutants) - len(missed), len(missed))


def _todays(mutants: list, count: int) -> list:
    """The mutants whose turn it is, some for each part of the tests."""
    chosen = rotation.some_of(sorted(mutants, key=lambda mutant: mutant.place), count)
    log.info(f"mutants: the {len(chosen)} of {rotation.day()}: {', '.join(mutant.name for mutant in chosen)}")
    return chosen


def _missed(rows: list) -> set:
    return {row[0] for row in rows if row[-1] != _CAUGHT}


def said_anyway(mutant: Mutant) -> str | None:
    """A match of a mutant's pattern in the words about any failure of its tests, or any guest that died."""
    lines = [line.format(result=result) for line in _OF_A_DEATH for result in _DEATHS]
    for test in mutant.tests:
        words = {"name": test.name, "file": re.split(r"::|: ", test.name)[0], "last": re.split(r"::|: ", test.name)[-1]}
        lines += [str(test), *(line.format(**words) for line in _OF_A_FAILURE)]
    return next((line for line in lines if re.search(mutant.says, line)), None)


class _Copy:
    """A copy of the project, whose lab does not know of this one."""

    def __init__(self, number: int):
        self._tree = paths.BUILD / f"mutants-{number}"
        self.reports = self._tree / "build" / "reports"
        self.step = log.Step(f"mutants-{number}", paths.LOGS / f"mutants-{number}.log")
        self.step.log.parent.mkdir(parents=True, exist_ok=True)
        self.step.log.write_text("")

    def lay_out(self, files: dict) -> None:
        """Gives the copy these files, touching none that is already as it should be."""
        if self._tree.exists():
            for name in set(_names(self._tree)) - set(files):
                (self._tree / name).unlink()
        for name, content in files.items():
            (self._tree / name).parent.mkdir(parents=True, exist_ok=True)
            modules.write(self._tree / name, content)

    def lab(self, *words) -> str:
        """Gives a command to the copy's lab, which knows of no earlier run; returns its output, the tests' included."""
        shutil.rmtree(self.reports, ignore_errors=True)
        begun = time.time()
        before = self.step.log.stat().st_size
        process.logged(self.step, [sys.executable, str(self._tree / "tools" / "lab.py"), *words], cwd=self._tree,
                       env=dict(os.environ))
        said = self.step.log.read_bytes()[before:].decode(errors="replace")
        files = [file for pattern in _SAID for file in (self._tree / "build").glob(pattern)]
        return said + "".join(file.read_text(errors="replace") for file in files if file.stat().st_mtime > begun)


def _copies() -> list:
    return [_Copy(number) for number in (1, 2)]


def _side_by_side(copies: list, tasks: list, do) -> None:
    """Has a copy do each task: `do(copy, task)`. The first takes tasks from the front, the second from the back."""
    queue = collections.deque(tasks)

    def work(copy, take):
        try:
            while True:
                try:
                    task = take()
                except IndexError:
                    return
                do(copy, task)
        except BaseException:
            queue.clear()
            raise

    process.all_at_once([lambda: work(copies[0], queue.popleft), lambda: work(copies[1], queue.pop)])


def _check_green(copies: list, mutants: list, tests: list) -> None:
    """Checks that every test passes without a patch, and prints nothing that a mutant is recognised by."""
    at_once = [test for test in tests if test.part in _AT_ONCE]
    runs = [(["one", str(test)], [test]) for test in tests if test not in at_once]
    runs += [([part], [test for test in at_once if test.part == part]) for part in sorted({test.part for test in at_once})]
    runs.sort(key=lambda run: _ORDER.index(run[1][0].usual.part))
    for copy in copies:
        copy.lay_out(_sources())
    _side_by_side(copies, runs, lambda copy, run: _see_green(copy, mutants, *run))


def _see_green(copy: _Copy, mutants: list, words: list, group: list) -> None:
    copy.step.progress(f"without a patch: {' '.join(words)}")
    said = copy.lab(*words)
    for test in group:
        if (outcomes := test.outcomes(copy.reports)) != {record.PASSED}:
            copy.step.failed(f"without a patch, {test} {defects.ending(outcomes)}")
        for mutant in mutants:
            if test in mutant.tests and (found := re.search(mutant.says, said)):
                copy.step.failed(f"without {mutant.file.name}, too, {test} says `{found[0]}`")


def _judged(copies: list, mutants: list) -> list:
    """The verdicts of each test on each mutant."""
    rows = []
    queue = sorted(mutants, key=lambda mutant: mutant.place)
    _side_by_side(copies, queue, lambda copy, mutant: rows.extend(_judge(copy, mutant)))
    for copy in copies:
        copy.lay_out(_sources())
    names = [mutant.name for mutant in mutants]
    return sorted(rows, key=lambda row: names.index(row[0]))


def _judge(copy: _Copy, mutant: Mutant) -> list:
    """The verdict of each test of a mutant on it."""
    copy.lay_out(_sources() | _mutated(copy.step, mutant))
    rows = []
    for test in mutant.tests:
        begun = time.monotonic()
        said = copy.lab("one", str(test))
        rows.append((mutant.name, mutant.what, str(test), _verdict(mutant, test.outcomes(copy.reports), said)))
        tell = log.info if rows[-1][-1] == _CAUGHT else log.failure
        tell(f"mutants: {mutant.name}: {rows[-1][-1]}, by {test}, in {log.elapsed(time.monotonic() - begun)}")
    return rows


def _verdict(mutant: Mutant, outcomes: set, said: str) -> str:
    if record.FAILED not in outcomes:
        return f"{_MISSED}: the test {defects.ending(outcomes)}"
    if not re.search(mutant.says, said):
        return f"{_MISSED}: the test has failed, and not said `{mutant.says}`"
    # A test that waits in vain for a guest that is gone may print anything; only its kernel says of what it died.
    if _DIED.search(said) and not any(re.search(mutant.says, line) for line in _OF_KERNEL.findall(said)):
        return f"{_MISSED}: the guest has died, and not said `{mutant.says}`"
    return _CAUGHT


def _sources() -> dict:
    """The files that the project consists of, by name."""
    return {name: (paths.ROOT / name).read_bytes() for name in _names(paths.ROOT)}


def _names(root: Path, directory: Path = Path(".")):
    for entry in sorted((root / directory).iterdir()):
        if entry.name in _NOT_COPIED:
            continue
        if entry.is_dir():
            yield from _names(root, directory / entry.name)
        else:
            yield directory / entry.name


def _mutated(step, mutant: Mutant) -> dict:
    """The files that a patch changes, with its changes."""
    names = [Path(name) for name in re.findall(r"^\+\+\+ b/(\S+)", mutant.file.read_text(), re.MULTILINE)]
    scratch = paths.BUILD / "mutant" / step.name
    shutil.rmtree(scratch, ignore_errors=True)
    for name in names:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths.ROOT / name, scratch / name)
    step.run(["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", mutant.file],
             cwd=scratch, why=f"{mutant.file.name} does not apply")
    return {name: (scratch / name).read_bytes() for name in names}


def _show(rows: list) -> None:
    for name, what, test, result in rows:
        print(f"{name}: {what}\n    {test}\n    {result}", flush=True)
    report = paths.REPORTS / "mutants.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join("\t".join(row) + "\n" for row in rows))
