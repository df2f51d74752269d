# SPDX-License-Identifier: GPL-2.0
"""docs/defects.md against the tests: every defect has tests that show its absence, and they have passed.

A test says `Shows L-7.` in its comment, and the defect's section says `- kunit: mpath_select: a_walk_...`; both must
say the same. A test in tests/model/ that only has broken copies of a protocol fail shows nothing of the library, so no
section names it. The outcomes of the tests are those that the parts have recorded, under the document's names for
parts.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.verdicts import parts
from lab.verdicts import record
from lab.verdicts.counts import Counts

from tests.e2e import suite

#: The ids of all defects: the check notices here that a section is missing.
IDS = tuple("""
    L-1 L-2 L-3 L-4 L-5 L-6 L-7 L-8 L-9 L-10 L-11 L-12 L-13 L-14 L-16 L-18 L-19 L-19b L-20 L-21 L-22 L-23 L-24
    L-25 L-26 L-27 L-28 L-29 L-30 L-31 L-32 L-33 L-35 L-36 L-37 L-41 L-42 L-43 L-46 S-8 X-1
    N-1 N-2 N-3 N-4 N-5 N-10 N-11 N-14
    F-1 F-2 F-3
    A-1 A-2 A-3 A-4 A-5 A-6 A-7 A-8 A-9 A-10 A-11 A-12 A-13 A-14 A-15 A-16 A-17 A-18
""".split())

_DOC = paths.ROOT / "docs" / "defects.md"
_SECTION = re.compile(r"^### (\S+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^- ([\w+]+): (\S.*)$", re.MULTILINE)
_SHOWS = re.compile(r"\bShows ((?:[AFLNSX]-\d+b?(?:, )?)+)\.")
_TEST = re.compile(r"((?:^ *///.*\n)*)^ *#\[test\]\n(?:^ *#\[.*\]\n)*^ *fn (\w+)", re.MULTILINE)
_SUITE = re.compile(r"kunit_tests\((\w+)\)")
_COMMENT = re.compile(r"//.*")
_FUNCTION = re.compile(r"^(?:pub )?fn (\w+)(.*?)^}", re.MULTILINE | re.DOTALL)
_CALLED = re.compile(r"(?<![\w.!:])([a-z_]\w*)\(")
#: The function of tests/model/explore.rs that tries the library itself. Any other one there tries a broken copy.
_HOLDS = "holds"
#: The word in the name of a test that runs over a transport, or with a driver.
_VARIANT = "_over_"


@dataclass(frozen=True, order=True)
class Test:
    """A test as the document names it.

    The part is host, model, litmus, misuse, kunit or e2e, with the configuration of its kernel unless that is the usual
    one. Or it is test, for a part of `make test` that is one test.
    """

    part: str
    name: str

    def __str__(self) -> str:
        return f"{self.part}: {self.name}"

    @classmethod
    def read(cls, text: str) -> "Test":
        part, _, name = text.partition(": ")
        return cls(part, name)

    @property
    def usual(self) -> "Test":
        """The same test in a kernel of the usual configuration."""
        return Test(self.part.partition("+")[0], self.name)

    def outcomes(self, reports: Path = paths.REPORTS) -> set:
        """Its outcomes, in each of its variants; empty when it has not run."""
        known = record.read(self.part, reports).outcomes
        return {outcome for name, outcome in known.items()
                if name == self.name or self.usual.part == "e2e" and name.startswith(self.name + _VARIANT)}


def check(step) -> None:
    """Checks that the document is complete and agrees with the tests, and that none failed; names those yet to run."""
    documented = documented_tests()
    wrong = _disagreements(documented, in_source(), _broken_only())
    waiting = defaultdict(int)
    for test in _named(documented):
        outcomes = test.outcomes()
        if not outcomes and not _has_run(test.part):
            waiting[test.part] += 1
        elif outcomes != {record.PASSED}:
            wrong.append(f"{test} {ending(outcomes)}")
    for part, count in sorted(waiting.items()):
        log.info(f"defects: {count} tests of {part} have not run since build/ was made")
    _tell(wrong)
    log.info(f"defects: {len(IDS)} defects, {len(_named(documented))} tests, {sum(waiting.values())} of them yet to run")
    if wrong:
        log.fail(f"{_DOC.name}: {len(wrong)} things are not as it says")


def ran() -> Counts:
    """Counts the tests that the document names, without those under sanitizers: each must have passed when last run."""
    tests = [test for test in _named(documented_tests()) if test.usual == test]
    wrong = [f"{test} {ending(outcomes)}" for test in tests if (outcomes := test.outcomes()) != {record.PASSED}]
    _tell(wrong)
    return Counts(len(tests) - len(wrong), len(wrong))


def _has_run(part: str) -> bool:
    """Has it run as a whole? `make sanitize` runs its parts in pieces."""
    return record.read("sanitize" if "+" in part else part).whole


def ending(outcomes: set) -> str:
    """The outcome of a test, in words that follow its name."""
    worst = next((outcome for outcome in (record.FAILED, record.SKIPPED) if outcome in outcomes), None)
    return {record.FAILED: "has failed", record.SKIPPED: "was skipped",
            None: "has passed" if outcomes else "has not run"}[worst]


def _tell(wrong: list) -> None:
    for line in wrong:
        log.failure(f"defects: {line}")


def documented_tests() -> dict:
    """The tests of each id."""
    sections = defaultdict(list)
    for name, text in _SECTION.findall(_DOC.read_text()):
        sections[name] += [Test(*line) for line in _NAMED.findall(text)]
    return sections


def _named(documented: dict) -> list:
    return sorted({test for tests in documented.values() for test in tests})


def _disagreements(documented: dict, source: dict, broken_only: set = frozenset()) -> list:
    """The claims that only the document or only the source has; and where the document names broken copies."""
    wrong = [f"{name} has no section" for name in IDS if name not in documented]
    wrong += [f"{name} is no defect that is known" for name in documented if name not in IDS]
    wrong += [f"{name} has no test" for name, tests in documented.items() if not tests]
    for name, tests in documented.items():
        for test in tests:
            if test.usual not in source:
                wrong.append(f"{name} names {test}, which does not exist")
            elif test.usual in broken_only:
                wrong.append(f"{name} names {test}, which tries nothing but broken copies")
            elif test.part != "test" and name not in source[test.usual]:
                wrong.append(f"{name} names {test}, which does not say that it shows {name}")
    for test, names in source.items():
        wrong += [f"{test} shows {name}, whose section does not name it"
                  for name in sorted(names) if not any(other.usual == test for other in documented.get(name, ()))]
    return wrong


def in_source() -> dict:
    """The ids that each test in the source says it shows."""
    found = {Test("test", name): set() for name in parts.OF_TEST}
    for case in suite.CASES.values():
        found[Test("e2e", case.function.__name__)] = _shown(case.function.__doc__ or "")
    for part, pattern in (("litmus", "*.litmus"), ("misuse", "*.rs")):
        for file in patterns.files(pattern, place=paths.ROOT / "tests" / part):
            found[Test(part, file.stem)] = _shown(file.read_text())
    for part, pattern, module in (("host", "tests/host/*.rs", "{}"), ("host", "rust/pure/**/*.rs", "pure::{}::tests"),
                                  ("model", "tests/model/*.rs", "{}")):
        for file in patterns.files(pattern):
            found |= _rust_tests(part, module.format(file.stem) + "::", file.read_text())
    for file in patterns.files("tests/kunit/**/*.rs"):
        if suite_name := _SUITE.search(text := file.read_text()):
            found |= _rust_tests("kunit", suite_name[1] + ": ", text)
    return found


def _broken_only() -> set:
    """The models that never try the library itself."""
    return {Test("model", f"{file.stem}::{name}") for file in patterns.files("tests/model/*.rs")
            for name in broken_only(file.read_text())}


def broken_only(text: str) -> set:
    """The tests in a file of models that only have broken copies fail, and never say that the library's own holds."""
    functions = {name: set(_CALLED.findall(body)) for name, body in _FUNCTION.findall(_COMMENT.sub("", text))}

    def holds(name: str, seen: frozenset = frozenset()) -> bool:
        called = functions.get(name, set()) - seen
        return _HOLDS in called or any(holds(other, seen | called) for other in called)

    return {name for _, name in _TEST.findall(text) if not holds(name)}


def _rust_tests(part: str, prefix: str, text: str) -> dict:
    return {Test(part, prefix + name): _shown(comment) for comment, name in _TEST.findall(text)}


def _shown(comment: str) -> set:
    return {name for names in _SHOWS.findall(comment) for name in names.split(", ")}
