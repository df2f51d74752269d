# SPDX-License-Identifier: GPL-2.0
"""README's tables: the check tells of a name that stands for no test, and of one whose tests have not passed."""

import pytest

from lab.builds import kernel
from lab.host import log
from lab.runs import test
from lab.verdicts import claims
from lab.verdicts import record
from lab.verdicts.defects import Test

ONE, TWO = Test("e2e", "it_works_over_tcp"), Test("e2e", "it_works_over_loop")
KUNIT = Test("kunit", "mpath_x: two")
NAMES = {"test_x": [ONE, TWO], "mpath_x": [KUNIT]}
PASSED, FAILED, SKIPPED = record.PASSED, record.FAILED, record.SKIPPED
README = """
| measured | the kernel's own | this library | from |
|---|---:|---:|---|
| instructions of 2 paths | 3386.0 | 66.0 | [`figures.md`](figures.md) |

| feature | state | shown by |
|---|---|---|
| everything | works | KUnit `mpath_x`; e2e `test_x` |

| part | runs |
|---|---|
| `kunit` | all |
| `e2e` | all |

| command | shows |
|---|---|
| `make storm SECONDS=600` | all |

Run `make test`.
"""


def ran(plain=(PASSED, PASSED), sanitize=(), kunit=PASSED, checked=PASSED, whole=True):
    for name, outcomes in ((kernel.PLAIN, plain), (kernel.SANITIZE, sanitize)):
        record.write(record.name("e2e", name), dict(zip((ONE.name, TWO.name), outcomes, strict=False)), whole=whole)
    record.write("kunit", {KUNIT.name: kunit}, whole=True)
    record.write(record.name("kunit", kernel.SANITIZE), {KUNIT.name: checked}, whole=True)


def test_names_whose_tests_have_passed_are_good(reports):
    ran()
    assert claims._judge(NAMES, reports) == ([], {}, [])


@pytest.mark.parametrize("runs,wrong", (
    (dict(plain=(PASSED, FAILED)), ["`test_x`: e2e: it_works_over_loop has failed"]),
    (dict(plain=(PASSED,)), ["`test_x`: e2e: it_works_over_loop has not run"]),
    (dict(plain=(SKIPPED, SKIPPED), sanitize=(SKIPPED, SKIPPED)), ["every test of `test_x` was skipped"]),
    (dict(sanitize=(PASSED, FAILED)), ["`test_x`: e2e: it_works_over_loop has failed"]),
    (dict(kunit=SKIPPED, checked=SKIPPED), ["every test of `mpath_x` was skipped"])))
def test_a_name_whose_tests_have_not_passed_is_told(reports, runs, wrong):
    ran(**runs)
    assert claims._judge(NAMES, reports)[0] == wrong


def test_a_test_that_is_skipped_in_one_kernel_may_pass_in_another(reports):
    ran(plain=(SKIPPED, SKIPPED), sanitize=(PASSED, PASSED))
    assert claims._judge(NAMES, reports) == ([], {}, [])


def test_a_test_that_is_skipped_in_the_only_kernel_so_far_may_yet_run(reports, monkeypatch):
    ran(plain=(SKIPPED, SKIPPED))
    assert claims._judge(NAMES, reports) == ([], {"e2e+sanitize": 2}, [])
    monkeypatch.setattr(claims, "named", lambda text, known: NAMES)
    assert claims.ran().failed == 0


def test_a_test_that_is_skipped_in_every_kernel_is_named(reports):
    ran(plain=(PASSED, SKIPPED), sanitize=(PASSED, SKIPPED))
    assert claims._judge(NAMES, reports) == ([], {}, ["`test_x`: e2e: it_works_over_loop was skipped in every kernel"])


def test_of_a_part_that_has_never_run_as_a_whole_nothing_is_known(reports, monkeypatch):
    ran(plain=(PASSED,), whole=False)
    assert claims._judge(NAMES, reports) == ([], {"e2e": 1}, [])
    monkeypatch.setattr(claims, "named", lambda text, known: NAMES)
    assert claims.ran().failed == 1
    ran()
    assert str(claims.ran()) == "2 passed, 0 failed, 0 skipped"


def test_a_name_that_stands_for_no_test_has_none():
    assert claims.named(README, {"mpath_x": [KUNIT]}) == {"mpath_x": [KUNIT], "test_x": []}


@pytest.mark.parametrize("text", (
    README.replace("KUnit `mpath_x`; e2e `test_x`", "tests"), README.replace("| feature |", "| property |"),
    README + README, README.replace("| everything | works | KUnit `mpath_x`; e2e `test_x` |", "")))
def test_a_table_that_is_not_there_or_names_nothing_fails(text):
    with pytest.raises(log.Failure):
        claims.named(text, {})


def test_the_parts_of_make_test_are_told_and_no_others():
    assert claims._parts(README, {"kunit": None, "e2e": None}) == []
    assert claims._parts(README, {"kunit": None, "e2e": None, "storm": None}) == \
        ["the table of parts lacks `storm`, a part of `make test`"]
    assert claims._parts(README, {"kunit": None}) == ["`make test` has no part `e2e`"]


def test_a_command_that_does_not_exist_is_told():
    assert claims._commands(README, {"test": None, "storm": None}) == []
    assert claims._commands(README, {"storm": None}) == ["`make test` does not exist"]
    assert claims._commands(README, {"test": None}) == ["`make storm` does not exist"]
    longer = f"{README}\n`make e2e ONE_PASS=n`"
    assert claims._commands(longer, {"test": None, "storm": None, "e2e": None}) == []
    assert claims._commands(longer, {"test": None, "storm": None, "e": None}) == ["`make e2e` does not exist"]


@pytest.mark.parametrize("figures,wrong", (
    ("3386.0 and 66.0", []), ("3386.0 and 66.05", ["66.0 (instructions of 2 paths) is not in figures.md"])))
def test_a_figure_that_its_document_does_not_have_is_told(tmp_path, figures, wrong):
    (tmp_path / "figures.md").write_text(figures)
    assert claims._figures(README, tmp_path) == wrong


def test_every_name_of_the_project_s_readme_stands_for_tests():
    names = claims.named(claims._README.read_text(), claims._known())
    assert [name for name, tests in names.items() if not tests] == []
    assert claims._parts(claims._README.read_text(), test.PARTS) == []
