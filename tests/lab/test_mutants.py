# SPDX-License-Identifier: GPL-2.0
"""Mutants: which patches are proofs, and which verdicts."""

import datetime
import time

import pytest

from lab.host import log
from lab.suites import mutants
from lab.verdicts import defects
from lab.verdicts import record

HEAD = """L-7: paths that have gone stay on the list
red: kunit: mpath_select: choosing_ends
red: host: nodes::slots_are_dense
says: {says}

--- a/rust/pure/shortlist.rs
+++ b/rust/pure/shortlist.rs
"""


def mutant(tmp_path, says, text=HEAD):
    file = tmp_path / "L-7-x.patch"
    file.write_text(text.format(says=says))
    return mutants.Mutant.read(file)


@pytest.mark.parametrize("line", ("L-7: ", "red: ", "says: "))
def test_a_patch_that_leaves_something_unsaid_is_refused(tmp_path, line):
    text = "\n".join(each for each in HEAD.splitlines() if not each.startswith(line))
    with pytest.raises(log.Failure):
        mutant(tmp_path, "left: 7", text + "\n")


def test_a_reason_of_its_own_is_one(tmp_path):
    assert mutants.said_anyway(mutant(tmp_path, r"Expected a\.bios\(\) == 1")) is None


@pytest.mark.parametrize("says", (
    "choosing_ends", "mpath_select", "slots_are_dense", "dense", r"nodes\.rs", "FAILED", "result", "not ok", "panicked",
    "kernel died", "died", "the guest: ", "time limit", "QEMU", "Oops", "BUG: ", "general protection", "Kernel panic",
    "left: 7|died", ".",
))
def test_a_line_that_is_said_anyway_is_no_reason(tmp_path, says):
    assert mutants.said_anyway(mutant(tmp_path, says))


KUNIT_DIED = "kunit: the guest: the kernel died after 7 s, see console.log\n"
E2E_DIED = "[ 0:07] guest: {}; the end of console.log:\n"
ITS_KERNEL = "[   77.777777] RIP: 0010:x left: 7 x\n"

VERDICTS = {
    "a test that fails for the reason": ({record.FAILED}, "x left: 7 x", "caught"),
    "a test that fails in one variant": ({record.FAILED, record.PASSED}, "x left: 7 x", "caught"),
    "a test that fails for another reason": ({record.FAILED}, "does not compile", "MISSED"),
    "a guest that died": ({record.FAILED}, KUNIT_DIED, "MISSED"),
    "a guest that died while the test said the reason": ({record.FAILED}, KUNIT_DIED + "x left: 7 x\n", "MISSED"),
    "a guest that died of the reason": ({record.FAILED}, KUNIT_DIED + ITS_KERNEL, "caught"),
    "a guest that booted again": (
        {record.FAILED}, "[ 2:07] guest: stopped after 120 s, its time limit, before anything ran in it\n"
        "    AssertionError: left: 7\n", "caught"),
    "a kernel of an end-to-end test that died": (
        {record.FAILED}, E2E_DIED.format("the kernel died after 7 s") + "    AssertionError: left: 7\n", "MISSED"),
    "a guest that hung": (
        {record.FAILED}, E2E_DIED.format("stopped after 90 s, its time limit") + "    AssertionError: left: 7\n", "MISSED"),
    "a guest that QEMU left": (
        {record.FAILED}, E2E_DIED.format("QEMU itself failed after 7 s, with status 1") + "    left: 7\n", "MISSED"),
    "a guest whose test failed": ({record.FAILED}, "kunit: the guest: exit status 1 after 7 s\n left: 7\n", "caught"),
    "a test that passes": ({record.PASSED}, "x left: 7 x", "MISSED"),
    "a test that was skipped": ({record.SKIPPED}, "x left: 7 x", "MISSED"),
    "a test that has not run": (set(), "x left: 7 x", "MISSED"),
}


@pytest.mark.parametrize("what", VERDICTS)
def test_the_verdict_on(tmp_path, what):
    outcomes, said, verdict = VERDICTS[what]
    assert mutants._verdict(mutant(tmp_path, "left: 7"), outcomes, said).startswith(verdict)


class Copy:
    """A copy of the project whose lab gives this answer to everything."""

    def __init__(self, step, said=""):
        self.step = step
        self.reports = step.log.parent
        self.said = said
        self.laid_out = []

    def lay_out(self, files):
        self.laid_out.append(files)

    def lab(self, *words):
        return self.said


def ends(monkeypatch, outcomes):
    monkeypatch.setattr(defects.Test, "outcomes", lambda self, *reports: outcomes)


def green(monkeypatch, tmp_path, step, said, outcomes):
    one = mutant(tmp_path, "left: 7")
    ends(monkeypatch, outcomes)
    mutants._check_green([Copy(step, said), Copy(step, said)], [one], list(one.tests))


def test_tests_that_pass_without_a_patch_are_good(monkeypatch, tmp_path, step):
    green(monkeypatch, tmp_path, step, "2 passed", {record.PASSED})


def test_a_pattern_that_is_in_the_log_of_a_good_run_is_refused(monkeypatch, tmp_path, step):
    with pytest.raises(log.Failure, match="without L-7-x.patch, too"):
        green(monkeypatch, tmp_path, step, "left: 7", {record.PASSED})


@pytest.mark.parametrize("outcomes", ({record.FAILED}, {record.SKIPPED}, set()))
def test_a_test_that_does_not_pass_without_a_patch_stops_the_run(monkeypatch, tmp_path, step, outcomes):
    with pytest.raises(log.Failure, match="without a patch"):
        green(monkeypatch, tmp_path, step, "2 passed", outcomes)


def several(tmp_path, *parts):
    """Mutants of tests of these parts."""
    found = []
    for number, part in enumerate(parts):
        file = tmp_path / f"L-7-{number}.patch"
        file.write_text(HEAD.format(says="left: 7").replace("red: host: nodes::slots_are_dense\n", "")
                        .replace("kunit: mpath_select", f"{part}: mpath_select"))
        found.append(mutants.Mutant.read(file))
    return found


PARTS = ("kunit",) * 46 + ("e2e",) * 21 + ("model",) * 12 + ("host",) * 4 + ("litmus",) * 3 + ("test",) * 2 + ("e2e+sanitize",)


def of_a_day(monkeypatch, found, count, day):
    monkeypatch.setenv("DAY", str(day))
    return mutants._todays(found, count)


@pytest.mark.parametrize("count", (1, 7, 10, 89, 100))
@pytest.mark.parametrize("first", (datetime.date(2026, 11, 27), datetime.date(2026, 12, 31)))
def test_days_go_through_all_mutants(tmp_path, monkeypatch, count, first):
    found = several(tmp_path, *PARTS)
    days = -(-len(found) // count)
    chosen = [of_a_day(monkeypatch, found, count, first + datetime.timedelta(day)) for day in range(days)]
    assert sorted(each.name for day in chosen for each in day) == sorted(each.name for each in found)
    assert all(0 <= min(count, len(found)) - len(day) <= 1 for day in chosen)


def test_no_day_has_all_that_takes_long(tmp_path, monkeypatch):
    found = several(tmp_path, *PARTS)
    for day in range(9):
        chosen = of_a_day(monkeypatch, found, 10, datetime.date(2026, 11, 27) + datetime.timedelta(day))
        assert sum(each.tests[0].usual.part == "e2e" for each in chosen) <= 4


@pytest.fixture
def all_apply(monkeypatch, tmp_path):
    """Mutants of two defects: they are all that exist, and break the promised tests."""
    found = several(tmp_path, "kunit", "kunit")
    found[1] = mutants.Mutant(found[1].file, "L-8", *[getattr(found[1], name) for name in ("what", "tests", "says")])
    monkeypatch.setattr(mutants, "all_of_them", lambda only="": found)
    monkeypatch.setattr(mutants, "_mutated", lambda step, mutant: {})
    monkeypatch.setattr(defects, "documented_tests", lambda: {"L-7": found[0].tests, "L-8": found[1].tests})
    monkeypatch.setattr(defects, "IDS", ("L-7", "L-8"))
    return found


def test_mutants_of_every_defect_are_good(all_apply, step):
    mutants.check(step)


def test_a_defect_without_a_mutant_is_refused(all_apply, monkeypatch, step):
    monkeypatch.setattr(defects, "IDS", ("A-7", "L-7", "L-8", "L-19b"))
    with pytest.raises(log.Failure, match="brings A-7, L-19b back"):
        mutants.check(step)


def test_a_mutant_whose_test_is_not_documented_is_refused(all_apply, monkeypatch, step):
    monkeypatch.setattr(defects, "documented_tests", lambda: {"L-7": all_apply[0].tests})
    with pytest.raises(log.Failure, match="section of L-8 does not name"):
        mutants.check(step)


def test_the_mutants_of_this_project_are_of_every_defect():
    assert {mutant.defect for mutant in mutants.all_of_them()} == set(defects.IDS)


def sampled(monkeypatch, step, judged):
    """A sample of two, of which each has this verdict."""
    monkeypatch.setattr(mutants, "_copies", lambda: [Copy(step), Copy(step)])
    monkeypatch.setattr(mutants, "_sources", dict)
    monkeypatch.setattr(mutants, "_judge", lambda copy, mutant: [(mutant.name, "", "", judged)])
    monkeypatch.setattr(mutants, "_todays", lambda found, count: found)
    return mutants.run_sample()


def test_a_sample_whose_mutants_are_caught_is_good(all_apply, monkeypatch, step):
    counts = sampled(monkeypatch, step, "caught")
    assert (counts.passed, counts.failed, counts.good) == (2, 0, True)


def test_a_mutant_that_is_missed_fails_its_sample(all_apply, monkeypatch, step):
    assert sampled(monkeypatch, step, "MISSED: the test has passed").failed == 2


def test_each_task_is_done_once(step):
    done = []
    mutants._side_by_side([Copy(step), Copy(step)], list(range(100)), lambda copy, task: done.append(task))
    assert sorted(done) == list(range(100))


def test_a_task_that_fails_stops_the_run(step):
    done = []

    def fail_first(copy, task):
        if task == 0:
            raise log.Failure("no")
        time.sleep(0.01)
        done.append(task)
    with pytest.raises(log.Failure, match="no"):
        mutants._side_by_side([Copy(step), Copy(step)], list(range(100)), fail_first)
    assert len(done) < 99
