# SPDX-License-Identifier: GPL-2.0
"""Results that are kept instead of being computed again: never when something has changed, and no failures."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab.builds import source
from lab.checks import check
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.suites import litmus
from lab.suites import misuse
from lab.suites import model
from lab.verdicts import memo
from lab.verdicts import record

PASSES = "test parking::a ... ok\n---- parking::a stdout ----\nholds in all 7 executions\n\n" \
         "test result: ok. 1 passed; 0 failed; 0 ignored;\n"
FAILS = "test parking::a ... FAILED\ntest parking::b ... ok\ntest result: FAILED. 1 passed; 1 failed; 0 ignored;\n"


@pytest.fixture(scope="module")
def tree():
    """The kernel's source, which is in the user's cache."""
    return source.kernel().tree


@pytest.fixture(autouse=True)
def cache(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.delenv("AGAIN", raising=False)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The questions to herd7; its answer is that of `says`."""
    found, says = [], ["Observation x Never 0 7\n"]
    monkeypatch.setattr(litmus, "_BUILD", tmp_path)

    def ask(file, row, command, place):
        found.append(file.read_text())
        return says[0]
    monkeypatch.setattr(litmus, "_ask", ask)
    return found, says


@pytest.fixture
def loom(monkeypatch):
    """How often loom ran, and its output."""
    ran, says = [], [PASSES, 0]

    def logged(step, words, **options):
        ran.append(words)
        step.log.write_text(says[0])
        return says[1]
    monkeypatch.setattr(process, "logged", logged)
    return ran, says


def row(code="WRITE_ONCE(*x, 1);"):
    test = litmus.Test("a", {}, (), (litmus.Line(0, f"\t{code}", ""),), {})
    return test.rows()[0]


def test_a_key_depends_on_every_input_and_its_place(tmp_path):
    files = []
    for name, text in (("one", "a"), ("two", "a"), ("three", "b")):
        (tmp_path / name).write_text(text)
        files.append(tmp_path / name)
    keys = [digest.key("a"), digest.key("b"), digest.key("a", "b"), digest.key("b", "a"), digest.key("ab"), digest.key(),
            *map(digest.key, files)]
    assert len(set(keys)) == len(keys)
    assert digest.key("a", files[0]) == digest.key("a", files[0])


def test_a_kept_result_is_there_until_it_is_to_be_computed(monkeypatch):
    assert memo.recall("kind", "key") is None
    memo.keep("kind", "key", {"said": "7"})
    assert memo.recall("kind", "key") == {"said": "7"}
    assert memo.recall("kind", "other") is None and memo.recall("other", "key") is None
    monkeypatch.setenv("AGAIN", "1")
    assert memo.recall("kind", "key") is None


def test_a_result_that_cannot_be_read_is_computed(tmp_path):
    memo.keep("kind", "key", 7)
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text("{")
    assert memo.recall("kind", "key") is None


def test_a_result_that_nobody_wants_is_forgotten(tmp_path):
    memo.keep("kind", "old", 7)
    memo.keep("kind", "used", 7)
    long_ago = time.time() - (memo.KEPT_DAYS + 1) * 24 * 3600
    for file in (tmp_path / "cache").rglob("*.json"):
        os.utime(file, (long_ago, long_ago))
    assert memo.recall("kind", "used") == 7
    memo.keep("kind", "new", 7)
    assert [memo.recall("kind", name) for name in ("old", "used", "new")] == [None, 7, 7]


def test_herd_is_asked_again_when_the_test_the_options_or_the_tools_change(asked):
    questions, _ = asked

    def judge(row, tools="herd 7.58"):
        return litmus._judge(row, [], Path(), tools)
    assert judge(row()).seen == judge(row()).seen == "Never"
    assert len(questions) == 1
    judge(row("WRITE_ONCE(*x, 2);"))
    judge(row(), "herd 7.59")
    judge(litmus.Row(row().test, "", "mutant", row().lines))
    assert len(questions) == 4


def test_no_answer_of_herd_is_kept(asked):
    questions, says = asked
    for says[0] in ("no end", "Observation x Never 0 7\n"):
        litmus._judge(row(), [], Path(), "herd")
    assert len(questions) == 2


def test_loom_runs_once_for_the_same_sources(loom, monkeypatch):
    ran, _ = loom
    assert (model.run_models().passed, len(ran)) == (1, 1)
    before = record.read("model")
    record.write("model", {}, whole=True)
    assert (model.run_models().passed, len(ran)) == (1, 1)
    assert record.read("model") == before and before.outcomes == {"parking::a": record.PASSED}
    assert "1 models hold in all their 7 executions" in (paths.REPORTS / "model.txt").read_text()
    model.run_models("parking")
    assert len(ran) == 2
    monkeypatch.setattr(model, "_SOURCES", ("Cargo.toml",))
    model.run_models()
    assert len(ran) == 3
    monkeypatch.setenv("LOOM_MAX_PREEMPTIONS", "1")
    model.run_models()
    assert len(ran) == 4


def test_loom_runs_again_after_a_failure(loom):
    ran, says = loom
    for says[:] in ([FAILS, 101], [FAILS, 101], [PASSES, 0]):
        model.run_models()
    assert len(ran) == 3


def test_loom_that_ends_badly_is_not_kept(loom):
    ran, says = loom
    says[1] = 101
    for _ in range(2):
        with pytest.raises(log.Failure):
            model.run_models()
    assert len(ran) == 2


def test_a_check_that_passed_is_done_again_when_an_input_has_changed_or_cannot_be_known(step, tmp_path):
    done, file = [], tmp_path / "file"

    def ask(*inputs):
        file.touch()
        check._unless_known(step, lambda: done.append(inputs), *inputs, file)
        return len(done)
    assert [ask("a"), ask("a"), ask("b"), ask("a")] == [1, 1, 2, 2]
    file.write_text("7")
    assert [ask("a"), ask("a"), ask(None), ask(None)] == [3, 3, 4, 5]


def test_a_check_of_a_file_that_changes_meanwhile_is_done_again(step, tmp_path):
    done, file = [], tmp_path / "file"
    for text in ("a", "a"):
        file.write_text(text)
        check._unless_known(step, lambda: done.append(file.write_text("changed")), file)
    assert len(done) == 2


def test_a_check_that_has_failed_is_done_again(step):
    def fail():
        raise log.Failure("wrong")
    for _ in range(2):
        with pytest.raises(log.Failure):
            check._unless_known(step, fail, "a")


def test_checks_of_files_have_them_all(tree):
    kept = {"checkpatch": check._of_checkpatch(tree), "clippy": check._of_clippy()}
    for name, files in (("checkpatch", check._files(".c", ".h", ".patch")), ("clippy", patterns.files("rust/pure/*.rs"))):
        assert set(files) <= set(kept[name])
    assert tree / "scripts" / "checkpatch.pl" in kept["checkpatch"]
    assert {paths.ROOT / "Cargo.lock", paths.ROOT / "tests" / "fuzz" / "build.rs"} <= set(kept["clippy"])


@pytest.mark.parametrize("wrong", [None, "the misuse compiles"])
def test_misuse_is_compiled_again_unless_all_of_it_was_refused(monkeypatch, tmp_path, wrong):
    compiled, key = [], ["of the library"]
    monkeypatch.setattr(misuse.setup, "ensure", lambda **options: None)
    monkeypatch.setattr(misuse.crate, "ensure", lambda: SimpleNamespace(
        directory=tmp_path, built=SimpleNamespace(release="7.3.4")))
    monkeypatch.setattr(misuse.reuse, "key_of", lambda directory: key[0])
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    monkeypatch.setattr(misuse, "_judge", lambda library, step, output, case: compiled.append(case) or wrong)
    first = misuse.run()
    count, outcomes = len(compiled), record.read("misuse").outcomes
    record.write("misuse", {}, whole=True)
    again = misuse.run()
    assert record.read("misuse").outcomes == outcomes and (again.passed, again.failed) == (first.passed, first.failed)
    assert len(compiled) == (2 * count if wrong else count)
    key[0] = "of another library"
    misuse.run()
    key[0] = ""
    misuse.run()
    misuse.run()
    assert len(compiled) == (5 if wrong else 4) * count
