# SPDX-License-Identifier: GPL-2.0
"""Checks that run no test: style, lints, documentation, and where unsafe code is."""

import re
from pathlib import Path

from lab.builds import crate
from lab.builds import crates
from lab.builds import doc
from lab.builds import reuse
from lab.builds import setup
from lab.builds import source
from lab.builds import toolchain
from lab.checks import english
from lab.checks import imports
from lab.checks import prose
from lab.checks import readme
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.suites import litmus
from lab.suites import mutants
from lab.verdicts import claims
from lab.verdicts import defects
from lab.verdicts import memo
from lab.verdicts.counts import Counts

#: The pure modules. These decide (which path, park or fail, may it be removed), in safe Rust.
_PURE = paths.ROOT / "rust" / "pure"
#: The pure modules that carry decisions out, and need unsafe code for it.
MECHANISMS = {
    "fencing": "holds bios, which are linked through their own memory",
    "list": "links elements into a list that others walk meanwhile",
    "parking": "links parked bios through their own memory",
    "sync": "wraps the atomics of three worlds",
}

#: The complaints of checkpatch that the check ignores, and why. Each has to occur: a line that silences nothing fails
#: it.
IGNORED = {
    "EXPORT_SYMBOL": "what Rust defines can only be exported from C",
    "COMMIT_MESSAGE": "prepare.patch and others are plain diffs",
    "MISSING_SIGN_OFF": "prepare.patch and others are plain diffs",
}
IGNORED_IN_SERIES = {
    "EXPORT_SYMBOL": IGNORED["EXPORT_SYMBOL"],
    "FILE_PATH_CHANGES": "the first patch adds an entry for the whole directory to MAINTAINERS",
}
_RUFF = paths.ROOT / "tools" / "ruff.toml"
_COMPLAINT = re.compile(r": (?:ERROR|WARNING|CHECK):([A-Z_]+): ")
_OURS = ("include", "rust", "drivers", "samples", "tests")
#: The directories of cargo's crates, and their further files.
_CRATES = ("rust", "tests/host", "tests/model", "tests/fuzz", "tests/bench/contention")
_OF_CARGO = ("Cargo.toml", "Cargo.lock", "drivers/nvme/host/multipath_lib.c")


#: The checks that ask how the last run of the tests has ended.
OF_RUNS = ("defects", "claims")


def count_static() -> Counts:
    """The counts that need no run of a test."""
    passed, failed = run(without=OF_RUNS)
    return Counts(len(passed), len(failed))


def run(without=()) -> tuple:
    """Runs every check but these; returns the names of those that passed and of those that did not."""
    tree = source.kernel().tree
    checks = {
        "rustfmt": lambda step: _rustfmt(step, tree),
        "clippy": lambda step: _unless_known(step, lambda: _clippy(step), *_of_clippy()),
        "ruff": _ruff,
        "imports": imports.check,
        "checkpatch": lambda step: _unless_known(step, lambda: _checkpatch(step, tree), *_of_checkpatch(tree)),
        "kernel-doc": lambda step: doc.c(step, tree),
        "rustdoc": lambda step: _unless_known(step, lambda: _rustdoc(step), *_of_library()),
        "excerpts": prose.excerpts,
        "readme": lambda step: _unless_known(step, lambda: readme.check(step), *_of_library(), *readme.sources()),
        "names": lambda step: prose.names(step, tree),
        "english": english.check,
        "sysfs": lambda step: prose.sysfs(step, tree),
        "unsafe": _unsafe,
        "litmus": litmus.check,
        "tables": claims.check,
        "defects": defects.check,
        "claims": claims.check_runs,
        "mutants": mutants.check,
    }
    passed, failed = [], []
    for name, check in checks.items():
        if name in without:
            continue
        try:
            with log.step(f"check-{name}", "checking") as step:
                check(step)
            passed.append(name)
        except log.Failure as failure:
            log.error(str(failure))
            failed.append(name)
    return passed, failed


def _unless_known(step, check, *inputs) -> None:
    """Does a check, unless it has passed before with the same inputs; nothing else may have a part in its result."""
    def ask_key():
        return "" if None in inputs else digest.key(step.name, *inputs, Path(__file__))
    at = ask_key()
    if at and memo.recall("check", at):
        log.info(f"{step.name}: passed before, with the same files")
        return
    check()
    if at and ask_key() == at:
        memo.keep("check", at, step.name)


def _of_checkpatch(tree: Path) -> list:
    """All files that the kernel's script reads."""
    script = [tree / "scripts" / name for name in ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")]
    return [*script, *digest.named(_files(".c", ".h", ".patch"), paths.ROOT)]


def _of_clippy() -> list:
    """All files that cargo compiles for it, or that the scripts of crates read, and the compiler."""
    files = patterns.files(*_OF_CARGO, *(f"{place}/**/*" for place in _CRATES))
    return [process.output(["cargo", "clippy", "--version"]), process.output(["rustc", "-Vv"]),
            *digest.named(files, paths.ROOT)]


def _of_library() -> list:
    """The library as it is built; None if it may change without the lab noticing."""
    return [reuse.key_of(crate.ensure().directory) or None]


def _files(*suffixes: str) -> list:
    kinds = [f"{place}/**/*" for place in _OURS]
    found = [file for file in patterns.files(*kinds) if file.suffix in suffixes]
    return found or log.fail(f"there are no files that end with {' or '.join(suffixes)}")


def _need(command: str, where: str) -> None:
    if not toolchain.have(command):
        log.fail(f"there is no {command} in PATH ({where})")


def _rustfmt(step, tree: Path) -> None:
    _need("rustfmt", "`rustup component add rustfmt` or Debian's rustfmt-web")
    step.run(["rustfmt", "--check", "--color=never", "--config-path", tree / ".rustfmt.toml",
              *_files(".rs")])


def _clippy(step) -> None:
    _need("cargo-clippy", "`rustup component add clippy` or Debian's rust-web-clippy")
    target = paths.CARGO / "clippy"
    crates.lend(target)
    step.run(["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
             cwd=paths.ROOT, env=process.environment(CARGO_TARGET_DIR=str(target)))
    crates.keep(target)


def _ruff(step) -> None:
    setup.ensure_python()
    step.run([setup.venv() / "bin" / "ruff", "check", "--no-cache", "--config", _RUFF, "--output-format=concise",
              paths.ROOT / "tools", paths.ROOT / "tests"])


def _checkpatch(step, tree: Path) -> None:
    # The mutants are wrong on purpose.
    patches = [patch for patch in _files(".patch") if patch.parent != mutants.PLACE]
    runs = [["--file", *_files(".c", ".h")], *(["--patch", patch] for patch in patches)]
    _judge_checkpatch(step, tree, IGNORED, runs)


def checkpatch_series(step, tree: Path, patches: list) -> None:
    """Has checkpatch read patches that are to be sent."""
    _judge_checkpatch(step, tree, IGNORED_IN_SERIES, [["--patch", patch] for patch in patches])


def _judge_checkpatch(step, tree: Path, ignored: dict, runs: list) -> None:
    """Has the kernel's script read files; fails for a complaint not in `ignored`, and for one in it that is absent."""
    _need("perl", "Debian's perl")
    script = [tree / "scripts" / "checkpatch.pl", "--no-tree", "--root", tree, "--show-types", "--terse",
              "--color=never"]
    found = set()
    for words in runs:
        before = step.log.stat().st_size
        status = process.logged(step, list(map(str, [*script, *words])))
        said = step.log.read_bytes()[before:].decode(errors="replace")
        if wrong := complaints(said, ignored):
            step.failed(wrong[0])
        types = set(_COMPLAINT.findall(said))
        if status and not types:
            step.failed(f"checkpatch.pl exited with {status}")
        found |= types
    if unused := sorted(set(ignored) - found):
        step.failed(f"nothing needs that {', '.join(unused)} is ignored")


def complaints(said: str, ignored) -> list:
    """The lines of checkpatch with a complaint that is not ignored."""
    return [line for line in said.splitlines() if (found := _COMPLAINT.search(line)) and found[1] not in ignored]


def _rustdoc(step) -> None:
    setup.ensure(booting=False)
    doc.rust(step, crate.ensure())


def _unsafe(step) -> None:
    """Prints how many lines of each Rust file say unsafe, and allows none in a decision."""
    decisions = decision_files()
    table, wrong = [], []
    for file in _files(".rs"):
        count = unsafe_lines(file)
        name = file.relative_to(paths.ROOT)
        table.append(f"{count:6}  {name}{'  (decision)' if file in decisions else ''}")
        if count and file in decisions:
            wrong.append(str(name))
    report = paths.REPORTS / "unsafe.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(table) + "\n")
    print("\n".join(table))
    if wrong:
        log.fail(f"unsafe in decision code: {' '.join(wrong)}")


def decision_files(place: Path = _PURE) -> set:
    """The files of the pure modules without the mechanisms."""
    mechanisms = patterns.files(*(f"{name}.rs" for name in MECHANISMS), place=place)
    for file in mechanisms:
        if not unsafe_lines(file):
            log.fail(f"{file.name} may be unsafe, and need not")
    return set(patterns.files("**/*.rs", place=place)) - set(mechanisms)


def unsafe_lines(file: Path) -> int:
    """How many lines of a Rust file say unsafe, comments apart."""
    return sum(1 for line in file.read_text().splitlines() if re.search(r"\bunsafe\b", line.split("//")[0]))
