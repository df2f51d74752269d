# SPDX-License-Identifier: GPL-2.0
"""A run of a night: it goes on where it was, and its page names the parts that failed and those that have not run."""

import json
import subprocess
import sys

import pytest

from conftest import ROOT
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.runs import long
from lab.runs import test
from lab.verdicts import record
from lab.verdicts import result
from lab.verdicts.counts import Counts

HERE, THERE = long.State("1234567890abcdef", ""), long.State("1234567890abcdef", "fedcba")


@pytest.fixture
def night(monkeypatch, tmp_path):
    """A night of three parts, each of which is a program of its own."""
    class Night:
        state = HERE
        parts = {name: long.Part((name,)) for name in ("one", "two", "three")}
        #: The program of each part; "good" when a test does not set it.
        programs = {}
        #: The parts that have run.
        ran = []

        def run(self, **options):
            self.ran.clear()
            return long.run(**options)

        @property
        def page(self):
            return (paths.REPORTS / "long.md").read_text()

    def command(part):
        found.ran.extend(part.words)
        return [sys.executable, "-c", PROGRAMS[found.programs.get(part.words[0], "good")]]

    found = Night()
    found.programs, found.ran = {}, []
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(long, "all_parts", lambda: found.parts)
    monkeypatch.setattr(long, "_command", command)
    monkeypatch.setattr(long.State, "now", lambda: found.state)
    return found


_SAYS = "import json, os; json.dump({}, open(os.environ['LAB_RESULT'], 'w')); raise SystemExit({})"
PROGRAMS = {
    "good": _SAYS.format(dict(last="7 passed", passed=7), 0),
    "skips": _SAYS.format(dict(last="7 passed, 2 skipped", passed=7, skipped=["a: no zone", "b: no zone"]), 0),
    "fails": _SAYS.format(dict(last="1 failed", passed=6, failed=1, failures=["kunit: mpath_x: two"]), 1),
    "dies": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "dies after a good result": _SAYS.format(dict(last="7 passed", passed=7), 3),
    "ends well without a result": "pass",
    "ends well with a failure": _SAYS.format(dict(last="1 failed", passed=6, failed=1), 0),
    "fails without a name": _SAYS.format(dict(last="1 failed", failed=1), 1),
}
BAD = [name for name in PROGRAMS if name not in ("good", "skips")]


def test_all_parts_are_run_and_summed(night):
    assert str(night.run()) == "21 passed, 0 failed, 0 skipped"
    assert night.ran == ["one", "two", "three"]


def test_it_goes_on_with_the_first_part_without_a_result(night, monkeypatch):
    real = long._run
    monkeypatch.setattr(long, "_run", lambda name, *rest: _interrupted() if name == "two" else real(name, *rest))
    with pytest.raises(KeyboardInterrupt):
        night.run()
    assert night.ran == ["one"]
    assert "Without a result, since it has not run yet: two, three." in night.page
    assert night.page.endswith("\n7 passed, 0 failed, 0 skipped, incomplete\n")
    monkeypatch.setattr(long, "_run", real)
    assert str(night.run()) == "21 passed, 0 failed, 0 skipped"
    assert night.ran == ["two", "three"]


def _interrupted():
    raise KeyboardInterrupt


def test_a_part_that_has_run_does_not_run_again_unless_asked_for(night):
    night.run()
    night.run()
    assert night.ran == []
    night.run(again=True)
    assert night.ran == ["one", "two", "three"]


@pytest.mark.parametrize("how", BAD)
def test_a_part_that_fails_is_told_and_the_others_run_and_it_runs_again(night, how):
    night.programs["two"] = how
    counts = night.run()
    assert counts.failed == 1 and night.ran == ["one", "two", "three"]
    assert "| two | `two` | FAILED: " in night.page and "- two: " in night.page
    assert night.page.splitlines()[-1] == str(counts)
    night.run()
    assert night.ran == ["two"]
    night.programs.clear()
    assert night.run().failed == 0 and "FAILED" not in night.page


def test_the_page_names_what_failed(night):
    night.programs |= {"one": "fails", "two": "fails without a name", "three": "dies"}
    night.run()
    assert night.page.partition("## Failures\n\n")[2].splitlines() == [
        "- one: kunit: mpath_x: two", "- two: 1 failed",
        "- three: the command exited with 137 and gave no result", "", "6 passed, 3 failed, 0 skipped"]


def test_the_page_has_what_was_skipped_and_why(night):
    night.programs["two"] = "skips"
    night.run()
    rows = [line.split(" | ") for line in night.page.splitlines() if line.startswith("| ")]
    assert [row[0].lstrip("| ") for row in rows] == ["part", "---", "one", "two", "three"]
    assert rows[3][2] == "passed: 7 passed, 2 skipped" and rows[3][4] == "2 times: no zone |"
    assert night.page.endswith("\n21 passed, 0 failed, 2 skipped\n")


def test_other_sources_have_results_of_their_own(night):
    night.run()
    night.state = THERE
    night.run()
    assert night.ran == ["one", "two", "three"]
    night.state = HERE
    night.run()
    assert night.ran == []


def test_a_result_on_sources_that_changed_meanwhile_is_not_kept(night, monkeypatch):
    real = long._run

    def changes(name, *rest):
        done = real(name, *rest)
        night.state = THERE if name == "two" else night.state
        return done
    monkeypatch.setattr(long, "_run", changes)
    with pytest.raises(log.Failure):
        night.run()
    assert list(long.read(HERE)) == ["one"] and not long.read(THERE)


def test_a_run_of_some_parts_is_incomplete_and_adds_to_what_is_known(night):
    night.run(only="one")
    assert str(night.run(only="three")) == "14 passed, 0 failed, 0 skipped, incomplete"
    assert night.ran == ["three"]
    assert "since it was not asked for: two." in night.page
    with pytest.raises(log.Failure):
        night.run(only="four")


def test_results_of_few_states_are_kept(night):
    for number in range(long._KEPT_STATES + 1):
        night.state = long.State("1234567890abcdef", f"{number}")
        night.run(only="one")
    assert len(json.loads((paths.REPORTS / "long.json").read_text())) == long._KEPT_STATES


def test_a_whole_part_stands_for_the_sample_of_make_test(night, reports):
    night.parts = {"three": long.Part(("three",), contains="parity")}
    night.run()
    assert record.read("test", reports).outcomes == {"parity": record.PASSED}


def test_the_user_s_choices_do_not_make_a_part_smaller(night, monkeypatch):
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setitem(PROGRAMS, "good", "import os; assert 'QUICK' not in os.environ; " + PROGRAMS["good"])
    assert not night.run().failed


def test_every_part_of_make_test_is_run_or_contained_in_a_whole_one():
    contained = {part.contains for part in long.WHOLE.values()} - {""}
    assert {part.words[1].removeprefix("test: ") for part in long.all_parts().values() if part.words[0] == "one"} \
        == set(test.PARTS) - contained
    assert list(long.all_parts())[-1] == "defects"


def test_a_state_is_the_commit_and_what_differs_from_it(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True,
                       capture_output=True)
    (tmp_path / "file").write_text("one")
    bare = long.State.now(tmp_path)
    (tmp_path / "file").write_text("two")
    assert bare.commit == "no commit" and bare != long.State.now(tmp_path)
    git("init")
    (tmp_path / ".gitignore").write_text("build\n")
    git("add", ".")
    git("commit", "-m", "one")
    clean = long.State.now(tmp_path)
    assert not clean.difference
    (tmp_path / "build").write_text("ignored")
    assert long.State.now(tmp_path) == clean
    (tmp_path / "new").write_text("one")
    added = long.State.now(tmp_path)
    (tmp_path / "new").write_text("two")
    changed = long.State.now(tmp_path)
    (tmp_path / "file").write_text("three")
    for part in ("check", "e2e"):
        assert len({each.key(part) for each in (clean, added, changed, long.State.now(tmp_path))}) == 4
    git("add", ".")
    git("commit", "-m", "two")
    committed = long.State.now(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "design.md").write_text("one")
    documented = long.State.now(tmp_path)
    git("add", ".")
    git("commit", "-m", "three")
    states = (committed, documented, long.State.now(tmp_path))
    assert len({each.key("e2e") for each in states}) == 1 and len({each.key("check") for each in states}) == 3
    (tmp_path / "docs" / "sysfs.md").write_text("one")
    assert long.State.now(tmp_path).key("series") not in {each.key("series") for each in states}


def test_the_documents_that_no_part_executes_are_there():
    assert all((ROOT / name).exists() for name in long._DOCUMENTS)


def test_a_change_of_documents_leaves_the_results_that_do_not_follow_from_them(night):
    night.parts |= {"check": long.Part(("check",))}
    night.state = long.State("1234567890abcdef", "", "", "sources")
    night.run()
    night.state = long.State("234567890abcdef1", "", "", "sources")
    assert night.run().passed == 28 and night.ran == ["check"]
    assert "documents have changed since these ran: one (1234567890ab), two (1234567890ab), three" in night.page
    night.state = long.State("34567890abcdef12", "", "", "other sources")
    night.run()
    assert night.ran == ["one", "two", "three", "check"]


def test_each_kernel_has_results_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("KVER", raising=False)
    states = [long.State.now(tmp_path)]
    for version in versions.KNOWN:
        monkeypatch.setenv("KVER", version)
        states.append(long.State.now(tmp_path))
        assert str(states[-1]).endswith(f"on Linux {version}")
    assert len({each.key("e2e") for each in states}) == 1 + len(versions.KNOWN)


def test_a_command_leaves_its_result_for_whoever_started_it(tmp_path, monkeypatch, reports):
    file = tmp_path / "result"
    monkeypatch.delenv(result.VARIABLE, raising=False)
    result.write("nobody asks", 1)
    monkeypatch.setenv(result.VARIABLE, str(file))
    result.write("7 passed", 0, Counts(7))
    assert result.read(file).failures == []
    log.failure("kunit: mpath_x: two failed", "here\nexpected 1, got 2\n")
    result.write("7 passed, 1 failed", 1, Counts(7, 1, ["why"]))
    found = result.read(file)
    assert (found.passed, found.failed, found.skipped) == (7, 1, ["why"])
    assert found.failures == ["kunit: mpath_x: two failed: expected 1, got 2"]
    result.write("a line", 0)
    assert (result.read(file).passed, result.read(file).failed) == (1, 0)
    file.write_text("{")
    assert result.read(file) is None
