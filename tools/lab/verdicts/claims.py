# SPDX-License-Identifier: GPL-2.0
"""README's tables against the tests: each name in them stands for tests, which have run and passed.

A name in the last column of the table of features is a file of end-to-end tests, a KUnit suite, a file of host tests or
of models. Or it is a part of `make test`. The table of parts has all parts and no other. Each command exists. Each
figure is in the document that its row names. The outcomes of the tests are those that the parts have recorded. A test
that runs in several kernels has to pass in one, and to fail in none.
"""

import re
from pathlib import Path

from lab.builds import doctest
from lab.builds import kernel
from lab.host import log
from lab.host import paths
from lab.verdicts import defects
from lab.verdicts import parts
from lab.verdicts import record
from lab.verdicts.counts import Counts
from lab.verdicts.defects import Test

from tests.e2e import suite

_README = paths.ROOT / "README.md"
#: The tables, by the head of their first line.
FEATURES, PARTS, COMMANDS, FIGURES = ("| feature |", "| part |", "| command |", "| measured |")
_QUOTED = re.compile(r"`([^`]+)`")
_FIGURE = re.compile(r"\d[\d,.]*\d|\d+")
_LINK = re.compile(r"\]\((\S+?)\)")
_CONFIGURATIONS = (kernel.PLAIN, kernel.SANITIZE)


def check(step) -> None:
    """Checks that README is right about the sources."""
    text = _README.read_text()
    wrong = [f"`{name}` stands for no test" for name, tests in named(text, _known()).items() if not tests]
    wrong += _parts(text, parts.OF_TEST) + _commands(text, _targets()) + _figures(text, paths.ROOT)
    _conclude(wrong)


def check_runs(step) -> None:
    """Checks that the tests of README have passed; for a part that has not run as a whole, nobody knows this."""
    wrong, waiting, skipped = _judge(named(_README.read_text(), _known()))
    for line in skipped:
        log.info(f"claims: {line}")
    for part, count in sorted(waiting.items()):
        log.info(f"claims: {count} tests of {part} have not run since build/ was made")
    _conclude(wrong)


def ran() -> Counts:
    """Each name in the table of features counts as a test, which has to have run."""
    names = named(_README.read_text(), _known())
    wrong, waiting, _ = _judge(names)
    # A run without the kernel with sanitizers says that it is incomplete.
    wrong += [f"{count} tests of {part} have not run" for part, count in sorted(waiting.items()) if "+" not in part]
    _tell(wrong)
    return Counts(max(len(names) - len(wrong), 0), len(wrong))


def table(text: str, head: str) -> list:
    """The rows of the table that begins so, each as its cells; fails when there is none."""
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(head)]
    if len(begins) != 1:
        log.fail(f"{_README.name} has {len(begins)} tables that begin with `{head}`")
    rows = []
    for line in lines[begins[0] + 2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows or log.fail(f"the table `{head}` of {_README.name} has no rows")


def named(text: str, known: dict) -> dict:
    """The tests of each name in the last column of the table of features; fails for a row without a name."""
    found = {}
    for *_, last in table(text, FEATURES):
        names = _QUOTED.findall(last)
        if not names:
            log.fail(f"{_README.name}: `{last}` names no test")
        found |= {name: known.get(name, []) for name in names}
    return found


def _known() -> dict:
    """All names that README may use, and the tests that each stands for."""
    found = {name: [Test("test", name)] for name in parts.OF_TEST}
    for function in suite.VARIANTS:
        found.setdefault(function.__module__.rpartition(".")[2], []).append(Test("e2e", function.__name__))
    for each in defects.in_source():
        if each.part == "kunit":
            found.setdefault(each.name.partition(": ")[0], []).append(each)
        elif each.part in ("host", "model"):
            first, second, *_ = each.name.split("::")
            place = f"rust/pure/{second}.rs" if first == "pure" else f"tests/{each.part}/{first}.rs"
            found.setdefault(place, []).append(each)
    examples = [name for name in record.read("kunit").outcomes if name.startswith(f"{doctest.MODULE}: ")]
    # The build makes the names of the examples.
    found[doctest.MODULE] = [Test("kunit", name) for name in examples] or [Test("kunit", f"{doctest.MODULE}: ")]
    return found


def outcomes(test: Test, reports: Path = paths.REPORTS) -> set:
    """The outcomes of a test, in whichever kernel it ran."""
    return set().union(*(Test(record.name(test.part, name), test.name).outcomes(reports) for name in _CONFIGURATIONS))


def _judge(names: dict, reports: Path | None = None) -> tuple:
    """The faults of the tests of these names; how many of which part are yet to run; and which were skipped.

    The last are those that were skipped in every kernel, of a name of which others have passed.
    """
    reports = reports or paths.REPORTS
    wrong, waiting, skipped = [], {}, []
    for name, tests in names.items():
        became = {test: outcomes(test, reports) for test in tests}
        for test, seen in became.items():
            if part := _yet_to_run(test, seen, reports):
                waiting[part] = waiting.get(part, 0) + 1
            elif not seen or record.FAILED in seen:
                wrong.append(f"`{name}`: {test} {defects.ending(seen)}")
            elif seen == {record.SKIPPED}:
                skipped.append(f"`{name}`: {test} was skipped in every kernel")
        if became and all(seen == {record.SKIPPED} and not _yet_to_run(test, seen, reports)
                          for test, seen in became.items()):
            wrong.append(f"every test of `{name}` was skipped")
    return wrong, waiting, skipped


def _yet_to_run(test: Test, seen: set, reports: Path) -> str:
    """The part in which a test may yet run that has not, or was skipped in the usual kernel; else ""."""
    checked = record.name(test.part, kernel.SANITIZE)
    if not seen and not record.read(test.part, reports).whole:
        return test.part
    return checked if seen == {record.SKIPPED} and not record.read(checked, reports).outcomes else ""


def _parts(text: str, parts) -> list:
    """Checks that the table of parts has just those of `make test`."""
    told = {name for first, *_ in table(text, PARTS) for name in _QUOTED.findall(first)}
    return ([f"the table of parts lacks `{name}`, a part of `make test`" for name in parts if name not in told]
            + [f"`make test` has no part `{name}`" for name in sorted(told - set(parts))])


def _targets() -> list:
    """The targets of make."""
    return re.search(r"^COMMANDS := (.+)$", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def _commands(text: str, commands) -> list:
    """Checks that each `make` in README is a command."""
    called = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.MULTILINE))
    called |= {words.split()[1] for first, *_ in table(text, COMMANDS) for words in _QUOTED.findall(first)}
    return [f"`make {name}` does not exist" for name in sorted(called - set(commands) - {"help"})]


def _figures(text: str, root: Path) -> list:
    """Checks that each figure of the first table is in the document of its row."""
    wrong = []
    for what, *figures, place in table(text, FIGURES):
        source = (root / _LINK.search(place)[1]).read_text()
        have = set(_FIGURE.findall(source))
        wrong += [f"{figure} ({what}) is not in {_LINK.search(place)[1]}"
                  for cell in figures for figure in _FIGURE.findall(cell) if figure not in have]
    return wrong


def _conclude(wrong: list) -> None:
    _tell(wrong)
    if wrong:
        log.fail(f"{_README.name}: {len(wrong)} things are not as it says")


def _tell(wrong: list) -> None:
    for line in wrong:
        log.failure(f"claims: {line}")
