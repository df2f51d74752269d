# SPDX-License-Identifier: GPL-2.0
"""The sentences that `make check` refuses, and those that it takes."""

import pytest

from lab.checks import english

LONG = "The head " + "sends a bio and " * 7 + "waits."


@pytest.mark.parametrize("sentence", (
    "What fails ends.",
    "Whoever looks sees it.",
    "(Who asks gets an answer.)",
    "Whatever comes is parked.",
    LONG,
    "The bio is sent, its clone is freed, and the path is deleted.",
))
def test_a_sentence_that_breaks_a_rule_is_found(sentence):
    assert english.judge(sentence)


@pytest.mark.parametrize("sentence", (
    "What does a path cost?",
    "Whatsoever is a word of its own.",
    "The driver knows what fails.",
    LONG.replace("sends a bio and ", "", 1),
    "The bio is sent, and its clone is freed.",
))
def test_a_plain_sentence_passes(sentence):
    assert english.judge(sentence) == []


def test_code_is_one_word_and_ends_no_sentence():
    assert english.sentences("It calls `a.b(c). What is this` once. It ends (see [x](y.md)).") == [
        "It calls Code once.", "It ends (see x)."]


@pytest.mark.parametrize("name, text, line", (
    ("a.md", "# A title\n\nGood.\n\n- What fails ends.\n\n```\nWhat is code.\n```\n", 5),
    ("a.md", "| a | b |\n|---|---|\n| good | Who asks waits. |\n", 3),
    ("a.rs", "/// Good.\nfn f() {\n    // What fails ends.\n    g(\"What is text.\")\n}\n", 3),
    ("a.c", "/* Good. */\n/*\n * What fails ends.\n */\n", 3),
    ("a.h", "/**\n * f() - does it\n * @bio: What fails.\n */\n", 3),
    ("a.py", '"""Good."""\n#: What fails.\nA = "What is text."\n', 2),
    ("a.py", 'def f():\n    """What fails ends."""\n', 1),
))
def test_the_texts_of_a_file_are_read(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    (fault,) = english.faults(tmp_path / name)
    assert fault.line in range(line - 1, line + 2)


def test_names_of_tests_are_read(tmp_path):
    place = tmp_path / "tests"
    place.mkdir()
    (place / "a.rs").write_text("#[test]\nfn what_fails_ends() {}\n\nfn what_no_test_is() {}\n")
    (place / "a.py").write_text("def test_who_asks_waits():\n    pass\n\n\ndef what_no_test_is():\n    pass\n")
    assert [fault.sentence for file in ("a.rs", "a.py") for fault in english.faults(place / file)] == [
        "what_fails_ends", "who_asks_waits"]
