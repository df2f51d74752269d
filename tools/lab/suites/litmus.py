# SPDX-License-Identifier: GPL-2.0
"""The protocols in the kernel's memory model: tests/litmus/, run by herd7, and compared with the source.

A test is a file that herd7 reads as it is. Its comment says which outcome must not happen, which functions each thread
runs, and how to change the test:

    P0: park                        the functions of tests/litmus/orders that thread 0 runs, one after the other
    also: Inside::lists             other functions that need an order that the test is about
    mutant name: what is wrong      then the outcome is possible
    equivalent name: why            then it is still impossible: here the source does more than it has to
        old => new                  a change: this text on every line that has it (nothing after `=>`: it goes)
        P0: old => new              ... of thread 0
        P0: a moves before b        the line that begins with a, in front of (behind) the one that begins with b

So the tests show that a protocol needs each of its orders. Each line of a thread that accesses shared memory names the
call of a function that it stands for (`// push: newest.cmpxchg`), or says that it is a `model` of something else. The
calls must be in that order in the functions that the thread runs, with the ordering that the line has; `lab/orders.py`
knows those from the source.

The answer of herd7 depends on nothing but the test, the model and herd7. So the lab keeps it, and asks again when one
of these changes, or with AGAIN=1.

The limits of the model: there are at most four threads, and a loop around a `cmpxchg()` is one exchange that succeeds.
A mutex is a spinlock. SRCU-fast is the model's SRCU, RCU-tasks its RCU, and a workqueue a bit.
"""

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.suites import herd
from lab.suites import orders
from lab.verdicts import memo
from lab.verdicts import record
from lab.verdicts.counts import Counts

PLACE = paths.ROOT / "tests" / "litmus"
_BUILD = paths.BUILD / "litmus"
#: How many run at a time; one takes a CPU and little memory.
_AT_ONCE = 2
#: No test takes longer than this, in seconds; all together take less than one.
_LIMIT = 300
#: herd7 leaves out executions that contradict the order in which a variable is written, before it asks the model, which
#: forbids them, too.
_QUICKLY = ["-optace", "true"]
#: It looks only at executions with the outcome that must not happen: all of them, or until there is one. Not where
#: there are plain accesses, with which any execution may show a data race.
_ALL, _FIRST = ["-speedcheck", "true"], ["-speedcheck", "fast"]
#: The words for the kinds of tests.
_KINDS = {"": "protocols hold", "equivalent": "equivalents hold", "mutant": "mutants are caught"}
#: The words of herd7 when the outcome that must not happen does not, and when it does.
_NEVER, _POSSIBLE = "Never", ("Sometimes", "Always")

_COMMENT = re.compile(r"\(\*\n(.*?)^ ?\*\)$", re.MULTILINE | re.DOTALL)
_THREAD = re.compile(r"^ \* P(\d): (.+)$", re.MULTILINE)
_ALSO = re.compile(r"^ \* also: (.+)$", re.MULTILINE)
_VARIANT = re.compile(r"^ \* (mutant|equivalent) (\w+): .+\n((?: \*     .+\n)+)", re.MULTILINE)
_OF_VARIANTS = re.compile(r"^ \* (?:mutant |equivalent |    )", re.MULTILINE)
_EDIT = re.compile(r"^(?:P(\d): )?(?:(.+?) =>(?: (.*))?|(.+) moves (before|behind) (.+))$")
_OBSERVATION = re.compile(r"^Observation \S+ (\w+)", re.MULTILINE)
_FLAG = re.compile(r"^Flag (\S+)", re.MULTILINE)

_PLAIN = ("", "plain")
#: Accesses in C: the kind and the ordering, which a name may end with.
_ACCESSES = ((r"smp_load_acquire\(", "load", "acquire"), (r"READ_ONCE\(|atomic_read\(", "load", "relaxed"),
             (r"smp_store_release\(", "store", "release"), (r"WRITE_ONCE\(|atomic_set\(", "store", "relaxed"),
             (r"(?:atomic_)?(?:cmp)?xchg(?:_(\w+))?\(", "change", "full"),
             (r"atomic_fetch_[a-z]+?(?:_(relaxed|acquire|release))?\(", "change", "full"),
             (r"atomic_(?:inc|dec)\(", "change", "relaxed"), (r"smp_mb\(", "barrier", "full"),
             (r"smp_[rw]mb\(", "barrier", ""), (r"spin_lock\(", "lock", "lock"),
             (r"\b(?:srcu_read_lock|synchronize_\w+|rcu_read_lock)\(", "", ""), (r"(?<![\w)] )\*\w", *_PLAIN))
_MODEL = "model"


@dataclass(frozen=True)
class Line:
    """A line of a test, below its comment."""

    #: The thread that it belongs to, or None.
    thread: int | None
    code: str
    #: The call that it stands for.
    said: str


@dataclass(frozen=True, eq=False)
class Test:
    name: str
    #: The functions that each thread runs, and further ones that the test is about.
    threads: dict
    also: tuple
    #: The lines below the comment.
    lines: tuple
    #: The kind and the edits of each variant, by name.
    variants: dict

    @classmethod
    def read(cls, file: Path) -> "Test":
        text = file.read_text()
        comment = _COMMENT.search(text)
        if not comment or text.partition("\n")[0] != f"C {file.stem}":
            log.fail(f"{file.name} does not begin with its name and a comment")
        threads = {int(number): names.split(", ") for number, names in _THREAD.findall(comment[1])}
        also = _ALSO.search(comment[1])
        variants = {name: (kind, tuple(line[7:] for line in edits.splitlines()))
                    for kind, name, edits in _VARIANT.findall(comment[1])}
        if len(variants) + sum(len(edits) for _, edits in variants.values()) != len(_OF_VARIANTS.findall(comment[1])):
            log.fail(f"{file.name}: a variant cannot be read, is there twice or changes nothing")
        return cls(file.stem, threads, tuple(also[1].split(", ")) if also else (),
                   tuple(_lines(text[comment.end():])), variants)

    def rows(self) -> list:
        """The test and its variants."""
        return [Row(self, "", "", self.lines)] + \
               [Row(self, name, kind, self._edited(name, edits)) for name, (kind, edits) in self.variants.items()]

    def _edited(self, name: str, edits: tuple) -> tuple:
        lines = list(self.lines)
        for text in edits:
            edit = _EDIT.match(text)
            thread = int(edit[1]) if edit and edit[1] else None
            if not edit or not (_replace(lines, thread, edit[2], edit[3] or "") if edit[2] else
                                _move(lines, thread, edit[4], edit[5] == "behind", edit[6])):
                log.fail(f"{self.name}.litmus: {name}: `{text}` changes nothing")
        return tuple(lines)


@dataclass(frozen=True)
class Row:
    """One run of herd7: a test, or a variant of it."""

    test: Test
    variant: str
    kind: str
    lines: tuple

    @property
    def name(self) -> str:
        return f"{self.test.name}+{self.variant}" if self.variant else self.test.name

    def options(self) -> list:
        """The options for herd7 on it."""
        if self.kind == "mutant":
            return _QUICKLY + _FIRST
        return _QUICKLY + ([] if any(_access(line.code) == _PLAIN for line in self.lines) else _ALL)

    def text(self) -> str:
        return f"C {self.name}\n" + "".join(f"{line.code}\n" for line in self.lines)


@dataclass(frozen=True)
class Result:
    row: Row
    #: Whether the outcome that must not happen does: Never, Sometimes, Always, or why there is no answer.
    seen: str
    #: Another fault: a data race.
    flags: tuple
    seconds: float

    @property
    def expected(self) -> bool:
        if self.row.kind != "mutant":
            return self.seen == _NEVER and not self.flags
        return self.seen in _POSSIBLE

    def __str__(self) -> str:
        seen = " and ".join((self.seen, *self.flags))
        return f"{'' if self.expected else 'WRONG: '}{seen:22} {self.seconds:6.1f} s  {self.row.name}"


def _lines(text: str):
    """The lines of a test's body, without their comments."""
    thread = None
    for line in text.splitlines():
        code, _, said = line.partition("//")
        if begun := re.match(r"P(\d)\(", code):
            thread = int(begun[1])
        yield Line(thread, code.rstrip(), said.strip())
        if code.startswith("}"):
            thread = None


def _replace(lines: list, thread: int | None, old: str, new: str) -> bool:
    """Replaces a text in all lines, or those of a thread; returns whether it was there."""
    found = False
    for at, line in enumerate(lines):
        if old in line.code and thread in (None, line.thread):
            found, code = True, line.code.replace(old, new)
            lines[at] = Line(line.thread, code if code.strip() else "", "")
    return found


def _move(lines: list, thread: int | None, begins: str, behind: bool, other: str) -> bool:
    """Moves the one line that begins so in front of another, or behind it."""
    places = [[at for at, line in enumerate(lines) if line.code.strip().startswith(text) and thread in (None, line.thread)]
              for text in (begins, other)]
    if any(len(place) != 1 for place in places):
        return False
    (at,), (to,) = places
    line = lines.pop(at)
    lines.insert(to - (at < to) + behind, line)
    return True


def all_of_them() -> list:
    return [Test.read(file) for file in patterns.files("*.litmus", place=PLACE)]


def check(step) -> None:
    """Checks that the source does what tests/litmus/orders says, and each line of a test what its call does."""
    tests = all_of_them()
    wrong = _differences(tests)
    wrong += [f"{name} is in {orders.LIST.name}, and no test is about it" for name in orders.listed() if not _about(tests, name)]
    owed = orders.owed()
    for test in tests:
        lines, found = _compare(test)
        wrong += [f"{test.name}.litmus: {line}" for line in lines]
        owed -= found
        test.rows()
    wrong += [f"no test has {access}, {access.ordering}" for access in sorted(owed, key=str)]
    for line in wrong:
        log.failure(f"litmus: {line}")
    log.info(f"litmus: {len(tests)} tests, {len(orders.listed())} functions")
    if wrong:
        log.fail(f"tests/litmus: {len(wrong)} things are not as the source has them")


def _differences(tests: list) -> list:
    """The functions whose source has changed, and the tests that are about them."""
    return [f"{orders.listed()[name].file}: {name} {what}: look at {', '.join(_about(tests, name)) or 'no test'}, "
            f"and change {orders.LIST.relative_to(paths.ROOT)}" for name, what in orders.differences().items()]


def _about(tests: list, function: str) -> list:
    return [test.name for test in tests if function in _functions(test)]


def _functions(test: Test) -> set:
    return orders.functions([name for names in test.threads.values() for name in names] + list(test.also))


def _compare(test: Test) -> tuple:
    """The faults of lines that stand for nothing in the source or for something else; the accesses of the others."""
    wrong, stood_for = [], set()
    for thread in sorted({line.thread for line in test.lines} - {None}):
        left = orders.accesses(test.threads.get(thread, []))
        for line in test.lines:
            found = _access(line.code)
            if line.thread != thread or not found or line.said.startswith(_MODEL + ":"):
                continue
            at = next((at for at, access in enumerate(left) if line.said in _names(access)), None)
            if at is None:
                wrong.append(f"P{thread}: `{line.code.strip()}` stands for `{line.said}`, which no function of the thread "
                             "does, or not after the line before")
                continue
            access = left[at]
            # Both branches of an `if` may stand for one call.
            left = left[at:]
            stood_for.add(access)
            if access.ordering and (access.kind, access.ordering) != found:
                wrong.append(f"P{thread}: `{line.code.strip()}` is {' '.join(found)}, "
                             f"and {access} is {access.kind} {access.ordering}")
    return wrong, stood_for


def _names(access: orders.Access) -> tuple:
    """The names by which a line may call its access: the function with its type, or without."""
    return str(access), f"{access.function.rpartition('::')[2]}: {access.call}"


def _access(code: str) -> tuple | None:
    """The kind and the ordering of a line's access to shared memory."""
    if code.startswith("P") or not code.startswith("\t"):
        return None
    for pattern, kind, ordering in _ACCESSES:
        if found := re.search(pattern, code):
            return kind, next((suffix for suffix in found.groups() if suffix), ordering)
    return None


def run(only: str = "") -> Counts:
    """Runs all tests with their variants, or those whose name contains `only`."""
    tests = [test for test in all_of_them() if only in test.name]
    if not tests:
        log.fail(f"no test in tests/litmus is called {only}")
    rows = [row for test in tests for row in test.rows()]
    command, model, tools = herd.command(), herd.model(), herd.identity()
    _BUILD.mkdir(parents=True, exist_ok=True)
    with log.step("litmus", f"{len(tests)} protocols, {len(rows)} tests in the kernel's memory model") as step:
        pool, results = ThreadPoolExecutor(_AT_ONCE), []
        try:
            for result in pool.map(lambda row: _judge(row, command, model, tools), rows):
                results.append(result)
                step.progress(f"{len(results)} of {len(rows)}: {result.row.name}")
        finally:
            pool.shutdown(cancel_futures=True)
    return _conclude(tests, results, whole=not only)


def _judge(row: Row, command: list, model: Path, tools: str) -> Result:
    """The answer of herd7, kept or new."""
    file = _BUILD / f"{row.name}.litmus"
    file.write_text(row.text())
    at = digest.key(tools, *row.options(), row.text())
    if kept := memo.recall("litmus", at):
        file.with_suffix(".out").write_text(kept["said"])
        return _read(row, kept["said"], kept["seconds"])
    begun = time.monotonic()
    said = _ask(file, row, command, model)
    file.with_suffix(".out").write_text(said)
    result = _read(row, said, time.monotonic() - begun)
    if result.seen in (_NEVER, *_POSSIBLE):
        memo.keep("litmus", at, {"said": said, "seconds": result.seconds})
    return result


def _ask(file: Path, row: Row, command: list, model: Path) -> str:
    """The whole output of herd7."""
    child = process.start([*command, *row.options(), str(file)], cwd=model, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return child.communicate(timeout=_LIMIT)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        return "no end"
    finally:
        if child.poll() is None:
            process.stop(child)


def _read(row: Row, said: str, seconds: float) -> Result:
    found = _OBSERVATION.search(said)
    seen = found[1] if found else (said.strip().splitlines() or ["nothing"])[-1]
    return Result(row, seen, tuple(_FLAG.findall(said)), seconds)


def _conclude(tests: list, results: list, whole: bool) -> Counts:
    """Prints all faults, and records the outcome of each protocol."""
    wrong = {test: [f"{test.name}.litmus: {line}" for line in _compare(test)[0]] for test in tests}
    for result in results:
        if not result.expected:
            wrong[result.row.test].append(f"{result.row.name} is {result.seen}, see {_BUILD / result.row.name}.out")
    said = _differences(tests) + [line for lines in wrong.values() for line in lines]
    for line in said:
        log.failure(f"litmus: {line}")
    failed = {test.name for test, lines in wrong.items() if lines or _functions(test) & set(orders.differences())}
    log.info(", ".join(f"{sum(result.expected for result in results if result.row.kind == kind)} {what}"
                       for kind, what in _KINDS.items()))
    report = paths.REPORTS / "litmus.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join(f"{result}\n" for result in results))
    record.write("litmus", {test.name: record.FAILED if test.name in failed else record.PASSED for test in tests}, whole)
    return Counts(sum(result.expected for result in results), len(said))
