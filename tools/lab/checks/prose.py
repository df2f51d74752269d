# SPDX-License-Identifier: GPL-2.0
"""Claims of docs/ about the source, compared with it."""

import re
import sys
from pathlib import Path

from lab.builds import source
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.host import patterns

_PORTING = paths.ROOT / "docs" / "porting.md"
_SYSFS = paths.ROOT / "docs" / "sysfs.md"
_GLUE = paths.ROOT / "drivers" / "nvme" / "host" / "multipath_lib.c"
_ENGINE = paths.ROOT / "rust" / "engine" / "sysfs.rs"
#: The declarations that make a name in sysfs: in C, and that of the library's directory in Rust.
_ATTRIBUTE = re.compile(r"^(?:static )?(?:struct \w+ \w+ = |\t)?(?:DEVICE_ATTR_R[OW]|__ATTR(?:_R[OW])?|NVME_MPATH_COUNTER|"
                        r"module_param_call)\((\w+)", re.MULTILINE)
_DIRECTORY = re.compile(r'^pub\(crate\) const GROUP_NAME: &CStr = c"(\w+)";', re.MULTILINE)
#: The name of a macro's argument.
_PLACEHOLDER = "_name"
_ENTRY = re.compile(r"^```abi\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: An entry that the kernel does not have.
_NEW = re.compile(r"^Date:\t\tNovember 2026$", re.MULTILINE)
_WHAT = re.compile(r"^What:\t\t(\S+)$", re.MULTILINE)
_TAG = re.compile(r"^(\w+):", re.MULTILINE)
_TAGS = {"What", "Date", "Contact", "Description", "Users"}
#: A block of code that claims to be from a file; the link names it.
_EXCERPT = re.compile(r"^<!-- from (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OMISSION = "..."
#: The files that name other files, and in which form: by their path from the project's root.
_NAMING = ("*.md", "Makefile", "Kbuild", "docs/*.md", "include/**/*.h", "rust/**/*.*", "drivers/**/*.c", "samples/*",
           "tests/**/*.*", "tools/**/*.*")
_NAMED = re.compile(r"(?<![\w/.$}-])((?:docs|drivers|include|rust|samples|tests|tools)/[\w./-]*\w"
                    r"\.(?:c|h|md|py|rs|sh|toml))\b")
#: Files that are named and belong neither to the project nor to the kernel, and why.
_ELSEWHERE = {
    "rust/bindings_generated.rs": "the build makes it",
    "rust/kernel/libmultipath.rs": "what the kernel's own script calls the library's root",
}

#: The kernel's files that are named and that older kernels lack, and the version that they came with.
_NEW_IN = {"rust/kernel/sync/srcu.rs": "7.3"}


def excerpts(step) -> None:
    """Checks that every block of docs/porting.md that claims to be from a file occurs in it, whatever the white space.

    A line of three dots stands for lines that are left out.
    """
    found = _EXCERPT.findall(_PORTING.read_text())
    if not found:
        step.failed(f"{_PORTING.name} has no excerpts")
    for name, text in found:
        source = _words((paths.ROOT / name).read_text())
        at = 0
        for part in re.split(rf"^\s*{re.escape(_OMISSION)}$", text, flags=re.MULTILINE):
            words = _words(part)
            at = source.find(words, at)
            if at < 0:
                step.failed(f"{_PORTING.name}: this is not in {name}, or not there: {part.strip().splitlines()[0]}")
            at += len(words)


def names(step, tree: Path) -> None:
    """Checks that every file that a comment, a document or a program names exists here, or in the kernel."""
    here = Path(__file__)
    release = source.version(tree)
    later = {name for name, since in _NEW_IN.items() if not versions.is_since(release, since)}
    places = {name: file for file in patterns.files(*_NAMING) if file != here for name in named(file)}
    wrong = missing(set(places) - later, lambda name: (paths.ROOT / name).exists() or (tree / name).exists())
    for name in wrong:
        log.info(f"names: {name}, in {places.get(name, here).relative_to(paths.ROOT)}")
    if wrong:
        log.fail(f"{len(wrong)} files are named that do not exist, or may be named and are not")


def named(file: Path) -> set:
    return set(_NAMED.findall(file.read_text(errors="replace"))) if file.suffix != ".pyc" else set()


def missing(found: set, exists, elsewhere=None) -> list:
    """The files that are named and do not exist, and those of `elsewhere` that nobody names."""
    elsewhere = _ELSEWHERE if elsewhere is None else elsewhere
    return sorted({name for name in found if not exists(name)} ^ set(elsewhere))


def sysfs(step, tree: Path) -> None:
    """Checks that docs/sysfs.md is in the kernel's form, and names all that our files show, and no other attribute."""
    entries = "\n".join(_ENTRY.findall(_SYSFS.read_text()))
    documented = {Path(what).name for what in _WHAT.findall(entries)}
    ours = set(_ATTRIBUTE.findall(_GLUE.read_text())) | set(_DIRECTORY.findall(_ENGINE.read_text()))
    shown = ours | set(_ATTRIBUTE.findall((tree / "drivers/nvme/host/sysfs.c").read_text()))
    if missing := ours - documented - {_PLACEHOLDER}:
        log.fail(f"{_SYSFS.name} says nothing of {', '.join(sorted(missing))}")
    if unknown := documented - shown:
        log.fail(f"nothing shows {', '.join(sorted(unknown))}, which {_SYSFS.name} describes")
    _validate(step, tree, entries)


def new_entries() -> str:
    """The entries of docs/sysfs.md that the kernel's own documents lack."""
    entries = [entry.strip() for entry in "\n".join(_ENTRY.findall(_SYSFS.read_text())).split("\n\n")]
    new = [entry for entry in entries if _NEW.search(entry)]
    return "\n\n".join(new) + "\n" if new else log.fail(f"no entry of {_SYSFS.name} is new")


def _validate(step, tree: Path, entries: str) -> None:
    """Has the kernel's own script read the entries. It is silent when it finds nothing wrong, and always succeeds."""
    for entry in entries.split("\n\n"):
        tags = set(_TAG.findall(entry))
        if missing := _TAGS - tags:
            log.fail(f"{_SYSFS.name}: {_WHAT.search(entry)[1]} has no {', '.join(sorted(missing))}")
    file = paths.BUILD / "abi" / "testing" / "sysfs-libmultipath"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(entries)
    before = step.log.stat().st_size
    step.run([sys.executable, tree / "tools" / "docs" / "get_abi.py", "--dir", file.parents[1], "validate"])
    if step.log.read_bytes()[before:].count(b"\n") > 1:
        step.failed("the kernel's get_abi.py complains")


def _words(text: str) -> str:
    return " ".join(text.split())
