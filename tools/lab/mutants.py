# SPDX-License-Identifier: GPL-2.0
"""Fixes that are taken out again: each patch of tests/mutants/ breaks one, and a test has to notice.

A patch is preceded by lines that say what it breaks, which tests go red, and what they say then:

    L-7: round-robin goes on until it meets the path again that was chosen last
    red: model: publication::a_round_robin_walk_ends_although_the_last_choice_is_unlinked
    says: exceeded maximum number of branches

It is applied to a copy of the project, which keeps what was built there. The tests are green in the copy as it
is; with the patch, each must have run and failed, for the reason that is given: a patch that does not build, or
a guest that does not boot, is no proof.
"""

import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab import defects
from lab import log
from lab import modules
from lab import paths
from lab import patterns
from lab import process
from lab import record
from lab import vm
from lab.defects import Test

PLACE = paths.ROOT / "tests" / "mutants"
_TREE = paths.BUILD / "mutants"
_REPORTS = _TREE / "build" / "reports"
#: Parts of which all tests together take no longer than a few of them.
_AT_ONCE = ("kunit",)
#: What is no source of the project.
_NOT_COPIED = {".git", "build", "target", "__pycache__"}
#: What the tests leave of themselves, by which they are seen to fail for the right reason.
_SAID = ("logs/*.log", "kunit/*.ktap")
_FIELD = re.compile(r"^(red|says|[AFLNSX]-\d+b?): (.+)$", re.MULTILINE)
_CAUGHT, _MISSED = "caught", "MISSED"
#: What is said of a test, by whoever runs it, however it fails; the name and its last word are put in.
_OF_A_FAILURE = (
    "test {name} ... FAILED", "---- {name} stdout ----", "thread '{name}' (7) panicked at tests/host/{file}.rs:7:9:",
    "thread '{name}' (7) panicked at tests/model/{file}.rs:7:9:", "error: test failed, to rerun pass `--test host`",
    "test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.07s",
    "kunit: {name} failed", "    # Subtest: {file}", "not ok 1 {last}", "# {last}: started", "e2e: {last} failed",
    "0 passed, 1 failed, 0 skipped", "model: {name} failed, see /build/logs/model.log",
    "assertion `left == right` failed", "execution 7 does not hold",
    "    # {last}: EXPECTATION FAILED at rust/kunit/fake.rs:7", "    # {last}: ASSERTION FAILED at rust/kunit/fake.rs:7",
    "    Expected is_test_result_ok({last}()) to be true, but is false",
    "Traceback (most recent call last):", "  File \"/libmultipath/tests/e2e/run.py\", line 7, in _run", "    case.run()",
    "  File \"/libmultipath/tests/e2e/case.py\", line 7, in run", "    self.function(*self.arguments)",
    "  File \"/libmultipath/tests/e2e/wait.py\", line 7, in until", "AssertionError", "time is up",
    "still not done after 90 s, here:",
)
#: What is said of a guest that died, whatever it died of.
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
    #: The defect that is there again, and how.
    defect: str
    what: str
    #: The tests that show it, and a pattern of what is said when they fail.
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


def all_of_them(only: str = "") -> list:
    found = [Mutant.read(file) for file in sorted(patterns.files("*.patch", place=PLACE), key=_by_number)
             if only in file.stem]
    return found or log.fail(f"no patch in tests/mutants/ is called {only}")


def _by_number(file: Path) -> tuple:
    kind, number, *rest = file.stem.split("-")
    return kind, int(re.match(r"\d+", number)[0]), rest


def check(step) -> None:
    """Every patch applies, and breaks what its tests are named for in docs/defects.md."""
    documented = defects.documented_tests()
    for mutant in all_of_them():
        for test in mutant.tests:
            if test not in documented.get(mutant.defect, ()):
                log.fail(f"{mutant.file.name}: the section of {mutant.defect} does not name {test}")
        if said := said_anyway(mutant):
            log.fail(f"{mutant.file.name}: `{mutant.says}` is no reason: it is in `{said}`, which is said anyway")
        _mutated(step, mutant)


def run(only: str = "") -> tuple:
    """Runs the tests of every mutant on it; returns the last line and the exit status."""
    mutants = all_of_them(only)
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with log.step("mutants", f"{len(mutants)} patches, {len(tests)} tests") as step:
        _lay_out(_sources())
        _check_green(step, mutants, tests)
        rows = []
        for number, mutant in enumerate(mutants, 1):
            step.progress(f"{number} of {len(mutants)}: {mutant.name}")
            rows += _judge(step, mutant)
        _lay_out(_sources())
    _show(rows)
    missed = {row[0] for row in rows if row[-1] != _CAUGHT}
    return f"{len(mutants) - len(missed)} caught, {len(missed)} missed", 1 if missed else 0


def said_anyway(mutant: Mutant) -> str | None:
    """What a mutant's pattern matches of all that is said of any failure of its tests, and of any guest that died."""
    lines = [line.format(result=result) for line in _OF_A_DEATH for result in _DEATHS]
    for test in mutant.tests:
        words = {"name": test.name, "file": re.split(r"::|: ", test.name)[0], "last": re.split(r"::|: ", test.name)[-1]}
        lines += [str(test), *(line.format(**words) for line in _OF_A_FAILURE)]
    return next((line for line in lines if re.search(mutant.says, line)), None)


def _check_green(step, mutants: list, tests: list) -> None:
    """Without a patch, every test passes, and nothing is said that a mutant is recognised by."""
    at_once = [test for test in tests if test.part in _AT_ONCE]
    runs = [([part], [test for test in at_once if test.part == part]) for part in sorted({test.part for test in at_once})]
    runs += [(["one", str(test)], [test]) for test in tests if test not in at_once]
    for number, (words, group) in enumerate(runs, 1):
        step.progress(f"without a patch, {number} of {len(runs)}: {' '.join(words)}")
        said = _lab(step, *words)
        for test in group:
            if (outcomes := test.outcomes(_REPORTS)) != {record.PASSED}:
                step.failed(f"without a patch, {test} {defects.ending(outcomes)}")
            for mutant in mutants:
                if test in mutant.tests and (found := re.search(mutant.says, said)):
                    step.failed(f"without {mutant.file.name}, too, {test} says `{found[0]}`")


def _judge(step, mutant: Mutant) -> list:
    """What each test of a mutant says of it."""
    _lay_out(_mutated(step, mutant))
    rows = []
    for test in mutant.tests:
        said = _lab(step, "one", str(test))
        rows.append((mutant.name, mutant.what, str(test), _verdict(mutant, test.outcomes(_REPORTS), said)))
        log.info(f"mutants: {mutant.name}: {rows[-1][-1]}, by {test}")
    return rows


def _verdict(mutant: Mutant, outcomes: set, said: str) -> str:
    if record.FAILED not in outcomes:
        return f"{_MISSED}: the test {defects.ending(outcomes)}"
    if not re.search(mutant.says, said):
        return f"{_MISSED}: the test has failed, and not said `{mutant.says}`"
    return _CAUGHT


def _lab(step, *words) -> str:
    """Gives the copy's lab a command, which knows of no earlier run; returns what was said, the tests included."""
    shutil.rmtree(_REPORTS, ignore_errors=True)
    begun = time.time()
    before = step.log.stat().st_size
    process.logged(step, [sys.executable, str(_TREE / "tools" / "lab.py"), *words], cwd=_TREE, env=dict(os.environ))
    said = step.log.read_bytes()[before:].decode(errors="replace")
    files = [file for pattern in _SAID for file in (_TREE / "build").glob(pattern)]
    return said + "".join(file.read_text(errors="replace") for file in files if file.stat().st_mtime > begun)


def _sources() -> dict:
    """What the project consists of, by name."""
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
    """The project with a patch applied."""
    files = _sources()
    names = [Path(name) for name in re.findall(r"^\+\+\+ b/(\S+)", mutant.file.read_text(), re.MULTILINE)]
    scratch = paths.BUILD / "mutant"
    shutil.rmtree(scratch, ignore_errors=True)
    for name in names:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(files[name])
    step.run(["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", mutant.file],
             cwd=scratch, why=f"{mutant.file.name} does not apply")
    return files | {name: (scratch / name).read_bytes() for name in names}


def _lay_out(files: dict) -> None:
    """Makes the copy these files, touching none that is already as it should be."""
    if _TREE.exists():
        for name in set(_names(_TREE)) - set(files):
            (_TREE / name).unlink()
    for name, content in files.items():
        (_TREE / name).parent.mkdir(parents=True, exist_ok=True)
        modules.write(_TREE / name, content)


def _show(rows: list) -> None:
    for name, what, test, result in rows:
        print(f"{name}: {what}\n    {test}\n    {result}", flush=True)
    report = paths.REPORTS / "mutants.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join("\t".join(row) + "\n" for row in rows))
