# SPDX-License-Identifier: GPL-2.0
"""What is checked without running: style, lints, documentation, and where unsafe code is."""

import re
from pathlib import Path

from lab import crate
from lab import defects
from lab import doc
from lab import litmus
from lab import log
from lab import mutants
from lab import paths
from lab import process
from lab import prose
from lab import setup
from lab import source
from lab import toolchain

#: Decisions (which path, park or fail, may it be removed) are safe Rust.
DECISIONS = ("rust/policy.rs", "rust/policy/*.rs", "rust/state.rs", "rust/removal.rs", "rust/nodes.rs",
             "rust/submission.rs", "rust/alarm.rs", "rust/care.rs", "rust/life.rs", "rust/trust.rs", "rust/waiting.rs")

#: What checkpatch must not complain about, and why.
IGNORED = {
    "EXPORT_SYMBOL": "what Rust defines can only be exported from C",
    "FILE_PATH_CHANGES": "the project has no MAINTAINERS file of its own",
    "COMMIT_MESSAGE": "in-tree.patch is a plain diff",
    "MISSING_SIGN_OFF": "in-tree.patch is a plain diff",
}
IGNORED_IN_SERIES = {
    "EXPORT_SYMBOL": IGNORED["EXPORT_SYMBOL"],
    "FILE_PATH_CHANGES": "the first patch adds an entry for the whole directory to MAINTAINERS",
}
_OURS = ("include", "rust", "drivers", "samples", "tests")


def run() -> tuple:
    """Runs every check; returns the names of those that passed and of those that did not."""
    tree = source.kernel().tree
    checks = {
        "rustfmt": lambda step: _rustfmt(step, tree),
        "clippy": _clippy,
        "checkpatch": lambda step: _checkpatch(step, tree),
        "kernel-doc": lambda step: doc.c(step, tree),
        "rustdoc": _rustdoc,
        "excerpts": prose.excerpts,
        "sysfs": lambda step: prose.sysfs(step, tree),
        "unsafe": _unsafe,
        "litmus": litmus.check,
        "defects": defects.check,
        "mutants": mutants.check,
    }
    passed, failed = [], []
    for name, check in checks.items():
        try:
            with log.step(f"check-{name}", "checking") as step:
                check(step)
            passed.append(name)
        except log.Failure as failure:
            log.error(str(failure))
            failed.append(name)
    return passed, failed


def _files(*suffixes: str) -> list:
    return sorted(file for place in _OURS for file in (paths.ROOT / place).rglob("*") if file.suffix in suffixes)


def _need(command: str, where: str) -> None:
    if not toolchain.have(command):
        log.fail(f"there is no {command} in PATH ({where})")


def _rustfmt(step, tree: Path) -> None:
    _need("rustfmt", "`rustup component add rustfmt` or Debian's rustfmt-web")
    step.run(["rustfmt", "--check", "--color=never", "--config-path", tree / ".rustfmt.toml",
              *_files(".rs")])


def _clippy(step) -> None:
    _need("cargo-clippy", "`rustup component add clippy` or Debian's rust-web-clippy")
    step.run(["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
             cwd=paths.ROOT, env=process.environment(CARGO_TARGET_DIR=str(paths.CARGO)))


def _checkpatch(step, tree: Path) -> None:
    script = _checkpatch_script(tree, IGNORED)
    step.run([*script, "--file", *_files(".c", ".h")])
    for patch in _files(".patch"):
        if patch.parent == mutants.PLACE:
            continue  # which are wrong on purpose
        step.run([*script, "--patch", patch])


def checkpatch_series(step, tree: Path, patches: list) -> None:
    """Reads patches that are to be sent."""
    script = _checkpatch_script(tree, IGNORED_IN_SERIES)
    for patch in patches:
        step.run([*script, "--patch", patch])


def _checkpatch_script(tree: Path, ignored) -> list:
    _need("perl", "Debian's perl")
    return [tree / "scripts" / "checkpatch.pl", "--no-tree", "--root", tree, "--show-types", "--terse",
            "--color=never", "--ignore", ",".join(ignored)]


def _rustdoc(step) -> None:
    setup.ensure(booting=False)
    doc.rust(step, crate.ensure())


def _unsafe(step) -> None:
    """Prints how often each Rust file says unsafe, and allows no decision to."""
    decisions = {file for pattern in DECISIONS for file in paths.ROOT.glob(pattern)}
    table, wrong = [], []
    for file in _files(".rs"):
        count = sum(1 for line in file.read_text().splitlines() if re.search(r"\bunsafe\b", line.split("//")[0]))
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
