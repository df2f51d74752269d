# SPDX-License-Identifier: GPL-2.0
"""Mutants: which patches are proofs, and which verdicts."""

import pytest

from lab import defects
from lab import log
from lab import mutants
from lab import record

HEAD = """L-7: paths that have gone stay on the list
red: kunit: mpath_select: choosing_ends
red: host: nodes::slots_are_dense
says: {says}

--- a/rust/shortlist.rs
+++ b/rust/shortlist.rs
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
def test_what_is_said_anyway_is_no_reason(tmp_path, says):
    assert mutants.said_anyway(mutant(tmp_path, says))


VERDICTS = {
    "a test that fails for the reason": ({record.FAILED}, "x left: 7 x", "caught"),
    "a test that fails in one variant": ({record.FAILED, record.PASSED}, "x left: 7 x", "caught"),
    "a test that fails for another reason": ({record.FAILED}, "does not compile", "MISSED"),
    "a guest that died": ({record.FAILED}, "kunit: the guest: the kernel died after 7 s", "MISSED"),
    "a test that passes": ({record.PASSED}, "x left: 7 x", "MISSED"),
    "a test that was skipped": ({record.SKIPPED}, "x left: 7 x", "MISSED"),
    "a test that has not run": (set(), "x left: 7 x", "MISSED"),
}


@pytest.mark.parametrize("what", VERDICTS)
def test_the_verdict_on(tmp_path, what):
    outcomes, said, verdict = VERDICTS[what]
    assert mutants._verdict(mutant(tmp_path, "left: 7"), outcomes, said).startswith(verdict)


def green(monkeypatch, tmp_path, step, said, outcomes):
    one = mutant(tmp_path, "left: 7")
    monkeypatch.setattr(mutants, "_lab", lambda step, *words: said)
    monkeypatch.setattr(defects.Test, "outcomes", lambda self, reports: outcomes)
    mutants._check_green(step, [one], list(one.tests))


def test_tests_that_pass_without_a_patch_are_good(monkeypatch, tmp_path, step):
    green(monkeypatch, tmp_path, step, "2 passed", {record.PASSED})


def test_a_pattern_that_is_in_the_log_of_a_good_run_is_refused(monkeypatch, tmp_path, step):
    with pytest.raises(log.Failure, match="without L-7-x.patch, too"):
        green(monkeypatch, tmp_path, step, "left: 7", {record.PASSED})


@pytest.mark.parametrize("outcomes", ({record.FAILED}, {record.SKIPPED}, set()))
def test_a_test_that_does_not_pass_without_a_patch_stops_the_run(monkeypatch, tmp_path, step, outcomes):
    with pytest.raises(log.Failure, match="without a patch"):
        green(monkeypatch, tmp_path, step, "2 passed", outcomes)
