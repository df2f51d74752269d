# SPDX-License-Identifier: GPL-2.0
"""The English of documents, comments and names of tests: rules that a program can see.

A sentence does not begin with a clause that has no head ("What fails ends": say "The bio that fails ends"). It has at
most 30 words, and at most two verbs in the passive voice. The name of a test does not begin with such a clause either.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from lab.host import log
from lab.host import paths
from lab.host import patterns

#: The most words of a sentence, and verbs in the passive voice.
MOST_WORDS, MOST_PASSIVES = 30, 2
_FILES = ("*.md", "docs/*.md", "include/**/*.h", "rust/**/*.rs", "rust/*.c", "drivers/**/*.[ch]", "samples/*.*",
          "tests/**/*.rs", "tests/**/*.[ch]", "tests/**/*.py", "tools/**/*.py")
_HEADLESS = re.compile(r"(?:What|Who|Whoever|Whatever|Whichever|Whose)\b")
_PARTICIPLES = ("been|begun|born|bound|broken|brought|built|caught|chosen|cut|done|drawn|driven|fed|felt|found|given|gone|"
                "got|heard|held|hidden|kept|known|laid|led|left|lent|lost|made|meant|met|paid|put|read|run|said|seen|"
                "sent|set|shown|shut|sold|spent|split|stuck|struck|sworn|taken|taught|thought|thrown|told|torn|"
                "understood|woken|won|worn|written")
_PASSIVE = re.compile(rf"\b(?:is|are|was|were|be|been|being)(?: (?:not|never|also|then|only|again|once))? "
                      rf"(?:\w+ed|{_PARTICIPLES})\b", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]*[A-Z`])")
#: A full stop that ends no sentence.
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|Dr|No|Fig|approx)\.")
_CODE = re.compile(r"```.*?```|~~~.*?~~~", re.DOTALL)
_INLINE = re.compile(r"``[^`]+``|`[^`]+`")
_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])?")
_TEST = re.compile(r"(?:what|who|whoever|whatever|whichever|whose)_")
_RUST_TEST = re.compile(r"#\[test\]\s*(?:#\[[^\]]*\]\s*)*fn (\w+)")


@dataclass(frozen=True)
class Fault:
    line: int
    what: str
    sentence: str


def faults(file: Path) -> list:
    """The sentences of a file, and the names of its tests, that break a rule."""
    found = []
    for line, text in _texts(file):
        for sentence in sentences(text):
            found += [Fault(line, what, sentence) for what in judge(sentence)]
    found += [Fault(line, "the name of a test begins with a clause that has no head", name)
              for line, name in _tests(file) if _TEST.match(name)]
    return found


def judge(sentence: str) -> list:
    words = re.findall(r"[\w'’-]+", sentence)
    wrong = []
    if _HEADLESS.match(sentence.lstrip("\"'([`*_")) and not sentence.rstrip("\"')]").endswith("?"):
        wrong.append("a clause without a head begins the sentence")
    if len(words) > MOST_WORDS:
        wrong.append(f"{len(words)} words")
    if (passives := len(_PASSIVE.findall(sentence))) > MOST_PASSIVES:
        wrong.append(f"{passives} verbs in the passive voice")
    return wrong


def sentences(text: str) -> list:
    text = _LINK.sub(r"\1", text)
    text = _INLINE.sub("Code", text)
    text = _ABBREVIATION.sub(r"\1", " ".join(text.split()))
    return [part for part in _END.split(text) if part]


def _texts(file: Path):
    text = file.read_text()
    if file.suffix == ".md":
        yield from _markdown(text)
    elif file.suffix == ".py":
        yield from _python(file, text)
    elif file.suffix == ".rs":
        yield from _blocks(text, re.compile(r"[ \t]*//[/!]? ?(.*)"))
    else:
        yield from _c(text)


def _markdown(text: str, first=1):
    block, start, fenced = [], first, False
    def flush():
        if block:
            yield start, " ".join(block)
            block.clear()
    for number, line in enumerate(text.splitlines(), first):
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            yield from flush()
            fenced = not fenced
            continue
        if fenced or line.startswith("    ") and not block:
            continue
        if not stripped or stripped.startswith(("#", "<!--")) or set(stripped) <= set("|-: "):
            yield from flush()
            if stripped.startswith("#") and not stripped.startswith("#!"):
                yield number, stripped.lstrip("# ")
            continue
        if stripped.startswith("|"):
            yield from flush()
            for cell in stripped.strip("|").split(" | "):
                yield number, cell.strip()
            continue
        item = re.match(r"(?:[*+-]|\d+\.) +(.*)", stripped)
        if item:
            yield from flush()
            stripped = item[1]
        if not block:
            start = number
        block.append(stripped)
    yield from flush()


def _blocks(text: str, pattern):
    block, start = [], 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        match = pattern.fullmatch(line)
        if match and not match[1].startswith("SPDX"):
            if not block:
                start = number
            block.append(match[1])
        elif block:
            yield from _markdown("\n".join(block), start)
            block = []


def _c(text: str):
    for match in re.finditer(r"/\*(.*?)\*/", text, re.DOTALL):
        if "SPDX" in match[1]:
            continue
        lines = [re.sub(r"^[ \t]*\*[ \t]?", "", line).expandtabs(8) for line in match[1].splitlines()]
        out = []
        for line in lines:
            s = line.strip()
            if re.match(r"(@\w+|Return|Context|struct \w+|\w+\(\)|var \w+|define \w+|enum \w+)\b.*?[:-]", s):
                out += ["", s.split(": ", 1)[-1] if s.startswith("@") else re.sub(r"^[^-:]*[-:] ?", "", s)]
            else:
                out.append(s)
        yield from _markdown("\n".join(out), text.count("\n", 0, match.start()) + 1)


def _python(file: Path, text: str):
    yield from _blocks(text, re.compile(r"[ \t]*#:? ?(?!!)(.*)"))
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if doc := ast.get_docstring(node):
                yield from _markdown(doc, getattr(node, "lineno", 1))


def _tests(file: Path):
    text = file.read_text()
    if file.suffix == ".rs":
        for match in _RUST_TEST.finditer(text):
            yield text.count("\n", 0, match.start(1)) + 1, match[1]
    elif file.suffix == ".py" and "tests" in file.parts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name.startswith("test_")):
                yield node.lineno, node.name.removeprefix("test_")


def check(step) -> None:
    """Fails for each sentence and each name that breaks a rule."""
    found = [(file, fault) for file in patterns.files(*_FILES) for fault in faults(file)]
    for file, fault in found:
        log.info(f"english: {file.relative_to(paths.ROOT)}:{fault.line}: {fault.what}: {fault.sentence}")
    if found:
        log.fail(f"{len(found)} sentences or names of tests are not in plain English")
