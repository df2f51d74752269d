# SPDX-License-Identifier: GPL-2.0
"""The faults that `make check` finds in files, and lists that name existing things only."""

import fnmatch
import re
from pathlib import Path

import pytest

from conftest import ROOT
from lab.checks import check
from lab.checks import imports
from lab.checks import prose
from lab.checks import readme
from lab.host import log
from lab.host import patterns
from lab.suites import faults
from lab.suites import kunit
from lab.suites import sanitize
from lab.verdicts import defects
from lab.verdicts import record
from tests.e2e import suite
from tests.faults.scenarios import LOADS
from tests.faults.scenarios import SCENARIOS


# Patterns

def test_a_pattern_that_matches_nothing_fails(tmp_path):
    (tmp_path / "a.rs").write_text("")
    assert patterns.files("*.rs", place=tmp_path) == [tmp_path / "a.rs"]
    with pytest.raises(log.Failure, match="slots.rs"):
        patterns.files("*.rs", "slots.rs", place=tmp_path)


def test_a_pattern_that_matches_a_directory_only_fails(tmp_path):
    (tmp_path / "policy").mkdir()
    with pytest.raises(log.Failure):
        patterns.files("policy", place=tmp_path)


# Unsafe code

@pytest.fixture
def pure(tmp_path):
    """A directory of two modules that decide, and of the mechanisms."""
    for name in ["shortlist", "policy", *check.MECHANISMS]:
        (tmp_path / f"{name}.rs").write_text("unsafe {}\n" if name in check.MECHANISMS else "")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "numa.rs").write_text("")
    return tmp_path


def test_all_that_is_no_mechanism_decides(pure):
    assert {file.name for file in check.decision_files(pure)} == {"shortlist.rs", "policy.rs", "numa.rs"}


@pytest.mark.parametrize("name", check.MECHANISMS)
def test_a_mechanism_without_its_file_fails(pure, name):
    (pure / f"{name}.rs").unlink()
    with pytest.raises(log.Failure):
        check.decision_files(pure)


@pytest.mark.parametrize("name", check.MECHANISMS)
def test_a_mechanism_that_needs_no_unsafe_code_fails(pure, name):
    (pure / f"{name}.rs").write_text("// unsafe\n")
    with pytest.raises(log.Failure):
        check.decision_files(pure)


def test_unsafe_code_is_counted_and_words_about_it_are_not(tmp_path):
    file = tmp_path / "x.rs"
    file.write_text("// unsafe\nlet a = 1; // unsafe\nunsafe { f() }\nlet unsafely = 1;\npub unsafe fn g() {}\n")
    assert check.unsafe_lines(file) == 2


# checkpatch

SAID = """x.c:1: WARNING:EXPORT_SYMBOL: EXPORT_SYMBOL(foo); should immediately follow its function/variable
x.c:2: ERROR:TRAILING_WHITESPACE: trailing whitespace
x.c:3: CHECK:LINE_SPACING: Please don't use multiple blank lines
total: 1 errors, 1 warnings, 1 checks, 7 lines checked
"""


def test_a_line_of_checkpatch_is_a_complaint_unless_it_is_ignored():
    assert len(check.complaints(SAID, ())) == 3
    assert [line.split(":")[3] for line in check.complaints(SAID, {"EXPORT_SYMBOL": "why"})] == \
        ["TRAILING_WHITESPACE", "LINE_SPACING"]


def checkpatch(monkeypatch, step, said, status, ignored):
    monkeypatch.setattr(check.process, "logged", lambda step, argv: step.say(step.log.read_text() + said) and status)
    check._judge_checkpatch(step, Path("/"), ignored, [["--file", "x.c"]])


def test_a_type_that_is_ignored_and_does_not_occur_fails(monkeypatch, step):
    only = SAID.splitlines()[0]
    checkpatch(monkeypatch, step, only, 1, {"EXPORT_SYMBOL": "why"})
    with pytest.raises(log.Failure, match="COMMIT_MESSAGE"):
        checkpatch(monkeypatch, step, only, 1, {"EXPORT_SYMBOL": "why", "COMMIT_MESSAGE": "why"})


def test_checkpatch_that_dies_fails(monkeypatch, step):
    with pytest.raises(log.Failure):
        checkpatch(monkeypatch, step, "Can't locate Foo.pm", 2, {})


# Excerpts

def excerpt(monkeypatch, tmp_path, step, text):
    (tmp_path / "doc.md").write_text(text)
    monkeypatch.setattr(prose, "_PORTING", tmp_path / "doc.md")
    prose.excerpts(step)


OF_MAKEFILE = "<!-- from Makefile -->\n```make\n{}\n```\n"


def test_an_excerpt_that_is_there_passes(monkeypatch, tmp_path, step):
    excerpt(monkeypatch, tmp_path, step, OF_MAKEFILE.format("python:\n...\n exit 1; }"))


@pytest.mark.parametrize("text", (
    OF_MAKEFILE.format("no such line"), OF_MAKEFILE.format("exit 1; }\n...\npython:"), "none"))
def test_an_excerpt_that_is_not_there_or_none_at_all_fails(monkeypatch, tmp_path, step, text):
    with pytest.raises(log.Failure):
        excerpt(monkeypatch, tmp_path, step, text)


# Names of files

def test_a_file_that_is_named_is_found(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("#: See tests/sanitize/faults.c, /usr/docs/x.md and a/rust/b.rs; `rust/pure/bring_up.rs`.\n")
    assert prose.named(file) == {"tests/sanitize/" + "faults.c", "rust/" + "pure/bring_up.rs"}


def test_a_file_that_does_not_exist_is_told_unless_it_is_elsewhere():
    assert prose.missing({"a.c", "b.c"}, lambda name: name == "a.c", {}) == ["b.c"]
    assert prose.missing({"a.c", "b.c"}, lambda name: name == "a.c", {"b.c": "why"}) == []
    assert prose.missing({"a.c"}, lambda name: True, {"b.c": "why"}) == ["b.c"]


# README

HEADER = "void mpath_port_init(struct mpath_port *port);\n"
EXAMPLES = "```c\nstatic int a;\n\n/* A port */\nmpath_port_init(&port);\n```\n\n```rust\nfn f() {}\n```\n"


def test_the_examples_are_found():
    assert readme.examples(EXAMPLES, HEADER, "pub(super) fn f() {}\n")[1] == "fn f() {}\n"


@pytest.mark.parametrize("text,header,tested", (
    (EXAMPLES.replace("```c\n", "```sh\n"), HEADER, "fn f() {}\n"),
    (EXAMPLES.replace("```rust\n", "```sh\n"), HEADER, "fn f() {}\n"),
    (EXAMPLES * 2, HEADER, "fn f() {}\n"),
    (EXAMPLES.replace("/* A port */\n", ""), HEADER, "fn f() {}\n"),
    (EXAMPLES.replace("mpath_port_init", "mpath_port_set_state"), HEADER, "fn f() {}\n"),
    (EXAMPLES, "", "fn f() {}\n"),
    (EXAMPLES, HEADER, "fn g() {}\n"),
))
def test_an_example_that_is_not_there_or_leaves_something_out_fails(text, header, tested):
    with pytest.raises(log.Failure):
        readme.examples(text, header, tested)


# Defects

ONE, OTHER = defects.Test("host", "a::b"), defects.Test("e2e", "it_works")


def test_the_document_and_the_source_agree_or_are_told():
    documented = {name: [ONE] for name in defects.IDS}
    source = {ONE: set(defects.IDS)}
    assert defects._disagreements(documented, source) == []
    assert defects._disagreements(documented, {}) != []
    assert defects._disagreements(documented, source | {OTHER: {"L-7"}}) == \
        ["e2e: it_works shows L-7, whose section does not name it"]
    assert defects._disagreements(documented | {"L-7": []}, source) != []
    assert defects._disagreements({name: tests for name, tests in documented.items() if name != "L-7"}, source) != []
    assert defects._disagreements(documented | {"L-77": [ONE]}, source) != []
    assert defects._disagreements(documented, {ONE: set(defects.IDS) - {"L-7"}}) != []


MODELS = """
/// Shows L-7.
#[test]
fn it_holds() {
    for mutant in [1, 2] {
        holds(AtMost(2), model());
    }
}

#[test]
fn it_holds_by_another_name() {
    unless_there_is_a_mistake(model);
}

fn unless_there_is_a_mistake(model: fn()) {
    holds(Any, model);
    is_caught("it", "it", Any, model);
}

/// Shows L-7: holds(Any, it) is only said.
#[test]
fn it_is_caught() {
    // holds(Any, it)
    lock.holds();
    is_caught("it", "it", Any, again());
}

fn again() {
    again()
}
"""


def test_a_model_that_tries_nothing_but_broken_copies_is_found():
    assert defects.broken_only(MODELS) == {"it_is_caught"}
    assert defects.broken_only(MODELS.replace("    holds(Any, model);\n", "")) == \
        {"it_is_caught", "it_holds_by_another_name"}


def test_a_section_that_names_a_model_of_broken_copies_is_told():
    documented, source = {name: [ONE] for name in defects.IDS}, {ONE: set(defects.IDS)}
    assert defects._disagreements(documented, source, {ONE})[0] == \
        "L-1 names host: a::b, which tries nothing but broken copies"
    assert defects._disagreements(documented, source, {OTHER}) == []


def test_some_models_try_broken_copies_and_most_try_the_library():
    broken = defects._broken_only()
    models = {test for test in defects.in_source() if test.part == "model"}
    assert broken and broken < models and 2 * len(broken) < len(models)


@pytest.mark.parametrize("outcomes,ending", (
    ({record.PASSED}, "has passed"), ({record.PASSED, record.SKIPPED}, "was skipped"),
    ({record.PASSED, record.SKIPPED, record.FAILED}, "has failed"), (set(), "has not run")))
def test_the_worst_of_what_became_of_a_test_counts(outcomes, ending):
    assert defects.ending(outcomes) == ending


def test_all_variants_of_a_test_count(reports):
    record.write("e2e", {"it_works_over_tcp": record.PASSED, "it_works_over_loop": record.SKIPPED}, whole=True)
    assert OTHER.outcomes(reports) == {record.PASSED, record.SKIPPED}


def test_a_test_that_no_longer_runs_is_not_in_the_record_of_a_whole_run(reports):
    record.write("e2e", {"it_works": record.PASSED}, whole=True)
    record.write("e2e", {"other": record.PASSED}, whole=False)
    assert OTHER.outcomes(reports) == {record.PASSED}
    record.write("e2e", {"other": record.PASSED}, whole=True)
    assert OTHER.outcomes(reports) == set()


# Everything that exists runs

def named(file, pattern):
    return set(re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE))


def test_every_file_of_end_to_end_tests_is_in_the_suite():
    files = {file.stem for file in patterns.files("test_*.py", place=ROOT / "tests/e2e")}
    assert {case.function.__module__.rpartition(".")[2] for case in suite.CASES.values()} == files


@pytest.mark.parametrize("place", ("host", "model"))
def test_every_file_of_host_tests_is_in_its_crate(place):
    files = {file.stem for file in patterns.files("*.rs", place=ROOT / "tests" / place)} - {"main"}
    assert named(f"tests/{place}/main.rs", r"^mod (\w+);") == files


@pytest.mark.parametrize("place", ("kunit", "kunit/face"))
def test_every_file_of_kunit_tests_is_in_the_crate(place):
    files = {file.stem for file in patterns.files("*.rs", place=ROOT / "tests" / place)} - {"main"}
    assert named(f"tests/{place}/main.rs", r"^(?:pub\(?\w*\)? )?mod (\w+);") == files


def test_every_pure_file_is_in_both_crates():
    files = {file.stem for file in patterns.files("*.rs", place=ROOT / "rust/pure")}
    assert named("rust/pure.rs", r"^pub mod (\w+);") == files
    assert named("rust/host.rs", r"^(?:pub )?mod (\w+);") == {"pure"}
    assert "pure" in named("rust/libmultipath.rs", r"^(?:pub )?mod (\w+);")


def test_no_other_file_is_pure():
    """A file of rust/ without the kernel crate belongs to the pure modules, and is tested on the host."""
    files = {file.stem for file in patterns.files("*.rs", place=ROOT / "rust") if "kernel::" not in file.read_text()}
    assert files <= {"host", "bindings", "driver", "engine", "pure", "wrap", "ffi", "libmultipath"}


def test_every_scenario_of_failing_allocations_is_somebodys_share():
    shared = sorted(name for share in faults.SHARES for name in share)
    assert shared == sorted([*SCENARIOS, *(f"load-{name}" for name in LOADS)])


def test_every_sanitizer_is_shown_to_find_something():
    shown = {option for option, _ in sanitize.FAULTS.values()} - {None}
    assert {each.option for each in sanitize.SANITIZERS} <= shown
    assert shown <= {each.option for each in sanitize.SANITIZERS} | set(sanitize.RUST_CHECKS)


def test_the_tests_of_the_short_run_under_sanitizers_exist():
    assert set(sanitize.ALWAYS) | set(sanitize.IN_TURNS) <= set(suite.SHORT)
    assert set(sanitize.ALWAYS).isdisjoint(sanitize.IN_TURNS)


def test_lost_memory_is_looked_for_after_every_suite_in_its_turn():
    turns = {suite: sum(fnmatch.fnmatch(suite, pattern) for pattern in sanitize.LEAKS_IN_TURNS)
             for suite in kunit.suites_in_source()}
    assert set(turns.values()) == {1}, turns
    for pattern in sanitize.LEAKS_IN_TURNS:
        assert fnmatch.filter(turns, pattern), pattern


# Imports

def lab_of(place, **modules):
    """A lab of packages `a_x`, module x in package a, with these imports; returns its modules and their imports."""
    for name, text in modules.items():
        package, _, module = name.partition("_")
        (place / "lab" / package).mkdir(parents=True, exist_ok=True)
        (place / "lab" / package / f"{module}.py").write_text(text)
    return imports.read(place / "lab")


def test_modules_in_order_make_no_circle(tmp_path):
    graph = lab_of(tmp_path, a_x="from lab.a import y\nimport lab.b.z\n", a_y="from lab.b.z import Z\n",
                   b_z="import os\n")
    assert graph == {"a.x": {"a.y", "b.z"}, "a.y": {"b.z"}, "b.z": set()}
    assert not imports.circle(graph)
    assert imports.packages(graph) == {"a": {"b"}, "b": set()}


@pytest.mark.parametrize("back", ("from lab.a import x\n", "from lab.a.x import X\n", "import lab.a.x\n",
                                  "def run():\n    from lab.a import x\n    return x\n"))
def test_a_circle_of_modules_is_found(tmp_path, back):
    graph = lab_of(tmp_path, a_x="from lab.a import y\n", a_y="from lab.a import z\n", a_z=back)
    found = imports.circle(graph)
    assert found[0] == found[-1] and set(found) == {"a.x", "a.y", "a.z"}
    assert all(after in graph[before] for before, after in zip(found, found[1:], strict=False))


def test_a_circle_of_packages_without_one_of_modules_is_found(tmp_path):
    graph = lab_of(tmp_path, a_x="from lab.b import y\n", a_z="", b_y="from lab.a import z\n")
    assert not imports.circle(graph)
    assert set(imports.circle(imports.packages(graph))) == {"a", "b"}


def test_a_circle_fails_the_check(tmp_path, monkeypatch, step):
    lab_of(tmp_path, a_x="from lab.a import y\n", a_y="from lab.a import x\n")
    monkeypatch.setattr(imports, "_LAB", tmp_path / "lab")
    with pytest.raises(log.Failure, match="a.x"):
        imports.check(step)


def test_the_lab_has_no_circle(step):
    imports.check(step)
